// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// pool asks what there is of boxes that wait.
func (h *host) pool(c *api.Client) api.Pool {
	h.t.Helper()
	return ask[api.Daemon](h.t, c, api.Status, api.Nothing{}).Pool
}

// awaitPool asks until it is as wished: the making of boxes has no event.
func (h *host) awaitPool(c *api.Client, what string, good func(*api.Pool) bool) api.Pool {
	h.t.Helper()
	for end := time.Now().Add(patience); ; {
		p := h.pool(c)
		if good(&p) {
			return p
		}
		if time.Now().After(end) {
			h.t.Fatalf("%s: %+v", what, p)
		}
		time.Sleep(time.Millisecond)
	}
}

func waits(p *api.Pool) bool { return p.Total.Waiting > 0 }

// run has a call carried out and gives how it ended.
func (h *host) run(c *api.Client, s api.Submit) api.Call {
	h.t.Helper()
	s.Wait = true
	return ask[api.Call](h.t, c, api.CallSubmit, s)
}

func (h *host) mustRun(c *api.Client, s api.Submit) {
	h.t.Helper()
	if v := h.run(c, s); v.Result.Status != runtime.Exited || v.Result.ExitCode != 0 {
		h.t.Fatalf("%+v", v.Result)
	}
}

// TestCallsFindBoxes: after the first call of a kind a box waits for the next,
// which takes it; each is used once, and what is on a session's is that one's.
func TestCallsFindBoxes(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	admin := h.dial("admin")
	h.mustRun(c, shell("echo mine >/tmp/x"))
	for i := range 3 {
		h.awaitPool(admin, "a box for the next", waits)
		h.mustRun(c, shell("test ! -e /tmp/x && echo mine >/tmp/x"))
		if p := h.pool(admin); p.Total.Hits != uint64(i+1) || p.Total.Misses != 1 {
			t.Fatalf("%+v", p.Total)
		}
	}
	in := func(session, script string) api.Submit {
		s := shell(script)
		s.Session = session
		return s
	}
	h.mustRun(c, in("one", "echo one >/workspace/x"))
	h.mustRun(c, in("two", "test ! -e /workspace/x"))
	h.awaitPool(admin, "boxes for both", func(p *api.Pool) bool { return p.Total.Waiting >= 3 })
	before := h.pool(admin).Total.Hits
	h.mustRun(c, in("one", "test $(cat /workspace/x) = one"))
	h.mustRun(c, in("two", "test ! -e /workspace/x"))
	if hits := h.pool(admin).Total.Hits - before; hits != 2 {
		t.Errorf("%d of 2 found a box", hits)
	}
	if p := h.pool(admin); len(p.Profiles) != 1 || p.Profiles[0].Profile != "default" || p.Profiles[0].Hits != 5 {
		t.Errorf("%+v", p.Profiles)
	}
}

// TestPoolIsDrained by a reload, a session's removal and a lockdown; a profile
// that has changed holds for the very next call.
func TestPoolIsDrained(t *testing.T) {
	h := newHost(t, "")
	h.write("profiles/small.toml", "extends = \"default\"\n[limits]\nopen_files = 64\n")
	h.start()
	c, admin := h.dial("call"), h.dial("admin")
	limited := func(n int) api.Submit {
		s := shell(fmt.Sprintf("test $(ulimit -n) = %d", n))
		s.Profile = "small"
		return s
	}
	h.mustRun(c, limited(64))
	h.awaitPool(admin, "a box", waits)
	h.write("profiles/small.toml", "extends = \"default\"\n[limits]\nopen_files = 32\n")
	ask[api.Daemon](t, admin, api.Reload, api.Nothing{})
	if p := h.pool(admin); p.Total.Waiting != 0 || p.Templates != 0 {
		t.Errorf("after the reload: %+v", p)
	}
	h.mustRun(c, limited(32))

	in := shell("true")
	in.Session = "gone"
	v := h.run(c, in)
	h.awaitPool(admin, "boxes of both", func(p *api.Pool) bool { return p.Total.Waiting >= 2 })
	ask[api.Session](t, admin, api.SessionRemove, api.SessionRef{Session: v.Session})
	h.awaitPool(admin, "the other's alone", func(p *api.Pool) bool { return p.Total.Waiting == 1 })

	report := ask[api.LockdownReport](t, admin, api.Lockdown, api.LockdownOrder{Reason: "drill"})
	if p := h.pool(admin); len(report.Failed) > 0 || p.Total.Waiting != 0 || !p.Stopped {
		t.Errorf("after the lockdown: %+v %+v", report, p)
	}
	ask[api.Daemon](t, admin, api.Unlock, api.Reason{Reason: "over"})
	h.mustRun(c, shell("true"))
	if p := h.awaitPool(admin, "a box again", waits); p.Stopped {
		t.Errorf("%+v", p)
	}
}

// TestPoolOff: each call has its own box made, and nothing waits.
func TestPoolOff(t *testing.T) {
	h := begin(t, "[pool]\nboxes = 0\n")
	c, admin := h.dial("call"), h.dial("admin")
	for range 3 {
		h.mustRun(c, shell("true"))
	}
	if p := h.pool(admin); p.Total.Hits != 0 || p.Total.Misses != 3 || p.Total.Waiting != 0 || p.Templates != 0 {
		t.Errorf("%+v", p)
	}
}

// TestFullHost: where all slots are taken a call waits for one, boxes that wait
// for other calls make room, and who gets none in time is told why.
func TestFullHost(t *testing.T) {
	h := newHost(t, "[pool]\nwait = \"300ms\"\n")
	const slots = 3
	h.write("clawsup.d/slots.toml", fmt.Sprintf("slots = %d\n", slots))
	h.start()
	c, admin := h.dial("call"), h.dial("admin")
	for _, name := range []string{"one", "two", "three"} { // so that boxes wait in all slots
		s := shell("true")
		s.Session = name
		h.mustRun(c, s)
	}
	h.mustRun(c, shell("true"))

	busy := make(chan api.Call, slots)
	stop := h.dial("approval")
	for range slots {
		go func() {
			v, _ := try[api.Call](h.dial("call"), api.CallSubmit, api.Submit{Args: args("sleep", "600"), Wait: true})
			busy <- v
		}()
	}
	h.awaitPool(admin, "all at work", func(*api.Pool) bool {
		return len(running(ask[[]api.Call](t, c, api.CallList, api.CallFilter{Live: true}))) == slots
	})
	v := h.run(c, shell("true"))
	if v.Result.Status != runtime.SandboxError || v.Result.Step != runtime.StepSlot || !strings.Contains(v.Result.Message, "boxes are in use") {
		t.Errorf("no slot: %+v", v.Result)
	}
	if p := h.pool(admin); p.Total.Refused != 1 {
		t.Errorf("%+v", p.Total)
	}
	// One that waits gets the slot that is given back.
	next := make(chan api.Call, 1)
	go func() {
		s := shell("true")
		s.Wait = true
		v, _ := try[api.Call](h.dial("call"), api.CallSubmit, s)
		next <- v
	}()
	h.awaitPool(admin, "one waits for room", func(p *api.Pool) bool { return p.Queued == 1 || p.Making == 1 })
	first := running(ask[[]api.Call](t, c, api.CallList, api.CallFilter{Live: true}))[0]
	ask[api.Stopped](t, stop, api.CallStop, api.Stop{Call: first.ID})
	if v := <-next; v.Result == nil || v.Result.Status != runtime.Exited {
		t.Errorf("it waited: %+v", v.Result)
	}
	ask[api.Stopped](t, stop, api.CallStop, api.Stop{All: true})
	for range slots {
		<-busy
	}
}

func running(all []api.Call) (list []api.Call) {
	for _, v := range all {
		if v.State == api.Running {
			list = append(list, v)
		}
	}
	return list
}

// TestUnlockWaitsForTheLockdown: what is still locking up can't be unlocked yet.
func TestUnlockWaitsForTheLockdown(t *testing.T) {
	h := begin(t, "")
	admin := h.dial("admin")
	ask[api.LockdownReport](t, admin, api.Lockdown, api.LockdownOrder{})
	at := func(n int) {
		h.broker.mu.Lock()
		defer h.broker.mu.Unlock()
		h.broker.locking += n
	}
	at(1)
	if _, err := try[api.Daemon](admin, api.Unlock, api.Reason{}); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("while it is at work: %v", err)
	}
	at(-1)
	ask[api.Daemon](t, admin, api.Unlock, api.Reason{})
	h.mustRun(h.dial("call"), shell("true"))
}

// TestNoBoxInALockdown: a call that was let in before it gets no box to run in.
func TestNoBoxInALockdown(t *testing.T) {
	h := begin(t, "[calls]\nconcurrency = 1\n")
	c := h.dial("call")
	first := ask[api.Call](t, c, api.CallSubmit, shell("echo up; sleep 600"))
	h.awaitOutput(c, first.ID)
	second := shell("echo ran >/workspace/ran")
	second.Profile, second.Workspace = "rw", raw.String(h.dir+"/work")
	waits := ask[api.Call](t, c, api.CallSubmit, second)
	h.broker.mu.Lock()
	h.broker.locked = "a lockdown that did not see the call"
	h.broker.mu.Unlock()
	ask[api.Call](t, c, api.CallCancel, api.CallRef{Call: first.ID})
	v := ask[api.Call](t, c, api.CallWait, api.CallRef{Call: waits.ID})
	if v.Result == nil || v.Result.Status != runtime.Stopped {
		t.Errorf("%+v", v.Result)
	}
	if _, err := os.Stat(filepath.Join(h.dir, "work", "ran")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it ran: %v", err)
	}
}
