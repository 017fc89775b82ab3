// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
)

// gone waits until people are no longer asked by a ticket, and gives it.
func (o *outside) gone(t testing.TB, id string) approval.Ticket {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		k, err := try[approval.Ticket](o.people, api.TicketShow, api.TicketRef{Ticket: id})
		if err != nil {
			t.Fatal(err)
		}
		if k.State != approval.Pending {
			return k
		}
	}
	t.Fatalf("ticket %s is still open", id)
	return approval.Ticket{}
}

// approve answers a ticket as a person does in a shell.
func (o *outside) approve(t testing.TB, k approval.Ticket, more ...string) {
	t.Helper()
	args := append([]string{"approve", "--yes", "--revision", fmt.Sprint(k.Revision)}, more...)
	if out, status := o.command(append(args, k.ID)...); status != 0 {
		t.Errorf("approve: status %d: %s", status, out)
	}
}

// TestHeld: what nobody decided about waits, with not a byte out, and goes on
// after a yes as if nothing had been.
func TestHeld(t *testing.T) {
	o := openOutside(t, map[string]string{"asking": rule("raw.test", "ask", "ports = [7000]", `through = "tcp"`)})
	for name, test := range map[string]struct {
		script, says string
		effect       string
		target       string
		server       world.Name
	}{
		"a request":   {"curl -sS --data hello https://api.test/echo/held?q=1", `"body":"hello"`, "net.request", "POST https://api.test:443/echo/held", world.API},
		"plain HTTP":  {"curl -sS http://plain.test/echo/held", `"target":"/echo/held"`, "net.request", "GET http://plain.test:80/echo/held", world.Plain},
		"bytes":       {"bash -c 'exec 3<>/dev/tcp/raw.test/7000; echo hello >&3; read -r line <&3; echo got $line'", "got hello", "net.connect", "raw.test:7000", world.Raw},
		"a WebSocket": {o.client(t) + " websocket wss://api.test/socket hello", "hello", "net.request", "WEBSOCKET https://api.test:443/socket", world.API},
	} {
		mark := o.world.Sink.Mark(t)
		g := o.submit(t, "asking", test.script)
		k := o.ticket(t, g.id)
		if k.Effect.String() != test.effect || k.Target != test.target {
			t.Errorf("%s: people were asked about %s %q", name, k.Effect, k.Target)
		}
		if test.server == world.Raw {
			o.world.Sink.Silent(t, mark, question) // a rule has the name, so that it tells nothing
		} else {
			o.world.Sink.Silent(t, mark)
		}
		o.approve(t, k)
		if got := g.end(); !got.ok() || !strings.Contains(got.out, test.says) {
			t.Errorf("%s: %v", name, got)
		}
		o.world.Sink.Silent(t, mark, at(test.server))
	}
	tickets := 0
	for _, all := range o.receipts() {
		for _, r := range all {
			if r.Decision == "allow" && slices.ContainsFunc(r.Facts, func(f audit.Fact) bool { return strings.Contains(f.Name, "ticket") && f.Value != "" }) {
				tickets++
			}
		}
	}
	if tickets < 4 {
		t.Errorf("%d receipts name a person's answer", tickets)
	}
}

// TestHeldAndDenied: after a no the program is told so, and the caller has it as data.
func TestHeldAndDenied(t *testing.T) {
	o := newOutside(t, map[string]string{"asking": rule("raw.test", "ask", "ports = [7000]", `through = "tcp"`)})
	mark := o.world.Sink.Mark(t)
	g := o.submit(t, "asking", "curl -sS -i https://api.test/echo/no")
	k := o.ticket(t, g.id)
	if out, status := o.command("deny", "--reason", "not today", k.ID); status != 0 {
		t.Fatalf("%d %s", status, out)
	}
	got := g.end()
	if !strings.Contains(got.out, " 403") || !strings.Contains(got.out, "clawsup: denied: ") || !strings.Contains(got.out, "(ticket "+k.ID+")") || !strings.Contains(strings.ToLower(got.out), "clawsup-ticket: "+strings.ToLower(k.ID)) {
		t.Errorf("%v", got)
	}
	if !got.denied("net.request", "GET https://api.test:443/echo/no", k.ID) {
		t.Errorf("%v", got)
	}

	g = o.submit(t, "asking", "bash -c 'exec 3<>/dev/tcp/raw.test/7000; echo hello >&3; read -r line <&3 || echo reset'")
	k = o.ticket(t, g.id)
	if out, status := o.command("deny", k.ID); status != 0 {
		t.Fatalf("%d %s", status, out)
	}
	if got := g.end(); !strings.Contains(got.out, "reset") || !got.denied("net.connect", "raw.test:7000", k.ID) {
		t.Errorf("%v", got)
	}

	// With its call a question ends.
	g = o.submit(t, "asking", "curl -sS https://api.test/echo/stopped")
	k = o.ticket(t, g.id)
	if out, status := o.command("stop", g.id); status != 0 {
		t.Errorf("%d %s", status, out)
	}
	g.end()
	if k = o.gone(t, k.ID); k.State == approval.Allowed {
		t.Errorf("the ticket is %s", k.State)
	}

	// Lockdown is a no.
	g = o.submit(t, "asking", "curl -sS https://api.test/echo/lockdown")
	k = o.ticket(t, g.id)
	if out, status := o.command("lockdown", "--reason", "drill"); status != 0 {
		t.Errorf("%d %s", status, out)
	}
	g.end()
	if k = o.gone(t, k.ID); k.State == approval.Allowed {
		t.Errorf("the ticket is %s", k.State)
	}
	o.world.Sink.Silent(t, mark, question) // of the name that a rule has
}

// TestGivenUp: who gives up leaves no question behind, and a late yes does nothing.
func TestGivenUp(t *testing.T) {
	o := newOutside(t, map[string]string{"asking": rule("plain.test", "allow", "ports = [80]")})
	g := o.submit(t, "asking", `curl -sS https://api.test/echo/late & p=$!; curl -sS 'http://plain.test/wait?parts=2'; kill $p; wait $p; echo over; exec sleep 600`)
	k := o.ticket(t, g.id)
	o.world.Gate <- struct{}{}
	g.said("over\n")
	if k = o.gone(t, k.ID); k.State != approval.Cancelled {
		t.Errorf("the ticket is %s", k.State)
	}
	if _, status := o.command("approve", "--yes", "--revision", fmt.Sprint(k.Revision), k.ID); status == 0 {
		t.Error("a yes after the end was taken")
	}
	if out, status := o.command("stop", g.id); status != 0 {
		t.Errorf("%d %s", status, out)
	}
	g.end()
	if seen := o.world.Log.All(func(s world.Seen) bool { return s.Server == world.API }); len(seen) > 0 {
		t.Errorf("%+v", seen)
	}
}

// TestGrantOutlivesItsTicket: what a person allowed for a while is not asked again,
// and nothing else comes of it.
func TestGrantOutlivesItsTicket(t *testing.T) {
	o := newOutside(t, map[string]string{"asking": ""})
	o.session = "talk"
	g := o.submit(t, "asking", "curl -sS https://api.test/echo/granted")
	o.approve(t, o.ticket(t, g.id), "--for", "15m", "--uses", "5")
	if got := g.end(); !got.ok() {
		t.Errorf("%v", got)
	}
	if got := o.run(t, "asking", "curl -sS https://api.test/echo/granted"); !got.ok() || !strings.Contains(got.out, "/echo/granted") {
		t.Errorf("%v", got)
	}
	g = o.submit(t, "asking", "curl -sS https://api.test/echo/granted/too")
	k := o.ticket(t, g.id)
	if out, status := o.command("deny", k.ID); status != 0 {
		t.Errorf("%d %s", status, out)
	}
	if got := g.end(); strings.Contains(got.out, `"target"`) {
		t.Errorf("%v", got)
	}
}

// egress gives the process of this daemon's clawsup-egress; 0: it doesn't run.
func (o *outside) egress() int {
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, f := range files {
		dir := filepath.Dir(f)
		comm, _ := os.ReadFile(f)
		group, _ := os.ReadFile(dir + "/cgroup")
		if string(comm) == "egress\n" && strings.Contains(string(group), o.group()+"/") {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	return 0
}

// killEgress kills this daemon's clawsup-egress and waits for the next one.
func (o *outside) killEgress(t testing.TB) {
	t.Helper()
	old := o.egress()
	if old == 0 {
		t.Fatal("there is no clawsup-egress")
	}
	fd, err := unix.PidfdOpen(old, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if pid := o.egress(); pid != 0 && pid != old {
			return
		}
	}
	t.Fatal("clawsup-egress was not started again")
}

// TestEgressKilled: with clawsup-egress its connections end and nothing else:
// what was granted stays granted, what was asked is not allowed by itself, and
// the same box goes on with the next one.
func TestEgressKilled(t *testing.T) {
	o := newOutside(t, map[string]string{"asking": rule("api.test", "allow", `paths = ["/wait", "/echo/after"]`)})
	o.session = "talk"
	g := o.submit(t, "asking", "curl -sS https://api.test/echo/granted")
	o.approve(t, o.ticket(t, g.id), "--for", "15m", "--uses", "5")
	if got := g.end(); !got.ok() {
		t.Fatalf("%v", got)
	}

	o.session = ""
	streams := o.submit(t, "asking", `curl -sS --no-buffer https://api.test/wait; echo "stream $?"; curl -sS --retry 20 --retry-all-errors --retry-delay 1 https://api.test/echo/after`)
	streams.said("part 0\n")
	held := o.submit(t, "asking", `curl -sS https://api.test/echo/held; echo "held $?"`)
	k := o.ticket(t, held.id)

	o.killEgress(t)
	got := streams.end()
	if !got.ok() || strings.Contains(got.out, "stream 0") || !strings.Contains(got.out, "/echo/after") {
		t.Errorf("%v", got)
	}
	if k = o.gone(t, k.ID); k.State == approval.Allowed {
		t.Errorf("the ticket is %s", k.State)
	}
	if got := held.end(); strings.Contains(got.out, "held 0") || strings.Contains(got.out, `"target"`) {
		t.Errorf("%v", got)
	}
	if seen := o.world.Log.All(func(s world.Seen) bool { return s.Target == "/echo/held" }); len(seen) > 0 {
		t.Errorf("%v", seen)
	}
	o.session = "talk"
	if got := o.run(t, "asking", "curl -sS https://api.test/echo/granted"); !got.ok() || !strings.Contains(got.out, "/echo/granted") {
		t.Errorf("%v", got)
	}
}

// TestDaemonKilledWhileHeld: no answer means no, also after a restart.
func TestDaemonKilledWhileHeld(t *testing.T) {
	o := newOutside(t, map[string]string{"asking": ""})
	mark := o.world.Sink.Mark(t)
	g := o.submit(t, "asking", "curl -sS https://api.test/echo/held")
	k := o.ticket(t, g.id)
	_ = o.daemon.end(unix.SIGKILL)
	o.begin()
	if k = o.gone(t, k.ID); k.State == approval.Allowed {
		t.Errorf("the ticket is %s", k.State)
	}
	if _, status := o.command("approve", "--yes", "--revision", fmt.Sprint(k.Revision), k.ID); status == 0 {
		t.Error("an answer to a ticket of before was taken")
	}
	o.world.Sink.Silent(t, mark)
	if left := o.boxes(); len(left) > 1 { // clawsup-egress has one
		t.Errorf("left: %v", left)
	}
}

// boxes are the control groups of boxes.
func (o *outside) boxes() []string {
	v1, _ := filepath.Glob("/sys/fs/cgroup/pids" + o.group() + "/*/cgroup.procs")
	v2, _ := filepath.Glob("/sys/fs/cgroup" + o.group() + "/*/cgroup.procs")
	var all []string
	for _, f := range append(v1, v2...) {
		if b, err := os.ReadFile(f); err == nil && len(b) > 0 {
			all = append(all, f)
		}
	}
	return all
}
