// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// policy is the rows of one set of groups by number.
type policy map[uint32][]Row

func newPolicy(t testing.TB, groups []string) policy {
	t.Helper()
	p := make(policy)
	for _, r := range rowsOf(t, groups) {
		nr, ok, err := number(r.Call, native)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			p[uint32(nr)] = append(p[uint32(nr)], r)
		}
	}
	return p
}

// answer reads the rows from top to bottom, without libseccomp.
func (p policy) answer(nr uint32, args [6]uint64) Answer {
	if nr > newest && nr < firstX32 {
		return Absent
	}
next:
	for _, r := range p[nr] {
		for _, a := range r.When {
			if args[a.Pos]&a.Mask != a.Value {
				continue next
			}
		}
		return r.Answer
	}
	return Refuse
}

// machine runs the exported program as the kernel does.
type machine struct{ vm *bpf.VM }

func newMachine(t testing.TB, groups []string) machine {
	t.Helper()
	f, err := Compile(groups)
	if err != nil {
		t.Fatal(err)
	}
	var raw []bpf.RawInstruction
	for b := f.Bytes(); len(b) > 0; b = b[8:] {
		raw = append(raw, bpf.RawInstruction{
			Op: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:]),
		})
	}
	program, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the filter has instructions that x/net/bpf doesn't know")
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	return machine{vm}
}

// run gives the raw return value for a struct seccomp_data. The machine reads
// network byte order, the kernel native words: each word is turned.
func (m machine) run(t testing.TB, arch, nr uint32, args [6]uint64) uint32 {
	t.Helper()
	data := make([]byte, 64)
	binary.BigEndian.PutUint32(data, nr)
	binary.BigEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		var native [8]byte
		binary.NativeEndian.PutUint64(native[:], a)
		for j := 0; j < 8; j += 4 {
			binary.BigEndian.PutUint32(data[16+8*i+j:], binary.NativeEndian.Uint32(native[j:]))
		}
	}
	ret, err := m.vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(ret)
}

// answer translates what run gives for the native architecture.
func (m machine) answer(t testing.TB, nr uint32, args [6]uint64) Answer {
	t.Helper()
	switch ret := m.run(t, auditArch, nr, args); {
	case ret == unix.SECCOMP_RET_ALLOW:
		return Allow
	case ret&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO:
		return Answer(ret & unix.SECCOMP_RET_DATA)
	default:
		t.Fatalf("call %d %x: answer %#x", nr, args, ret)
		return 0
	}
}

// Every number there is, in every set of groups, without arguments and with
// all bits set: nothing is open that no row opens.
func TestEveryNumber(t *testing.T) {
	for _, groups := range groupSets() {
		p, m := newPolicy(t, groups), newMachine(t, groups)
		for nr := range uint32(newest + 100) {
			if p[nr] == nil {
				want := Refuse
				if nr > newest {
					want = Absent
				}
				for _, args := range [][6]uint64{{}, {^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}} {
					if got := m.answer(t, nr, args); got != want {
						t.Errorf("%v: call %d, which no row opens: %s", groups, nr, got)
					}
				}
			}
		}
		if got := m.answer(t, ^uint32(0), [6]uint64{}); got != Refuse {
			t.Errorf("call -1: %s", got)
		}
	}
}

func TestForeignArchitectures(t *testing.T) {
	for _, groups := range groupSets() {
		m := newMachine(t, groups)
		for _, arch := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_RISCV64, 0, ^uint32(0)} {
			for _, nr := range []uint32{0, 1, 20, 39, newest + 1, firstX32 + 1} {
				if got := m.run(t, arch, nr, [6]uint64{}); got != unix.SECCOMP_RET_KILL_PROCESS {
					t.Errorf("architecture %#x call %d: %#x", arch, nr, got)
				}
			}
		}
		if !hasX86 {
			continue
		}
		for _, nr := range []uint32{firstX32, firstX32 + 1, firstX32 + 39, firstX32 + 520, 0x7fffffff, 0x80000001} {
			if got := m.run(t, auditArch, nr, [6]uint64{}); got != unix.SECCOMP_RET_KILL_PROCESS {
				t.Errorf("x32 call %#x: %#x", nr, got)
			}
		}
	}
}

// Each row holds where it says, and one flipped bit of an argument is judged
// as the table judges it, be it among the bits that count or above them.
func TestArguments(t *testing.T) {
	for _, groups := range [][]string{nil, {"loopback"}, {"loopback", "unix", "inotify", "sysvipc", "ptrace", "numa", "nested"}} {
		p, m := newPolicy(t, groups), newMachine(t, groups)
		for _, r := range rowsOf(t, groups) {
			n, ok, _ := number(r.Call, native)
			if !ok {
				continue
			}
			var args [6]uint64
			for _, a := range r.When {
				args[a.Pos] = a.Value
			}
			if got := m.answer(t, uint32(n), args); got != r.Answer {
				t.Errorf("%v: %s (%s): %s, want %s", groups, r.Call, r.condition(), got, r.Answer)
			}
			for _, a := range r.When {
				for bit := range 64 {
					flipped := args
					flipped[a.Pos] ^= 1 << bit
					if want, got := p.answer(uint32(n), flipped), m.answer(t, uint32(n), flipped); got != want {
						t.Errorf("%v: %s (%s) with bit %d of argument %d flipped: %s, want %s",
							groups, r.Call, r.condition(), bit, a.Pos, got, want)
					}
					if got := m.answer(t, uint32(n), flipped); bit >= 32 && got != r.Answer {
						t.Errorf("%s (%s): bit %d, which the kernel ignores, turns %s into %s", r.Call, r.condition(), bit, r.Answer, got)
					}
				}
			}
		}
	}
}

// What must be closed whatever groups a profile names.
func TestAlwaysClosed(t *testing.T) {
	closed := strings.Fields(`unshare setns clone3 mount umount2 pivot_root chroot fsopen fsconfig fsmount fspick open_tree
		open_tree_attr move_mount mount_setattr quotactl swapon swapoff reboot kexec_load kexec_file_load init_module
		finit_module delete_module bpf perf_event_open io_uring_setup io_uring_enter io_uring_register keyctl add_key
		request_key userfaultfd name_to_handle_at open_by_handle_at lookup_dcookie acct syslog settimeofday
		clock_settime clock_adjtime adjtimex iopl ioperm modify_ldt fanotify_init pidfd_getfd process_madvise kcmp
		openat2 setxattr fsetxattr vhangup sethostname`)
	all := groupSets()[len(groupSets())-1]
	m := newMachine(t, all)
	for _, call := range closed {
		nr, ok, err := number(call, native)
		if err != nil {
			t.Error(err)
		}
		if ok && m.answer(t, uint32(nr), [6]uint64{}) == Allow {
			t.Errorf("%s is open", call)
		}
	}
	for _, tt := range []struct {
		call string
		args [6]uint64
	}{
		{"clone", [6]uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}},
		{"clone", [6]uint64{unix.CLONE_VM | unix.CLONE_NEWNET}},
		{"socket", [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW}},
		{"socket", [6]uint64{unix.AF_PACKET, unix.SOCK_RAW}},
		{"socket", [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}},
		{"socket", [6]uint64{unix.AF_ALG, unix.SOCK_SEQPACKET}},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP}},
		{"socket", [6]uint64{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP}},
		{"socket", [6]uint64{unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_SCTP}},
		{"socketpair", [6]uint64{unix.AF_TIPC, unix.SOCK_STREAM}},
		{"ioctl", [6]uint64{0, unix.TIOCSTI}},
		{"ioctl", [6]uint64{0, 1<<32 | unix.TIOCSTI}},
		{"ioctl", [6]uint64{0, 0xffffffff<<32 | unix.TIOCLINUX}},
		{"ioctl", [6]uint64{0, unix.TIOCSETD}},
		{"prctl", [6]uint64{unix.PR_SET_MM}},
		{"prctl", [6]uint64{unix.PR_SET_SPECULATION_CTRL}},
		{"prctl", [6]uint64{unix.PR_SET_MEMORY_MERGE}},
		{"prctl", [6]uint64{unix.PR_CAP_AMBIENT}},
		{"prctl", [6]uint64{unix.PR_SET_SYSCALL_USER_DISPATCH}},
		{"personality", [6]uint64{8}},         // PER_LINUX32
		{"personality", [6]uint64{0x0400000}}, // READ_IMPLIES_EXEC
		{"setsockopt", [6]uint64{0, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}},
		{"setsockopt", [6]uint64{0, unix.SOL_SOCKET, unix.SO_ATTACH_BPF}},
		{"setsockopt", [6]uint64{0, unix.IPPROTO_TCP, unix.TCP_ULP}},
		{"setsockopt", [6]uint64{0, unix.IPPROTO_IP, 64}}, // IPT_SO_SET_REPLACE
		{"fcntl", [6]uint64{0, unix.F_SETLEASE}},
		{"madvise", [6]uint64{0, 0, unix.MADV_MERGEABLE}},
		{"madvise", [6]uint64{0, 0, unix.MADV_HWPOISON}},
		{"prlimit64", [6]uint64{1}},
		{"mmap", [6]uint64{0, 0, 0, unix.MAP_ANONYMOUS | unix.MAP_HUGETLB}},
		{"openat", [6]uint64{0, 0, unix.O_CREAT, 0o4755}},
		{"openat", [6]uint64{0, 0, unix.O_TMPFILE, 0o2755}},
		{"mknodat", [6]uint64{0, 0, unix.S_IFCHR}},
		{"mknodat", [6]uint64{0, 0, unix.S_IFBLK}},
		{"mknodat", [6]uint64{0, 0, unix.S_IFSOCK}},
		{"mknodat", [6]uint64{0, 0, unix.S_IFREG | unix.S_ISUID}},
		{"seccomp", [6]uint64{unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER}},
		{"seccomp", [6]uint64{unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW}},
	} {
		nr, _, err := number(tt.call, native)
		if err != nil {
			t.Error(err)
		}
		if m.answer(t, uint32(nr), tt.args) == Allow {
			t.Errorf("%s %#x is open", tt.call, tt.args)
		}
	}
}

// values are what arguments of the table's conditions are made of.
var values = sync.OnceValue(func() []uint64 {
	v := []uint64{0, 1, 2, 6, 17, ^uint64(0), int32Bits, 1 << 31, 1 << 32}
	for _, r := range Table {
		for _, a := range r.When {
			v = append(v, a.Value, a.Mask, a.Value|1<<32, a.Value+1, a.Value-1)
		}
	}
	return v
})

func TestRandomCalls(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var calls []uint32
	for _, r := range Table {
		if nr, ok, _ := number(r.Call, native); ok && len(r.When) > 0 {
			calls = append(calls, uint32(nr))
		}
	}
	for _, groups := range groupSets() {
		p, m := newPolicy(t, groups), newMachine(t, groups)
		for range 4000 {
			nr := calls[rng.IntN(len(calls))]
			var args [6]uint64
			for i := range args {
				args[i] = values()[rng.IntN(len(values()))]
				if rng.IntN(3) == 0 {
					args[i] |= values()[rng.IntN(len(values()))]
				}
			}
			if got, want := m.answer(t, nr, args), p.answer(nr, args); got != want {
				t.Fatalf("%v: call %d %#x: filter says %s, table %s", groups, nr, args, got, want)
			}
		}
	}
}

func FuzzFilter(f *testing.F) {
	sets := groupSets()
	var policies []policy
	var machines []machine
	for _, groups := range sets {
		policies, machines = append(policies, newPolicy(f, groups)), append(machines, newMachine(f, groups))
	}
	f.Add(uint8(0), uint32(0), uint64(0), uint64(0), uint64(0), uint64(0), uint64(0))
	for _, r := range Table {
		nr, ok, err := number(r.Call, native)
		if err != nil || !ok || len(r.When) == 0 {
			continue
		}
		var args [6]uint64
		for _, a := range r.When {
			args[a.Pos] = a.Value
		}
		f.Add(uint8(len(sets)-1), uint32(nr), args[0], args[1], args[2], args[3], args[4])
	}
	f.Fuzz(func(t *testing.T, set uint8, nr uint32, a0, a1, a2, a3, a4 uint64) {
		i := int(set) % len(sets)
		if hasX86 && nr >= firstX32 && nr != ^uint32(0) {
			return // killed, which TestForeignArchitectures asserts
		}
		args := [6]uint64{a0, a1, a2, a3, a4}
		if got, want := machines[i].answer(t, nr, args), policies[i].answer(nr, args); got != want {
			t.Errorf("%v: call %d %#x: filter says %s, table %s", sets[i], nr, args, got, want)
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	rows := rowsOf(b, []string{"loopback"})
	for b.Loop() {
		f, err := compile(rows)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(f.Len()), "instructions")
	}
}
