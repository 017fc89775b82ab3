// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	built "github.com/clawsup/clawsup/runtime/programs"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
)

// daemonPrograms puts those of the daemon beside the others, once.
var daemonPrograms = sync.OnceValue(func() error { return built.Build(programs, "clawsupd", "clawsup-egress") })

// newDaemon makes a bench with the real daemon at work. What the bench looks
// for at its end, it looks for once the daemon is gone.
func newDaemon(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, "daemon = true\n")
	if err := daemonPrograms(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	b.write("clawsup.toml", string(text)+fmt.Sprintf("[audit]\nkey = %q\n", b.dir+"/audit.key"))
	b.profile("asking", "[effects]\nexec = \"ask\"\n")
	c := exec.Command(filepath.Join(programs, "clawsupd"), "--config", b.config)
	log, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(unix.SIGTERM)
		if err := c.Wait(); err != nil {
			t.Errorf("clawsupd: %v", err)
		}
	})
	until(t, log, "ready: ")
	go func() { _, _ = io.Copy(io.Discard, log) }()
	return b
}

// asker is a run that waits for a person, with the ticket that it waits for.
func (b *bench) asker(args ...string) (cmd *exec.Cmd, t approval.Ticket, out, err *strings.Builder) {
	b.t.Helper()
	watch := b.command("approvals", "--watch", "--json")
	told, pipeErr := watch.StdoutPipe()
	if pipeErr != nil {
		b.t.Fatal(pipeErr)
	}
	if err := watch.Start(); err != nil {
		b.t.Fatal(err)
	}
	defer func() {
		_ = watch.Process.Kill()
		_ = watch.Wait()
	}()
	out, err = &strings.Builder{}, &strings.Builder{}
	cmd = b.command(append([]string{"run", "--profile", "asking"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, err
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	for lines := bufio.NewScanner(told); lines.Scan(); {
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			b.t.Fatal(err)
		}
		if t.State == approval.Pending {
			return cmd, t, out, err
		}
	}
	b.t.Fatal("no ticket came")
	return nil, t, nil, nil
}

func TestDaemonRuns(t *testing.T) {
	b := newDaemon(t)
	if got := b.run("in", "run", "--", "sh", "-c", "cat; echo err >&2; exit 3"); got != (said{out: "in", err: "err\n", status: 3}) {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "run", "--workspace", "nowhere", "--", "true"); got.status != 125 || !strings.Contains(got.err, `workspace "nowhere" is neither the name of a [[workspace]]`) {
		t.Errorf("%+v", got)
	}
	got := b.run("", "run", "--json", "--profile", "asking", "--deadline", "0", "--", "true")
	var o object
	if err := json.Unmarshal([]byte(got.out), &o); err != nil || got.status != 126 || !o.WouldAsk || o.Status != runtime.Denied || !strings.HasPrefix(o.Call, callPrefix) {
		t.Errorf("%v, %+v", err, got)
	}
	if got := b.run("", "explain", o.Call); got.status != 0 || !strings.Contains(got.out, "decision     deny") || !strings.Contains(got.out, "asking.toml") {
		t.Errorf("%+v", got)
	}
	for range 2 { // the second finds the first
		got := b.run("", "run", "--json", "--key", "k1", "--", "true")
		var again object
		if err := json.Unmarshal([]byte(got.out), &again); err != nil || got.status != 0 || again.Known != (o.Known || o.Call == again.Call) {
			t.Errorf("%v, %+v", err, got)
		}
		o = again
	}
	if got := b.run("", "ps", "--all"); strings.Count(got.out, "\n") != 5 || !strings.Contains(got.out, "exited 3") || !strings.Contains(got.out, "denied") {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "audit", "verify"); got.status != 0 || !strings.Contains(got.out, "intact: ") {
		t.Errorf("%+v", got)
	}
}

func TestDaemonAsks(t *testing.T) {
	b := newDaemon(t)
	cmd, ticket, out, stderr := b.asker("--claim", "because", "--", "echo", "approved")
	screen, tty := terminal(t)
	yes := b.on(tty, "approve", ticket.ID[:6])
	if seen := until(t, screen, "Anything else changes nothing: "); !strings.Contains(seen, `"approved"`) || !strings.Contains(seen, "> because") {
		t.Errorf("%q", seen)
	}
	if _, err := io.WriteString(screen, "yes\n"); err != nil {
		t.Fatal(err)
	}
	seen := rest(screen)
	if err := yes.Wait(); err != nil || !strings.Contains(seen, "is allowed") {
		t.Errorf("%v: %q", err, seen)
	}
	if err := cmd.Wait(); err != nil || out.String() != "approved\n" {
		t.Errorf("%v: %s%s", err, out, stderr)
	}
	if got := b.run("", "approve", "--yes", "--revision", fmt.Sprint(ticket.Revision), ticket.ID); got.status != 1 || !strings.Contains(got.err, "is allowed") {
		t.Errorf("a second yes: %+v", got)
	}

	cmd, ticket, _, stderr = b.asker("--", "true")
	if got := b.run("", "deny", "--reason", "not today", ticket.ID); got.status != 0 {
		t.Errorf("%+v", got)
	}
	if _ = cmd.Wait(); status(cmd) != 126 || !strings.Contains(stderr.String(), "not today") {
		t.Errorf("status %d: %s", status(cmd), stderr)
	}

	cmd, ticket, _, stderr = b.asker("--", "true")
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _ = cmd.Wait(); status(cmd) != 130 {
		t.Errorf("status %d: %s", status(cmd), stderr)
	}
	var after approval.Ticket
	if got := b.run("", "approval", "show", "--json", ticket.ID); json.Unmarshal([]byte(got.out), &after) != nil || after.State == approval.Pending {
		t.Errorf("%+v", got)
	}
}

// TestDaemonGrants: a grant by a person answers for its session, until it is revoked.
func TestDaemonGrants(t *testing.T) {
	b := newDaemon(t)
	run := []string{"--session", "talk", "--", "echo", "again"}
	cmd, ticket, _, stderr := b.asker(run...)
	if got := b.run("", "approve", "--for", "1h", "--uses", "5", "--yes", "--revision", fmt.Sprint(ticket.Revision), ticket.ID); got.status != 0 || !strings.Contains(got.out, "with grant ") {
		t.Errorf("%+v", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr)
	}
	args := append([]string{"run", "--profile", "asking", "--deadline", "0"}, run...)
	if got := b.run("", args...); got.status != 0 || got.out != "again\n" {
		t.Errorf("%+v", got)
	}
	list := b.run("", "grant", "list").out
	if !strings.Contains(list, " uses") || strings.Count(list, "\n") != 2 {
		t.Errorf("%s", list)
	}
	id := strings.Fields(strings.Split(list, "\n")[1])[0]
	if got := b.run("", "grant", "revoke", "--reason", "enough", id[:6]); got.status != 0 {
		t.Errorf("%+v", got)
	}
	if got := b.run("", args...); got.status != 126 {
		t.Errorf("after the grant was revoked: %+v", got)
	}
	if got := b.run("", "session", "list"); !strings.Contains(got.out, "talk") {
		t.Errorf("%+v", got)
	}
}

func TestDaemonStops(t *testing.T) {
	b := newDaemon(t)
	sleeper := func() (*exec.Cmd, *strings.Builder) {
		cmd := b.command("run", "--", "sh", "-c", "echo ready; exec sleep 60")
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, out, "ready\n")
		return cmd, &stderr
	}
	cmd, stderr := sleeper()
	var calls []api.Call
	if got := b.run("", "ps", "--json"); json.Unmarshal([]byte(got.out), &calls) != nil || len(calls) != 1 || calls[0].State != api.Running {
		t.Fatalf("%+v", got)
	}
	if got := b.run("", "stop", "--reason", "enough", calls[0].ID); got.status != 0 || got.out != "stopped "+calls[0].ID+"\n" {
		t.Errorf("%+v", got)
	}
	if _ = cmd.Wait(); status(cmd) != 143 || !strings.Contains(stderr.String(), "enough") {
		t.Errorf("status %d: %s", status(cmd), stderr)
	}

	// Who goes away without a key leaves nothing running.
	cmd, _ = sleeper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	cmd, stderr = sleeper()
	if got := b.run("", "lockdown", "--reason", "drill"); got.status != 0 || !strings.Contains(got.out, "locked down in ") {
		t.Errorf("%+v", got)
	}
	if _ = cmd.Wait(); status(cmd) != 143 {
		t.Errorf("status %d: %s", status(cmd), stderr)
	}
	if got := b.run("", "ps"); strings.Count(got.out, "\n") != 1 {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "run", "--", "true"); got.status != 126 || !strings.Contains(got.err, "drill") {
		t.Errorf("locked down: %+v", got)
	}
	if got := b.run("", "unlock"); got.status != 0 {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "run", "--", "true"); got.status != 0 {
		t.Errorf("unlocked: %+v", got)
	}
}
