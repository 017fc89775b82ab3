// SPDX-License-Identifier: Apache-2.0

package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clock is a time that tests move.
type clock struct{ now time.Time }

func (c *clock) time() time.Time { return c.now }

func open(t *testing.T, dir string, c *clock) *Store {
	t.Helper()
	s, err := Open(dir, Options{Bounds: Bounds{Expiry: time.Hour, Max: 1 << 20, Count: 3}, UID: 1234, GID: 1234, Now: c.time})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// settled waits until nothing is measured or removed.
func settled(t *testing.T, s *Store) {
	t.Helper()
	s.background.Wait()
	<-s.remover.idle()
}

func TestUse(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	claw, other := Owner{Agent: "claw", UID: 7}, Owner{UID: 7}
	a, err := s.Use(t.Context(), claw, "work")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Use(t.Context(), claw, "work"); err != nil || again.ID != a.ID || again.Calls != 2 {
		t.Errorf("the same again: %+v %v", again, err)
	}
	if b, err := s.Use(t.Context(), other, "work"); err != nil || b.ID == a.ID {
		t.Errorf("another's of the same name: %+v %v", b, err)
	}
	for _, d := range []string{s.Workspace(a.ID), s.Tmp(a.ID)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Error(info, err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Error("others can enter the store")
	}
	for _, name := range []string{"", "../x", "a/b", "-a", strings.Repeat("a", 129), "a\x00"} {
		var e *Error
		if _, err := s.Use(t.Context(), claw, name); !errors.As(err, &e) {
			t.Errorf("%q: %v", name, err)
		}
	}
	_, _ = s.Use(t.Context(), claw, "two")
	_, _ = s.Use(t.Context(), claw, "three")
	if _, err := s.Use(t.Context(), claw, "four"); err == nil {
		t.Error("a fourth of three")
	}
	if err := s.Remove(a.ID); err == nil {
		t.Error("removed while calls were in it")
	}
	s.Leave(a.ID)
	s.Leave(a.ID)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	reopened := open(t, dir, c)
	if again, err := reopened.Use(t.Context(), claw, "work"); err != nil || again.ID != a.ID || again.Calls != 3 {
		t.Errorf("after a restart: %+v %v", again, err)
	}
}

func TestLabelsAreNotWashed(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	claw := Owner{Agent: "claw", UID: 7}
	dirty, _ := s.Use(t.Context(), claw, "dirty")
	if err := s.Mark(dirty.ID, "claw", Private, "c-1", "it read workspace letters"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // before and after a restart
		clean, err := s.Use(t.Context(), claw, "clean")
		if err != nil {
			t.Fatal(err)
		}
		labels, ofSession, ofAgent := s.Labels(clean.ID, "claw")
		if !labels.Private || len(ofSession) != 0 || len(ofAgent) != 1 || ofAgent[0].Call != "c-1" {
			t.Errorf("a clean session of it: %+v %+v %+v", labels, ofSession, ofAgent)
		}
		if labels, _, _ := s.Labels("", "other"); labels.Private {
			t.Error("another agent is private")
		}
		if labels, _, _ := s.Labels(dirty.ID, ""); !labels.Private {
			t.Error("the session itself")
		}
		s = open(t, dir, c)
	}
	if err := s.ClearAgent("claw", Private); err != nil {
		t.Fatal(err)
	}
	if labels, _, _ := s.Labels("", "claw"); labels.Private {
		t.Error("not cleared")
	}
	if labels, _, _ := s.Labels(dirty.ID, "claw"); !labels.Private {
		t.Error("clearing the agent cleared its session")
	}
	if _, err := s.ClearSession(dirty.ID, Private); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ClearSession(dirty.ID, Private); err == nil {
		t.Error("cleared what was not there")
	}
}

func TestExpiry(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	claw := Owner{Agent: "claw"}
	a, _ := s.Use(t.Context(), claw, "a")
	if err := os.WriteFile(filepath.Join(s.Workspace(a.ID), "f"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(2 * time.Hour)
	if gone, err := s.Expire(); err != nil || len(gone) != 0 {
		t.Errorf("while a call was in it: %v %v", gone, err)
	}
	s.Leave(a.ID)
	c.now = c.now.Add(time.Hour) // to the moment: over
	b, err := s.Use(t.Context(), claw, "a")
	if err != nil || b.ID == a.ID {
		t.Errorf("an expired one was used again: %+v %v", b, err)
	}
	settled(t, s)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 { // the new one, and agents
		t.Errorf("its files stayed: %v %v", entries, err)
	}
}

func TestSize(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	claw := Owner{Agent: "claw"}
	a, _ := s.Use(t.Context(), claw, "a")
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(s.Workspace(a.ID), "link")); err != nil {
		t.Fatal(err)
	}
	deep := s.Tmp(a.ID)
	for range 20 {
		deep = filepath.Join(deep, "d")
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	s.Leave(a.ID)
	if _, err := s.Use(t.Context(), claw, "a"); err != nil {
		t.Errorf("what a link leads to was counted: %v", err)
	}
	if err := os.WriteFile(filepath.Join(deep, "f"), make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Leave(a.ID)
	var e *Error
	if _, err := s.Use(t.Context(), claw, "a"); !errors.As(err, &e) {
		t.Errorf("above its size: %v", err)
	}
}

func TestAfterAKill(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	a, _ := s.Use(t.Context(), Owner{Agent: "claw"}, "a")
	for _, name := range []string{"s-half", leaving + a.ID} {
		if err := os.MkdirAll(filepath.Join(dir, name, "workspace"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, dir, c)
	settled(t, s)
	if list := s.List(); len(list) != 1 || list[0].ID != a.ID {
		t.Errorf("%+v", list)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 { // the session, and agents
		t.Error(entries)
	}
	if err := os.WriteFile(filepath.Join(dir, a.ID, recordName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a record that is torn was passed over, with its labels")
	}
}

func TestFind(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()})
	a, _ := s.Use(t.Context(), Owner{Agent: "claw"}, "a")
	_, _ = s.Use(t.Context(), Owner{UID: 1}, "b")
	_, _ = s.Use(t.Context(), Owner{UID: 2}, "b")
	for _, ref := range []string{a.ID, a.ID[:6], "a", "claw/a"} {
		if got, err := s.Find(ref); err != nil || got.ID != a.ID {
			t.Errorf("%s: %+v %v", ref, got, err)
		}
	}
	if _, err := s.Find("b"); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("one of two: %v", err)
	}
	if _, err := s.Find("nobody"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// TestFoundAmongMany: an owner's session is found by its name, whoever has
// others of it, over a removal and over a restart.
func TestFoundAmongMany(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sessions"), &clock{time.Unix(1e9, 0).UTC()}
	s := open(t, dir, c)
	ids := map[title]string{}
	for _, o := range []Owner{{Agent: "claw", UID: 7}, {Agent: "paw", UID: 7}, {UID: 7}, {UID: 8}} {
		for _, name := range []string{"a", "b", "c"} {
			one, err := s.Use(t.Context(), o, name)
			if err != nil {
				t.Fatal(err)
			}
			ids[title{o, name}] = one.ID
			s.Leave(one.ID)
		}
		var full *Error
		if _, err := s.Use(t.Context(), o, "d"); !errors.As(err, &full) {
			t.Errorf("a fourth: %v", err)
		}
	}
	settled(t, s)
	gone := title{Owner{UID: 7}, "b"}
	if err := s.Remove(ids[gone]); err != nil {
		t.Fatal(err)
	}
	delete(ids, gone)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, c)
	for of, id := range ids {
		if of.owner.Agent != "" {
			of.owner.UID = 9 // an agent is told by its name
		}
		if one, err := s.Use(t.Context(), of.owner, of.name); err != nil || one.ID != id {
			t.Errorf("%+v is %s, %v; want %s", of, one.ID, err, id)
		}
	}
	if one, err := s.Use(t.Context(), gone.owner, "d"); err != nil {
		t.Errorf("in the place of the removed: %+v, %v", one, err)
	}
}

// BenchmarkUse is a call in a session, with its labels, among others.
func BenchmarkUse(b *testing.B) {
	for _, others := range []int{0, 200} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "sessions"), Options{Bounds: Bounds{Expiry: time.Hour, Max: 1 << 20, Count: 1000}, UID: 1234, GID: 1234})
			if err != nil {
				b.Fatal(err)
			}
			claw := Owner{Agent: "claw"}
			for i := range others {
				if _, err := s.Use(b.Context(), claw, fmt.Sprint("other-", i)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				one, err := s.Use(b.Context(), claw, "work")
				if err == nil {
					err = s.Mark(one.ID, claw.Agent, Private, "c-1", "it was asked for")
				}
				if err != nil {
					b.Fatal(err)
				}
				s.Labels(one.ID, claw.Agent)
				s.Leave(one.ID)
			}
			b.StopTimer()
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
