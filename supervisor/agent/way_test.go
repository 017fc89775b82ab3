// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor"
)

// exit is a way out that has one listener in the box's network, and writes down
// what becomes of it.
type exit struct {
	dir    string // shown to the box
	refuse string // the step that fails

	mu    sync.Mutex
	in    func(func() error) error // mu
	l     net.Listener             // mu
	steps []string                 // mu
}

// exitAddress is where it listens.
const exitAddress = "127.0.0.1:99"

var errExit = errors.New("this step fails")

// did notes a step.
func (e *exit) did(step string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.steps = append(e.steps, step)
	if step == e.refuse {
		return errExit
	}
	return nil
}

func (e *exit) Binds() []rootfs.Bind {
	return []rootfs.Bind{{Source: e.dir, Target: e.dir}}
}

func (e *exit) Environment(have []string) ([]string, error) {
	if !slices.Contains(have, "NAME=value") {
		return nil, fmt.Errorf("it is told of %q", have)
	}
	return []string{"WAY=" + e.dir}, e.did("environment")
}

func (e *exit) Open(in func(func() error) error) error {
	e.mu.Lock()
	e.in = in
	e.mu.Unlock()
	if err := e.listen(); err != nil {
		return err
	}
	return e.did("open")
}

func (e *exit) listen() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.in(func() (err error) {
		e.l, err = net.Listen("tcp", exitAddress)
		return err
	})
}

// over takes the listener away.
func (e *exit) over() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.l != nil {
		_ = e.l.Close()
	}
}

func (e *exit) Close() error { e.over(); return e.did("close") }
func (e *exit) Leave() error { e.over(); return e.did("leave") }

func (e *exit) history() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.steps, " ")
}

// outward are options of an agent that has ways out, which are written down too.
// Its program connects to the way out before it says anything.
func (h *house) outward(name string) (o Options, ways *[]*exit) {
	h.t.Helper()
	o = h.options(name)
	o.Config.Command = []string{"/bin/bash", "-c", "exec 3<>/dev/tcp/" + strings.Replace(exitAddress, ":", "/", 1) + ` || exit 1; ls "$WAY"; trap 'exit 0' TERM; while :; do sleep 0.05; done`}
	o.Config.Network = supervisor.AgentNetworkEgress
	o.Config.Environment = map[string]string{"NAME": "value"}
	file := filepath.Join(h.dir, "outward.toml")
	must(h.t, os.WriteFile(file, []byte("extends = \"agent\"\n[network]\nmode = \"egress\"\n"), 0o644))
	var err error
	o.Profile, err = profiles.Load(file, nil)
	must(h.t, err)
	ways = new([]*exit)
	o.Way = func(adopt bool) (Way, error) {
		dir := filepath.Join(h.dir, fmt.Sprintf("%s-way-%d", name, len(*ways)))
		must(h.t, os.Mkdir(dir, 0o755))
		must(h.t, os.WriteFile(filepath.Join(dir, "shown"), nil, 0o644))
		w := &exit{dir: dir}
		if adopt {
			w.steps = []string{"adopt"}
		}
		*ways = append(*ways, w)
		return w, nil
	}
	return o, ways
}

// A way out is there before the program runs, and gone with it; each run has its own.
func TestWay(t *testing.T) {
	h := newHouse(t)
	o, ways := h.outward("claw")
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	a.awaitWord(h.ctx, "shown") // it connected, or it would have ended
	first := (*ways)[0]
	if got := first.history(); got != "environment open" {
		t.Errorf("while it runs: %s", got)
	}
	// The box's network can still be entered, which is now the service's.
	first.over()
	must(t, first.listen())
	must(t, a.Restart(h.ctx))
	if len(*ways) != 2 {
		t.Fatalf("two runs had %d ways out", len(*ways))
	}
	second := (*ways)[1]
	if one, two := first.history(), second.history(); one != "environment open close" || two != "environment open" {
		t.Errorf("after a restart: %s, and %s", one, two)
	}
	must(t, a.Kill(h.ctx, "test"))
	if got := second.history(); got != "environment open close" {
		t.Errorf("after its end: %s", got)
	}
	if err := second.listen(); err == nil {
		t.Error("the network of a box that is gone could be entered")
	}
}

// Without its way out it does not run, and nothing of it is left.
func TestWayThatFails(t *testing.T) {
	h := newHouse(t)
	for i, refuse := range []string{"make", "environment", "open"} {
		o, ways := h.outward(fmt.Sprint("claw-", i))
		whole := o.Way
		o.Way = func(adopt bool) (Way, error) {
			if refuse == "make" {
				return nil, errExit
			}
			w, err := whole(adopt)
			w.(*exit).refuse = refuse
			return w, err
		}
		a := h.settle(o)
		if err := a.Start(h.ctx); !errors.Is(err, errExit) {
			t.Errorf("%s: %v", refuse, err)
		}
		if s := a.Status(); s.State != "failed" {
			t.Errorf("%s: %+v", refuse, s)
		}
		for _, w := range *ways {
			if got := w.history(); !strings.HasSuffix(got, refuse+" close") {
				t.Errorf("%s: %s", refuse, got)
			}
		}
		if left := boxed(t); len(left) > 0 {
			t.Errorf("%s: left are %v", refuse, left)
		}
	}
	// Neither where the program can't be run.
	o, ways := h.outward("claw")
	o.Config.Command = []string{"/usr/bin/there-is-no-such-program"}
	a := h.settle(o)
	if err := a.Start(h.ctx); err == nil {
		t.Error("there is such a program")
	}
	if got := (*ways)[0].history(); got != "environment open close" {
		t.Error(got)
	}
}

// The next process takes the way out of an agent up that goes on.
func TestAdoptWay(t *testing.T) {
	h := newHouse(t)
	o, ways := h.outward("claw")
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
	o.Forget = func(string) error { return nil }
	first := h.settle(o)
	must(t, first.Start(h.ctx))
	first.awaitWord(h.ctx, "shown")
	must(t, first.Leave(h.ctx))
	o.Adopt = kept
	second := h.settle(o)
	if one, two := (*ways)[0].history(), (*ways)[1].history(); one != "environment open leave" || two != "adopt open" {
		t.Errorf("%s, and %s", one, two)
	}
	must(t, second.Stop(h.ctx))
	if got := (*ways)[1].history(); got != "adopt open close" {
		t.Error(got)
	}
}
