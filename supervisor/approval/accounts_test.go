// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"os"
	"testing"
	"time"
)

// aged sets the times back that can be set; the change time can't be.
func aged(t *testing.T, files ...string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	for _, f := range files {
		if err := os.Chtimes(f, old, old); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAccountsAreKept: what was found counts until a file changes, in whatever
// way, and never for files that changed just now.
func TestAccountsAreKept(t *testing.T) {
	r := rolesOf(t, passwd, group, RoleNames{Approver: []string{"@ops"}})
	asked := 0
	a := &accounts{}
	of := func() identity {
		return a.of(1001, r.passwd, r.group, func() identity {
			asked++
			role, name := r.find(1001)
			return identity{role, name}
		})
	}
	if got := of(); got.role != Approver || asked != 1 {
		t.Fatalf("%+v, asked %d times", got, asked)
	}
	if of(); asked != 2 {
		t.Errorf("a file that changed just now was believed in")
	}
	// as if the files were old
	a.files, a.answers = [2]fileState{stateOf(r.passwd), stateOf(r.group)}, map[uint32]identity{1001: {Approver, "bob"}}
	if got := of(); got.role != Approver || asked != 2 {
		t.Errorf("%+v, asked %d times", got, asked)
	}
	for name, change := range map[string]func() error{
		"replaced": func() error {
			if err := os.WriteFile(r.group+"+", []byte("root:x:0:\n"), 0o644); err != nil {
				return err
			}
			aged(t, r.group+"+")
			return os.Rename(r.group+"+", r.group)
		},
		"written": func() error { return os.WriteFile(r.group, []byte("rooot:x:0:"), 0o644) },
		"removed": func() error { return os.Remove(r.group) },
	} {
		a.files, a.answers = [2]fileState{stateOf(r.passwd), stateOf(r.group)}, map[uint32]identity{1001: {Approver, "bob"}}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if got := of(); got.role != NoRole {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestSettled(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for at, want := range map[time.Duration]bool{-time.Hour: true, -4 * time.Second: true, -settling: false, 0: false, time.Hour: false} {
		if got := (fileState{path: "x", written: now.Add(at).UnixNano(), changed: now.Add(at).UnixNano()}).settled(now); got != want {
			t.Errorf("%v: %v", at, got)
		}
	}
	if (fileState{}).settled(now) {
		t.Error("a file that isn't there")
	}
}

func BenchmarkRoles(b *testing.B) {
	r, err := NewRoles(RoleNames{Approver: []string{"@adm", "daemon"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Of(1)
	}
}
