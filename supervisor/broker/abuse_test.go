// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/session"
)

func factOf(r audit.Receipt, name string) string {
	for _, f := range r.Facts {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// TestReceiptsAlwaysFit: one caller's words must not stop the log for all.
func TestReceiptsAlwaysFit(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	for _, wide := range []string{"\x01", "é", "\U0001F980", `"`, "\\", "<", "x"} {
		s := shell(strings.Repeat(wide, 100_000))
		s.Profile, s.Claim, s.Wait = strings.Repeat("é", 2000), strings.Repeat(wide, 2000/len(wide)), true
		v := ask[api.Call](t, c, api.CallSubmit, s)
		if v.Result.Status == runtime.Exited {
			t.Errorf("%q: %+v", wide, v.Result)
		}
		found := false
		for _, r := range h.receipts() {
			found = found || r.Call == v.ID && r.Kind == audit.Outcome
		}
		if !found {
			t.Errorf("%q: there is no receipt", wide)
		}
	}
	if _, err := try[api.Call](c, api.CallSubmit, api.Submit{Args: args("true"), Profile: strings.Repeat("x", maxName+1)}); api.CodeOf(err) != api.CodeParams {
		t.Errorf("a name longer than any path: %v", err)
	}
	s := shell("true")
	s.Wait = true
	if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.Exited {
		t.Errorf("somebody else's call: %+v", v.Result)
	}
}

func TestFit(t *testing.T) {
	for text, want := range map[string]string{
		"":              "",
		"abc":           "abc",
		"abcdefghijklm": "abcdefghijkl...",
		"ééé":           "éé...",
		"\x00\x01\x02":  "\x00\x01...",
		"\U0001F980a":   "\U0001F980...",
		`""""""""`:      `""""""...`,
	} {
		if got := fit(text, 12); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// TestReceiptsNameWhatRan: after a change it is the changed command.
func TestReceiptsNameWhatRan(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.asking("echo first"))
	k := nextTicket(t, people, v.ID)
	a := answer(k, approval.Change)
	a.Args = args("echo", "second")
	got := ask[api.Answered](t, people, api.TicketAnswer, a)
	ask[api.Answered](t, people, api.TicketAnswer, answer(*got.Next, approval.Allow))
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Command != `"echo" "second"` {
		t.Errorf("%+v", v)
	}
	for _, r := range h.receipts() {
		if r.Call != v.ID || r.Kind != audit.Decision {
			continue
		}
		if second := r.Plan == v.Plan; second != strings.Contains(factOf(r, "command"), "second") {
			t.Errorf("%s of plan %s names %s", r.Decision, r.Plan, factOf(r, "command"))
		}
	}
}

// TestLabelsAreNotWashedByClearing: who is cleared gets the label back with the
// next private thing, by whatever way that comes.
func TestLabelsAreNotWashedByClearing(t *testing.T) {
	h := withAgent(t, "[[workspace]]\nname = \"letters\"\npath = \"DIR/letters\"\n")
	h.write("letters/one", "Dear Sir")
	h.start()
	claw := owner{agent: "claw", uid: 64231}
	run := func(session, workspace, script string) *call {
		t.Helper()
		s := shell(script)
		s.Profile, s.Session = "rw", session
		s.Workspace = args(workspace)[0]
		c, _, err := h.broker.accept(claw, s, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-c.done
		if v := c.snapshot(); v.Result.Status != runtime.Exited || v.Result.ExitCode != 0 {
			t.Fatalf("%+v", v.Result)
		}
		return c
	}
	clear := func() {
		t.Helper()
		ask[api.Agent](t, h.dial("admin"), api.AgentClear, api.Clear{Name: "claw", Label: session.Private, Reason: "looked at"})
		if h.broker.labelsOf("claw", "").Private {
			t.Fatal("not cleared")
		}
	}
	read := run("S", "letters", "cp one /tmp/kept; cat one")
	clear()
	run("S", "", "cat /tmp/kept")
	if !h.broker.labelsOf("claw", "").Private {
		t.Error("the agent read what a private session kept, and is clean")
	}
	wrote := run("T", "", "echo Dear Sir >/tmp/kept")
	clear()
	if !h.broker.labelsOf("", wrote.snapshot().Session).Private {
		t.Error("a private agent wrote into a session, which is clean")
	}
	if err := h.broker.markPrivate(read, "it was asked for its output"); err != nil || !h.broker.labelsOf("claw", "").Private {
		t.Errorf("what was kept can be followed: %v", err)
	}
}

// TestListsFitAFrame: what one requester writes must not keep people from
// seeing what the others ask.
func TestListsFitAFrame(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	for range 5 {
		s := h.asking(": " + strings.Repeat("<", 50_000) + mint(""))
		s.Claim = strings.Repeat("<", 1900)
		nextTicket(t, people, ask[api.Call](t, c, api.CallSubmit, s).ID)
	}
	if list := ask[[]approval.Ticket](t, people, api.TicketList, api.TicketFilter{}); len(list) != 5 {
		t.Errorf("%d tickets", len(list))
	}
	for _, k := range ask[[]approval.Ticket](t, people, api.TicketList, api.TicketFilter{}) {
		if whole := ask[approval.Ticket](t, people, api.TicketShow, api.TicketRef{Ticket: k.ID}); len(whole.Facts) == 0 || len(whole.Claim) < 1900 {
			t.Errorf("ticket %s is not whole", k.ID)
		}
	}
	if list := ask[[]api.Call](t, c, api.CallList, api.CallFilter{Limit: 500}); len(list) != 5 {
		t.Errorf("%d calls", len(list))
	}
	if list := fitting([]string{strings.Repeat("<", maxList/12), "b", strings.Repeat("<", maxList/6)}); len(list) != 2 {
		t.Errorf("%d of three fit", len(list))
	}
}

func TestFollowersAreBounded(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	v := ask[api.Call](t, c, api.CallSubmit, shell("sleep 600"))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	refused := make(chan error, 1)
	for range 5 { // 16 of each connection, 80 in all
		follower := h.dial("call")
		go func() {
			for range follower.Notifications() { // taken, so that nobody is too slow
			}
		}()
		for range 16 {
			go func() {
				if err := follower.Call(ctx, api.CallFollow, api.Follow{Call: v.ID}, nil); api.CodeOf(err) == api.CodeFull {
					select {
					case refused <- err:
					default:
					}
				}
			}()
		}
	}
	<-refused
	cancel()
	ask[api.Call](t, c, api.CallCancel, api.CallRef{Call: v.ID})
}

// TestCheckpointWaitsForLiveCalls: a call that was decided and has not ended is
// found at the next start.
func TestCheckpointWaitsForLiveCalls(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	v := ask[api.Call](t, c, api.CallSubmit, shell("echo up; sleep 600"))
	h.awaitOutput(c, v.ID)
	s := shell("true")
	s.Wait = true
	for range 3 { // so that the log goes on
		ask[api.Call](t, c, api.CallSubmit, s)
	}
	if err := h.broker.checkpoint(); err != nil {
		t.Fatal(err)
	}
	var at place
	if err := record.Read(h.dir+"/state/calls.json", &at); err != nil {
		t.Fatal(err)
	}
	for _, r := range h.receipts() {
		if r.Call == v.ID && r.Seq < at.From {
			t.Errorf("receipt %d of a live call is before %d", r.Seq, at.From)
		}
	}
	ask[api.Call](t, c, api.CallCancel, api.CallRef{Call: v.ID})
}

func TestReasonsAreCleaned(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	a := answer(nextTicket(t, people, v.ID), approval.Deny)
	a.Reason = "password=hunter2hunter2 is not for you"
	ask[api.Answered](t, people, api.TicketAnswer, a)
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); !strings.Contains(v.Reason, "hunter2") {
		t.Errorf("the requester gets the reason as it was written: %q", v.Reason)
	}
	running := ask[api.Call](t, c, api.CallSubmit, shell("sleep 600"))
	ask[api.Stopped](t, people, api.CallStop, api.Stop{Call: running.ID, Reason: "password=hunter2hunter2"})
	for _, r := range h.receipts() {
		for _, f := range r.Facts {
			if strings.Contains(f.Value, "hunter2") {
				t.Errorf("receipt %d, %s: %s", r.Seq, f.Name, f.Value)
			}
		}
	}
}

// TestLockdownWaitsForNobody: not for a reload that takes its time.
func TestLockdownWaitsForNobody(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	v := ask[api.Call](t, c, api.CallSubmit, shell("echo up; sleep 600"))
	h.awaitOutput(c, v.ID)
	h.broker.reloading.Lock()
	defer h.broker.reloading.Unlock()
	if report := ask[api.LockdownReport](t, h.dial("admin"), api.Lockdown, api.LockdownOrder{}); report.Calls != 1 || len(report.Failed) > 0 {
		t.Errorf("%+v", report)
	}
}
