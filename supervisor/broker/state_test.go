// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// list gives the names in a directory of the host's.
func (h *host) list(dir string) []string {
	h.t.Helper()
	entries, err := os.ReadDir(h.dir + "/" + dir)
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// says runs a script to its end and gives its standard output.
func (h *host) says(s api.Submit) string {
	h.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	defer r.Close()
	in, err := os.Open(h.dir + "/clawsup.toml") // some file
	if err != nil {
		h.t.Fatal(err)
	}
	defer in.Close()
	s.Wait = true
	v, err := try[api.Call](h.dial("call"), api.CallSubmit, s, in, w, w)
	_ = w.Close()
	if err != nil {
		h.t.Fatal(err)
	}
	var out strings.Builder
	if _, err := r.WriteTo(&out); err != nil {
		h.t.Fatal(err)
	}
	if v.Result.Status != runtime.Exited || v.Result.ExitCode != 0 {
		h.t.Errorf("%+v %s", v.Result, out.String())
	}
	return out.String()
}

func TestSessionsKeepTheirFiles(t *testing.T) {
	h := begin(t, "")
	in := func(session, script string) string {
		s := shell(script)
		s.Session = session
		return h.says(s)
	}
	in("one", "echo w >/workspace/w; echo t >/tmp/t; mkdir /workspace/d; ln -s /etc /workspace/link")
	if got := in("one", "cat /workspace/w /tmp/t; pwd"); got != "w\nt\n/workspace\n" {
		t.Errorf("%q", got)
	}
	if got := in("two", "ls /workspace /tmp | wc -w"); strings.TrimSpace(got) != "2" { // the two names that ls writes
		t.Errorf("another session sees %q", got)
	}
	list := ask[[]api.Session](t, h.dial("approval"), api.SessionList, api.Nothing{})
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	one := ask[api.Session](t, h.dial("admin"), api.SessionShow, api.SessionRef{Session: "one"})
	if one.Calls != 2 || one.Bytes == 0 {
		t.Errorf("%+v", one)
	}
	h.stop()
	h.start()
	if got := in("one", "cat /workspace/w"); got != "w\n" {
		t.Errorf("after a restart: %q", got)
	}
	ask[api.Session](t, h.dial("admin"), api.SessionRemove, api.SessionRef{Session: "one"})
	if got := in("one", "ls -A /workspace"); got != "" {
		t.Errorf("after it was removed: %q", got)
	}
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Fatal("what a link led to is gone")
	}
}

func TestSessionSizeIsBounded(t *testing.T) {
	h := begin(t, "[sessions]\nmax = \"1M\"\n")
	s := shell("head -c 3000000 /dev/urandom >/workspace/f")
	s.Session, s.Wait = "one", true
	if v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s); v.Result.Status != runtime.Exited {
		t.Fatalf("%+v", v.Result)
	}
	v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if v.Result.Status != runtime.Denied || !strings.Contains(v.Reason, "more than") {
		t.Errorf("%+v", v)
	}
}

func TestWorkspacesAreLabelled(t *testing.T) {
	h := newHost(t, "[[workspace]]\nname = \"open\"\npath = \"DIR/work\"\nprivate = false\n[[workspace]]\nname = \"letters\"\npath = \"DIR/letters\"\n")
	h.write("letters/one", "Dear Sir")
	h.start()
	c := h.dial("call")
	run := func(session, workspace string) policy.Labels {
		s := shell("true")
		s.Session, s.Workspace, s.Wait = session, raw.String(workspace), true
		v := ask[api.Call](t, c, api.CallSubmit, s)
		if v.Result.Status != runtime.Exited {
			t.Fatalf("%+v", v.Result)
		}
		return ask[api.Call](t, c, api.CallShow, api.CallRef{Call: v.ID}).Labels
	}
	run("a", "open")
	if l := run("a", "open"); l.Private {
		t.Error("an open workspace made the session private")
	}
	if l := run("b", "letters"); l.Private {
		t.Error("private before it had seen anything")
	}
	if l := run("b", "open"); !l.Private {
		t.Error("a private workspace left no label")
	}
	b := ask[api.Session](t, h.dial("approval"), api.SessionShow, api.SessionRef{Session: "b"})
	if len(b.Labels) != 1 || b.Labels[0].Call == "" || !strings.Contains(b.Labels[0].Why, "letters") {
		t.Errorf("%+v", b.Labels)
	}
	if _, err := try[api.Session](h.dial("approval"), api.SessionClear, api.Clear{Name: "b", Label: "private"}); api.CodeOf(err) != api.CodeParams {
		t.Errorf("cleared without a reason: %v", err)
	}
	ask[api.Session](t, h.dial("approval"), api.SessionClear, api.Clear{Name: "b", Label: "private", Reason: "they were public"})
	if l := run("b", "open"); l.Private {
		t.Error("not cleared")
	}
}

func TestReloadIsWholeOrNot(t *testing.T) {
	h := begin(t, "")
	admin, c := h.dial("admin"), h.dial("call")
	runs := func(profile string) error {
		s := shell("true")
		s.Profile, s.Wait = profile, true
		v, err := try[api.Call](c, api.CallSubmit, s)
		if err == nil && v.Result.Status != runtime.Exited {
			return failf(0, "%s: %s", v.Result.Status, v.Result.Message)
		}
		return err
	}
	// A file that changes has no effect before a reload.
	h.write("profiles/rw.toml", "extends = \"build\"\n[effects]\nexec = \"deny\"\n")
	h.write("profiles/new.toml", "extends = \"python\"\n")
	if err := runs("rw"); err != nil {
		t.Errorf("before the reload: %v", err)
	}
	if err := runs("new"); err == nil {
		t.Error("a profile of the next generation ran")
	}
	for name, spoil := range map[string]func(){
		"an unknown key":    func() { h.configure("colour = \"red\"\n") },
		"a broken profile":  func() { h.configure(""); h.write("profiles/broken.toml", "[limits]\nmemory = -1\n") },
		"a frozen key":      func() { _ = os.Remove(h.dir + "/profiles/broken.toml"); h.configure("uid_base = 1879148544\n") },
		"a missing profile": func() { h.configure("default_profile = \"nobodys\"\n") },
	} {
		spoil()
		if d, err := try[api.Daemon](admin, api.Reload, api.Nothing{}); err == nil {
			t.Errorf("%s was taken: %+v", name, d)
		}
		_ = os.Remove(h.dir + "/profiles/broken.toml")
		if err := runs("rw"); err != nil {
			t.Errorf("%s: what was in force did not stay: %v", name, err)
		}
	}
	h.configure("")
	if d := ask[api.Daemon](t, admin, api.Reload, api.Nothing{}); d.Generation != 2 {
		t.Errorf("%+v", d)
	}
	if err := runs("rw"); err == nil {
		t.Error("the new generation is not in force")
	}
	if err := runs("new"); err != nil {
		t.Error(err)
	}
}

func TestLockdown(t *testing.T) {
	h := begin(t, "[calls]\nconcurrency = 64\nper_session = 64\n")
	c, people, admin := h.dial("call"), h.watch(h.dial("approval")), h.dial("admin")
	granted := api.Submit{Args: args("true"), Profile: "ask", Session: "work"}
	v := ask[api.Call](t, c, api.CallSubmit, granted)
	a := answer(nextTicket(t, people, v.ID), approval.Grant)
	a.For = time.Hour
	ask[api.Answered](t, people, api.TicketAnswer, a)
	ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})

	before := h.boxes()
	var ids []string
	for range 10 {
		v := ask[api.Call](t, c, api.CallSubmit, shell("trap '' TERM INT HUP; echo up; while :; do (sleep 1 &); sleep 1; done"))
		ids = append(ids, v.ID)
	}
	for _, id := range ids {
		h.awaitOutput(c, id)
	}
	asked := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	nextTicket(t, people, asked.ID)
	report := ask[api.LockdownReport](t, admin, api.Lockdown, api.LockdownOrder{Reason: "drill"})
	if report.Calls != 11 || report.Tickets != 1 || report.Grants != 1 || len(report.Failed) != 0 {
		t.Errorf("%+v", report)
	}
	for _, id := range append(ids, asked.ID) {
		v := ask[api.Call](t, c, api.CallShow, api.CallRef{Call: id})
		if v.State != api.Ended || v.Result.Status != runtime.Stopped && v.Result.Status != runtime.Denied {
			t.Errorf("%+v %+v", v, v.Result)
		}
	}
	if now := h.boxes(); len(now) > len(before) { // clawsup-egress has one
		t.Errorf("boxes are left: %v, before %v", now, before)
	}
	for range 2 { // before and after a restart
		if _, err := try[api.Call](h.dial("call"), api.CallSubmit, shell("true")); api.CodeOf(err) != api.CodeLocked {
			t.Errorf("a call during the lockdown: %v", err)
		}
		h.stop()
		h.start()
	}
	c, admin = h.dial("call"), h.dial("admin")
	if d := ask[api.Daemon](t, admin, api.Unlock, api.Reason{Reason: "over"}); d.Locked != "" {
		t.Errorf("%+v", d)
	}
	d := api.Duration(0)
	granted.Deadline, granted.Wait = &d, true
	if v := ask[api.Call](t, c, api.CallSubmit, granted); v.Result.Status != runtime.Denied {
		t.Errorf("a grant outlived the lockdown: %+v", v.Result)
	}
	s := shell("true")
	s.Wait = true
	if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.Exited {
		t.Errorf("after unlock: %+v", v.Result)
	}
	if h.ran() {
		t.Error("what was asked about ran")
	}
}

// boxes are the groups of this host's boxes that hold processes.
func (h *host) boxes() map[string]bool {
	h.t.Helper()
	found := map[string]bool{}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/pids"} {
		dirs, _ := filepath.Glob(root + h.group() + "/box-*")
		inScope, _ := filepath.Glob(root + h.group() + "/*.scope/box-*")
		for _, dir := range append(dirs, inScope...) {
			if text, _ := os.ReadFile(dir + "/cgroup.procs"); len(text) > 0 {
				found[filepath.Base(dir)] = true
			}
		}
	}
	return found
}
