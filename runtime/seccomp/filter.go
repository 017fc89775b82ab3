// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/spell"
)

// Filter is a compiled table. It is a value and never changes.
type Filter struct {
	bpf []byte
}

// Bytes is the filter as an array of struct sock_filter (linux/filter.h) in
// native byte order, as package load takes it. The caller owns the copy.
func (f Filter) Bytes() []byte { return slices.Clone(f.bpf) }

// Len is the number of instructions; the kernel takes 4096 at most.
func (f Filter) Len() int { return len(f.bpf) / instructionSize }

// instructionSize is that of struct sock_filter in bytes.
const instructionSize = 8

var compiled struct {
	sync.Mutex
	filters map[string]Filter // by sorted group names; guarded by Mutex
}

// Compile gives the filter of the base group and the named ones. Order and
// repetition don't matter. The work is done once per process and set of
// groups. An unknown group is an error that names the nearest known one.
func Compile(groups []string) (Filter, error) {
	set, err := groupSet(groups)
	if err != nil {
		return Filter{}, err
	}
	key := fmt.Sprint(set)
	compiled.Lock()
	defer compiled.Unlock()
	if f, ok := compiled.filters[key]; ok {
		return f, nil
	}
	f, err := compile(effective(set))
	if err != nil {
		return Filter{}, fmt.Errorf("compile seccomp filter %s: %w", key, err)
	}
	if compiled.filters == nil {
		compiled.filters = make(map[string]Filter)
	}
	compiled.filters[key] = f
	return f, nil
}

// groupSet checks names and gives them in table order with base in front.
func groupSet(names []string) ([]Group, error) {
	known := Groups()
	for _, name := range names {
		if slices.ContainsFunc(known, func(g GroupInfo) bool { return string(g.Name) == name }) {
			continue
		}
		near := slices.MinFunc(known, func(a, b GroupInfo) int {
			return spell.Distance(name, string(a.Name)) - spell.Distance(name, string(b.Name))
		})
		return nil, fmt.Errorf("unknown seccomp group %q; the nearest is %q", name, near.Name)
	}
	var set []Group
	for _, g := range known {
		if g.Name == Base || slices.Contains(names, string(g.Name)) {
			set = append(set, g.Name)
		}
	}
	return set, nil
}

// effective gives the rows of the groups in set, without those of the base
// group that a named group contradicts.
func effective(set []Group) []Row {
	var rows, named []Row
	for _, r := range Table {
		if r.Group != Base && slices.Contains(set, r.Group) {
			named = append(named, r)
		}
	}
	for _, r := range Table {
		displaced := r.Group == Base && slices.ContainsFunc(named, func(o Row) bool {
			return o.Call == r.Call && o.Answer != r.Answer && o.overlaps(r)
		})
		if slices.Contains(set, r.Group) && !displaced {
			rows = append(rows, r)
		}
	}
	return rows
}

// compile turns rows into a filter of the native architecture.
func compile(rows []Row) (Filter, error) {
	f, err := libseccomp.NewFilter(action(Refuse))
	if err != nil {
		return Filter{}, err
	}
	defer f.Release()
	if err := f.SetBadArchAction(libseccomp.ActKillProcess); err != nil {
		return Filter{}, fmt.Errorf("kill foreign architectures: %w", err)
	}
	// The loader sets no_new_privs, and this bit isn't part of the BPF.
	if err := f.SetNoNewPrivsBit(false); err != nil {
		return Filter{}, fmt.Errorf("leave no_new_privs alone: %w", err)
	}
	// A binary tree over numbers: loading one asks the filter about every
	// number there is, so this is what starting a sandbox waits for.
	if err := f.SetOptimize(2); err != nil {
		return Filter{}, fmt.Errorf("build a binary tree: %w (libseccomp 2.5 or later is needed)", err)
	}
	for _, r := range rows {
		if r.Answer == Refuse {
			continue // the default
		}
		nr, ok, err := number(r.Call, native)
		if err != nil {
			return Filter{}, err
		}
		if !ok {
			continue
		}
		var when []libseccomp.ScmpCondition
		for _, a := range r.When {
			when = append(when, libseccomp.ScmpCondition{
				Argument: a.Pos, Op: libseccomp.CompareMaskedEqual, Operand1: a.Mask, Operand2: a.Value,
			})
		}
		if err := f.AddRuleConditionalExact(libseccomp.ScmpSyscall(nr), action(r.Answer), when); err != nil {
			return Filter{}, fmt.Errorf("add %s (%s): %w", r.Call, r.condition(), err)
		}
	}
	body, err := export(f)
	if err != nil {
		return Filter{}, fmt.Errorf("export: %w", err)
	}
	return Filter{append(preamble(), body...)}, nil
}

func action(a Answer) libseccomp.ScmpAction {
	if a == Allow {
		return libseccomp.ActAllow
	}
	return libseccomp.ActErrno.SetReturnCode(int16(a))
}

// export takes the program from libseccomp, which writes to descriptors only.
func export(f *libseccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	file := os.NewFile(uintptr(fd), "seccomp")
	defer file.Close()
	if err := f.ExportBPF(file); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(file)
}

// firstX32 is where numbers of the x32 architecture start; arm64 has none there.
const firstX32 = 0x40000000

// preamble answers ENOSYS to native calls newer than the table and leaves
// everything else to the program behind it. libseccomp has no rule for a range
// of numbers.
func preamble() []byte {
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		eq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ge   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		gt   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
		nr   = 0 // offsets in struct seccomp_data (linux/seccomp.h)
		arch = 4
	)
	program := []unix.SockFilter{
		{Code: load, K: arch},
		{Code: eq, K: auditArch, Jf: 4},
		{Code: load, K: nr},
		{Code: ge, K: firstX32, Jt: 2},
		{Code: gt, K: newest, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(Absent)},
	}
	var b bytes.Buffer
	for _, instruction := range program {
		// Writing fixed-size data to a buffer can't fail.
		_ = binary.Write(&b, binary.NativeEndian, instruction)
	}
	return b.Bytes()
}
