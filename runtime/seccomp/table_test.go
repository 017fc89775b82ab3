// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// groupSets are the sets in which groups can meet: none, each alone, each two,
// and all. Rows of two groups contradict each other, if at all, in a pair.
func groupSets() [][]string {
	sets := [][]string{nil}
	var all []string
	for i, g := range Groups()[1:] {
		all = append(all, string(g.Name))
		for _, other := range all[:i] {
			sets = append(sets, []string{other, string(g.Name)})
		}
		sets = append(sets, []string{string(g.Name)})
	}
	return append(sets, all)
}

func rowsOf(t testing.TB, groups []string) []Row {
	t.Helper()
	set, err := groupSet(groups)
	if err != nil {
		t.Fatal(err)
	}
	return effective(set)
}

func TestRows(t *testing.T) {
	for _, r := range Table {
		if !slices.ContainsFunc(Groups(), func(g GroupInfo) bool { return g.Name == r.Group }) {
			t.Errorf("%s: no group %q", r.Call, r.Group)
		}
		if r.Why == "" || strings.HasSuffix(r.Why, ".") {
			t.Errorf("%s: reason %q", r.Call, r.Why)
		}
		if r.Answer != Allow && (r.Answer <= 0 || unix.ErrnoName(unix.Errno(r.Answer)) == "") {
			t.Errorf("%s: answer %d", r.Call, r.Answer)
		}
		seen := make(map[uint]bool)
		for _, a := range r.When {
			if a.Pos > 5 || a.Value&^a.Mask != 0 || a.Mask == 0 || a.Words == "" {
				t.Errorf("%s: condition %+v can't hold or says nothing", r.Call, a)
			}
			if a.Mask&^int32Bits != 0 {
				t.Errorf("%s: condition %+v looks at bits the kernel ignores", r.Call, a)
			}
			if seen[a.Pos] {
				t.Errorf("%s: two conditions on argument %d, which libseccomp can't do", r.Call, a.Pos)
			}
			seen[a.Pos] = true
		}
	}
}

// Two rows that give one call two answers would leave the choice to
// libseccomp's order.
func TestRowsDoNotContradict(t *testing.T) {
	for _, groups := range groupSets() {
		rows := rowsOf(t, groups)
		for i, r := range rows {
			for _, o := range rows[:i] {
				if r.Call == o.Call && r.Answer != o.Answer && r.overlaps(o) {
					t.Errorf("%v: %s (%s) contradicts (%s)", groups, r.Call, r.condition(), o.condition())
				}
			}
		}
	}
}

// A named group opens; nothing that base allows may be closed by it.
func TestGroupsOnlyWiden(t *testing.T) {
	base := rowsOf(t, nil)
	for _, groups := range groupSets() {
		wide := rowsOf(t, groups)
		for _, r := range base {
			if r.Answer == Allow && !slices.ContainsFunc(wide, func(o Row) bool {
				return o.Call == r.Call && o.Answer == Allow && slices.Equal(o.When, r.When)
			}) {
				t.Errorf("%v closes %s (%s)", groups, r.Call, r.condition())
			}
		}
	}
}

func TestNumbers(t *testing.T) {
	highest, named := 0, make(map[int]string)
	for _, arch := range []libseccomp.ScmpArch{libseccomp.ArchAMD64, libseccomp.ArchARM64} {
		for _, r := range Table {
			nr, ok, err := number(r.Call, arch)
			if err != nil {
				t.Errorf("%s: %v", arch, err)
				continue
			}
			if lacking := arch == libseccomp.ArchARM64 && x86Only[r.Call]; ok == lacking {
				t.Errorf("%s: %s found: %t", arch, r.Call, ok)
			}
			if ok && nr >= 424 {
				named[nr] = r.Call
				highest = max(highest, nr)
			}
		}
	}
	if highest != newest {
		t.Errorf("newest is %d, the table goes to %d", newest, highest)
	}
	// Numbers of our own must be libseccomp's once it knows the name.
	for call, nr := range recent {
		sc, err := libseccomp.GetSyscallFromName(call)
		if err == nil && int(sc) >= 0 && int(sc) != nr {
			t.Errorf("%s is %d, libseccomp says %d", call, nr, sc)
		}
	}
	// From 424 on there are no gaps: each has been thought about.
	for nr := 424; nr <= newest; nr++ {
		if named[nr] == "" {
			t.Errorf("number %d has no row", nr)
		}
	}
}

func TestCompile(t *testing.T) {
	a, err := Compile([]string{"ptrace", "loopback", "ptrace"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Compile([]string{"loopback", "base", "ptrace"})
	if err != nil {
		t.Fatal(err)
	}
	if &a.bpf[0] != &b.bpf[0] {
		t.Error("one set of groups was compiled twice")
	}
	if c := a.Bytes(); &c[0] == &a.bpf[0] || len(c) != 8*a.Len() || a.Len() > 4096 {
		t.Errorf("%d bytes for %d instructions", len(c), a.Len())
	}
	if _, err := Compile([]string{"loopbak"}); err == nil || !strings.Contains(err.Error(), `"loopback"`) {
		t.Errorf("unknown group: %v", err)
	}
	if _, err := Compile([]string{"pTrace"}); err == nil || !strings.Contains(err.Error(), `"ptrace"`) {
		t.Errorf("unknown group: %v", err)
	}
}

func TestWriteTable(t *testing.T) {
	var out bytes.Buffer
	if err := WriteTable(&out, []string{"loopback"}); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if len(strings.TrimSuffix(line, "\n")) > 100 {
			t.Errorf("over 100 columns: %s", line)
		}
	}
	for _, want := range []string{
		"group base:", "group loopback:", "family AF_INET, protocol MPTCP", "EPROTONOSUPPORT",
		"Every other call", "above 471): ENOSYS", "the process is killed",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, r := range rowsOf(t, []string{"loopback"}) {
		if !strings.Contains(out.String(), "\n"+r.Call+" ") {
			t.Errorf("%s is missing", r.Call)
		}
	}
	if strings.Contains(out.String(), "group ptrace: ") {
		t.Error("a group that was not asked for is printed")
	}
	if err := WriteTable(&out, []string{"nets"}); err == nil {
		t.Error("unknown group printed")
	}
}
