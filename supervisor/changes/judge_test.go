// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// entry makes one: "created a", "renamed a b" from b to a; files, but where the
// path ends in a slash.
func entryOf(text string, notes changeset.Notes) changeset.Entry {
	word, path, _ := strings.Cut(text, " ")
	e := changeset.Entry{Notes: notes}
	if err := e.Kind.UnmarshalText([]byte(word)); err != nil {
		panic(err)
	}
	kind := changeset.Regular
	if e.Kind == changeset.Renamed {
		var from string
		path, from, _ = strings.Cut(path, " ")
		e.From, kind = raw.String(from), changeset.Directory
	}
	if clean(path) != path {
		path, kind = clean(path), changeset.Directory
	}
	e.Path = raw.String(path)
	if e.Kind != changeset.Created {
		e.Before = changeset.State{Type: kind}
	}
	if e.Kind != changeset.Deleted {
		e.After = changeset.State{Type: kind}
	}
	return e
}

func TestJudge(t *testing.T) {
	const allow, ask, deny = profiles.Allow, profiles.Ask, profiles.Deny
	dir := planted(t, "moved/file")
	all := []policy.Rule{
		{Effect: policy.FSCreate, Decision: allow, Name: "create"},
		{Effect: policy.FSModify, Decision: allow, Name: "modify"},
		{Effect: policy.FSDelete, Decision: allow, Name: "delete"},
	}
	with := func(rules []policy.Rule, more ...policy.Rule) []policy.Rule {
		return append(append([]policy.Rule{}, rules...), more...)
	}
	secrets := policy.Rule{Effect: policy.FSCreate, Target: "secrets/**", Decision: deny, Name: "secrets"}
	two := policy.Rule{Effect: policy.FSModify, Target: "gold/**", Decision: ask, Quorum: 2, Name: "gold"}
	for _, c := range []struct {
		name     string
		entries  []string
		notes    changeset.Notes // of the last
		rules    []policy.Rule
		many     int
		decision profiles.Decision
		rule     string // a part
		effect   policy.Effect
		target   string
		reasons  int
	}{
		{"something new", []string{"created a"}, 0, rules(), 0, allow, "create", policy.FSCreate, "a", 0},
		{"modified", []string{"created a", "modified b"}, 0, rules(), 0, ask, "modify", policy.FSModify, "b", 1},
		{"mode", []string{"changed b"}, 0, rules(), 0, ask, "modify", policy.FSModify, "b", 1},
		{"deleted is graver", []string{"modified a", "deleted b", "modified c"}, 0, rules(), 0, ask, "delete", policy.FSDelete, "b", 2},
		{"moved", []string{"renamed new moved"}, 0, rules(), 0, ask, "delete", policy.FSDelete, "moved", 1},
		{"all allowed", []string{"renamed new moved", "deleted b", "modified c"}, 0, all, 0, allow, "delete", policy.FSDelete, "moved", 0},
		{"dropped", []string{"dropped fifo"}, 0, rules(), 0, allow, "nothing of it", policy.FSCreate, ".", 0},
		{"no rules", []string{"created a"}, 0, []policy.Rule{}, 0, deny, "no rule", policy.FSCreate, "a", 1},
		{"denied", []string{"deleted b", "created secrets/x"}, 0, with(rules(), secrets), 0, deny, "secrets", policy.FSCreate, "secrets/x", 2},
		{"moved to where it is denied", []string{"renamed secrets/x moved"}, 0, with(all, secrets), 0, deny, "secrets", policy.FSCreate, "secrets/x", 1},
		{"denied by a name that can't be spelled", []string{"created secrets/\xff"}, 0, with(all, secrets), 0, deny, "secrets", policy.FSCreate, "secrets/\ufffd", 2},
		{"denied by a name like a pattern", []string{"created secrets/**"}, 0, with(all, secrets), 0, deny, "secrets", policy.FSCreate, "secrets/**\ufffd", 2},
		{"two people", []string{"deleted a", "modified gold/bar"}, 0, with(rules(), two), 0, ask, "gold", policy.FSModify, "gold/bar", 2},
		{"two people and protected", []string{"modified gold/.bashrc"}, 0, with(rules(), two), 0, ask, "gold", policy.FSModify, "gold/.bashrc", 2},
		{"not UTF-8", []string{"created \xff"}, 0, all, 0, ask, "no rule can name", policy.FSCreate, "\ufffd", 1},
		{"like a pattern", []string{"created **"}, 0, all, 0, ask, "no rule can name", policy.FSCreate, "**\ufffd", 1},
		{"too long", []string{"created " + strings.Repeat("long/", 1000) + "x"}, 0, all, 0, ask, "no rule can name", policy.FSCreate, "", 1},
		{"protected", []string{"created .git/hooks/pre-commit"}, 0, all, 0, ask, "is protected: git", policy.FSCreate, ".git/hooks/pre-commit", 1},
		{"protected and moved", []string{"renamed .ssh moved"}, 0, all, 0, ask, "is protected: ssh", policy.FSDelete, "moved", 1},
		{"configured", []string{"modified deploy/key"}, 0, all, 0, ask, "the configuration", policy.FSModify, "deploy/key", 1},
		{"conflict", []string{"modified a"}, changeset.Conflict, all, 0, ask, "conflict", policy.FSModify, "a", 1},
		{"leaves", []string{"created a"}, changeset.Leaves, all, 0, ask, "leaves the workspace", policy.FSCreate, "a", 1},
		{"both", []string{"created a"}, changeset.Leaves | changeset.Conflict, all, 0, ask, "conflict", policy.FSCreate, "a", 2},
		{"denied and conflict", []string{"created secrets/a"}, changeset.Conflict, with(all, secrets), 0, deny, "secrets", policy.FSCreate, "secrets/a", 2},
		{"harmless notes", []string{"modified a"}, changeset.HardLinked | changeset.Privileged, all, 0, allow, "modify", policy.FSModify, "a", 0},
		{"as many as may be", []string{"created a", "created b"}, 0, all, 2, allow, "create", policy.FSCreate, "a", 0},
		{"too many", []string{"created a", "created b", "created c"}, 0, all, 2, ask, "3 files, more than 2", policy.FSCreate, "a", 1},
		{"too many and denied", []string{"created a", "created secrets/b", "created c"}, 0, with(all, secrets), 2, deny, "secrets", policy.FSCreate, "secrets/b", 2},
	} {
		set := &changeset.Set{}
		for i, text := range c.entries {
			notes := changeset.Notes(0)
			if i == len(c.entries)-1 {
				notes = c.notes
			}
			set.Entries = append(set.Entries, entryOf(text, notes))
		}
		tr := &trial{question: Question{Rules: c.rules, Many: c.many}, guard: guardOf(t, set, dir, "deploy/**")}
		j := tr.all(t.Context(), set)
		if j.Decision != c.decision || !strings.Contains(j.Rule, c.rule) || j.Effect != c.effect || c.target != "" && j.Target != c.target || len(j.Reasons) != c.reasons {
			t.Errorf("%s: %+v", c.name, j)
		}
		if (j.Decision == ask) != (j.Quorum > 0) || c.rule == "gold" && j.Quorum != 2 {
			t.Errorf("%s: %d people", c.name, j.Quorum)
		}
		if err := (policy.Subject{Effect: j.Effect, Target: j.Target}).Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestReasons name a few paths and count all.
func TestReasons(t *testing.T) {
	set := &changeset.Set{}
	for i := range 12 {
		set.Entries = append(set.Entries, entryOf(fmt.Sprintf("deleted f%02d", i), 0))
	}
	set.Entries = append(set.Entries, entryOf("modified x", 0))
	tr := &trial{question: Question{Rules: rules()}, guard: guardOf(t, set, t.TempDir())}
	j := tr.all(t.Context(), set)
	if len(j.Reasons) != 2 || j.Reasons[0].Count != 1 || j.Reasons[1].Count != 12 || len(j.Reasons[1].Paths) != fewPaths || j.Reasons[1].Paths[0] != "f00" {
		t.Errorf("%+v", j.Reasons)
	}
}

// TestJudgeStore asks with what the store knows: links, what is in directories
// that moved, and configured patterns.
func TestJudgeStore(t *testing.T) {
	w := newWorld(t, "d/sub/.bashrc", "e/x", "plain")
	w.bound(func(b *Bounds) { b.Protected = []string{"**/*.key"} })
	everything := []policy.Rule{}
	for _, e := range []policy.Effect{policy.FSCreate, policy.FSModify, policy.FSDelete} {
		everything = append(everything, policy.Rule{Effect: e, Decision: profiles.Allow, Name: "all"})
	}
	move := func(from, to string) func(dir string) error {
		return func(dir string) error { return os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)) }
	}
	for _, c := range []struct {
		name string
		do   func(dir string) error
		rule string // a part; empty: allowed
	}{
		{"plain", put("plain", "x"), ""},
		{"moved", move("e", "f"), ""},
		{"moved to what a shell reads", move("e", ".config/fish"), "shell"},
		{"moved with it", move("d", "f"), "shell"},
		{"link out", func(dir string) error { return os.Symlink("../../etc", filepath.Join(dir, "out")) }, "leaves"},
		{"link within", func(dir string) error { return os.Symlink("e/x", filepath.Join(dir, "within")) }, ""},
		{"link for a directory of hooks", func(dir string) error { return os.Symlink("e", filepath.Join(dir, ".git")) }, "git"},
		{"configured", put("tls.KEY", "x"), "configuration"},
		{"not UTF-8", put("\xff", "x"), "no rule can name"},
	} {
		do := c.do
		if strings.Contains(c.name, "shell reads") {
			do = then(func(dir string) error { return os.Mkdir(filepath.Join(dir, ".config"), 0o755) }, c.do)
		}
		ch := w.call(nil, do)
		j := w.judge(ch, Question{Rules: everything})
		if (j.Decision == profiles.Allow) != (c.rule == "") || !strings.Contains(j.Rule, c.rule) {
			t.Errorf("%s: %+v", c.name, j)
		}
		must(t, errFrom(w.store.Discard(t.Context(), ch.ID, "x", "")))
	}
	w.bound(func(b *Bounds) { b.Protected = []string{"/etc"} })
	ch := w.call(nil, put("plain", "x"))
	if err := errFrom(w.store.Judge(t.Context(), ch.ID, Question{Rules: everything})); err == nil {
		t.Error("a pattern that is none is no error")
	}
}

func FuzzSpelled(f *testing.F) {
	for _, s := range []string{"a", "\xff", "a/**", "**", strings.Repeat("a/", 3000) + "b", strings.Repeat("\xc3", 5000), "a/" + strings.Repeat("é", 2100), "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		s := spelled(path)
		if err := (policy.Subject{Effect: policy.FSModify, Target: s}).Check(); err != nil {
			t.Errorf("%q became %q: %v", path, s, err)
		}
		// A pattern above the path has what stands for it, too.
		if up, _, ok := strings.Cut(path, "/"); ok && s != "." && len(up) < 1000 && policy.CheckPattern(policy.FSModify, up+"/**") == nil {
			if !policy.Match(policy.FSModify, up+"/**", s) {
				t.Errorf("%q became %q, out of %q", path, s, up)
			}
		}
	})
}
