// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// asking is a request for a script that a person is asked about, and that
// leaves a canary if it runs.
func (h *host) asking(script string) api.Submit {
	s := shell(script)
	s.Profile, s.Workspace = "askrw", raw.String(h.dir+"/work")
	return s
}

// ran says whether the canary is there.
func (h *host) ran() bool {
	list := h.list("work")
	return contains(list, "canary")
}

func answer(k approval.Ticket, v approval.Verdict) approval.Answer {
	return approval.Answer{Ticket: k.ID, Revision: k.Revision, Verdict: v}
}

func TestYesRuns(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := h.asking("touch canary")
	s.Claim = "to make\u202e a canary"
	v := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, v.ID)
	if h.ran() {
		t.Fatal("it ran before anybody answered")
	}
	if k.Count != 1 || k.Effect != policy.Exec || len(k.Facts) < 10 || !strings.Contains(fmt.Sprint(k.Facts), "touch canary") || strings.ContainsRune(k.Claim, '\u202e') {
		t.Errorf("%+v", k)
	}
	got := ask[api.Answered](t, h.dial("approval"), api.TicketAnswer, answer(k, approval.Allow))
	if got.Ticket.State != approval.Allowed || got.Ticket.Answers[0].UID != 0 {
		t.Errorf("%+v", got)
	}
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Result.Status != runtime.Exited || v.Decision != "allow" || v.Ticket != k.ID || !h.ran() {
		t.Errorf("%+v %+v", v, v.Result)
	}
	// A second press of the same button, and another answer, are none.
	for _, verdict := range []approval.Verdict{approval.Allow, approval.Deny} {
		if _, err := try[api.Answered](people, api.TicketAnswer, answer(k, verdict)); api.CodeOf(err) != api.CodeOver && api.CodeOf(err) != api.CodeConflict {
			t.Errorf("%s again: %v", verdict, err)
		}
	}
	e := ask[api.Explanation](t, c, api.CallExplain, api.CallRef{Call: v.ID})
	if e.Ticket == nil || e.Ticket.ID != k.ID || len(e.Facts) == 0 {
		t.Errorf("%+v", e)
	}
	var decisions []string
	for r, err := range audit.Read(h.dir+"/state/audit", 1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Call == v.ID {
			decisions = append(decisions, r.Kind.String()+" "+r.Decision)
		}
	}
	if got := strings.Join(decisions, ", "); got != "decision ask, administration , decision allow, outcome " && got != "decision ask, decision allow, administration , outcome " {
		t.Errorf("receipts: %s", got)
	}
}

func TestNoDoesNot(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	for name, test := range map[string]struct {
		change func(*api.Submit)
		answer func(approval.Ticket)
		want   string
	}{
		"denied with a reason": {nil, func(k approval.Ticket) {
			a := answer(k, approval.Deny)
			a.Reason = "not on a Friday"
			ask[api.Answered](t, people, api.TicketAnswer, a)
		}, "not on a Friday"},
		"nobody answers":       {func(s *api.Submit) { d := api.Duration(50 * time.Millisecond); s.Deadline = &d }, nil, "nobody answered"},
		"headless by deadline": {func(s *api.Submit) { d := api.Duration(0); s.Deadline = &d }, nil, "would have been asked"},
		"headless by name":     {func(s *api.Submit) { s.Approver = "none" }, nil, "would have been asked"},
		"denied by profile":    {func(s *api.Submit) { s.Profile, s.Workspace = "no", "" }, nil, "effects.exec"},
	} {
		s := h.asking("touch canary")
		if test.change != nil {
			test.change(&s)
		}
		v := ask[api.Call](t, c, api.CallSubmit, s)
		if test.answer != nil {
			test.answer(nextTicket(t, people, v.ID))
		}
		v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
		if v.Result.Status != runtime.Denied || !strings.Contains(v.Reason, test.want) || v.WouldAsk != strings.HasPrefix(name, "headless") {
			t.Errorf("%s: %+v %+v", name, v, v.Result)
		}
		if h.ran() {
			t.Fatalf("%s: it ran", name)
		}
	}
	if list := ask[[]approval.Ticket](t, people, api.TicketList, api.TicketFilter{}); len(list) != 0 {
		t.Errorf("tickets are still open: %+v", list)
	}
}

func TestChangedCallRunsInsteadOfTheFirst(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	k := nextTicket(t, people, v.ID)
	a := answer(k, approval.Change)
	a.Args = args("sh", "-c", "touch other")
	got := ask[api.Answered](t, people, api.TicketAnswer, a)
	if got.Next == nil || got.Next.Plan == k.Plan || got.Next.Parent != k.ID || got.Ticket.State != approval.Changed {
		t.Fatalf("%+v", got)
	}
	if h.ran() || contains(h.list("work"), "other") {
		t.Fatal("it ran before the changed plan was allowed")
	}
	ask[api.Answered](t, people, api.TicketAnswer, answer(*got.Next, approval.Allow))
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Result.Status != runtime.Exited || v.Plan != got.Next.Plan || h.ran() || !contains(h.list("work"), "other") {
		t.Errorf("%+v %v", v, h.list("work"))
	}
}

func TestAChangeThatCannotBePlannedChangesNothing(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	k := nextTicket(t, people, v.ID)
	a := answer(k, approval.Change)
	a.Args = args("no-such-program-anywhere")
	if _, err := try[api.Answered](people, api.TicketAnswer, a); api.CodeOf(err) != api.CodeParams {
		t.Errorf("%v", err)
	}
	ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Deny))
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Denied || h.ran() {
		t.Errorf("%+v", v.Result)
	}
}

// TestGrants: a grant is for a skill's script under one profile and on one
// workspace, and for nothing that a raw command does with the skill's files.
func TestGrants(t *testing.T) {
	h := newHost(t, "")
	h.write("profiles/askrw2.toml", "extends = \"askrw\"\n[limits]\npids = 60\n")
	h.start()
	h.write("skills/hello/SKILL.md", "---\nname: hello\ndescription: says hello\n---\n")
	script := h.write("skills/hello/scripts/hello.sh", "#!/bin/sh\ntouch /workspace/canary\n")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	d := api.Duration(0)
	s := api.Submit{Skill: "hello", Args: args("hello.sh"), Profile: "askrw", Session: "work"}
	v := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, v.ID)
	a := answer(k, approval.Grant)
	a.For, a.Uses = time.Hour, 3
	ask[api.Answered](t, people, api.TicketAnswer, a)
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Exited || v.Result.ExitCode != 0 || v.Grant == "" {
		t.Fatalf("%+v %+v", v, v.Result)
	}
	s.Deadline, s.Wait = &d, true
	verdict := func(s api.Submit) string {
		v := ask[api.Call](t, c, api.CallSubmit, s)
		if v.Result.Status == runtime.Exited {
			return "ran by " + v.Grant
		}
		return v.Result.Status.String()
	}
	if got := verdict(s); got != "ran by "+v.Grant {
		t.Errorf("by the grant: %s", got)
	}
	for name, change := range map[string]func(*api.Submit){
		"another profile":            func(s *api.Submit) { s.Profile = "askrw2" },
		"another workspace":          func(s *api.Submit) { s.Workspace = raw.String(h.dir + "/work") },
		"both":                       func(s *api.Submit) { s.Profile, s.Workspace = "askrw2", raw.String(h.dir+"/work") },
		"another session":            func(s *api.Submit) { s.Session = "other" },
		"no session":                 func(s *api.Submit) { s.Session = "" },
		"a command beside the skill": func(s *api.Submit) { s.Args = args("touch", "/workspace/canary2") },
		"a raw command":              func(s *api.Submit) { s.Skill, s.Args = "", args("cat", script) },
	} {
		other := s
		change(&other)
		if got := verdict(other); got != "denied" {
			t.Errorf("%s: %s", name, got)
		}
		if h.ran() {
			t.Fatalf("%s: it ran", name)
		}
	}
	g := ask[[]policy.Grant](t, people, api.GrantList, api.Nothing{})
	if len(g) != 1 || g[0].Scope.ProfileName != "askrw" || g[0].Scope.Workspace != "" || g[0].Scope.SkillName != "hello" || g[0].Uses != 2 {
		t.Errorf("%+v", g)
	}
	h.write("skills/hello/scripts/hello.sh", "#!/bin/sh\ntouch /workspace/canary3\n")
	if got := verdict(s); got != "denied" {
		t.Errorf("with other bytes: %s", got)
	}
	// What has changed once is void, also when it is changed back.
	if g = ask[[]policy.Grant](t, people, api.GrantList, api.Nothing{}); len(g) != 0 && g[0].Revoked == "" {
		t.Errorf("%+v", g)
	}
	h.write("skills/hello/scripts/hello.sh", "#!/bin/sh\ntouch /workspace/canary\n")
	if got := verdict(s); got != "denied" {
		t.Errorf("with the first bytes again: %s", got)
	}
}

// TestGrantOnAWorkspace: what was granted for one tree holds for no other, and
// not for the session's own.
func TestGrantOnAWorkspace(t *testing.T) {
	h := begin(t, "")
	h.write("skills/hello/SKILL.md", "---\nname: hello\ndescription: says hello\n---\n")
	h.write("skills/hello/scripts/hello.sh", "#!/bin/sh\ntouch \"/workspace/$1\"\n")
	h.write("letters/one", "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := api.Submit{Skill: "hello", Args: args("hello.sh", "first"), Profile: "askrw", Session: "s", Workspace: raw.String(h.dir + "/work")}
	v := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, v.ID)
	if string(k.Workspace) != h.dir+"/work" || k.ProfileDigest == "" {
		t.Errorf("%+v", k)
	}
	a := answer(k, approval.Grant)
	a.For = time.Hour
	ask[api.Answered](t, people, api.TicketAnswer, a)
	ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	d := api.Duration(0)
	s.Deadline, s.Wait, s.Args = &d, true, args("hello.sh", "canary")
	for name, workspace := range map[string]raw.String{"another tree": raw.String(h.dir + "/letters"), "the session's own": ""} {
		other := s
		other.Workspace = workspace
		if v := ask[api.Call](t, c, api.CallSubmit, other); v.Result.Status != runtime.Denied {
			t.Errorf("%s: %+v", name, v.Result)
		}
	}
	if list := h.list("letters"); len(list) != 1 || h.ran() {
		t.Fatalf("it ran: %v", list)
	}
	if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.Exited || v.Grant == "" || !h.ran() {
		t.Errorf("by the grant: %+v", v.Result)
	}
}

// TestRolesOfThisMoment: who is an approver no more has given nothing, before
// anybody has looked through the grants and the answers.
func TestRolesOfThisMoment(t *testing.T) {
	h := newHost(t, "[roles]\napprover = [\"uid:4001\", \"uid:4002\"]\n")
	h.write("profiles/two.toml", "extends = \"askrw\"\n[effects]\nquorum = 2\n")
	h.start()
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := api.Submit{Args: args("true"), Profile: "ask", Session: "work"}
	v := ask[api.Call](t, c, api.CallSubmit, s)
	a := answer(nextTicket(t, people, v.ID), approval.Grant)
	a.For = time.Hour
	if r := h.as(4001, nil, "approval.sock", api.TicketAnswer, a); r.Error != "" {
		t.Fatal(r.Error)
	}
	d := api.Duration(0)
	s.Deadline, s.Wait = &d, true
	if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.Exited || v.Grant == "" {
		t.Fatalf("by the grant: %+v", v.Result)
	}
	two := h.asking("touch canary")
	two.Profile = "two"
	asked := ask[api.Call](t, c, api.CallSubmit, two)
	k := nextTicket(t, people, asked.ID)
	if r := h.as(4001, nil, "approval.sock", api.TicketAnswer, answer(k, approval.Allow)); r.Error != "" {
		t.Fatal(r.Error)
	}

	h.configure("[roles]\napprover = [\"uid:4002\"]\n")
	g, err := load(h.dir+"/clawsup.toml", 2)
	if err != nil {
		t.Fatal(err)
	}
	h.broker.generation.Store(g) // and no Recheck after it
	if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.Denied {
		t.Errorf("by a removed approver's grant: %+v", v.Result)
	}
	k = ask[approval.Ticket](t, people, api.TicketShow, api.TicketRef{Ticket: k.ID})
	if r := h.as(4002, nil, "approval.sock", api.TicketAnswer, answer(k, approval.Allow)); r.Error != "" {
		t.Fatal(r.Error)
	}
	k = ask[approval.Ticket](t, people, api.TicketShow, api.TicketRef{Ticket: k.ID})
	if k.State != approval.Pending || len(k.Answers) != 1 || k.Answers[0].UID != 4002 || h.ran() {
		t.Errorf("a removed approver is one of two: %+v", k)
	}
	ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow)) // root is another person
	if v := ask[api.Call](t, c, api.CallWait, api.CallRef{Call: asked.ID}); v.Result.Status != runtime.Exited || !h.ran() {
		t.Errorf("%+v", v.Result)
	}
}

func TestGrantUsesAreCounted(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := api.Submit{Args: args("true"), Profile: "ask", Session: "work"}
	v := ask[api.Call](t, c, api.CallSubmit, s)
	a := answer(nextTicket(t, people, v.ID), approval.Grant)
	a.For, a.Uses = time.Hour, 2
	ask[api.Answered](t, people, api.TicketAnswer, a)
	ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	d := api.Duration(0)
	s.Deadline = &d
	// All at once: no more than two get through.
	var ids []string
	for range 5 {
		ids = append(ids, ask[api.Call](t, c, api.CallSubmit, s).ID)
	}
	ran := 0
	for _, id := range ids {
		if ask[api.Call](t, c, api.CallWait, api.CallRef{Call: id}).Result.Status == runtime.Exited {
			ran++
		}
	}
	if ran != 2 {
		t.Errorf("%d of five ran by a grant of two uses", ran)
	}
}

func TestRevokedGrantIsVoid(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := api.Submit{Args: args("true"), Profile: "ask", Session: "work"}
	v := ask[api.Call](t, c, api.CallSubmit, s)
	a := answer(nextTicket(t, people, v.ID), approval.Grant)
	a.For = time.Hour
	ask[api.Answered](t, people, api.TicketAnswer, a)
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	d := api.Duration(0)
	s.Deadline, s.Wait = &d, true
	if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.Exited {
		t.Errorf("by the grant: %+v", v.Result)
	}
	ask[policy.Grant](t, people, api.GrantRevoke, api.GrantRef{Grant: v.Grant, Reason: "over"})
	if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.Denied {
		t.Errorf("revoked: %+v", v.Result)
	}
}

func TestFoldedCallsAreAnsweredTogether(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := api.Submit{Args: args("true"), Profile: "ask", Session: "work"}
	first := ask[api.Call](t, c, api.CallSubmit, s)
	old := nextTicket(t, people, first.ID)
	second := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, second.ID)
	if k.ID != old.ID || k.Count != 2 || k.Revision <= old.Revision {
		t.Fatalf("%+v", k)
	}
	if _, err := try[api.Answered](people, api.TicketAnswer, answer(old, approval.Allow)); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("a yes to what was seen before: %v", err)
	}
	ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
	for _, id := range []string{first.ID, second.ID} {
		if v := ask[api.Call](t, c, api.CallWait, api.CallRef{Call: id}); v.Result.Status != runtime.Exited {
			t.Errorf("%+v", v.Result)
		}
	}
}

func TestRoles(t *testing.T) {
	const alice, bob, vera, nobody, agent = 4001, 4002, 4003, 4004, 4005
	config := `
[roles]
approver = ["uid:4001", "uid:4002"]
viewer = ["uid:4003"]
[agent]
command = ["/bin/false"]
user = "4005"
group = "4005"
state_dir = "DIR/agent"
autostart = false
`
	h := newHost(t, config)
	h.start()
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := h.asking("touch canary")
	v := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, v.ID)
	yes := answer(k, approval.Allow)
	h.as(nobody, nil, "approval.sock", api.TicketAnswer, yes).wants(t, "nobody", api.CodeDenied)
	h.as(vera, nil, "approval.sock", api.TicketAnswer, yes).wants(t, "a viewer", api.CodeDenied)
	h.as(agent, nil, "approval.sock", api.TicketAnswer, yes).wants(t, "the agent's user", api.CodeDenied)
	h.as(agent, nil, "approval.sock", api.TicketList, api.TicketFilter{}).wants(t, "the agent's user, to look", api.CodeDenied)
	h.as(alice, nil, "admin.sock", api.Status, api.Nothing{}).wants(t, "an approver at admin.sock", api.CodeDenied)
	h.as(alice, nil, "call.sock", api.CallList, api.CallFilter{}).wants(t, "an approver at call.sock", api.CodeDenied)
	h.as(alice, nil, "approval.sock", api.Lockdown, api.LockdownOrder{}).wants(t, "an approver's lockdown", api.CodeDenied)
	h.as(alice, nil, "approval.sock", api.Unlock, api.Reason{}).wants(t, "an approver's unlock", api.CodeDenied)
	if r := h.as(vera, nil, "approval.sock", api.TicketShow, api.TicketRef{Ticket: k.ID}); r.Error != "" {
		t.Errorf("a viewer can't look: %s", r.Error)
	}
	if h.ran() {
		t.Fatal("it ran")
	}
	// Bob is removed while the ticket is open.
	h.configure(strings.Replace(config, `, "uid:4002"`, "", 1))
	ask[api.Daemon](t, h.dial("admin"), api.Reload, api.Nothing{})
	h.as(bob, nil, "approval.sock", api.TicketAnswer, yes).wants(t, "a removed approver", api.CodeDenied)
	if h.ran() {
		t.Fatal("it ran")
	}
	if r := h.as(alice, nil, "approval.sock", api.TicketAnswer, yes); r.Error != "" {
		t.Errorf("an approver: %s", r.Error)
	}
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Exited || !h.ran() {
		t.Errorf("%+v", v.Result)
	}
}

// TestLostRoleEndsWatching: who may not look any more is told nothing more.
func TestLostRoleEndsWatching(t *testing.T) {
	h := newHost(t, "[roles]\nviewer = [\"uid:4003\"]\n").start()
	vera := client{door: &door{kind: approvalDoor}, uid: 4003}
	if err := h.broker.stays(vera); err != nil {
		t.Fatal(err)
	}
	h.configure("")
	ask[api.Daemon](t, h.dial("admin"), api.Reload, api.Nothing{})
	if err := h.broker.stays(vera); api.CodeOf(err) != api.CodeDenied {
		t.Error(err)
	}
	if err := h.broker.stays(client{door: &door{kind: adminDoor}}); err != nil {
		t.Error(err)
	}
}

func TestQuorum(t *testing.T) {
	h := newHost(t, "[roles]\napprover = [\"uid:4001\", \"uid:4002\"]\n")
	h.write("profiles/two.toml", "extends = \"build\"\n[effects]\nexec = \"ask\"\nquorum = 2\n")
	h.start()
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := h.asking("touch canary")
	s.Profile = "two"
	v := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, v.ID)
	if r := h.as(4001, nil, "approval.sock", api.TicketAnswer, answer(k, approval.Allow)); r.Error != "" {
		t.Fatal(r.Error)
	}
	k = ask[approval.Ticket](t, people, api.TicketShow, api.TicketRef{Ticket: k.ID})
	if k.State != approval.Pending || len(k.Answers) != 1 || h.ran() {
		t.Fatalf("after one of two: %+v", k)
	}
	h.as(4001, nil, "approval.sock", api.TicketAnswer, answer(k, approval.Allow)).wants(t, "the same person again", api.CodeDenied)
	if h.ran() {
		t.Fatal("it ran")
	}
	if r := h.as(4002, nil, "approval.sock", api.TicketAnswer, answer(k, approval.Allow)); r.Error != "" {
		t.Fatal(r.Error)
	}
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Exited || !h.ran() {
		t.Errorf("%+v", v.Result)
	}
}

func TestFlood(t *testing.T) {
	h := begin(t, "[approvals]\nburst = 3\nevery = \"1h\"\npending = 5\n")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	var denied int
	for i := range 6 {
		s := h.asking(fmt.Sprintf("touch canary; : %d", i))
		v := ask[api.Call](t, c, api.CallSubmit, s)
		if i < 3 {
			nextTicket(t, people, v.ID)
			continue
		}
		v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
		if v.Result.Status == runtime.Denied && strings.Contains(v.Reason, "too many questions") {
			denied++
		}
	}
	if denied != 3 || h.ran() {
		t.Errorf("%d of 3 were denied as a flood", denied)
	}
	if list := ask[[]approval.Ticket](t, people, api.TicketList, api.TicketFilter{}); len(list) != 3 {
		t.Errorf("%d tickets", len(list))
	}
}
