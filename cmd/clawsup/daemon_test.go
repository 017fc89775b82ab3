// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/policy"
)

func TestSocketOf(t *testing.T) {
	for _, c := range []struct {
		method string
		uid    int
		want   socket
	}{
		{api.CallSubmit, 0, callSocket},
		{api.CallFollow, 1000, approvalSocket},
		{api.CallSubmit, 1000, callSocket},
		{api.CallList, 0, approvalSocket},
		{api.CallStop, 0, approvalSocket},
		{api.TicketAnswer, 0, approvalSocket},
		{api.Lockdown, 0, adminSocket},
		{api.Lockdown, 1000, approvalSocket},
		{api.Unlock, 1000, approvalSocket},
		{api.GrantRevoke, 0, adminSocket},
		{api.AgentStatus, 0, approvalSocket},
		{api.AgentStart, 0, adminSocket},
		{api.AgentStart, 1000, adminSocket}, // which says whose it is
		{api.SessionRemove, 0, adminSocket},
		{api.SessionRemove, 1000, approvalSocket},
	} {
		if got := socketOf(c.method, c.uid); got != c.want {
			t.Errorf("%s of uid %d: %s, want %s", c.method, c.uid, got, c.want)
		}
	}
}

func TestNoDaemon(t *testing.T) {
	b := newBench(t, "")
	for _, args := range []string{"ps", "stop --all", "lockdown", "unlock", "agent status", "session list", "grant list",
		"approvals", "approvals --watch --json", "approval show X", "approve X", "deny X", "logs X", "explain c-1"} {
		got := b.run("", strings.Fields(args)...)
		if got.status != exitUnreachable || got.out != "" || !strings.Contains(got.err, "no daemon listens on ") || !strings.Contains(got.err, "\nhint: is clawsupd running?") {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func exited(code int) *runtime.Result { return &runtime.Result{Status: runtime.Exited, ExitCode: code} }

func TestLists(t *testing.T) {
	now := time.Now()
	calls := []api.Call{
		{ID: "c-2", State: api.Asking, Ticket: "ABCD1234", Requester: "agent main (uid 990)", Command: `"rm" "-rf" "x"`, Created: now.Add(-90 * time.Second)},
		{ID: "c-1", State: api.Ended, Requester: "uid 0", Command: "\x1b[2J" + strings.Repeat("x", 200), Created: now, Result: exited(3)},
	}
	agents := []api.Agent{{Name: "main", State: "ready", Command: "gateway", User: "claw", UID: 990, Since: now.Add(-time.Hour),
		Labels: policy.Labels{Private: true}, Memory: 5 << 20, Snapshots: []api.Snapshot{{Name: "s1", Time: now, Bytes: 10, Why: "start"}}, Notes: []string{"seccomp is lowered"}}}
	sessions := []api.Session{{ID: "s-1", Name: "tg:\u202e42", Agent: "main", Calls: 3, Bytes: 2048, Used: now, Expires: now.Add(time.Hour),
		Labels: []api.Label{{Label: "private", On: "session s-1", Call: "c-1", Why: "workspace home is private"}}}}
	grants := []policy.Grant{
		{ID: "g-abc", Scope: policy.Scope{Skill: "sha256:0123456789abcdef", SkillName: "csv", Script: "run.py", Profile: "sha256:aa", ProfileName: "build", Workspace: "/srv/le\u202etters", Agent: "main"}, Expires: now.Add(90 * time.Minute), Uses: 3, By: []string{"uid 1000 (alice)"}},
		{ID: "g-abd", Scope: policy.Scope{Plan: "sha256:fedcba", Profile: "sha256:aa", ProfileName: "build", Session: "s-1"}, Expires: now.Add(-time.Hour), Uses: -1},
		{ID: "g-xyz", Revoked: "lockdown", Expires: now.Add(time.Hour), Uses: -1},
	}
	var filter api.CallFilter
	var stop api.Stop
	var revoked api.GrantRef
	var cleared api.Clear
	f := newFake(t, answers{
		api.CallList:      says(&filter, calls),
		api.CallStop:      says(&stop, api.Stopped{Calls: []string{"c-2"}}),
		api.AgentStatus:   says[api.AgentRef](nil, agents),
		api.AgentStop:     says[api.AgentRef](nil, api.Agent{Name: "main", State: "stopped"}),
		api.AgentStart:    refuses(api.CodeLocked, "there is a lockdown"),
		api.AgentLogs:     says[api.Logs](nil, api.Log{Data: []byte("line\n")}),
		api.AgentRestore:  says[api.Restore](nil, api.Agent{Name: "main", State: "stopped"}),
		api.AgentClear:    says(&cleared, api.Agent{Name: "main", State: "ready"}),
		api.SessionList:   says[api.Nothing](nil, sessions),
		api.SessionShow:   says[api.SessionRef](nil, sessions[0]),
		api.SessionRemove: says[api.SessionRef](nil, sessions[0]),
		api.SessionClear:  says(&cleared, api.Session{ID: "s-1"}),
		api.GrantList:     says[api.Nothing](nil, grants),
		api.GrantRevoke:   says(&revoked, policy.Grant{ID: "g-abc"}),
		api.Lockdown:      says[api.LockdownOrder](nil, api.LockdownReport{Calls: 2, Agents: 1, Took: time.Second, Failed: []string{"c-9"}}),
		api.Unlock:        says[api.Reason](nil, api.Daemon{}),
	})
	for _, c := range []struct {
		args     string
		status   int
		has, not []string
	}{
		{"ps", 0, []string{"c-2   asking ABCD1234  1m3", "agent main (uid 990)", "exited 3", `\x1b[2J`, "xxx..."}, []string{"\x1b"}},
		{"stop c-2", 0, []string{"stopped c-2\n"}, nil},
		{"agent status", 0, []string{"state        ready for 1h00m", "memory 5.0M", "labels       private", "note         seccomp is lowered"}, nil},
		{"agent stop main", 0, []string{"agent main is stopped"}, nil},
		{"agent start", 1, []string{"clawsup: there is a lockdown\nhint: see elsewhere\n"}, nil},
		{"agent logs --bytes 64K", 0, []string{"line\n"}, nil},
		{"agent restore", 0, []string{"s1", "start"}, nil},
		{"agent restore --snapshot s1 main", 0, []string{"is stopped"}, nil},
		{"agent clear --label private --reason read main", 0, []string{"private is off agent main, which has no label now and is ready"}, nil},
		{"session list", 0, []string{`tg:\u202e42`, "agent main", "private", "2.0K"}, []string{"\u202e"}},
		{"session show s-1", 0, []string{"by call c-1: workspace home is private"}, nil},
		{"session remove s-1", 0, []string{"removed session s-1"}, nil},
		{"session clear --label private s-1", 0, []string{"private is off session s-1, which has no label now"}, nil},
		{"grant list", 0, []string{"g-abc", "1h29m, 3 uses", "agent main", "skill csv sha256:0123456789ab, script run.py, any arguments", "build", `/srv/le\u202etters`}, []string{"g-abd", "g-xyz", "\u202e"}},
		{"grant list --all", 0, []string{"g-abd  expired", "void: lockdown"}, nil},
		{"grant show g-abc", 0, []string{"for          agent main", "what         skill csv sha256:0123456789abcdef, script run.py, any arguments", "profile      build sha256:aa", `workspace    "/srv/le\u202etters"`}, []string{"\u202e"}},
		{"grant show g-abd", 0, []string{"for          session s-1", "what         plan sha256:fedcba", "profile      build sha256:aa", "workspace    none but the session's own"}, nil},
		{"grant show g-x", 0, []string{"void: lockdown"}, nil},
		{"grant show g-ab", 1, []string{"2 grants begin with g-ab"}, nil},
		{"grant show nope", 1, []string{"there is no grant nope"}, nil},
		{"grant revoke --reason over g-abc", 0, []string{"grant g-abc is void"}, nil},
		{"lockdown --reason test", 1, []string{"locked down in 1s: 2 calls and 1 agent stopped, no tickets and no grants void", "1 thing could not", "NOT STOPPED: c-9"}, nil},
		{"unlock", 0, []string{"unlocked"}, nil},
	} {
		got := f.run("", strings.Fields(c.args)...)
		all := got.out + got.err
		if got.status != c.status {
			t.Errorf("%s: status %d: %s", c.args, got.status, all)
		}
		for _, text := range c.has {
			if !strings.Contains(all, text) {
				t.Errorf("%s: no %q in\n%s", c.args, text, all)
			}
		}
		for _, text := range c.not {
			if strings.Contains(all, text) {
				t.Errorf("%s: %q in\n%s", c.args, text, all)
			}
		}
	}
	if want := (api.CallFilter{Live: true}); filter != want {
		t.Errorf("%+v", filter)
	}
	if stop.Call != "c-2" || stop.All || revoked != (api.GrantRef{Grant: "g-abc", Reason: "over"}) || cleared != (api.Clear{Name: "s-1", Label: "private"}) {
		t.Errorf("%+v %+v %+v", stop, revoked, cleared)
	}
	for method, want := range map[string]string{api.CallList: "approval.sock", api.AgentStop: "admin.sock", api.Lockdown: "admin.sock", api.SessionShow: "approval.sock"} {
		if got := f.through(method); got != want {
			t.Errorf("%s came through %s", method, got)
		}
	}
	for args, want := range map[string]any{"ps": calls, "agent status": agents, "session list": sessions, "grant list --all": grants} {
		got := f.run("", append(strings.Fields(args), "--json")...)
		back := reflect.New(reflect.TypeOf(want))
		if err := json.Unmarshal([]byte(got.out), back.Interface()); err != nil || got.status != 0 {
			t.Errorf("%s: %v %+v", args, err, got)
		}
		again, _ := json.Marshal(back.Elem().Interface())
		first, _ := json.Marshal(want)
		if string(again) != string(first) {
			t.Errorf("%s --json: %s\nwant %s", args, again, first)
		}
	}
}

// TestLogs: what was kept is told up to the call's state; what is live, to its end.
func TestLogs(t *testing.T) {
	end := api.Call{ID: "c-1", State: api.Ended, Result: exited(3)}
	f := newFake(t, answers{
		api.CallFollow: func(ctx context.Context, r *api.Request) (any, error) {
			_ = r.Notify(api.Output, api.OutputPart{Call: "c-1", Stream: 1, Data: []byte("kept\x1b[2J\n")})
			_ = r.Notify(api.Output, api.OutputPart{Call: "c-1", Stream: 2, Data: []byte("error\n")})
			_ = r.Notify(api.CallChanged, api.Call{ID: "c-1", State: api.Running})
			_ = r.Notify(api.Output, api.OutputPart{Call: "c-1", Stream: 1, Data: []byte("later\n")})
			<-ctx.Done()
			return nil, ctx.Err()
		},
		api.CallWatch: func(_ context.Context, r *api.Request) (any, error) {
			_ = r.Notify(api.Output, api.OutputPart{Call: "c-1", Stream: 1, Offset: -1, Data: []byte("live\n")})
			return end, nil
		},
	})
	if got := f.run("", "logs", "c-1"); got != (said{out: "kept\x1b[2J\n", err: "error\n"}) {
		t.Errorf("%+v", got)
	}
	if got := f.run("", "top"); got.status != 1 || !strings.Contains(got.err, "top needs a terminal") {
		t.Errorf("%+v", got)
	}
	if got := f.run("", "logs", "--follow", "c-1"); got != (said{out: "live\n", err: "clawsup: c-1 ended: exited 3\n"}) {
		t.Errorf("%+v", got)
	}
	screen, tty := terminal(t)
	cmd := f.on(tty, "logs", "c-1")
	if seen := rest(screen); !strings.Contains(seen, `kept\x1b[2J`) || strings.Contains(seen, "later") {
		t.Errorf("%q", seen)
	}
	f.wait(cmd)
}
