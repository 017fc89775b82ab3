// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/profiles"
)

func TestFromProfile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mine.toml")
	if err := os.WriteFile(file, []byte("[workspace]\nmode = 'rw'\n[effects]\nexec = 'ask'\nquorum = 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	mine, err := profiles.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	everyday, err := profiles.Load("default", nil)
	if err != nil {
		t.Fatal(err)
	}
	targets := map[Effect]string{FSCreate: "a", FSModify: "a", FSDelete: "a", NetConnect: "example.com:443", NetRequest: "GET https://example.com:443/", SecretUse: "key"}
	strict, err := profiles.Load("strict", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		profile *profiles.Loaded
		want    map[Effect]profiles.Decision // what is not named is denied
		quorum  int
		exec    string
	}{
		{everyday, map[Effect]profiles.Decision{Exec: profiles.Allow, FSCreate: profiles.Allow, FSModify: profiles.Ask, FSDelete: profiles.Ask}, 0, `profile default has effects.exec = "allow" (set in built in: default)`},
		{
			mine, map[Effect]profiles.Decision{Exec: profiles.Ask, FSCreate: profiles.Allow, FSModify: profiles.Allow, FSDelete: profiles.Allow},
			2, `profile mine has effects.exec = "ask" (set in ` + file + `)`,
		},
		{strict, map[Effect]profiles.Decision{Exec: profiles.Ask}, 1, `profile strict has effects.exec = "ask" (set in built in: strict)`}, // it has no workspace
	} {
		rules := FromProfile(c.profile)
		for _, e := range Effects() {
			want := c.want[e]
			if want == "" {
				want = profiles.Deny
			}
			v := Decide(Subject{Effect: e, Target: targets[e]}, rules, nil, noon)
			if v.Decision != want || strings.Contains(v.Rule, "no rule") || !strings.Contains(v.Rule, "set in ") {
				t.Errorf("%s: %+v, want %s", e, v, want)
			}
			if e == Exec && (v.Rule != c.exec || v.Quorum != c.quorum) {
				t.Errorf("%+v", v)
			}
		}
	}
}

func TestAtLeast(t *testing.T) {
	rules := []Rule{{Effect: Exec, Decision: profiles.Ask}, {Effect: FSModify, Decision: profiles.Ask, Quorum: 3}}
	more := AtLeast(2, rules)
	if more[0].Quorum != 2 || more[1].Quorum != 3 || rules[0].Quorum != 0 {
		t.Errorf("%+v of %+v", more, rules)
	}
}

func TestExplain(t *testing.T) {
	rules := []Rule{
		{Effect: FSModify, Decision: profiles.Allow, Name: "profile p", Origin: "/etc/p.toml"},
		{Effect: FSModify, Target: "a/**", Decision: profiles.Ask, Quorum: 2, Name: "profile p"},
		{Effect: FSModify, Target: "b", Decision: profiles.Deny, Name: "profile p"},
		{Effect: Exec, Decision: profiles.Allow, Name: "profile p"},
	}
	grants := []Grant{grantOf(nil), grantOf(func(g *Grant) {
		g.ID, g.By, g.Uses = "g-2", []string{"uid 1 (a)", "uid 2 (b)"}, 1
		g.Scope = Scope{Plan: "p", Effect: FSModify, Target: "a/\u202e", Session: "s"}
	})}
	v, lines := Explain(Subject{Effect: FSModify, Target: "a/\u202e", Plan: "p", Session: "s", Labels: bothSeen}, rules, grants, noon)
	if v.Grant != "g-2" {
		t.Errorf("%+v", v)
	}
	want := []string{
		`question: may there be fs.modify, of "a/\u202e", by plan p, in session s, untrusted and private?`,
		`rule: profile p (set in /etc/p.toml), for allow: matches, and a more specific one goes before it`,
		`rule: profile p, for ask: counts`,
		`rule: profile p, for deny: does not match: it is about "b"`,
		`rule: profile p, for allow: does not match: it is about exec`,
		`grant: g-1 for exec by uid 1000 (alice) until 2026-03-01T13:00:00Z, without a count: does not match: it is for another effect`,
		`grant: g-2 for fs.modify of "a/\u202e" by uid 1 (a) and uid 2 (b) until 2026-03-01T13:00:00Z, 1 uses left: counts`,
		`answer: allow, by this: profile p; granted by g-2`,
	}
	if got := strings.Join(lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	v, lines = Explain(Subject{Effect: FSModify, Target: "../x"}, rules, grants, noon)
	if v.Decision != profiles.Deny || len(lines) != 2 {
		t.Errorf("%+v %q", v, lines)
	}
}

func BenchmarkDecide(b *testing.B) {
	everyday, err := profiles.Load("strict", nil)
	if err != nil {
		b.Fatal(err)
	}
	rules := FromProfile(everyday)
	for _, n := range []int{0, 1, 1000} {
		var grants []Grant
		for range n {
			grants = append(grants, grantOf(func(g *Grant) { g.Scope.Script = "other.py" }))
		}
		if n > 0 {
			grants[n/2] = grantOf(nil)
		}
		b.Run(map[int]string{0: "none", 1: "one", 1000: "thousand"}[n], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Decide(script, rules, grants, noon)
			}
		})
	}
}
