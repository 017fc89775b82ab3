// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// connect gives a connection to one of the sockets that ends with the test.
func (s *site) connect(name string) *api.Client {
	s.t.Helper()
	c, err := s.dial(name)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// writing is a request for a script in the workspace, which it can write.
func (s *site) writing(profile, script string) api.Submit {
	return api.Submit{Args: raw.Of([]string{"sh", "-c", script}), Profile: profile, Workspace: raw.String(s.dir + "/work")}
}

// is says whether a file is in the workspace.
func (s *site) is(canary string) bool {
	_, err := os.Lstat(filepath.Join(s.dir, "work", canary))
	return err == nil
}

// asked waits until people are asked about a call, and gives the ticket.
func (s *site) asked(people *api.Client, call string) approval.Ticket {
	s.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		list, err := try[[]approval.Ticket](people, api.TicketList, api.TicketFilter{})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, k := range list {
			if strings.Contains(strings.Join(k.Calls, " "), call) {
				return k
			}
		}
	}
	s.t.Fatal("nobody was asked")
	return approval.Ticket{}
}

// began waits until a call runs.
func (s *site) began(c *api.Client, call string) {
	s.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if v, err := try[api.Call](c, api.CallShow, api.CallRef{Call: call}); err != nil {
			s.t.Fatal(err)
		} else if v.State == api.Running {
			return
		}
	}
	s.t.Fatal("the call does not run")
}

// TestFullDiskUnderTheLog: no receipt, no call: what can't be written down
// doesn't run, somebody hears of it, and with room again calls go on and nothing
// is lost.
func TestFullDiskUnderTheLog(t *testing.T) {
	s := newSite(t, "")
	dir := s.dir + "/state/audit"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(s.dir+"/state", 0o755)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	d := s.start()
	c, people := s.connect("call"), s.connect("approval")
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(s.dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var running api.Call
	if err := c.Call(context.Background(), api.CallSubmit, s.writing("rw", "read line; echo $line"), &running, in, out, out); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	s.began(c, running.ID)
	pending, err := try[api.Call](c, api.CallSubmit, s.writing("askrw", "touch asked"))
	if err != nil {
		t.Fatal(err)
	}
	k := s.asked(people, pending.ID)

	filler, err := os.Create(dir + "/filler")
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	_ = filler.Close()

	// The log's last block may take some more; then everything is refused.
	refused, unavailable := 0, 0
	var ran []string
	for n := 0; n < 200 && (refused < 3 || unavailable == 0); n++ {
		canary := fmt.Sprint("canary-", n)
		submit := s.writing("rw", "touch "+canary)
		submit.Wait = true
		v, err := try[api.Call](c, api.CallSubmit, submit)
		switch {
		case api.CodeOf(err) == api.CodeUnavailable:
			unavailable++
			refused++
		case err != nil:
			t.Fatal(err)
		case v.Result.Status == runtime.SandboxError:
			refused++
			if !strings.Contains(v.Result.Message, "make room") {
				t.Errorf("%+v", v.Result)
			}
		}
		if s.is(canary) {
			ran = append(ran, v.ID) // its decision was written, whether or not its outcome was
		} else if err == nil && v.Result.Status == runtime.Exited {
			t.Errorf("%s did not run: %+v", canary, v.Result)
		}
	}
	if unavailable == 0 {
		t.Errorf("%d calls were refused, and none as unavailable", refused)
	}
	d.await("RECEIPTS CAN'T BE WRITTEN")
	// Nor does a yes help, nor an end become one.
	_, err = try[api.Answered](people, api.TicketAnswer, approval.Answer{Ticket: k.ID, Revision: k.Revision, Verdict: approval.Allow})
	v, waited := try[api.Call](c, api.CallWait, api.CallRef{Call: pending.ID})
	if waited != nil || v.Result.Status != runtime.SandboxError || s.is("asked") {
		t.Errorf("asked: %v; %v %+v", err, waited, v.Result)
	}
	if _, err := io.WriteString(feed, "over\n"); err != nil {
		t.Fatal(err)
	}
	_ = feed.Close()
	if v, err := try[api.Call](c, api.CallWait, api.CallRef{Call: running.ID}); err != nil || v.Result.Status != runtime.SandboxError || v.Result.Step != runtime.StepReport {
		t.Errorf("the call that ran: %v %+v", err, v.Result)
	}
	state, err := try[api.Daemon](people, api.Status, api.Nothing{})
	if err != nil || !strings.Contains(fmt.Sprint(state.Notes), "receipts can't be written") {
		t.Errorf("its state: %v %+v", err, state)
	}

	if err := os.Remove(dir + "/filler"); err != nil {
		t.Fatal(err)
	}
	d.await("receipts can be written again")
	submit := s.writing("rw", "touch after")
	submit.Wait = true
	if v, err := try[api.Call](c, api.CallSubmit, submit); err != nil || v.Result.Status != runtime.Exited || !s.is("after") {
		t.Errorf("with room again: %v %+v", err, v.Result)
	}
	if err := d.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	s.start().end(unix.SIGTERM) // it ends what had no end
	s.closed()
	decided := map[string]bool{}
	for _, r := range s.verify() {
		decided[r.Call] = decided[r.Call] || r.Kind == audit.Decision && r.Decision == "allow"
	}
	for _, id := range append(ran, running.ID) {
		if !decided[id] {
			t.Errorf("call %s ran, and the log has no decision", id)
		}
	}
}

// TestUpgradeWithCallsRunning: another program takes the place of the one that
// runs. Calls end as supervisor-restart, once; no question is answered by it,
// and nothing runs twice.
func TestUpgradeWithCallsRunning(t *testing.T) {
	s := newSite(t, "[calls]\nper_session = 1\n")
	install := func() {
		for _, name := range []string{"clawsupd", "clawsup-init", "clawsup-template", "clawsup-inspect", "clawsup-egress"} {
			text, err := os.ReadFile(filepath.Join(programs, name))
			if err != nil {
				t.Fatal(err)
			}
			target := filepath.Join(s.dir, "bin", name)
			_ = os.MkdirAll(filepath.Dir(target), 0o755)
			if err := os.WriteFile(target+".new", text, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(target+".new", target); err != nil { // as a package does
				t.Fatal(err)
			}
		}
	}
	install()
	d := s.launch(s.dir + "/bin/clawsupd")
	d.await("ready: ")
	c, people := s.connect("call"), s.connect("approval")
	run := s.writing("rw", "echo x >>ran; sleep 600; touch canary")
	run.Key, run.Session = "running", "one"
	running, err := try[api.Call](c, api.CallSubmit, run)
	if err != nil {
		t.Fatal(err)
	}
	s.began(c, running.ID)
	for end := time.Now().Add(patience); !s.is("ran") && time.Now().Before(end); {
	}
	queue := run
	queue.Key = "queued"
	queued, err := try[api.Call](c, api.CallSubmit, queue)
	if err != nil {
		t.Fatal(err)
	}
	pending, err := try[api.Call](c, api.CallSubmit, s.writing("askrw", "touch canary"))
	if err != nil {
		t.Fatal(err)
	}
	k := s.asked(people, pending.ID)

	install()
	if err := d.end(unix.SIGTERM); err != nil {
		t.Errorf("the old one ended: %v", err)
	}
	d = s.launch(s.dir + "/bin/clawsupd")
	d.await("ready: ")
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", d.c.Process.Pid))
	if err != nil || exe != s.dir+"/bin/clawsupd" {
		t.Errorf("%s %v", exe, err)
	}
	c, people = s.connect("call"), s.connect("approval")
	for name, id := range map[string]string{"running": running.ID, "asked about": pending.ID} {
		v, err := try[api.Call](c, api.CallShow, api.CallRef{Call: id})
		if err != nil || v.State != api.Ended || v.Result.Status != runtime.SupervisorRestart {
			t.Errorf("%s: %v %+v", name, err, v.Result)
		}
	}
	// What had not been decided was told an end and may be asked for again.
	if v, err := try[api.Call](c, api.CallShow, api.CallRef{Call: queued.ID}); err == nil && v.Result.Status != runtime.SupervisorRestart {
		t.Errorf("queued: %+v", v.Result)
	}
	if v, err := try[api.Call](c, api.CallSubmit, run); err != nil || !v.Known || v.ID != running.ID {
		t.Errorf("by its key: %v %+v", err, v)
	}
	if _, err := try[api.Answered](people, api.TicketAnswer, approval.Answer{Ticket: k.ID, Revision: k.Revision, Verdict: approval.Allow}); api.CodeOf(err) != api.CodeOver {
		t.Errorf("yesterday's ticket: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(s.dir, "work", "ran")); err != nil || string(text) != "x\n" || s.is("canary") {
		t.Errorf("%q %v, canary %v", text, err, s.is("canary"))
	}
	if err := d.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	s.closed()
	if left, _ := filepath.Glob(s.dir + "/run/boxes/box-*[0-9]"); len(left) > 0 {
		t.Errorf("boxes are left: %v", left)
	}
}

// TestKilledInTheMiddleOfALine: half a line that a kill left is cut off, kept,
// and told of; what stands before it counts.
func TestKilledInTheMiddleOfALine(t *testing.T) {
	s := newSite(t, "")
	d := s.start()
	submit := s.writing("rw", "touch before")
	submit.Wait, submit.Key = true, "k"
	if v, err := try[api.Call](s.connect("call"), api.CallSubmit, submit); err != nil || v.Result.Status != runtime.Exited {
		t.Fatalf("%v %+v", err, v.Result)
	}
	d.end(unix.SIGKILL)
	segments, err := filepath.Glob(s.dir + "/state/audit/receipts-*.log")
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	last := text[bytes.LastIndexByte(text[:len(text)-1], '\n')+1:]
	half := last[:len(last)/2]
	f, err := os.OpenFile(segments[0], os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(half); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	d = s.start()
	if v, err := try[api.Call](s.connect("call"), api.CallSubmit, submit); err != nil || !v.Known {
		t.Errorf("what had ended is not known: %v %+v", err, v)
	}
	if err := d.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	told := 0
	for _, r := range s.verify() {
		if r.Rule == "audit.repair" && r.Status == "torn" {
			told++
			kept, err := os.ReadFile(filepath.Join(s.dir, "state/audit", r.Facts[len(r.Facts)-1].Value))
			if err != nil || !bytes.Equal(kept, half) {
				t.Errorf("the half line was not kept: %q %v", kept, err)
			}
		}
	}
	if told != 1 {
		t.Errorf("%d receipts tell of it", told)
	}
}

// TestStartedTwice: a second daemon changes nothing for the first.
func TestStartedTwice(t *testing.T) {
	s := newSite(t, "")
	d := s.start()
	c := s.connect("call")
	v, err := try[api.Call](c, api.CallSubmit, s.writing("rw", "sleep 600"))
	if err != nil {
		t.Fatal(err)
	}
	s.began(c, v.ID)
	config, err := os.ReadFile(s.dir + "/clawsup.toml")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"the same place":        func(c string) string { return c },
		"another run directory": func(c string) string { return strings.Replace(c, s.dir+"/run", s.dir+"/run2", 1) },
		"another place, its log": func(c string) string {
			return strings.Replace(c, s.dir+"/state", s.dir+"/state2", 1) + "dir = \"" + s.dir + "/state/audit\"\n"
		},
	} {
		s.write("clawsup.toml", change(string(config)))
		second := s.launch(programs + "/clawsupd")
		second.await("clawsupd: ")
		if err := <-second.ended; err == nil {
			t.Errorf("%s: it started", name)
		} else {
			second.ended <- err
		}
	}
	if now, err := try[api.Call](s.connect("call"), api.CallShow, api.CallRef{Call: v.ID}); err != nil || now.State != api.Running {
		t.Errorf("the first one's call: %v %+v", err, now)
	}
	for _, socket := range []string{"admin", "approval"} {
		if _, err := try[api.Daemon](s.connect(socket), api.Status, api.Nothing{}); err != nil {
			t.Errorf("%s: %v", socket, err)
		}
	}
	s.write("clawsup.toml", string(config))
	if err := d.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	s.closed()
}

// TestTamperedLogIsRefused: the program ends with the fault and what to do, and
// nothing listens.
func TestTamperedLogIsRefused(t *testing.T) {
	s := newSite(t, "")
	d := s.start()
	submit := s.writing("rw", "true")
	submit.Wait = true
	for range 3 {
		if v, err := try[api.Call](s.connect("call"), api.CallSubmit, submit); err != nil || v.Result.Status != runtime.Exited {
			t.Fatalf("%v %+v", err, v.Result)
		}
	}
	if err := d.end(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(s.dir + "/state/audit/receipts-*.log")
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	text, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	for fault, change := range map[string]func([]byte) []byte{
		"edited":    func(b []byte) []byte { return bytes.Replace(b, []byte("exited"), []byte("denied"), 1) },
		"truncated": func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] },
	} {
		if err := os.WriteFile(segments[0], change(bytes.Clone(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		d := s.launch(programs + "/clawsupd")
		d.await(fault + ": ent")
		d.await("clawsup audit verify")
		if err := <-d.ended; err == nil {
			t.Errorf("%s: it started", fault)
		} else {
			d.ended <- err
		}
		if c, err := s.dial("call"); err == nil {
			_ = c.Close()
			t.Errorf("%s: somebody listens", fault)
		}
	}
	if err := os.WriteFile(segments[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.start().end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	s.verify()
}
