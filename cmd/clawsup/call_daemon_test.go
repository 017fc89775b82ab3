// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
)

func newSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// runs is a call.submit that plays a tool: it copies stdin to stdout, says
// something on stderr, and ends as result says.
func runs(got *api.Submit, result api.Call) api.Handler {
	return func(_ context.Context, r *api.Request) (any, error) {
		if err := r.Decode(got); err != nil {
			return nil, err
		}
		for i, f := range r.Files {
			if err := runtime.CheckStdio(i, f); err != nil {
				return nil, err
			}
		}
		_, _ = io.Copy(r.Files[1], r.Files[0])
		fmt.Fprintln(r.Files[2], "tool speaks")
		return result, nil
	}
}

func TestRunThroughDaemon(t *testing.T) {
	var got api.Submit
	end := api.Call{ID: "c-1", State: api.Ended, Plan: "sha256:ab", Profile: "build", Skill: "csv", Ticket: "ABCD1234", Result: exited(7)}
	f := newFake(t, answers{api.CallSubmit: runs(&got, end)})
	if r := f.run("in", "run", "--", "cat", "\xff"); r != (said{out: "in", err: "tool speaks\n", status: 7}) {
		t.Errorf("%+v", r)
	}
	if !got.Wait || !slices.Equal(got.Args, []raw.String{"cat", "\xff"}) || got.Skill != "" || len(got.Env) == 0 {
		t.Errorf("%+v", got)
	}
	for name, want := range map[string]string{"nowhere": "nowhere", "work": f.dir + "/work", "./nowhere": f.dir + "/nowhere"} {
		if f.run("", "run", "--workspace", name, "--", "true"); string(got.Workspace) != want {
			t.Errorf("the workspace %s was sent as %s", name, got.Workspace)
		}
	}
	r := f.run("in", "run-skill", "--json", "--profile", "./p.toml", "--workspace", "work", "--timeout", "5s", "--session", "tg",
		"--deadline", "0", "--approver", "none", "--claim", "to look", "--key", "k1", "./csv", "--", "summary")
	var o object
	if err := json.Unmarshal([]byte(r.out), &o); err != nil || r.status != 7 || r.err != "intool speaks\n" {
		t.Errorf("%v, %+v", err, r)
	}
	if o.Call != "c-1" || o.Ticket != "ABCD1234" || o.Plan != "sha256:ab" || o.Profile.Name != "build" || o.Skill.Name != "csv" || o.Standalone {
		t.Errorf("%+v", o)
	}
	want := api.Submit{Skill: f.dir + "/csv", Args: []raw.String{"summary"}, Profile: f.dir + "/p.toml", Workspace: raw.String(f.dir + "/work"),
		Timeout: api.Duration(5 * time.Second), Session: "tg", Deadline: new(api.Duration), Approver: "none", Claim: "to look", Key: "k1", Wait: true, Progress: true, Env: got.Env}
	if a, b := asJSON(got), asJSON(want); a != b {
		t.Errorf("got %s\nwant %s", a, b)
	}
}

func asJSON(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func TestRunThroughDaemonEndings(t *testing.T) {
	call := func(status runtime.Status, message string) api.Handler {
		return says[api.Submit](nil, api.Call{ID: "c-1", State: api.Ended, Result: &runtime.Result{Status: status, ExitCode: -1, Message: message}})
	}
	for _, c := range []struct {
		name   string
		answer api.Handler
		status int
		says   string
	}{
		{"denied", call(runtime.Denied, "not today\x1b"), 126, `clawsup: denied: not today\x1b` + "\n"},
		{"denied without a word", call(runtime.Denied, ""), 126, "clawsup: denied: no reason was given\n"},
		{"timed out", call(runtime.TimedOut, "wall_time of 1s is over"), 124, "clawsup: timed-out: wall_time of 1s is over\n"},
		{"the daemon ended", call(runtime.SupervisorRestart, "clawsupd is going down"), 125, "clawsup: supervisor-restart: clawsupd is going down\n"},
		{"flood", refuses(api.CodeFlood, "too many calls"), 126, "clawsup: denied: too many calls\nhint: see elsewhere\n"},
		{"full", refuses(api.CodeFull, "the queue is full"), 126, "clawsup: denied: the queue is full\n"},
		{"locked", refuses(api.CodeLocked, "there is a lockdown"), 126, "clawsup: denied: there is a lockdown\n"},
		{"wrong", refuses(api.CodeParams, "no such workspace"), 125, "clawsup: sandbox-error: no such workspace\nhint: see elsewhere\n"},
	} {
		f := newFake(t, answers{api.CallSubmit: c.answer})
		if got := f.run("", "run", "--", "true"); got.status != c.status || !strings.Contains(got.err, c.says) || got.out != "" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestWaitingForApproval: who waits is told once which ticket decides.
func TestWaitingForApproval(t *testing.T) {
	f := newFake(t, answers{api.CallSubmit: func(_ context.Context, r *api.Request) (any, error) {
		for range 3 {
			_ = r.Notify(api.CallChanged, api.Call{ID: "c-1", State: api.Asking, Ticket: "ABCD1234"})
		}
		return api.Call{ID: "c-1", Result: exited(0)}, nil
	}})
	if got := f.run("", "run", "--", "true"); got != (said{err: "clawsup: waiting for approval, ticket ABCD1234 (clawsup approvals)\n"}) {
		t.Errorf("%+v", got)
	}
}

// TestInterruptThroughDaemon: the first signal cancels, the second goes away.
func TestInterruptThroughDaemon(t *testing.T) {
	for _, polite := range []bool{true, false} {
		cancelled, gone := make(chan struct{}), make(chan struct{})
		f := newFake(t, answers{
			api.CallSubmit: func(ctx context.Context, r *api.Request) (any, error) {
				_ = r.Notify(api.CallChanged, api.Call{ID: "c-1", State: api.Asking, Ticket: "ABCD1234"})
				if polite {
					<-cancelled
					return api.Call{ID: "c-1", Result: &runtime.Result{Status: runtime.Stopped, ExitCode: -1, Message: "cancelled"}}, nil
				}
				<-ctx.Done()
				close(gone)
				return nil, ctx.Err()
			},
			api.CallCancel: func(_ context.Context, r *api.Request) (any, error) {
				var ref api.CallRef
				if err := r.Decode(&ref); err != nil || ref.Call != "c-1" {
					t.Errorf("%+v, %v", ref, err)
				}
				close(cancelled)
				return api.Call{ID: "c-1"}, nil
			},
		})
		cmd := f.command("run", "--", "sleep", "60")
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, stderr, "ticket ABCD1234")
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
		<-cancelled
		if !polite {
			if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			<-gone
		}
		_ = cmd.Wait()
		if got, want := status(cmd), map[bool]int{true: 130, false: 143}[polite]; got != want {
			t.Errorf("polite %v: status %d, want %d", polite, got, want)
		}
	}
}

// TestStandalone: without the daemon, and it says so.
func TestStandalone(t *testing.T) {
	b := newBench(t, "daemon = true\n")
	got := b.run("", "run", "--", "true")
	if got.status != 125 || !strings.Contains(got.err, "clawsup: sandbox-error: no daemon listens on ") || !strings.Contains(got.err, "hint: is clawsupd running? systemctl status clawsupd; or --standalone runs without it\n") {
		t.Errorf("%+v", got)
	}
	got = b.run("", "run", "--standalone", "--json", "--", "true")
	var o object
	if err := json.Unmarshal([]byte(got.out), &o); err != nil || got.status != 0 || !o.Standalone || o.Call != "" || got.err != "clawsup: standalone: without clawsupd, its approvals and its receipts\n" {
		t.Errorf("%v, %+v", err, got)
	}
	if got := b.run("", "run", "--standalone", "--key", "k", "--", "true"); got.status != exitUsage || !strings.Contains(got.err, "--key is for clawsupd") {
		t.Errorf("%+v", got)
	}
	if got := newBench(t, "").run("", "run", "--standalone", "--json", "--", "true"); got.status != 0 || got.err != "" || strings.Contains(got.out, "standalone") {
		t.Errorf("without a daemon in the configuration: %+v", got)
	}
}

// TestTerminalThroughDaemon: the daemon never gets the terminal itself.
func TestTerminalThroughDaemon(t *testing.T) {
	f := newFake(t, answers{api.CallSubmit: func(_ context.Context, r *api.Request) (any, error) {
		for _, file := range r.Files {
			if info, err := file.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
				return nil, fmt.Errorf("a stream is no pipe: %v, %v", info, err)
			}
		}
		fmt.Fprint(r.Files[1], "\x1b[2Jtext\n")
		return api.Call{ID: "c-1", Result: exited(0)}, nil
	}})
	screen, tty := terminal(t)
	cmd := f.on(tty, "run", "--", "true")
	if seen := rest(screen); seen != "\\x1b[2Jtext\r\n" {
		t.Errorf("%q", seen)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
