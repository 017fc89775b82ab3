// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/raw"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// grantOf makes a grant for a script that would match, and changes it.
func grantOf(change func(*Grant)) Grant {
	g := Grant{
		ID: "g-1", Uses: -1, Expires: noon.Add(time.Hour), Created: noon.Add(-time.Hour), By: []string{"uid 1000 (alice)"},
		Scope: Scope{
			Skill: "sha256:skill", Script: "run.py", Profile: "sha256:profile", ProfileName: "p", Workspace: "/srv/letters",
			Effect: Exec, Session: "s1",
		},
	}
	if change != nil {
		change(&g)
	}
	return g
}

var (
	asking   = []Rule{{Effect: Exec, Decision: profiles.Ask, Name: "asking"}}
	script   = Subject{Effect: Exec, Plan: "sha256:plan", Skill: "sha256:skill", Script: "run.py", Profile: "sha256:profile", Workspace: "/srv/letters", Session: "s1", Agent: "claw"}
	connect  = Subject{Effect: NetConnect, Target: "api.example.com:443", Plan: "sha256:plan", Session: "s1", Agent: "claw"}
	bothSeen = Labels{Untrusted: true, Private: true}
)

func with(s Subject, change func(*Subject)) Subject { change(&s); return s }

func rule(e Effect, target string, d profiles.Decision) Rule {
	return Rule{Effect: e, Target: target, Decision: d, Name: string(d) + " " + target}
}

func TestRules(t *testing.T) {
	allow, ask, deny := profiles.Allow, profiles.Ask, profiles.Deny
	modify := func(target string) Subject { return Subject{Effect: FSModify, Target: target} }
	for _, c := range []struct {
		name    string
		subject Subject
		rules   []Rule
		want    profiles.Decision
		quorum  int
		says    string
	}{
		{"no rule at all", Subject{Effect: Exec}, nil, deny, 0, "no rule is about exec"},
		{"a rule for something else", Subject{Effect: Exec}, []Rule{rule(FSModify, "", allow)}, deny, 0, "no rule"},
		{"allow", Subject{Effect: Exec}, []Rule{rule(Exec, "", allow)}, allow, 0, "allow"},
		{"ask", Subject{Effect: Exec}, []Rule{rule(Exec, "", ask)}, ask, 1, "ask"},
		{"deny", Subject{Effect: Exec}, []Rule{rule(Exec, "", deny)}, deny, 0, "deny"},
		{"a word that is none", Subject{Effect: Exec}, []Rule{rule(Exec, "", "Allow")}, deny, 0, "Allow"},
		{"an empty word", Subject{Effect: Exec}, []Rule{rule(Exec, "", "")}, deny, 0, ""},
		{"a word that is none beats allow", Subject{Effect: Exec}, []Rule{rule(Exec, "", allow), rule(Exec, "", "yes")}, deny, 0, "yes"},
		{"deny beats allow", Subject{Effect: Exec}, []Rule{rule(Exec, "", allow), rule(Exec, "", deny)}, deny, 0, "deny"},
		{"deny beats ask", Subject{Effect: Exec}, []Rule{rule(Exec, "", ask), rule(Exec, "", deny)}, deny, 0, "deny"},
		{"ask beats allow", Subject{Effect: Exec}, []Rule{rule(Exec, "", allow), rule(Exec, "", ask)}, ask, 1, "ask"},
		{"an effect that is none", Subject{Effect: 99}, []Rule{rule(99, "", allow)}, deny, 0, "effect 99 is none"},
		{"an effect before the first", Subject{Effect: -1}, []Rule{rule(-1, "", allow)}, deny, 0, "none"},

		{"the quorum of an ask", Subject{Effect: Exec}, []Rule{{Effect: Exec, Decision: ask, Quorum: 2}}, ask, 2, ""},
		{"the larger quorum", Subject{Effect: Exec}, []Rule{{Effect: Exec, Decision: ask, Quorum: 2}, {Effect: Exec, Decision: ask, Quorum: 3}, rule(Exec, "", ask)}, ask, 3, ""},
		{"a negative quorum", Subject{Effect: Exec}, []Rule{{Effect: Exec, Decision: ask, Quorum: -2}}, ask, 1, ""},

		{"one file before every file", modify("a/b"), []Rule{rule(FSModify, "", deny), rule(FSModify, "a/b", allow)}, allow, 0, "allow a/b"},
		{"one file before its directory", modify("a/b"), []Rule{rule(FSModify, "a/**", allow), rule(FSModify, "a/b", deny)}, deny, 0, "deny a/b"},
		{"a directory before every file", modify("a/b"), []Rule{rule(FSModify, "", allow), rule(FSModify, "a/**", ask)}, ask, 1, "a/**"},
		{"the deeper directory", modify("a/b/c"), []Rule{rule(FSModify, "a/**", deny), rule(FSModify, "a/b/**", allow)}, allow, 0, "a/b/**"},
		{"the deeper directory denies", modify("a/b/c"), []Rule{rule(FSModify, "a/**", allow), rule(FSModify, "a/b/**", deny)}, deny, 0, "a/b/**"},
		{"another directory", modify("b/c"), []Rule{rule(FSModify, "a/**", allow)}, deny, 0, "no rule"},
		{"of another effect", modify("a/b"), []Rule{rule(FSDelete, "a/b", allow)}, deny, 0, "no rule"},
		{"a directory is not below itself", modify("a"), []Rule{rule(FSModify, "a/**", allow)}, deny, 0, "no rule"},
		{"the longer name", connect, []Rule{rule(NetConnect, "*.com:443", allow), rule(NetConnect, "*.example.com:443", deny)}, deny, 0, "*.example.com"},
		{"the whole name", connect, []Rule{rule(NetConnect, "*.example.com:443", deny), rule(NetConnect, "api.example.com:443", allow)}, allow, 0, "api.example.com"},

		{"a path that climbs", modify("../x"), []Rule{rule(FSModify, "", allow)}, deny, 0, "no target of fs.modify"},
		{"a path in another spelling", modify("a//b"), []Rule{rule(FSModify, "", allow)}, deny, 0, "no target"},
		{"a path with a dot in it", modify("a/./b"), []Rule{rule(FSModify, "", allow)}, deny, 0, "no target"},
		{"no path", modify(""), []Rule{rule(FSModify, "", allow)}, deny, 0, "no target"},
		{"the workspace itself", modify("."), []Rule{rule(FSModify, "", allow)}, allow, 0, ""},
		{"a host in upper case", with(connect, func(s *Subject) { s.Target = "API.example.com:443" }), []Rule{rule(NetConnect, "", allow)}, deny, 0, "no target of net.connect"},
		{"a program as a target", Subject{Effect: Exec, Target: "git"}, []Rule{rule(Exec, "", allow)}, deny, 0, "no target of exec"},

		{"both labels and exec", Subject{Effect: Exec, Labels: bothSeen}, []Rule{rule(Exec, "", allow)}, allow, 0, ""},
		{"both labels and a file", Subject{Effect: FSDelete, Target: "a", Labels: bothSeen}, []Rule{rule(FSDelete, "", allow)}, allow, 0, ""},
		{"both labels and a packet", with(connect, func(s *Subject) { s.Labels = bothSeen }), []Rule{rule(NetConnect, "", allow)}, ask, 1, "takes a person"},
		{"both labels and a secret", Subject{Effect: SecretUse, Target: "key", Labels: bothSeen}, []Rule{rule(SecretUse, "", allow)}, ask, 1, "takes a person"},
		{"both labels and a denial", with(connect, func(s *Subject) { s.Labels = bothSeen }), []Rule{rule(NetConnect, "", deny)}, deny, 0, "deny"},
		{"both labels and a quorum", with(connect, func(s *Subject) { s.Labels = bothSeen }), []Rule{{Effect: NetConnect, Decision: allow, Quorum: 2}}, ask, 2, ""},
		{"untrusted alone", with(connect, func(s *Subject) { s.Labels.Untrusted = true }), []Rule{rule(NetConnect, "", allow)}, allow, 0, ""},
		{"private alone", with(connect, func(s *Subject) { s.Labels.Private = true }), []Rule{rule(NetConnect, "", allow)}, allow, 0, ""},
	} {
		v := Decide(c.subject, c.rules, nil, noon)
		if v.Decision != c.want || v.Quorum != c.quorum || v.Grant != "" || !strings.Contains(v.Rule, c.says) {
			t.Errorf("%s: %+v, want %s by %d with %q", c.name, v, c.want, c.quorum, c.says)
		}
	}
}

// What a grant is for is its scope, and nothing near it.
func TestGrants(t *testing.T) {
	forPlan := func(g *Grant) {
		g.Scope = Scope{Plan: "sha256:plan", Effect: NetConnect, Target: "api.example.com:443", Session: "s1"}
	}
	for _, c := range []struct {
		name    string
		subject Subject
		grant   Grant
		rules   []Rule
		want    bool
	}{
		{"as it is", script, grantOf(nil), asking, true},
		{"the plan", connect, grantOf(forPlan), nil, true},
		{"of the agent", script, grantOf(func(g *Grant) { g.Scope.Session, g.Scope.Agent = "", "claw" }), asking, true},
		{"script and plan", script, grantOf(func(g *Grant) { g.Scope.Plan = "sha256:plan" }), asking, true},
		{"under a profile that has another name now", script, grantOf(func(g *Grant) { g.Scope.ProfileName = "renamed" }), asking, true},
		{"the plan, which covers profile and workspace", with(connect, func(s *Subject) { s.Profile, s.Workspace = "sha256:profile", "/srv/letters" }), grantOf(forPlan), nil, true},
		{"one use left", script, grantOf(func(g *Grant) { g.Uses = 1 }), asking, true},
		{"a nanosecond before its end", script, grantOf(func(g *Grant) { g.Expires = noon.Add(1) }), asking, true},
		{"at its creation", script, grantOf(func(g *Grant) { g.Created = noon }), asking, true},

		{"at its end", script, grantOf(func(g *Grant) { g.Expires = noon }), asking, false},
		{"after its end", script, grantOf(func(g *Grant) { g.Expires = noon.Add(-1) }), asking, false},
		{"without an end", script, grantOf(func(g *Grant) { g.Expires = time.Time{} }), asking, false},
		{"before its creation", script, grantOf(func(g *Grant) { g.Created = noon.Add(1) }), asking, false},
		{"used up", script, grantOf(func(g *Grant) { g.Uses = 0 }), asking, false},
		{"revoked", script, grantOf(func(g *Grant) { g.Revoked = "by hand" }), asking, false},
		{"by nobody", script, grantOf(func(g *Grant) { g.By = nil }), asking, false},
		{"by one where two are needed", script, grantOf(nil), []Rule{{Effect: Exec, Decision: profiles.Ask, Quorum: 2}}, false},
		{"by two where two are needed", script, grantOf(func(g *Grant) { g.By = []string{"a", "b"} }), []Rule{{Effect: Exec, Decision: profiles.Ask, Quorum: 2}}, true},
		{"against a denial", script, grantOf(nil), []Rule{rule(Exec, "", profiles.Deny)}, false},
		{"against no rule", script, grantOf(nil), []Rule{}, false},

		{"another effect", with(script, func(s *Subject) { s.Effect, s.Target = FSDelete, "a" }), grantOf(nil), []Rule{rule(FSDelete, "", profiles.Ask)}, false},
		{"other bytes of the skill", with(script, func(s *Subject) { s.Skill = "sha256:other" }), grantOf(nil), asking, false},
		{"another script", with(script, func(s *Subject) { s.Script = "rm.py" }), grantOf(nil), asking, false},
		{"a command beside the script", with(script, func(s *Subject) { s.Script = "" }), grantOf(nil), asking, false},
		{"a raw command", with(script, func(s *Subject) { s.Skill, s.Script = "", "" }), grantOf(nil), asking, false},
		{"another profile", with(script, func(s *Subject) { s.Profile = "sha256:other" }), grantOf(nil), asking, false},
		{"of no profile", with(script, func(s *Subject) { s.Profile = "" }), grantOf(func(g *Grant) { g.Scope.Profile = "" }), asking, false},
		{"another workspace", with(script, func(s *Subject) { s.Workspace = "/srv/other" }), grantOf(nil), asking, false},
		{"a workspace below", with(script, func(s *Subject) { s.Workspace = "/srv/letters/old" }), grantOf(nil), asking, false},
		{"no workspace", with(script, func(s *Subject) { s.Workspace = "" }), grantOf(nil), asking, false},
		{"a workspace, where it had none", script, grantOf(func(g *Grant) { g.Scope.Workspace = "" }), asking, false},
		{"no workspace, where it had none", with(script, func(s *Subject) { s.Workspace = "" }), grantOf(func(g *Grant) { g.Scope.Workspace = "" }), asking, true},
		{"script and plan, another profile", with(script, func(s *Subject) { s.Profile = "sha256:other" }), grantOf(func(g *Grant) { g.Scope.Plan = "sha256:plan" }), asking, false},
		{"another session", with(script, func(s *Subject) { s.Session = "s2" }), grantOf(nil), asking, false},
		{"no session", with(script, func(s *Subject) { s.Session = "" }), grantOf(nil), asking, false},
		{"another agent", with(script, func(s *Subject) { s.Agent = "other" }), grantOf(func(g *Grant) { g.Scope.Session, g.Scope.Agent = "", "claw" }), asking, false},
		{"another plan", with(connect, func(s *Subject) { s.Plan = "sha256:p2" }), grantOf(forPlan), nil, false},
		{"another port", with(connect, func(s *Subject) { s.Target = "api.example.com:80" }), grantOf(forPlan), nil, false},
		{"a name below", with(connect, func(s *Subject) { s.Target = "x.api.example.com:443" }), grantOf(forPlan), nil, false},
		{"a script, another plan", with(script, func(s *Subject) { s.Plan = "sha256:p2" }), grantOf(func(g *Grant) { g.Scope.Plan = "sha256:plan" }), asking, false},

		{"of nothing exact", script, grantOf(func(g *Grant) { g.Scope.Skill, g.Scope.Script = "", "" }), asking, false},
		{"of a skill's every command", with(script, func(s *Subject) { s.Script = "" }), grantOf(func(g *Grant) { g.Scope.Script = "" }), asking, false},
		{"of everybody", script, grantOf(func(g *Grant) { g.Scope.Session = "" }), asking, false},
		{"of every target", connect, grantOf(func(g *Grant) { forPlan(g); g.Scope.Target = "" }), nil, false},
		{"of every name of a top domain", connect, grantOf(func(g *Grant) { forPlan(g); g.Scope.Target = "*.com:443" }), nil, false},
		{"of an empty plan", with(script, func(s *Subject) { s.Plan, s.Skill, s.Script = "", "", "" }), grantOf(func(g *Grant) { g.Scope.Skill, g.Scope.Script = "", "" }), asking, false},
		{"of an empty session", with(script, func(s *Subject) { s.Session, s.Agent = "", "" }), grantOf(func(g *Grant) { g.Scope.Session = "" }), asking, false},

		{"a pattern", connect, grantOf(func(g *Grant) { forPlan(g); g.Scope.Target = "*.example.com:443" }), nil, true},
		{"a pattern with one label", with(connect, func(s *Subject) { s.Labels.Private = true }), grantOf(func(g *Grant) { forPlan(g); g.Scope.Target = "*.example.com:443" }), nil, true},
		{"a pattern with both labels", with(connect, func(s *Subject) { s.Labels = bothSeen }), grantOf(func(g *Grant) { forPlan(g); g.Scope.Target = "*.example.com:443" }), nil, false},
		{"that very destination with both labels", with(connect, func(s *Subject) { s.Labels = bothSeen }), grantOf(forPlan), nil, true},
		{"that very destination, allowed but for both labels", with(connect, func(s *Subject) { s.Labels = bothSeen }), grantOf(forPlan), []Rule{rule(NetConnect, "", profiles.Allow)}, true},
	} {
		if c.rules == nil {
			c.rules = []Rule{rule(NetConnect, "", profiles.Ask)}
		}
		v := Decide(c.subject, c.rules, []Grant{c.grant}, noon)
		if got := v.Grant == c.grant.ID && v.Decision == profiles.Allow; got != c.want {
			t.Errorf("%s: %+v", c.name, v)
		}
		if !c.want && v.Decision == profiles.Allow {
			t.Errorf("%s: allowed", c.name)
		}
	}
}

// Explain names the question's profile and workspace, and says that they are others.
func TestExplainedMismatch(t *testing.T) {
	for _, c := range []struct {
		change func(*Subject)
		says   string
	}{
		{func(*Subject) {}, "counts"},
		{func(s *Subject) { s.Skill = "sha256:other" }, "does not match: it is for another skill, or for other bytes of this one"},
		{func(s *Subject) { s.Script = "rm.py" }, "does not match: it is for another script"},
		{func(s *Subject) { s.Profile = "sha256:other" }, "does not match: it is for another profile"},
		{func(s *Subject) { s.Workspace = "/srv/other" }, "does not match: it is for another workspace"},
		{func(s *Subject) { s.Session = "s2" }, "does not match: it is for another session"},
	} {
		s := with(script, c.change)
		_, lines := Explain(s, asking, []Grant{grantOf(nil)}, noon)
		if want := ", under profile " + s.Profile + ", on workspace " + string(s.Workspace) + ", in session "; !strings.Contains(lines[0], want) {
			t.Errorf("%q has no %q", lines[0], want)
		}
		if line := lines[len(lines)-2]; !strings.HasPrefix(line, "grant: g-1 ") || !strings.HasSuffix(line, ": "+c.says) {
			t.Errorf("%q, want %q", line, c.says)
		}
	}
}

// What isn't counted is used first, and then what ends first.
func TestWhichGrant(t *testing.T) {
	counted := grantOf(func(g *Grant) { g.ID, g.Uses = "g-counted", 3; g.Expires = noon.Add(time.Minute) })
	long := grantOf(func(g *Grant) { g.ID = "g-long" })
	short := grantOf(func(g *Grant) { g.ID = "g-short"; g.Expires = noon.Add(time.Minute) })
	same := grantOf(func(g *Grant) { g.ID = "g-same"; g.Expires = noon.Add(time.Minute) })
	for _, c := range []struct {
		grants []Grant
		want   string
	}{
		{[]Grant{counted, long, short, same}, "g-same"},
		{[]Grant{counted, long}, "g-long"},
		{[]Grant{counted}, "g-counted"},
	} {
		for range 2 {
			if v := Decide(script, asking, c.grants, noon); v.Grant != c.want || v.Quorum != 0 {
				t.Errorf("%+v, want %s", v, c.want)
			}
			slices.Reverse(c.grants)
		}
	}
}

func TestScopeCheck(t *testing.T) {
	plan := Scope{Plan: "p", Effect: NetConnect, Target: "a.example.com:443", Session: "s"}
	request := func(target string) func(*Scope) {
		return func(s *Scope) { s.Effect, s.Target = NetRequest, target }
	}
	for _, c := range []struct {
		change func(*Scope)
		says   string // empty: it can be granted
	}{
		{func(*Scope) {}, ""},
		{func(s *Scope) { s.Session, s.Agent = "", "a" }, ""},
		{func(s *Scope) { s.Plan, s.Skill, s.Script, s.Profile = "", "d", "x", "d" }, ""},
		{func(s *Scope) { s.Skill, s.Profile = "d", "d" }, ""}, // a command beside a skill, as a whole plan
		{func(s *Scope) { s.Plan, s.Skill, s.Script = "", "d", "x" }, "names the profile"},
		{func(s *Scope) { s.Effect, s.Target = Exec, "" }, ""},
		{func(s *Scope) { s.Effect, s.Target = FSModify, "docs/**" }, ""},
		{func(s *Scope) { s.Target = "*.example.com:443" }, ""},
		{func(s *Scope) { s.Plan = "" }, "a program alone"},
		{func(s *Scope) { s.Plan, s.Skill = "", "d" }, "one of its scripts"},
		{func(s *Scope) { s.Script = "x" }, "the skill"},
		{func(s *Scope) { s.Session = "" }, "only once"},
		{func(s *Scope) { s.Agent = "a" }, "not for both"},
		{func(s *Scope) { s.Effect = 99 }, "effect 99"},
		{func(s *Scope) { s.Effect = Exec }, "no target of exec"}, // a program alone, as a target
		{func(s *Scope) { s.Target = "" }, "no target"},
		{func(s *Scope) { s.Target = "*" }, "no target"},
		{func(s *Scope) { s.Target = "*:443" }, "no target"},
		{func(s *Scope) { s.Target = "*.:443" }, "every name below"},
		{func(s *Scope) { s.Target = "*.com:443" }, "every name below"},
		{func(s *Scope) { s.Target = "*.example.com" }, "HOST:PORT"},
		{func(s *Scope) { s.Target = "*.example.com:*" }, "port"},
		{func(s *Scope) { s.Target = "*.0.0.1:80" }, "no target"},
		{func(s *Scope) { s.Effect, s.Target = FSModify, "**" }, "pattern"},
		{func(s *Scope) { s.Effect, s.Target = FSModify, "/**" }, "no target"},
		{func(s *Scope) { s.Effect, s.Target = FSModify, "./**" }, "no pattern"},
		{func(s *Scope) { s.Effect, s.Target = FSModify, "a/../**" }, "no target"},
		{func(s *Scope) { s.Effect, s.Target = FSModify, "a/**/**" }, "pattern"},
		{func(s *Scope) { s.Effect, s.Target = SecretUse, "*" }, "no target"},
		{request("GET https://a.example.com:443/v1/x"), ""},
		{request("GET https://a.example.com:443/v1/**"), ""},
		{request("GET https://a.example.com:443/**"), ""},
		{request("* https://a.example.com:443/**"), ""},
		{request("GET https://*.example.com:443/**"), ""},
		{request("GET https://*.com:443/**"), "every name below"},
		{request("* https://a.example.com:443/v1/**"), "one for every path"},
		{request("* https://a.example.com:443/"), "one for every path"},
		{request("* *://a.example.com:443/**"), "http or https"},
		{request("GET https://a.example.com/**"), "HOST:PORT"},
		{request("GET https://a.example.com:443"), "METHOD SCHEME"},
		{request("GET https://a.example.com:443/v1**"), "behind a slash"},
		{request("GET https://a.example.com:443/**/x"), "one spelling"},
		{request("GET https://a.example.com:443/a/../**"), "write where it leads"},
		{request("get https://a.example.com:443/"), `write "GET"`},
		{request("**"), "METHOD SCHEME"},
		{request("a.example.com:443"), "METHOD SCHEME"},
		{func(s *Scope) { s.Through = profiles.ThroughTLS }, ""},
		{func(s *Scope) { s.Through = profiles.ThroughHTTP }, "does not go through"},
		{func(s *Scope) { s.Effect, s.Target, s.Through = Exec, "", profiles.ThroughTCP }, "does not go through"},
		{func(s *Scope) { s.Plan, s.Raw, s.Profile = "", true, "d" }, ""},
		{func(s *Scope) { s.Plan, s.Raw = "", true }, "names the profile"},
		{func(s *Scope) { s.Raw, s.Profile = true, "d" }, "no one plan"},
		{func(s *Scope) { s.Plan, s.Raw, s.Profile, s.Skill, s.Script = "", true, "d", "d", "x" }, "none of a skill"},
		{func(s *Scope) { s.Plan, s.Raw, s.Profile, s.Effect, s.Target = "", true, "d", Exec, "" }, "never for exec"},
		{func(s *Scope) { s.Plan, s.Raw, s.Profile, s.Effect, s.Target = "", true, "d", FSModify, "a" }, "never for fs.modify"},
		{func(s *Scope) { s.Plan, s.Raw, s.Profile, s.Effect, s.Target = "", true, "d", SecretUse, "key" }, "never for secret.use"},
	} {
		s := plan
		c.change(&s)
		err := s.Check()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", s, err, c.says)
		}
	}
}

// A yes for any command counts for those of no skill, under its profile and on
// its workspace; with both labels where it names the destination.
func TestGrantsOfDestinations(t *testing.T) {
	const target = "GET https://a.example.com:443/v1/x"
	sent := Subject{Effect: NetRequest, Target: target, Plan: "p", Profile: "q", Workspace: "/w", Session: "s"}
	given := Scope{Raw: true, Profile: "q", Workspace: "/w", Session: "s", Effect: NetRequest, Target: target}
	for _, c := range []struct {
		name    string
		subject func(*Subject)
		scope   func(*Scope)
		says    string // empty: it counts
		both    string // with both labels; empty: it counts
	}{
		{"as it is", nil, nil, "", ""},
		{"another plan", func(s *Subject) { s.Plan = "r" }, nil, "", ""},
		{"a skill's", func(s *Subject) { s.Skill, s.Script = "d", "x" }, nil, "no skill's", "no skill's"},
		{"beside a skill", func(s *Subject) { s.Skill = "d" }, nil, "no skill's", "no skill's"},
		{"another profile", func(s *Subject) { s.Profile = "r" }, nil, "another profile", "another profile"},
		{"another workspace", func(s *Subject) { s.Workspace = "" }, nil, "another workspace", "another workspace"},
		{"another session", func(s *Subject) { s.Session = "r" }, nil, "another session", "another session"},
		{"another path", func(s *Subject) { s.Target += "/y" }, nil, "another target", "another target"},
		{"another method", func(s *Subject) { s.Target = "PUT https://a.example.com:443/v1/x" }, nil, "another target", "another target"},
		{"a directory", nil, func(s *Scope) { s.Target = "GET https://a.example.com:443/v1/**" }, "", ""},
		{"every path", nil, func(s *Scope) { s.Target = "GET https://a.example.com:443/**" }, "", ""},
		{"every method", nil, func(s *Scope) { s.Target = "* https://a.example.com:443/**" }, "", "very destination"},
		{"every host", nil, func(s *Scope) { s.Target = "GET https://*.example.com:443/**" }, "", "very destination"},
		{"a connection", func(s *Subject) { s.Effect, s.Target = NetConnect, "a.example.com:443" }, func(s *Scope) { s.Effect, s.Target = NetConnect, "a.example.com:443" }, "", ""},
		{"one unopened", func(s *Subject) { s.Effect, s.Target, s.Through = NetConnect, "a.example.com:443", profiles.ThroughTLS }, func(s *Scope) { s.Effect, s.Target = NetConnect, "a.example.com:443" }, "another way", "another way"},
		{"one by name of its way", func(s *Subject) { s.Effect, s.Target, s.Through = NetConnect, "a.example.com:443", profiles.ThroughTCP }, func(s *Scope) { s.Effect, s.Target = NetConnect, "a.example.com:443" }, "", ""},
		{"a secret with a request", func(s *Subject) { s.Effect, s.Target = SecretUse, "key" }, nil, "another effect", "another effect"},
	} {
		s, g := sent, Grant{ID: "g-1", Uses: -1, Expires: noon.Add(time.Hour), Created: noon, By: []string{"a"}, Scope: given}
		if c.subject != nil {
			c.subject(&s)
		}
		if c.scope != nil {
			c.scope(&g.Scope)
		}
		for _, says := range []string{c.says, c.both} {
			why := g.Mismatch(s, 1, noon)
			if (why == "") != (says == "") || !strings.Contains(why, says) {
				t.Errorf("%s: %q, want %q", c.name, why, says)
			}
			v := Decide(s, []Rule{{Effect: s.Effect, Decision: profiles.Ask, Name: "asking"}}, []Grant{g}, noon)
			if (v.Grant != "") != (says == "") {
				t.Errorf("%s: %+v", c.name, v)
			}
			s.Labels = bothSeen
		}
	}
}

// strength orders verdicts, the weakest first.
func strength(v Verdict) int {
	switch v.Decision {
	case profiles.Allow:
		return 0
	case profiles.Ask:
		return v.Quorum
	}
	return 1000
}

// world makes up a question with rules and grants that often match it.
func world(r *rand.Rand) (Subject, []Rule, []Grant) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	effect := Effects()[r.IntN(len(Effects()))]
	target, patterns := "", []string{""}
	switch {
	case effect.file():
		target, patterns = pick("a", "a/b", "a/b/c"), []string{"", "a", "a/**", "a/b", "a/b/**", "b/**"}
	case effect == NetRequest:
		target = pick("GET https://x.example.com:443/a/b", "POST https://y.x.example.com:443/a")
		patterns = []string{"", "* https://*.example.com:443/**", "GET https://*.x.example.com:443/**", "GET https://x.example.com:443/a/**", "GET https://x.example.com:443/a/b"}
	case effect == NetConnect:
		target, patterns = pick("x.example.com:443", "y.x.example.com:443"), []string{"", "*.example.com:443", "*.x.example.com:443", "x.example.com:443"}
	case effect == SecretUse:
		target, patterns = pick("k1", "k2"), []string{"", "k1", "k2"}
	}
	s := Subject{
		Effect: effect, Target: target, Plan: pick("p1", "p1", "p2"),
		Profile: pick("q1", "q1", "q1", "q2"), Workspace: raw.String(pick("", "/w", "/w", "/w")), Session: pick("", "s1", "s1"), Agent: pick("", "a1", "a1"),
		Labels: Labels{Untrusted: r.IntN(2) == 0, Private: r.IntN(2) == 0},
	}
	if r.IntN(2) == 0 {
		s.Skill, s.Script = "d1", pick("", "x")
	}
	var rules []Rule
	for range r.IntN(5) {
		e := effect
		if r.IntN(8) == 0 {
			e = Effects()[r.IntN(len(Effects()))]
		}
		rules = append(rules, Rule{
			Effect: e, Target: pick(patterns...), Quorum: r.IntN(4), Name: pick("n1", "n2"),
			Decision: profiles.Decision(pick("allow", "allow", "ask", "ask", "deny", "rubbish")),
		})
	}
	var grants []Grant
	for range r.IntN(6) {
		g := Grant{
			ID: pick("g-1", "g-2", "g-3"), Uses: r.IntN(3) - 1, Created: noon.Add(-time.Hour), Revoked: pick("", "", "", "x"),
			Expires: noon.Add(time.Duration(r.IntN(5)-1) * time.Minute), By: []string{"a", "b", "c", "c"}[:r.IntN(5)],
			Scope: Scope{Effect: effect, Target: pick(patterns...), Plan: pick("", "p1", "p1", "p2")},
		}
		if r.IntN(3) == 0 {
			g.Scope.Skill, g.Scope.Script = "d1", pick("", "x")
			g.Scope.Profile, g.Scope.Workspace = pick("", "q1", "q1", "q1"), raw.String(pick("", "/w", "/w", "/w"))
		}
		if r.IntN(4) == 0 {
			g.Scope.Raw, g.Scope.Plan, g.Scope.Profile, g.Scope.Workspace = true, "", pick("", "q1", "q1", "q1"), raw.String(pick("", "/w", "/w"))
		}
		if r.IntN(2) == 0 {
			g.Scope.Session = pick("", "s1", "s1")
		} else {
			g.Scope.Agent = "a1"
		}
		grants = append(grants, g)
	}
	return s, rules, grants
}

func checkWorld(t *testing.T, r *rand.Rand) Verdict {
	s, rules, grants := world(r)
	v := Decide(s, rules, grants, noon)
	complain := func(what string, w Verdict) {
		t.Fatalf("%s: %+v became %+v\n%+v\n%+v\n%+v", what, v, w, s, rules, grants)
	}

	shuffledRules, shuffledGrants := slices.Clone(rules), slices.Clone(grants)
	r.Shuffle(len(rules), func(i, j int) { shuffledRules[i], shuffledRules[j] = shuffledRules[j], shuffledRules[i] })
	r.Shuffle(len(grants), func(i, j int) { shuffledGrants[i], shuffledGrants[j] = shuffledGrants[j], shuffledGrants[i] })
	if w := Decide(s, shuffledRules, shuffledGrants, noon); w != v {
		complain("another order", w)
	}

	_, others, _ := world(r)
	for _, o := range append(others, Rule{Effect: s.Effect, Target: s.Target}, Rule{Effect: s.Effect}) {
		o.Decision = profiles.Deny
		if w := Decide(s, append(shuffledRules, o), grants, noon); strength(w) < strength(v) {
			complain("a further denial", w)
		}
	}

	for _, l := range []Labels{{Untrusted: true}, {Private: true}, bothSeen} {
		labelled := s
		labelled.Labels = s.Labels.Or(l)
		if w := Decide(labelled, rules, grants, noon); strength(w) < strength(v) {
			complain("a label", w)
		}
	}

	alive := slices.DeleteFunc(slices.Clone(grants), func(g Grant) bool { return !noon.Before(g.Expires) })
	if w := Decide(s, rules, alive, noon); w != v {
		complain("without the expired grants", w)
	}
	if v.Grant != "" && (v.Decision != profiles.Allow || Decide(s, rules, nil, noon).Decision != profiles.Ask) {
		complain("a grant", v)
	}
	if (v.Decision == profiles.Ask) != (v.Quorum > 0) || v.Rule == "" {
		complain("its shape", v)
	}
	if w, lines := Explain(s, rules, grants, noon); w != v || len(lines) != len(rules)+len(grants)+2 {
		complain("explained", w)
	}
	return v
}

// TestGrantsKnowSecrets: a grant is for requests that use the secrets which the
// people who gave it were shown, or fewer.
func TestGrantsKnowSecrets(t *testing.T) {
	const target = "GET https://api.example.com:443/v1"
	for _, c := range []struct {
		granted, used string
		fits          bool
	}{
		{"", "", true}, {"", "api", false}, {"api", "api", true}, {"api", "", true},
		{"api", "api.token", false}, {"api bot", "bot", true}, {"api", "api bot", false},
	} {
		g := Grant{By: []string{"uid 0"}, Uses: -1, Created: noon, Expires: noon.Add(time.Hour), Scope: Scope{
			Raw: true, Profile: "p", Session: "s", Effect: NetRequest, Target: target, Secrets: c.granted,
		}}
		why := g.Mismatch(Subject{Effect: NetRequest, Target: target, Profile: "p", Session: "s", Secrets: c.used}, 1, noon)
		if (why == "") != c.fits {
			t.Errorf("given with %q, used with %q: %q", c.granted, c.used, why)
		}
	}
	if got := Names([]string{"b", "a", "b"}); got != "a b" {
		t.Error(got)
	}
}

func TestProperties(t *testing.T) {
	seen := map[profiles.Decision]int{}
	granted := 0
	worlds := uint64(20000)
	if testing.Short() {
		worlds = 2000
	}
	for seed := range worlds {
		v := checkWorld(t, rand.New(rand.NewPCG(seed, 1)))
		seen[v.Decision]++
		if v.Grant != "" {
			granted++
		}
	}
	for _, d := range []profiles.Decision{profiles.Allow, profiles.Ask, profiles.Deny} {
		if uint64(seen[d]) < worlds/20 {
			t.Errorf("only %d worlds say %s", seen[d], d)
		}
	}
	if uint64(granted) < worlds/200 {
		t.Errorf("only %d worlds have a grant that counts", granted)
	}
}

func FuzzProperties(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { checkWorld(t, rand.New(rand.NewPCG(a, b))) })
}
