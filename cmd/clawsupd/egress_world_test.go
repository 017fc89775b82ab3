// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// outside is a daemon on the host of a world, with profiles that reach out.
type outside struct {
	*site
	world  *world.World
	daemon *daemon
	caller *api.Client // call.sock
	people *api.Client // approval.sock
	tools  string      // directory of programs for boxes, which they see at the same place

	session string // of the calls, as the caller names it; empty: none
}

// newOutside starts one, but for short tests: an emulated machine has no hours.
// What goes by openOutside shows there that the way out is the same.
func newOutside(t *testing.T, profiles map[string]string) *outside {
	t.Helper()
	if testing.Short() {
		t.Skip("TestHeld and TestOtherProtocols go the same way in short tests")
	}
	return openOutside(t, profiles)
}

// openOutside starts one. Each profile is what it has besides the usual: rules.
func openOutside(t *testing.T, profiles map[string]string) *outside {
	t.Helper()
	w := world.New(t)
	o := &outside{site: newSite(t, w.Config()), world: w}
	var err error
	// Not below /tmp, where a box has its own.
	if o.tools, err = os.MkdirTemp("/var/tmp", "clawsup-tools-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(o.tools); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(o.tools, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, rules := range profiles {
		o.write("profiles/"+name+".toml", fmt.Sprintf("extends = \"web\"\n[files]\nread = [%q]\n[workspace]\nmode = \"none\"\n%s", o.tools, rules))
	}
	o.begin()
	return o
}

// begin starts the daemon in the world.
func (o *outside) begin() {
	o.t.Helper()
	leave := o.enter()
	d := o.start()
	leave()
	o.daemon = d
	o.t.Cleanup(func() { _ = d.end(unix.SIGTERM) }) // it removes its boxes, as one that is killed doesn't
	o.caller, o.people = o.connect("call"), o.connect("approval")
}

// enter takes the test's thread into the network namespace of the world's
// host, so that what it starts is there, and gives what takes it back.
func (o *outside) enter() (leave func()) {
	o.t.Helper()
	goruntime.LockOSThread()
	before, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		err = o.world.Host.Enter()
	}
	if err != nil {
		o.t.Fatal(err) // the thread ends with the test's goroutine
	}
	return func() {
		if err := errors.Join(unix.Setns(int(before.Fd()), unix.CLONE_NEWNET), before.Close()); err != nil {
			o.t.Fatal(err)
		}
		goruntime.UnlockOSThread()
	}
}

// client puts the program of package world/client where boxes see it.
var client = sync.OnceValues(func() (string, error) {
	if os.Getenv("CLAWSUP_VM") != "" {
		return "", errors.New("no toolchain in the guest")
	}
	file := filepath.Join(programs, "client")
	c := exec.Command("go", "build", "-o", file, "github.com/clawsup/clawsup/cmd/clawsupd/internal/world/client")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the client: %w\n%s", err, out)
	}
	return file, nil
})

// client gives the path of the program in boxes.
func (o *outside) client(t *testing.T) string {
	t.Helper()
	file, err := client()
	if err != nil {
		if os.Getenv("CLAWSUP_VM") != "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.tool(t, "client", program)
	return filepath.Join(o.tools, "client")
}

// tool puts a program where boxes see it.
func (o *outside) tool(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(o.tools, name)
	if err := os.WriteFile(file, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// went is a call that has ended.
type went struct {
	api.Call
	out, err string
}

func (w went) String() string {
	b, _ := json.Marshal(w.Reached)
	end := fmt.Sprint(w.State)
	if r := w.Result; r != nil {
		end = fmt.Sprintf("%v %d %s", r.Status, r.ExitCode, r.Message)
	}
	return fmt.Sprintf("%s %s: stdout %q, stderr %q, reached %s", w.ID, end, w.out, w.err, b)
}

// ok says whether the tool ended by itself with status 0.
func (w went) ok() bool {
	return w.Result != nil && w.Result.Status == runtime.Exited && w.Result.ExitCode == 0
}

// denied finds a denial that has all the parts in one of its texts together.
func (w went) denied(parts ...string) bool {
	return w.Reached != nil && slices.ContainsFunc(w.Reached.Denied, func(d api.Denial) bool {
		text := strings.Join([]string{d.Effect, d.Target, d.Reason, d.Rule, d.Ticket}, "\n")
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
	})
}

// going is a call that runs.
type going struct {
	t        testing.TB
	id       string
	o        *outside
	out, err *os.File
}

// submit asks for a call of a shell script, whose output goes to files.
func (o *outside) submit(t testing.TB, profile, script string) *going {
	t.Helper()
	return o.submitArgs(t, profile, "sh", "-c", script)
}

func (o *outside) submitArgs(t testing.TB, profile string, args ...string) *going {
	t.Helper()
	dir := t.TempDir()
	var files [3]*os.File
	for i := range files {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		files[i] = f
	}
	in, err := os.Open(files[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var v api.Call
	if err := o.caller.Call(ctx, api.CallSubmit, api.Submit{Args: raw.Of(args), Profile: profile, Session: o.session}, &v, in, files[1], files[2]); err != nil {
		t.Fatal(err)
	}
	return &going{t, v.ID, o, files[1], files[2]}
}

// end waits until it has ended.
func (g *going) end() went {
	g.t.Helper()
	v, err := try[api.Call](g.o.caller, api.CallWait, api.CallRef{Call: g.id})
	if err != nil {
		g.t.Fatal(err)
	}
	w := went{Call: v}
	for _, s := range []struct {
		file *os.File
		to   *string
	}{{g.out, &w.out}, {g.err, &w.err}} {
		b, err := os.ReadFile(s.file.Name())
		if err != nil {
			g.t.Fatal(err)
		}
		*s.to = string(b)
	}
	return w
}

// said waits until the call has written a text to stdout.
func (g *going) said(text string) {
	g.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		v, err := try[api.Call](g.o.caller, api.CallShow, api.CallRef{Call: g.id}) // before the look: what has ended writes no more
		if err != nil {
			g.t.Fatal(err)
		}
		if b, err := os.ReadFile(g.out.Name()); err != nil {
			g.t.Fatal(err)
		} else if bytes.Contains(b, []byte(text)) {
			return
		}
		if v.State == api.Ended {
			g.t.Fatalf("it ended before it said %q: %v", text, g.end())
		}
	}
	v, err := try[api.Call](g.o.caller, api.CallShow, api.CallRef{Call: g.id})
	tickets, _ := try[[]approval.Ticket](g.o.people, api.TicketList, api.TicketFilter{})
	g.t.Fatalf("it did not say %q: %+v %v, people are asked %+v", text, v, err, tickets)
}

// run runs a shell script in a box to its end.
func (o *outside) run(t testing.TB, profile, script string) went {
	t.Helper()
	return o.submit(t, profile, script).end()
}

// ticket waits until people are asked about something of a call.
func (o *outside) ticket(t testing.TB, call string) approval.Ticket {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		list, err := try[[]approval.Ticket](o.people, api.TicketList, api.TicketFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			if slices.Contains(k.Calls, call) {
				return k
			}
		}
	}
	v, err := try[api.Call](o.caller, api.CallShow, api.CallRef{Call: call})
	t.Fatalf("nobody was asked: %v %v", v, err)
	return approval.Ticket{}
}

// command runs clawsup as a person does, and gives what it wrote and its status.
func (o *outside) command(args ...string) (string, int) {
	o.t.Helper()
	return o.commandIn("", args...)
}

func (o *outside) commandIn(stdin string, args ...string) (string, int) {
	o.t.Helper()
	c := exec.Command(programs+"/clawsup", append([]string{"--config", o.dir + "/clawsup.toml"}, args...)...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

// receipts ends the daemon and gives what its log has of the network, by call.
func (o *outside) receipts() map[string][]audit.Receipt {
	o.t.Helper()
	if err := o.daemon.end(unix.SIGTERM); err != nil {
		o.t.Error(err)
	}
	all := map[string][]audit.Receipt{}
	for _, r := range o.verify() {
		if r.Kind == audit.Network {
			all[r.Call] = append(all[r.Call], r)
		}
	}
	return all
}

// needs skips a test for want of programs that boxes see.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip(err)
		}
	}
}

// about says whether a receipt has a text in its rule, its effect or a fact.
func about(r audit.Receipt, text string) bool {
	return strings.Contains(r.Rule, text) || strings.Contains(r.Effect, text) ||
		slices.ContainsFunc(r.Facts, func(f audit.Fact) bool { return strings.Contains(f.Value, text) })
}

// at says whether a packet went to a server, or to the resolver.
func at(names ...world.Name) func(world.Packet) bool {
	return func(p world.Packet) bool {
		if p.To.Addr() == world.Resolver && p.To.Port() == 53 {
			return true
		}
		return p.Link == world.Out && p.Protocol == unix.IPPROTO_TCP && slices.ContainsFunc(names, func(n world.Name) bool { return n.Leads(p.To.Addr()) })
	}
}

// rule is a rule of a profile. more are lines of TOML.
func rule(host, decision string, more ...string) string {
	return fmt.Sprintf("[[network.rule]]\nhost = %q\ndecision = %q\n%s\n", host, decision, strings.Join(more, "\n"))
}
