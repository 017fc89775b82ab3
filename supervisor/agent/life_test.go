// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/audit"
)

// get asks an agent that serves, over its published port.
func get(t *testing.T, at, path string) (string, error) {
	t.Helper()
	c, err := net.DialTimeout("tcp", at, patience)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, at)
	answer, err := io.ReadAll(c)
	_, body, found := strings.Cut(string(answer), "\r\n\r\n")
	if err == nil && !found {
		err = io.ErrUnexpectedEOF
	}
	return body, err
}

// An agent's whole life: ready by its probe, its port published, a service of
// the host's reached, frozen, thawed, stopped.
func TestLife(t *testing.T) {
	h := newHouse(t)
	host, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer host.Close()
	go func() {
		for {
			c, err := host.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "from the host")
			c.Close()
		}
	}()
	at := freePort(t)
	o := h.options("claw", "serve", "--listen", at)
	o.Config.Publish = []string{at}
	o.Config.Loopback = []string{host.Addr().String()}
	o.Config.Ready.HTTP = "http://" + at + "/readyz"
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	s := a.await(h.ctx, Ready)
	if s.Memory == 0 || s.Pids < 2 || s.CPU == 0 {
		t.Errorf("it uses %d bytes, %d processes, %v", s.Memory, s.Pids, s.CPU)
	}
	if !s.Ready || s.UID != agentID || s.Network != "none" || len(s.Snapshots) != 1 {
		t.Errorf("status %+v", s)
	}
	if body, err := get(t, at, "/readyz"); err != nil || body != "ok\n" {
		t.Errorf("published: %q, %v", body, err)
	}
	if body, err := get(t, at, "/fetch?"+host.Addr().String()); err != nil || body != "from the host" {
		t.Errorf("loopback: %q, %v", body, err)
	}
	if body, err := get(t, at, "/fetch?127.0.0.1:22"); err != nil || body == "" || strings.Contains(body, "SSH") {
		t.Errorf("a port of the host that was not named: %q, %v", body, err)
	}
	info, err := os.Stat(o.Config.StateDir)
	must(t, err)
	if st := info.Sys(); info.Mode().Perm() != 0o700 || st == nil {
		t.Errorf("the state directory has mode %v", info.Mode())
	}

	must(t, a.Freeze(h.ctx))
	if s := a.Status(); s.State != "frozen" {
		t.Errorf("frozen: %+v", s)
	}
	must(t, a.Thaw(h.ctx))
	a.await(h.ctx, Ready)
	if _, err := get(t, at, "/pid"); err != nil {
		t.Error(err)
	}
	must(t, a.daily(h.ctx, time.Now().Add(25*time.Hour)))
	if snaps := a.Snapshots(); len(snaps) != 2 || snaps[0].Why != "daily" {
		t.Errorf("snapshots: %+v", snaps)
	}
	if _, err := get(t, at, "/pid"); err != nil {
		t.Errorf("after the daily copy: %v", err)
	}
	must(t, a.Start(h.ctx)) // it runs already
	must(t, a.Stop(h.ctx))
	if s := a.Status(); s.State != "stopped" || s.Last != "ended by SIGTERM" || s.Ready {
		t.Errorf("stopped: %+v", s)
	}
	// The port is still the agent's, so that nobody else can take it.
	if l, err := net.Listen("tcp", at); err == nil {
		l.Close()
		t.Error("the port of a stopped agent could be taken")
	}
	if _, err := get(t, at, "/pid"); err == nil {
		t.Error("a stopped agent answered")
	}
	must(t, a.Start(h.ctx))
	a.await(h.ctx, Ready)
	must(t, a.Restart(h.ctx))
	a.await(h.ctx, Ready)
	want := []string{"snapshot start", "start", "ready", "freeze", "thaw", "snapshot daily", "stop", "end signalled",
		"snapshot start", "start", "ready", "restart", "end signalled", "snapshot start", "start", "ready"}
	if got := a.steps(); !slices.Equal(got, want) {
		t.Errorf("receipts\n%q, want\n%q", got, want)
	}
	if text, err := a.Logs(0); err != nil || !strings.Contains(string(text), `"serve"`) {
		t.Errorf("it wrote %q, %v", text, err)
	}
	if text, err := a.Logs(5); err != nil || len(text) != 5 {
		t.Errorf("its last five bytes are %q, %v", text, err)
	}
}

func TestRestartPolicyInAction(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		status int
		want   State
		last   string
	}{{78, Failed, "exited with status 78"}, {0, Stopped, "exited with status 0"}} {
		o := h.options(fmt.Sprintf("exit-%d", c.status), "exit", "--status", fmt.Sprint(c.status))
		o.Config.Restart = supervisor.RestartOnFailure
		a := h.settle(o)
		must(t, a.Start(h.ctx))
		if s := a.await(h.ctx, c.want); s.Last != c.last || s.Restarts != 0 {
			t.Errorf("%+v", s)
		}
	}
	// It fails until its third run.
	o := h.options("third", "stay")
	o.Config.Command = []string{"/bin/sh", "-c", `echo x >>runs; [ $(wc -l <runs) -ge 3 ] || exit 1; echo "$HOME $NAME $LD_PRELOAD"; exit 0`}
	o.Config.Restart = supervisor.RestartOnFailure
	o.Config.Environment = map[string]string{"NAME": "value"}
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	for {
		if s := a.await(h.ctx, Stopped); s.Restarts == 2 && s.Last == "exited with status 0" {
			break
		} else if s.Restarts > 2 {
			t.Fatalf("%+v", s)
		}
	}
	if text, err := a.Logs(0); err != nil || string(text) != o.Config.StateDir+" value \n" {
		t.Errorf("it wrote %q, %v", text, err)
	}
	// A start that fails by itself is tried again; one for a person to mend is not.
	o = h.options("missing", "stay")
	o.Config.Command = []string{"/usr/bin/there-is-no-such-program"}
	o.Config.Restart = supervisor.RestartOnFailure
	o.Config.Backoff = profiles.Duration(time.Hour)
	a = h.settle(o)
	if err := a.Start(h.ctx); err == nil || a.Status().State != "waiting" || a.Status().Next.IsZero() {
		t.Errorf("%v, %+v", err, a.Status())
	}
	must(t, a.Stop(h.ctx))
	if s := a.Status(); s.State != "stopped" || !s.Next.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestNotReadyInTime(t *testing.T) {
	h := newHouse(t)
	o := h.options("claw", "stubborn")
	o.Config.Ready.TCP = freePort(t)
	o.Config.Ready.Timeout = profiles.Duration(100 * time.Millisecond)
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	if s := a.await(h.ctx, Failed); !strings.Contains(s.Last, "not ready in time") {
		t.Errorf("%+v", s)
	}
	if got, want := a.steps(), []string{"snapshot start", "start", "ready failed", "end stopped"}; !slices.Equal(got, want) {
		t.Errorf("receipts %q, want %q", got, want)
	}
}

// hostileLives are those that don't want to end.
var hostileLives = []string{"stubborn", "fork-bomb", "halt"}

// awaitWord waits until the agent has written a word.
func (r *resident) awaitWord(ctx context.Context, word string) {
	r.t.Helper()
	log, err := r.openLogs(os.O_RDONLY)
	must(r.t, err)
	defer closeLogs(log)
	tick := time.NewTicker(5 * time.Millisecond) // a file has no event
	defer tick.Stop()
	for {
		if text, err := r.Logs(0); err == nil && strings.Contains(string(text), word) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			text, _ := r.Logs(0)
			r.t.Fatalf("it never wrote %q but %q", word, text)
		}
	}
}

// boxed says whether any process of the host runs as the agent's user.
func boxed(t *testing.T) (pids []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must(t, err)
	for _, e := range entries {
		var st unix.Stat_t
		if e.Name()[0] >= '0' && e.Name()[0] <= '9' && unix.Stat("/proc/"+e.Name(), &st) == nil && st.Uid == agentID {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

func TestStopOfTheHostile(t *testing.T) {
	h := newHouse(t)
	for i, mode := range hostileLives {
		for j, way := range []string{"stop", "stop frozen", "kill", "kill while it is stopping", "restart"} {
			if testing.Short() && i != j%len(hostileLives) { // each way once
				continue
			}
			name := mode + "-" + strings.ReplaceAll(way, " ", "-")
			o := h.options(name, mode)
			o.Config.StopTimeout = profiles.Duration(50 * time.Millisecond)
			a := h.settle(o)
			must(t, a.Start(h.ctx))
			a.awaitWord(h.ctx, `"stay"`)
			if len(boxed(t)) == 0 {
				t.Errorf("%s: nothing runs as the agent's user", name)
			}
			switch way {
			case "stop":
				must(t, a.Stop(h.ctx))
			case "stop frozen":
				must(t, a.Freeze(h.ctx))
				must(t, a.Stop(h.ctx))
			case "kill":
				must(t, a.Kill(h.ctx, "test"))
			case "kill while it is stopping":
				a.o.Config.StopTimeout = profiles.Duration(time.Hour)
				stopped := make(chan error, 1)
				go func() { stopped <- a.Stop(h.ctx) }()
				a.await(h.ctx, Stopping)
				must(t, a.Kill(h.ctx, "test"))
				must(t, <-stopped)
			case "restart":
				must(t, a.Restart(h.ctx))
				must(t, a.Kill(h.ctx, "test"))
			}
			if s := a.Status(); s.State != "stopped" {
				t.Errorf("%s: %+v", name, s)
			}
			if left := boxed(t); len(left) > 0 {
				t.Fatalf("%s: left are %v", name, left)
			}
		}
	}
}

func TestOutOfMemory(t *testing.T) {
	h := newHouse(t)
	o := h.options("claw", "eat")
	o.Config.Limits.Memory = 64 << 20
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	if s := a.await(h.ctx, Failed); s.Last != "out-of-memory" {
		t.Errorf("%+v", s)
	}
	if left := boxed(t); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// Whoever stops an agent doesn't wait until it has started.
func TestStopWhileItStarts(t *testing.T) {
	h := newHouse(t)
	o := h.options("claw", "stay")
	must(t, os.Mkdir(o.Config.StateDir, 0o700))
	files := 20_000
	if testing.Short() {
		files = 5_000
	}
	for i := range files {
		must(t, os.WriteFile(filepath.Join(o.Config.StateDir, fmt.Sprint(i)), nil, 0o600))
	}
	must(t, os.Chown(o.Config.StateDir, agentID, agentID))
	a := h.settle(o)
	started := make(chan error, 1)
	go func() { started <- a.Start(h.ctx) }()
	a.await(h.ctx, Starting)
	must(t, a.Stop(h.ctx))
	if s := a.Status(); s.State != "stopped" {
		t.Errorf("%+v", s)
	}
	if err := <-started; !errors.Is(err, context.Canceled) {
		t.Errorf("the start answered %v", err)
	}
	if left := boxed(t); len(left) > 0 || len(a.Snapshots()) != 0 {
		t.Errorf("left are %v, snapshots %+v", left, a.Snapshots())
	}
}

// Kill holds until somebody starts the agent, whatever the policy says.
func TestKillHolds(t *testing.T) {
	h := newHouse(t)
	o := h.options("claw", "exit", "--status", "1")
	o.Config.Restart = supervisor.RestartAlways
	o.Config.BackoffMax = o.Config.Backoff
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	a.await(h.ctx, Waiting, Starting, Running)
	must(t, a.Kill(h.ctx, "lockdown"))
	// Whatever was on its way came before the turn that Kill took.
	if s := a.Status(); s.State != "stopped" {
		t.Errorf("%+v", s)
	}
	a.mu.Lock()
	if a.timer != nil || a.run != nil {
		t.Error("something is about to start")
	}
	a.mu.Unlock()
	if err := a.Freeze(h.ctx); !errors.Is(err, errNotRunning) {
		t.Errorf("freeze: %v", err)
	}
}

// The next process goes on with an agent that was kept.
func TestLeaveAndAdopt(t *testing.T) {
	h := newHouse(t)
	at := freePort(t)
	o := h.options("claw", "serve", "--listen", at)
	o.Config.Publish = []string{at}
	o.Config.Ready.HTTP = "http://" + at + "/readyz"
	var kept []*os.File
	o.Keep = func(name string, files []*os.File) error {
		if name != "agent-claw" {
			t.Errorf("kept as %q", name)
		}
		for _, f := range files {
			fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return err
			}
			kept = append(kept, os.NewFile(uintptr(fd), f.Name()))
		}
		return nil
	}
	forgotten := 0
	o.Forget = func(string) error { forgotten++; return nil }
	first := h.settle(o)
	must(t, first.Start(h.ctx))
	first.await(h.ctx, Ready)
	before := boxed(t)
	must(t, first.Leave(h.ctx))
	if _, err := get(t, at, "/pid"); err == nil {
		t.Error("the port answers though nobody relays")
	}

	o.Adopt, kept = kept, nil
	o.Config.Autostart = true
	second := h.settle(o)
	go second.Run(h.ctx)
	second.await(h.ctx, Ready)
	if after := boxed(t); !slices.Equal(before, after) {
		t.Errorf("before %v, after %v", before, after)
	}
	if _, err := get(t, at, "/pid"); err != nil {
		t.Error(err)
	}
	if forgotten != 0 {
		t.Error("its descriptors were forgotten")
	}
	must(t, second.Stop(h.ctx))
	if left := boxed(t); len(left) > 0 || forgotten != 1 {
		t.Errorf("left %v, forgotten %d times", left, forgotten)
	}
	if got, want := second.steps(), []string{"adopt", "ready", "stop", "end signalled"}; !slices.Equal(got, want) {
		t.Errorf("receipts %q, want %q", got, want)
	}
}

// A person's freeze outlives this process; the one of a daily copy does not.
func TestAdoptFrozen(t *testing.T) {
	h := newHouse(t)
	for _, asked := range []bool{true, false} {
		o := h.options(fmt.Sprintf("claw-%v", asked), "stay")
		var kept []*os.File
		o.Keep = func(_ string, files []*os.File) error {
			for _, f := range files {
				fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
				if err != nil {
					return err
				}
				kept = append(kept, os.NewFile(uintptr(fd), f.Name()))
			}
			return nil
		}
		first := h.settle(o)
		must(t, first.Start(h.ctx))
		first.awaitWord(h.ctx, `"stay"`)
		if asked {
			must(t, first.Freeze(h.ctx))
		} else {
			must(t, first.run.service.Freeze(h.ctx)) // and this process is killed
		}
		must(t, first.Leave(h.ctx))
		o.Adopt = kept
		second := h.settle(o)
		want := Ready
		if asked {
			want = Frozen
		}
		if s := second.Status(); s.State != want.String() {
			t.Errorf("frozen by a person %v: %+v", asked, s)
		}
		if asked {
			must(t, second.Thaw(h.ctx))
		}
		must(t, second.Stop(h.ctx))
		if s := second.Status(); s.Last != "ended by SIGTERM" {
			t.Errorf("frozen by a person %v: %+v", asked, s)
		}
	}
}

// What can't be adopted is cleared away, and the agent starts anew.
func TestAdoptRubbish(t *testing.T) {
	h := newHouse(t)
	r, w, err := os.Pipe()
	must(t, err)
	defer w.Close()
	o := h.options("claw", "stay")
	o.Adopt = []*os.File{r}
	o.Config.Autostart = true
	a := h.settle(o)
	go a.Run(h.ctx)
	a.await(h.ctx, Ready)
	if got := a.steps(); len(got) == 0 || got[0] != "adopt failed" {
		t.Errorf("receipts %q", got)
	}
}

// An agent that nobody keeps ends with this process.
func TestLeaveWithoutAKeeper(t *testing.T) {
	h := newHouse(t)
	a := h.settle(h.options("claw", "stay"))
	must(t, a.Start(h.ctx))
	a.awaitWord(h.ctx, `"stay"`)
	must(t, a.Leave(h.ctx))
	if left := boxed(t); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if err := a.Start(h.ctx); err == nil {
		t.Error("it could be started after Leave")
	}
}

// A gateway's engine, with a server, a watched file and threads.
func TestNodeInTheBox(t *testing.T) {
	if _, err := os.Stat("/usr/bin/node"); err != nil {
		t.Skip("no /usr/bin/node here")
	}
	h := newHouse(t)
	at := freePort(t)
	_, port, _ := net.SplitHostPort(at)
	o := h.options("claw")
	o.Config.Command = []string{"/usr/bin/node", "-e", `
		const fs = require('fs'), http = require('http'), os = require('os'), { Worker } = require('worker_threads');
		fs.writeFileSync(os.homedir() + '/config', 'old');
		new Worker("require('worker_threads').parentPort.postMessage(1)", { eval: true }).on('message', () => {
			fs.watch(os.homedir() + '/config', () => console.log('watched'));
			http.createServer((q, a) => { fs.writeFileSync(os.homedir() + '/config', 'new'); a.end('ok') }).listen(` + port + `, '127.0.0.1');
		});`}
	o.Config.Limits = supervisor.AgentLimits{Memory: 512 << 20, Pids: 128, CPU: 2}
	o.Config.Publish = []string{at}
	o.Config.Ready.HTTP = "http://" + at + "/"
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	a.await(h.ctx, Ready)
	c, err := net.Dial("tcp", at)
	must(t, err)
	defer c.Close()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("%q, %v", line, err)
	}
	a.awaitWord(h.ctx, "watched")
}

func TestStateMax(t *testing.T) {
	h := newHouse(t)
	for _, snapshots := range []int{0, 2} {
		o := h.options(fmt.Sprintf("claw-%d", snapshots), "fill", "stay", "--bytes", fmt.Sprint(2<<20))
		o.Config.Snapshots, o.Config.StateMax = snapshots, 1<<20
		a := h.settle(o)
		must(t, a.Start(h.ctx))
		a.awaitWord(h.ctx, `"stay"`)
		must(t, a.Stop(h.ctx))
		err := a.Start(h.ctx)
		if err == nil || !strings.Contains(err.Error(), "state_max") || a.Status().State != "failed" {
			t.Errorf("%v, %+v", err, a.Status())
		}
		if snapshots == 0 {
			continue
		}
		// The way back is a snapshot.
		must(t, a.Restore(h.ctx, a.Snapshots()[0].Name))
		must(t, a.Start(h.ctx))
	}
}

// An agent that fills its state directory while it runs.
func TestGrowingOverStateMaxFreezes(t *testing.T) {
	h := newHouse(t)
	o := h.options("claw", "fill", "stay", "--bytes", fmt.Sprint(4<<20))
	o.Config.StateMax = 1 << 20
	a := h.settle(o)
	a.sizeLook = 5 * time.Millisecond
	must(t, a.Start(h.ctx))
	s := a.await(h.ctx, Frozen)
	if !slices.ContainsFunc(s.Notes, func(n string) bool { return strings.Contains(n, "state_max") }) {
		t.Errorf("notes %q", s.Notes)
	}
	must(t, a.Stop(h.ctx))
}

// Restoring what was there before a hostile run of the agent.
func TestRestoreAfterTheHostile(t *testing.T) {
	h := newHouse(t)
	canary := filepath.Join(h.dir, "canary")
	must(t, os.WriteFile(canary, []byte("untouched"), 0o600))
	o := h.options("claw", "trap", "stay", "--target", canary, "--count", "1000")
	must(t, os.Mkdir(o.Config.StateDir, 0o700))
	must(t, os.WriteFile(filepath.Join(o.Config.StateDir, "memory"), []byte("good"), 0o600))
	must(t, os.Chown(filepath.Join(o.Config.StateDir, "memory"), agentID, agentID))
	must(t, os.Chown(o.Config.StateDir, agentID, agentID))
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	a.awaitWord(h.ctx, `"stay"`)
	must(t, a.daily(h.ctx, time.Now().Add(25*time.Hour)))
	good := a.Snapshots()[1]
	if good.Why != "start" {
		t.Fatalf("%+v", a.Snapshots())
	}
	must(t, a.Restore(h.ctx, good.Name))
	if s := a.Status(); s.State != "stopped" {
		t.Errorf("%+v", s)
	}
	entries, err := os.ReadDir(o.Config.StateDir)
	must(t, err)
	if len(entries) != 1 || entries[0].Name() != "memory" {
		t.Errorf("restored %v", entries)
	}
	if text, err := os.ReadFile(canary); err != nil || string(text) != "untouched" {
		t.Errorf("the canary is %q, %v", text, err)
	}
	var st unix.Stat_t
	must(t, unix.Stat(canary, &st))
	if st.Uid != 0 || st.Mode&0o7777 != 0o600 || st.Nlink != 1 {
		t.Errorf("the canary is %+v", st)
	}
	if list := a.Snapshots(); len(list) != 3 || list[0].Why != "restore" {
		t.Errorf("%+v", list)
	}
	i := slices.IndexFunc(a.receipts, func(r audit.Receipt) bool { return r.Rule == "agent.restore" })
	if i < 0 || a.receipts[i].Status != "" {
		t.Errorf("receipts %q", a.steps())
	}
}
