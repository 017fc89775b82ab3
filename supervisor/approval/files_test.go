// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/policy"
)

func TestModes(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{})
	id := ask(t, b, question("c1"))
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, ticketsDir): 0o700, filepath.Join(dir, asideDir): 0o700, b.file(id): 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("two at once: %v", err)
	}
	closeBook(t, b)
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("a directory that others can read: %v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Chmod(dir, 0o700), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(link, Options{}); err == nil {
		t.Error("through a symbolic link")
	}
}

// kept makes a file of each kind: pending, allowed, with a grant of two, denied.
func kept(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	b, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	answer(t, b, alice, ask(t, b, other(1)), yes)
	answer(t, b, alice, ask(t, b, other(2)), no)
	q := other(3)
	q.Quorum = 2
	id := ask(t, b, q)
	answer(t, b, alice, id, grant)
	answer(t, b, bob, id, grant)
	ask(t, b, other(4))
	files := map[string][]byte{}
	for _, k := range b.List(true) {
		text, err := os.ReadFile(b.file(k.ID))
		if err != nil {
			t.Fatal(err)
		}
		files[k.ID] = text
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return files
}

// What is torn, or was not written by a Book, is moved aside and told of.
func TestForeignFiles(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, file string, text []byte) // of the granted ticket
	}{
		{"torn", func(t *testing.T, file string, text []byte) { put(t, file, text[:len(text)/2]) }},
		{"empty", func(t *testing.T, file string, _ []byte) { put(t, file, nil) }},
		{"with more behind", func(t *testing.T, file string, text []byte) { put(t, file, append(text, text...)) }},
		{"with an unknown key", replace(`"format": 1`, `"format": 1, "approved": true`)},
		{"of another format", replace(`"format": 1`, `"format": 2`)},
		{"of another ticket", func(t *testing.T, file string, text []byte) {
			put(t, filepath.Join(filepath.Dir(file), "00000000.json"), text)
		}},
		{"under a foreign name", func(t *testing.T, file string, text []byte) {
			put(t, filepath.Join(filepath.Dir(file), "..x\n.json"), text)
		}},
		{"pending with a grant", replace(`"state": "allowed"`, `"state": "pending"`)},
		{"denied with a grant", replace(`"state": "allowed"`, `"state": "denied"`)},
		{"in an unknown state", replace(`"state": "allowed"`, `"state": "yes"`)},
		{"a larger quorum", replace(`"quorum": 2`, `"quorum": 3`)},
		{"no quorum", replace(`"quorum": 2`, `"quorum": 0`)},
		{"one person twice", replace(`"uid": 1001`, `"uid": 1000`)},
		{"a grant for another script", replace(`"script": "run.py",
      "profile"`, `"script": "rm.py",
      "profile"`)},
		{"a grant for a program", replace(`"script": "run.py",
      "profile"`, `"profile"`)},
		{"a grant under another profile", replace(`"profile": "sha256:profile"`, `"profile": "sha256:other"`)},
		{"a grant on another workspace", replace(`"workspace": "/srv/letters",
      "effect"`, `"effect"`)},
		{"a ticket under no profile", replace(`"profile_digest": "sha256:profile",`, ``)},
		{"a grant for another session", replace(`"session": "s1"
    },`, `"session": "s2"
    },`)},
		{"a grant of another ticket", replace(`"id": "g-`, `"id": "g_`)},
		{"a grant for any command", replace(`"effect": "exec",
      "session"`, `"effect": "exec",
      "raw": true,
      "session"`)},
		{"a grant for another target", replace(`"effect": "exec",
      "session"`, `"effect": "exec",
      "target": "x",
      "session"`)},
		{"an unknown effect", replace(`"effect": "exec"`, `"effect": "every"`)},
		{"others can write it", func(t *testing.T, file string, _ []byte) {
			if err := os.Chmod(file, 0o622); err != nil {
				t.Fatal(err)
			}
		}},
		{"somebody else's", func(t *testing.T, file string, _ []byte) {
			if err := os.Chown(file, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}},
		{"a symbolic link", func(t *testing.T, file string, _ []byte) {
			if err := errors.Join(os.Rename(file, file+".there"), os.Symlink(file+".there", file)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a directory", func(t *testing.T, file string, _ []byte) {
			if err := errors.Join(os.Remove(file), os.Mkdir(file, 0o700)); err != nil {
				t.Fatal(err)
			}
		}},
		{"a pipe", func(t *testing.T, file string, _ []byte) {
			if err := errors.Join(os.Remove(file), unix.Mkfifo(file, 0o600)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := bookDir(t)
			var granted string
			files := kept(t, dir)
			for id, text := range files {
				if bytes.Contains(text, []byte(`"grant": {`)) {
					granted = id
				}
			}
			file := filepath.Join(dir, ticketsDir, granted+suffix)
			c.change(t, file, files[granted])
			before, err := os.ReadDir(filepath.Join(dir, ticketsDir))
			if err != nil {
				t.Fatal(err)
			}
			b := openBook(t, dir, Options{})
			aside, err := os.ReadDir(filepath.Join(dir, asideDir))
			if err != nil || len(aside) == 0 || len(b.Notes()) != len(aside) {
				t.Fatalf("%d aside, %q, %v", len(aside), b.Notes(), err)
			}
			if all := b.List(true); len(all) != len(before)-len(aside) {
				t.Errorf("%d tickets and %d aside of %d files", len(all), len(aside), len(before))
			}
			for _, n := range b.Notes() {
				if strings.ContainsAny(n, "\n\x1b") {
					t.Errorf("%q", n)
				}
			}
			if _, n := b.Counts(); n > 0 && before[0].Name() != "..x\n.json" && before[0].Name() != "00000000.json" {
				t.Errorf("%d grants are believed", n)
			}
			closeBook(t, b)
			if again := openBook(t, dir, Options{}); len(again.Notes()) != 0 { // told of once
				t.Errorf("%q", again.Notes())
			}
		})
	}
}

func put(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(old, with string) func(*testing.T, string, []byte) {
	return func(t *testing.T, file string, text []byte) {
		t.Helper()
		changed := bytes.Replace(text, []byte(old), []byte(with), -1)
		if bytes.Equal(changed, text) {
			t.Fatalf("there is no %s in\n%s", old, text)
		}
		put(t, file, changed)
	}
}

// A disk that is full: nothing that was not kept is said to be.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=512k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	b := openBook(t, filepath.Join(disk, "tickets"), Options{})
	counted := granted(t, b, Answer{Verdict: Grant, For: grant.For, Uses: 3})
	id := ask(t, b, other(1))
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 512<<10), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if _, err := b.Ask(context.Background(), other(2)); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("asked: %v", err)
	}
	if _, err := b.Answer(alice, Answer{Ticket: id, Revision: 1, Verdict: Allow}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("answered: %v", err)
	}
	if k := show(t, b, id); k.State != Pending || len(k.Answers) != 0 {
		t.Errorf("%+v", k)
	}
	if v := b.Use(subjectOf(question("c")), asking); v.Decision != profiles.Deny {
		t.Errorf("used: %+v", v)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	answer(t, b, alice, id, yes)
	if v := b.Use(subjectOf(question("c")), asking); v.Grant != counted.ID {
		t.Errorf("there is room again: %+v", v)
	}
	if g := b.GrantOf(counted.Ticket); g.Uses != 2 {
		t.Errorf("%+v", g)
	}
}

func TestKeep(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{Keep: 3, Burst: 100})
	g := granted(t, b, grant)
	var ids []string
	for n := range 6 {
		ids = append(ids, ask(t, b, other(n)))
		answer(t, b, alice, ids[n], no)
	}
	check := func(b *Book) {
		t.Helper()
		if list := b.List(true); len(list) != 4 { // three, and the one with a grant
			t.Errorf("%d tickets", len(list))
		}
		if _, err := b.Show(ids[2]); !errors.Is(err, ErrUnknown) {
			t.Errorf("an old one: %v", err)
		}
		show(t, b, ids[3])
		show(t, b, g.Ticket)
	}
	check(b)
	closeBook(t, b)
	if names, err := os.ReadDir(filepath.Join(dir, ticketsDir)); err != nil || len(names) != 4 {
		t.Errorf("%d files, %v", len(names), err)
	}
	check(openBook(t, dir, Options{Keep: 3}))
}

// What could not be written when it was known is written when the book is
// closed, and before a lockdown ends.
func TestWhatIsLeftToWrite(t *testing.T) {
	for name, last := range map[string]func(*Book) error{"close": (*Book).Close, "unlock": (*Book).Unlock} {
		dir := bookDir(t)
		b := openBook(t, dir, Options{})
		id := ask(t, b, question("c1"))
		answer(t, b, alice, id, no)
		b.mu.Lock()
		b.entries[id].stale = true
		b.mu.Unlock()
		put(t, b.file(id), nil)
		if err := last(b); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(b.file(id)); err != nil || len(text) == 0 {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestWhatKilledWritesLeave(t *testing.T) {
	dir := bookDir(t)
	closeBook(t, openBook(t, dir, Options{}))
	left := filepath.Join(dir, ticketsDir, ".new-123")
	put(t, left, []byte("{"))
	if b := openBook(t, dir, Options{}); len(b.Notes()) != 0 {
		t.Errorf("%q", b.Notes())
	}
	if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Whatever a file says, what is believed of it can be granted and was.
func FuzzStored(f *testing.F) {
	var texts [][]byte
	for _, text := range kept(f, bookDir(f)) {
		texts = append(texts, text)
	}
	slices.SortFunc(texts, func(a, b []byte) int { return len(a) - len(b) })
	f.Add(uint8(3), uint16(0), uint16(0), "")
	f.Add(uint8(3), uint16(700), uint16(1), "2")
	f.Add(uint8(2), uint16(0), uint16(4000), "{}")
	f.Fuzz(func(t *testing.T, which uint8, at, length uint16, with string) {
		text := texts[int(which)%len(texts)]
		from := min(int(at), len(text))
		to := min(from+int(length), len(text))
		rec, err := believed(slices.Concat(text[:from], []byte(with), text[to:]))
		if err != nil {
			return
		}
		if rec.Ticket.State == Allowed && yeses(rec.Ticket.Answers) < rec.Ticket.Quorum {
			t.Errorf("%+v", rec.Ticket)
		}
		if g := rec.Grant; g != nil && g.Revoked == "" && g.Created.Before(g.Expires) {
			s := policy.Subject{
				Effect: g.Scope.Effect, Target: rec.Ticket.Target, Plan: rec.Ticket.Plan, Skill: rec.Ticket.SkillDigest, Script: rec.Ticket.Script,
				Profile: rec.Ticket.ProfileDigest, Workspace: rec.Ticket.Workspace, Session: rec.Ticket.Session, Agent: rec.Ticket.Agent,
			}
			if why := g.Mismatch(s, rec.Ticket.Quorum, g.Created); why != "" {
				t.Errorf("its grant is not for it: %s: %+v", why, rec)
			}
		}
		again, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := believed(again); err != nil {
			t.Errorf("written and read again: %v", err)
		}
	})
}

// believed reads a ticket's file as package record does, without the file.
func believed(text []byte) (*stored, error) {
	rec := &stored{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(rec); err != nil {
		return nil, err
	}
	return rec, rec.check(rec.Ticket.ID)
}
