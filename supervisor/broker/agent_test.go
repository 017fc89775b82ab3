// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
)

// agentUID is the user of the agents here: a number that nobody has.
const agentUID = "64231"

// withAgent makes a host whose agent claw runs testdata/agent/hostile.py with
// these arguments, once it is started. It may name the profiles ask and rw.
func withAgent(t *testing.T, more string, args ...string) *host {
	t.Helper()
	h := newHost(t, "")
	program, err := os.ReadFile("../../testdata/agent/hostile.py")
	if err != nil {
		t.Fatal(err)
	}
	h.write("programs/hostile.py", string(program))
	command := []string{"/usr/bin/python3", h.dir + "/programs/hostile.py"}
	for _, a := range args {
		command = append(command, strings.ReplaceAll(a, "DIR", h.dir))
	}
	h.setAgent(command, more)
	return h
}

func (h *host) setAgent(command []string, more string) {
	h.t.Helper()
	list, err := json.Marshal(command) // TOML takes JSON's lists of strings
	if err != nil {
		h.t.Fatal(err)
	}
	h.configure(`
[agent]
name = "claw"
command = ` + string(list) + `
user = "` + agentUID + `"
group = "` + agentUID + `"
state_dir = "DIR/homes/claw"
read = ["DIR/programs"]
call_profiles = ["ask", "rw"]
restart = "never"
autostart = false
snapshots = 0
` + more)
	if err := os.MkdirAll(h.dir+"/homes", 0o755); err != nil {
		h.t.Fatal(err)
	}
}

// runAgent starts the agent and gives what it wrote when it has ended.
func (h *host) runAgent() []map[string]any {
	h.t.Helper()
	admin := h.dial("admin")
	ask[api.Agent](h.t, admin, api.AgentStart, api.AgentRef{})
	return h.agentSaid(func(a api.Agent) bool { return a.State == "stopped" || a.State == "failed" })
}

// agentSaid gives the lines that the agent wrote, once its state is as wanted.
func (h *host) agentSaid(wanted func(api.Agent) bool) []map[string]any {
	h.t.Helper()
	admin := h.dial("admin")
	defer admin.Close()
	for end := time.Now().Add(patience); !wanted(ask[[]api.Agent](h.t, admin, api.AgentStatus, api.AgentRef{})[0]); {
		if time.Now().After(end) {
			h.t.Fatalf("%+v", ask[[]api.Agent](h.t, admin, api.AgentStatus, api.AgentRef{}))
		}
	}
	text := string(ask[api.Log](h.t, admin, api.AgentLogs, api.Logs{}).Data)
	var lines []map[string]any
	for line := range strings.Lines(text) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			h.t.Fatalf("the agent wrote %s", text)
		}
		lines = append(lines, m)
	}
	return lines
}

func TestAgentAsksAndIsAnswered(t *testing.T) {
	for verdict, want := range map[approval.Verdict]map[string]any{
		approval.Allow: {"polite": "ended", "decision": "allow", "status": "exited", "stdout": "42\n"},
		approval.Deny:  {"polite": "ended", "decision": "deny", "status": "denied", "stdout": "", "reason": "not today"},
	} {
		h := withAgent(t, "", "polite", "--profile", "ask").start()
		people := h.watch(h.dial("approval"))
		answered := make(chan approval.Ticket, 1)
		go func() {
			k := nextTicket(t, people, "")
			a := answer(k, verdict)
			if verdict == approval.Deny {
				a.Reason = "not today"
			}
			if _, err := try[api.Answered](people, api.TicketAnswer, a); err != nil {
				t.Error(err)
			}
			answered <- k
		}()
		lines := h.runAgent()
		k := <-answered
		if k.Agent != "claw" || !k.Labels.Untrusted || !strings.Contains(k.Claim, "six times seven") || !strings.HasPrefix(k.Requester, "agent claw") {
			t.Errorf("%+v", k)
		}
		last := lines[len(lines)-1]
		for name, value := range want {
			if last[name] != value {
				t.Errorf("%s: %s is %v, want %v", verdict, name, last[name], value)
			}
		}
	}
}

// TestHostileAgent has a lost agent try everything that it can over its socket
// and around it.
func TestHostileAgent(t *testing.T) {
	h := withAgent(t, "[[workspace]]\nname = \"main\"\npath = \"DIR/work\"\n",
		"attack", "--profile", "ask", "--approval", "DIR/run/approval.sock", "--approval", "DIR/run/admin.sock", "--approval", "DIR/run/call.sock",
		"--policy", "DIR/clawsup.toml", "--policy", "DIR/profiles/ask.toml", "--receipts", "DIR/state/audit", "--receipts", "DIR/state/audit.head",
		"--receipts", "DIR/audit.key", "--workspace", "DIR/work", "--foreign", "FOREIGN")
	canary := h.write("work/SOUL.md", "kind")
	for _, open := range []string{canary, h.dir + "/work"} { // only the box keeps it away
		if err := os.Chmod(open, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	c := h.dial("call")
	foreign := ask[api.Call](t, c, api.CallSubmit, shell("echo up; sleep 600"))
	h.awaitOutput(c, foreign.ID)
	// Its id is known to the agent, as if it had been guessed.
	h.stopAndSet("FOREIGN", foreign.ID, t)
	c = h.dial("call")
	foreign = ask[api.Call](t, c, api.CallSubmit, shell("echo up; sleep 600"))
	h.awaitOutput(c, foreign.ID)
	before := h.read("clawsup.toml") + h.read("profiles/ask.toml")
	lines := h.runAgent()
	attempts := 0
	for _, line := range lines {
		if line["attempt"] != nil {
			attempts++
		}
		if line["reached"] != nil {
			t.Errorf("%v: %v", line["attempt"], line["reached"])
		}
	}
	if attempts < 60 {
		t.Errorf("only %d attempts: %v", attempts, lines)
	}
	if got := h.read("clawsup.toml") + h.read("profiles/ask.toml"); got != before {
		t.Error("policy was changed")
	}
	if got := h.list("work"); len(got) != 1 || h.read("work/SOUL.md") != "kind" {
		t.Errorf("the workspace was changed: %v", got)
	}
	if v := ask[api.Call](t, c, api.CallShow, api.CallRef{Call: foreign.ID}); v.State != api.Running {
		t.Errorf("another's call: %+v", v)
	}
	for _, v := range ask[[]api.Call](t, h.dial("admin"), api.CallList, api.CallFilter{Limit: 500}) {
		if v.Agent == "claw" && v.Result != nil && v.Result.Status == runtime.Exited {
			t.Errorf("a call of it ran without an answer: %+v", v)
		}
	}
	for _, k := range ask[[]approval.Ticket](t, h.dial("approval"), api.TicketList, api.TicketFilter{All: true}) {
		if len(k.Answers) > 0 || k.State == approval.Allowed {
			t.Errorf("somebody answered: %+v", k)
		}
	}
}

// stopAndSet writes a word of the agent's command line anew, with the daemon
// down meanwhile.
func (h *host) stopAndSet(word, to string, t *testing.T) {
	t.Helper()
	h.stop()
	h.write("clawsup.toml", strings.ReplaceAll(h.read("clawsup.toml"), word, to))
	h.start()
}

// TestAgentFloods: the host's own calls go on.
func TestAgentFloods(t *testing.T) {
	h := withAgent(t, "[approvals]\nburst = 4\nevery = \"1h\"\n[calls]\nqueue = 64\n", "flood", "--profile", "ask", "--count", "400").start()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.runAgent()
	}()
	c := h.dial("call")
	s := shell("true")
	s.Wait = true
	for flooding := true; flooding; {
		if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.Exited {
			t.Errorf("during the flood: %+v", v.Result)
		}
		select {
		case <-done:
			flooding = false
		default:
		}
	}
	all := ask[[]approval.Ticket](t, h.dial("approval"), api.TicketList, api.TicketFilter{All: true})
	if len(all) == 0 || len(all) > 4 {
		t.Errorf("people were asked %d times", len(all))
	}
	for _, v := range ask[[]api.Call](t, h.dial("admin"), api.CallList, api.CallFilter{Limit: 500}) {
		if v.Agent == "claw" && v.Result != nil && v.Result.Status == runtime.Exited {
			t.Errorf("it ran: %+v", v)
		}
	}
}

// script is an agent that asks for calls, one after the other, and prints what
// became of each.
const script = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/run/clawsup/call.sock")
lines = s.makefile("rb")
for i, params in enumerate(json.loads(sys.argv[1])):
    params["wait"] = True
    s.sendall(json.dumps({"jsonrpc": "2.0", "id": i, "method": "call.submit", "params": params}).encode() + b"\n")
    answer = json.loads(lines.readline())
    print(json.dumps(answer.get("result") or answer["error"]), flush=True)
`

// ask has the agent ask for calls and gives what it was told.
func (h *host) agentAsks(calls ...map[string]any) []map[string]any {
	h.t.Helper()
	text, err := json.Marshal(calls)
	if err != nil {
		h.t.Fatal(err)
	}
	h.stop()
	h.write("programs/script.py", script)
	config := h.read("clawsup.toml")
	h.setAgent([]string{"/usr/bin/python3", h.dir + "/programs/script.py", string(text)}, config[strings.Index(config, "[["):strings.Index(config, "\n[audit]")])
	_ = os.RemoveAll(filepath.Join(h.dir, "state", "agents")) // its log
	h.start()
	return h.runAgent()
}

func TestAgentCannotWashLabels(t *testing.T) {
	h := withAgent(t, "[[workspace]]\nname = \"open\"\npath = \"DIR/work\"\nprivate = false\n[[workspace]]\nname = \"letters\"\npath = \"DIR/letters\"\n")
	h.write("letters/one", "Dear Sir")
	h.start()
	run := func(session, workspace string) map[string]any {
		return map[string]any{"args": []string{"true"}, "profile": "rw", "session": session, "workspace": workspace}
	}
	lines := h.agentAsks(run("a", "open"), run("b", "letters"), run("c", "open"), run("", "open"))
	lines = append(lines, h.agentAsks(run("d", "open"))...) // after a restart
	for i, want := range []bool{false, false, true, true, true} {
		labels, _ := lines[i]["labels"].(map[string]any)
		if labels["untrusted"] != true || labels["private"] != want {
			t.Errorf("call %d: labels %v, want private %v; %v", i, labels, want, lines[i])
		}
	}
	a := ask[[]api.Agent](t, h.dial("admin"), api.AgentStatus, api.AgentRef{})[0]
	if !a.Labels.Private {
		t.Errorf("%+v", a)
	}
	ask[api.Agent](t, h.dial("admin"), api.AgentClear, api.Clear{Name: "claw", Label: "private", Reason: "it was mine"})
	if a := ask[[]api.Agent](t, h.dial("admin"), api.AgentStatus, api.AgentRef{})[0]; a.Labels.Private {
		t.Errorf("%+v", a)
	}
}

// TestAgentIsHeldToItsConfiguration: profiles, workspaces, skills by path.
func TestAgentIsHeldToItsConfiguration(t *testing.T) {
	h := withAgent(t, "[[workspace]]\nname = \"main\"\npath = \"DIR/work\"\n")
	h.write("skills/hello/SKILL.md", "---\nname: hello\ndescription: says hello\n---\n")
	touch := []string{"touch", "/workspace/canary"}
	lines := h.agentAsks(
		map[string]any{"args": touch, "profile": "build", "workspace": "main"},
		map[string]any{"args": touch, "profile": h.dir + "/profiles/rw.toml", "workspace": "main"},
		map[string]any{"args": touch, "profile": "rw", "workspace": h.dir + "/skills"},
		map[string]any{"args": touch, "profile": "rw", "workspace": "/etc"},
		map[string]any{"args": touch, "skill": h.dir + "/skills/hello", "profile": "rw"},
		map[string]any{"args": touch, "workspace": "main", "deadline": "0s"},
	)
	for i, line := range lines {
		result, _ := line["result"].(map[string]any)
		if line["code"] == nil && result["status"] != "denied" {
			t.Errorf("call %d: %v", i, line)
		}
	}
	if h.ran() || contains(h.list("skills"), "canary") {
		t.Error("it wrote")
	}
}

// TestRemovedAgentMayAskForNothing: its box and its socket are there until the
// daemon ends, and its rights are not.
func TestRemovedAgentMayAskForNothing(t *testing.T) {
	const workspace = "[[workspace]]\nname = \"main\"\npath = \"DIR/work\"\n"
	h := withAgent(t, workspace)
	h.write("programs/script.py", script)
	text := `[{"args": ["touch", "/workspace/canary"], "profile": "rw", "workspace": "main"}, {"args": ["true"], "profile": "rw"}]`
	h.setAgent([]string{"/usr/bin/python3", "-c", "import sys, time, os\nwhile not os.path.exists('" + h.dir + "/programs/go'): time.sleep(.01)\nexec(open('" + h.dir + "/programs/script.py').read())", text}, workspace)
	h.start()
	admin := h.dial("admin")
	ask[api.Agent](t, admin, api.AgentStart, api.AgentRef{})
	h.configure(workspace)
	ask[api.Daemon](t, admin, api.Reload, api.Nothing{})
	h.write("programs/go", "")
	lines := h.agentSaid(func(a api.Agent) bool { return a.State == "stopped" || a.State == "failed" })
	if len(lines) != 2 || h.ran() {
		t.Fatalf("%v", lines)
	}
	for i, line := range lines {
		if line["code"] != float64(api.CodeDenied) {
			t.Errorf("call %d: %v", i, line)
		}
	}
}

func TestReloadTellsOfAgents(t *testing.T) {
	h := withAgent(t, "", "stay").start()
	admin := h.dial("admin")
	if d := ask[api.Daemon](t, admin, api.Reload, api.Nothing{}); len(d.Notes) != 0 {
		t.Errorf("nothing has changed: %v", d.Notes)
	}
	config := h.read("clawsup.toml")
	h.write("clawsup.toml", strings.Replace(config, `"stay"`, `"polite"`, 1))
	if d := ask[api.Daemon](t, admin, api.Reload, api.Nothing{}); len(d.Notes) != 1 || !strings.Contains(d.Notes[0], "agent restart claw") {
		t.Errorf("%v", d.Notes)
	}
	h.write("clawsup.toml", strings.Replace(config, `name = "claw"`, `name = "other"`, 1))
	if d := ask[api.Daemon](t, admin, api.Reload, api.Nothing{}); len(d.Notes) != 2 {
		t.Errorf("%v", d.Notes)
	}
}

func TestLockdownEndsAgents(t *testing.T) {
	h := withAgent(t, "", "stubborn")
	h.start()
	admin := h.dial("admin")
	ask[api.Agent](t, admin, api.AgentStart, api.AgentRef{})
	for end := time.Now().Add(patience); len(h.agentSaid(func(a api.Agent) bool { return a.Ready })) == 0; {
		if time.Now().After(end) {
			t.Fatal("the agent said nothing")
		}
	}
	before := len(h.boxes())
	report := ask[api.LockdownReport](t, admin, api.Lockdown, api.LockdownOrder{Reason: "drill"})
	if report.Agents != 1 || len(report.Failed) > 0 {
		t.Errorf("%+v", report)
	}
	if a := ask[[]api.Agent](t, admin, api.AgentStatus, api.AgentRef{})[0]; a.State != "stopped" {
		t.Errorf("%+v", a)
	}
	if now := len(h.boxes()); now != before-1 {
		t.Errorf("%d boxes, before %d", now, before)
	}
	if _, err := try[api.Agent](admin, api.AgentStart, api.AgentRef{}); api.CodeOf(err) != api.CodeLocked {
		t.Errorf("started during the lockdown: %v", err)
	}
	if r := context.Cause(h.broker.ctx); r != nil {
		t.Error(r)
	}
}
