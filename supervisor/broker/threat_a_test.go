// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// manyTickets lets a test ask more than people would put up with.
const manyTickets = "[approvals]\nburst = 1000\npending = 200\npending_per_session = 200\n"

// fact gives the values of a ticket's facts of one name.
func fact(k approval.Ticket, name string) (values []string) {
	for _, f := range k.Facts {
		if f.Name == name {
			values = append(values, f.Value)
		}
	}
	return values
}

// TestLookAlikesAreToldApart: what looks alike on a screen is shown apart, and
// no two of it have one digest.
func TestLookAlikesAreToldApart(t *testing.T) {
	h := begin(t, manyTickets)
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	shown, plans := map[string]string{}, map[string]string{}
	for _, argv := range [][]string{
		{"a"}, {"a "}, {" a"}, {"a\n"}, {"a\r"}, {"a\t"}, {"a\""}, {"a", ""}, {"", "a"}, {"a", "", ""},
		{"a\u200b"}, {"\u200ba"}, {"\ufeffa"}, {"a\u00ad"}, {"\u202ea"}, {"a\u202e"}, {"\u2066a\u2069"}, {"a\u00a0"}, {"a\u3000"},
		{"\u0430"}, {"a\x1b[2K"}, {"a\x7f"}, {"a\xff"}, {"a\xfe"}, {"a\u0301"}, {"\u00e1"}, {`a\u200b`}, {`a\n`}, {`"a"`}, {`a" "b`}, {"a", "b"}, {"a b"}, {"a  b"},
		{"a\U000e0041"}, {"a", "#"}, {"a #"},
	} {
		s := api.Submit{Args: args(append([]string{"touch", "canary"}, argv...)...), Profile: "askrw", Workspace: raw.String(h.dir + "/work")}
		v := ask[api.Call](t, c, api.CallSubmit, s)
		k := nextTicket(t, people, v.ID)
		command := strings.Join(fact(k, "command"), " ")
		if strings.ContainsFunc(command, func(r rune) bool { return r < ' ' || r > '~' }) && argv[0] != "\u00e1" {
			t.Errorf("%q is shown as %q", argv, command)
		}
		if other, ok := shown[command]; ok {
			t.Errorf("%q and %s are both shown as %s", argv, other, command)
		}
		if other, ok := plans[k.Plan]; ok {
			t.Errorf("%q and %s have one digest", argv, other)
		}
		shown[command], plans[k.Plan] = fmt.Sprintf("%q", argv), fmt.Sprintf("%q", argv)
	}
	if h.ran() {
		t.Error("it ran")
	}
}

// TestStoredPlanRuns: a yes is for one call, and what runs is what was planned
// then, whatever comes by that name later.
func TestStoredPlanRuns(t *testing.T) {
	h := newHost(t, manyTickets)
	const profile = "extends = \"build\"\n[effects]\nexec = \"ask\"\n[environment]\npass = [\"COLOR\"]\n"
	h.write("profiles/color.toml", profile)
	h.start()
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := h.asking("echo \"$COLOR in $PWD\" >good")
	s.Profile, s.Key, s.Env = "color", "one", args("COLOR=green", "PATH=/workspace", "LD_PRELOAD=/workspace/x.so", "BASH_ENV=/workspace/x")
	first := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, first.ID)

	// The same key, session and ticket for anything else.
	for name, change := range map[string]func(*api.Submit){
		"argv":      func(s *api.Submit) { s.Args = args("sh", "-c", "touch canary") },
		"env":       func(s *api.Submit) { s.Env = args("COLOR=red; touch canary") },
		"stdin":     func(s *api.Submit) { s.Stdin = []byte("touch canary") },
		"profile":   func(s *api.Submit) { s.Profile = "rw" },
		"workspace": func(s *api.Submit) { s.Workspace = "" },
		"session":   func(s *api.Submit) { s.Session = "other" },
	} {
		other := s
		change(&other)
		if v, err := try[api.Call](c, api.CallSubmit, other); api.CodeOf(err) != api.CodeConflict {
			t.Errorf("%s changed under the same key: %v %+v", name, err, v)
		}
		other.Key = ""
		if name == "profile" {
			continue // that one would run by itself
		}
		d := api.Duration(0)
		other.Deadline, other.Wait = &d, true
		if v := ask[api.Call](t, c, api.CallSubmit, other); v.Result.Status != runtime.Denied || v.Plan == k.Plan {
			t.Errorf("%s changed: %+v", name, v)
		}
	}
	second := h.asking("touch canary")
	second.Profile = "color"
	v2 := ask[api.Call](t, c, api.CallSubmit, second)
	k2 := nextTicket(t, people, v2.ID)

	// The profile's file is another one by now.
	h.write("profiles/color.toml", strings.Replace(profile, `"build"`, `"default"`, 1)+"set = { COLOR = \"red\" }\n")
	ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
	first = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: first.ID})
	if first.Result.Status != runtime.Exited || first.Result.ExitCode != 0 || first.Plan != k.Plan || h.read("work/good") != "green in /workspace\n" {
		t.Errorf("%+v %+v %q", first, first.Result, h.read("work/good"))
	}
	// Its ticket is used up, and never was the other call's.
	for revision := range k.Revision + 3 {
		again := answer(k, approval.Allow)
		again.Revision = revision
		if _, err := try[api.Answered](people, api.TicketAnswer, again); err == nil {
			t.Errorf("revision %d of an answered ticket was answered", revision)
		}
	}
	if v := ask[api.Call](t, c, api.CallShow, api.CallRef{Call: v2.ID}); v.State != api.Asking || h.ran() {
		t.Errorf("another's yes: %+v", v)
	}
	// Once it is in force, nobody can allow what the old one says.
	ask[api.Daemon](t, h.dial("admin"), api.Reload, api.Nothing{})
	if _, err := try[api.Answered](people, api.TicketAnswer, answer(k2, approval.Allow)); api.CodeOf(err) != api.CodeOver {
		t.Errorf("allowed under a profile that is no more: %v", err)
	}
	if v := ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v2.ID}); v.Result.Status != runtime.Denied || h.ran() {
		t.Errorf("%+v", v.Result)
	}
}

// The script that people are asked about, and what a second writer makes of it.
const (
	goodScript = "#!/bin/sh\necho good >>/workspace/out\n"
	evilScript = "#!/bin/sh\ntouch /workspace/canary\n"
)

// swaps are ways to have other bytes at a place. before is done while nobody
// is asked yet, and gives what is done while somebody is.
var swaps = map[string]func(t *testing.T, file string) (swap func()){
	"edited": func(t *testing.T, file string) func() {
		return func() { overwrite(t, file) }
	},
	"edited through an old descriptor": func(t *testing.T, file string) func() {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			defer f.Close()
			if _, err := f.WriteAt([]byte(evilScript), 0); err != nil {
				t.Fatal(err)
			}
		}
	},
	"edited through a mapping": func(t *testing.T, file string) func() {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m, err := unix.Mmap(int(f.Fd()), 0, len(goodScript), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Munmap(m) })
		return func() { copy(m, evilScript+"\n\n\n\n\n\n\n\n") }
	},
	"edited through a hard link": func(t *testing.T, file string) func() {
		if err := os.Link(file, file+".link"); err != nil {
			t.Fatal(err)
		}
		return func() { overwrite(t, file+".link") }
	},
	"replaced": func(t *testing.T, file string) func() {
		return func() { replace(t, file) }
	},
	"replaced by a link": func(t *testing.T, file string) func() {
		return func() {
			overwrite(t, file+".evil")
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Base(file)+".evil", file); err != nil {
				t.Fatal(err)
			}
		}
	},
	"directory replaced by a link": func(t *testing.T, file string) func() {
		return func() {
			dir := filepath.Dir(file)
			if err := os.Rename(dir, dir+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir+".evil", 0o755); err != nil {
				t.Fatal(err)
			}
			overwrite(t, filepath.Join(dir+".evil", filepath.Base(file)))
			if err := os.Symlink(filepath.Base(dir)+".evil", dir); err != nil {
				t.Fatal(err)
			}
		}
	},
	"removed": func(t *testing.T, file string) func() {
		return func() {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	},
}

func overwrite(t *testing.T, file string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(evilScript), 0o755); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, file string) {
	t.Helper()
	overwrite(t, file+".new")
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// TestScriptChangedWhileAsked: whatever a second writer does to a script while
// people think, the bytes that they were shown run.
func TestScriptChangedWhileAsked(t *testing.T) {
	h := begin(t, manyTickets)
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	n := 0
	for form, argv := range map[string][]string{
		"executable":             {"DIR/tool"},
		"interpreter's argument": {"sh", "DIR/tool"},
		"with a launcher":        {"env", "-i", "/bin/sh", "-e", "DIR/tool", "x"},
	} {
		for way, prepare := range swaps {
			n++
			dir := fmt.Sprintf("d%d", n)
			if err := os.Mkdir(filepath.Join(h.dir, "work", dir), 0o755); err != nil {
				t.Fatal(err)
			}
			file := h.write(filepath.Join("work", dir, "tool"), goodScript)
			if err := os.Chmod(file, 0o755); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(filepath.Join(h.dir, "work", "out"))
			swap := prepare(t, file)
			s := api.Submit{Args: args(strings.Split(strings.ReplaceAll(strings.Join(argv, "\x00"), "DIR", "./"+dir), "\x00")...),
				Profile: "askrw", Workspace: raw.String(h.dir + "/work")}
			v := ask[api.Call](t, c, api.CallSubmit, s)
			k := nextTicket(t, people, v.ID)
			swap()
			ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
			v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
			if h.ran() {
				t.Fatalf("%s, %s: other bytes ran than were shown", form, way)
			}
			if out, err := os.ReadFile(filepath.Join(h.dir, "work", "out")); v.Result.Status != runtime.Exited || v.Result.ExitCode != 0 || string(out) != "good\n" {
				t.Errorf("%s, %s: %+v; %q %v", form, way, v.Result, out, err)
			}
		}
	}
}

// TestNamedFileChangedWhileAsked: a file that no copy can stand in for is
// compared before the call begins.
func TestNamedFileChangedWhileAsked(t *testing.T) {
	h := begin(t, manyTickets)
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	n := 0
	for way, prepare := range swaps {
		n++
		dir := fmt.Sprintf("d%d", n)
		if err := os.Mkdir(filepath.Join(h.dir, "work", dir), 0o755); err != nil {
			t.Fatal(err)
		}
		file := h.write(filepath.Join("work", dir, "tool"), goodScript)
		swap := prepare(t, file)
		// cp would carry out of its place whatever the file has.
		s := api.Submit{Args: args("cp", dir+"/tool", "/workspace/canary"), Profile: "askrw", Workspace: raw.String(h.dir + "/work")}
		v := ask[api.Call](t, c, api.CallSubmit, s)
		k := nextTicket(t, people, v.ID)
		if files := fact(k, "file"); len(files) != 1 || !strings.Contains(files[0], "not sealed") {
			t.Errorf("%s: %q", way, files)
		}
		swap()
		ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
		v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
		if v.Result.Status != runtime.Denied || !strings.Contains(v.Reason, "argument 1") || h.ran() {
			t.Errorf("%s: %+v %s", way, v.Result, v.Reason)
		}
	}
	// Unchanged, what the call is there to change can be changed.
	h.write("work/old", "old")
	v := ask[api.Call](t, c, api.CallSubmit, api.Submit{Args: args("mv", "old", "new"), Profile: "askrw", Workspace: raw.String(h.dir + "/work")})
	ask[api.Answered](t, people, api.TicketAnswer, answer(nextTicket(t, people, v.ID), approval.Allow))
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.ExitCode != 0 || h.read("work/new") != "old" {
		t.Errorf("%+v", v.Result)
	}
}

// TestInterpreterReplacedWhileAsked: a script is run by the interpreter that
// people were shown, or not at all.
func TestInterpreterReplacedWhileAsked(t *testing.T) {
	h := begin(t, manyTickets)
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	shell, err := os.ReadFile("/bin/dash")
	if err != nil {
		t.Skip(err)
	}
	interpreter := h.write("work/sh", string(shell))
	h.write("work/tool", goodScript)
	of := h.write("work/of", strings.Replace(goodScript, "/bin/sh", "/workspace/sh", 1))
	for _, f := range []string{interpreter, of} {
		if err := os.Chmod(f, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// One that anybody can change is named by no script that people are asked about.
	s := api.Submit{Args: args("./of"), Profile: "askrw", Workspace: raw.String(h.dir + "/work"), Wait: true}
	if v := ask[api.Call](t, c, api.CallSubmit, s); v.Result.Status != runtime.SandboxError || !strings.Contains(v.Result.Message, "interpreter") || v.Ticket != "" {
		t.Errorf("%+v %+v", v, v.Result)
	}
	// One that is named itself is sealed, with its script.
	s.Args, s.Wait = args("./sh", "./tool"), false
	v := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, v.ID)
	replace(t, interpreter)
	replace(t, filepath.Join(h.dir, "work", "tool"))
	ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Result.Status != runtime.Exited || h.ran() || h.read("work/out") != "good\n" {
		t.Errorf("%+v %v", v.Result, h.list("work"))
	}
}

// TestSecondCallRewritesTheScript: another call of the same session is a second
// writer too.
func TestSecondCallRewritesTheScript(t *testing.T) {
	h := begin(t, manyTickets)
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	in := func(script string) string {
		s := shell(script)
		s.Session = "one"
		return h.says(s)
	}
	in("printf '#!/bin/sh\\necho good >>/workspace/out\\n' >x.sh; cp x.sh /tmp/y.sh")
	for _, script := range []string{"x.sh", "/tmp/y.sh"} {
		v := ask[api.Call](t, c, api.CallSubmit, api.Submit{Args: args("sh", script), Profile: "askrw", Session: "one"})
		k := nextTicket(t, people, v.ID)
		in("echo 'touch /workspace/canary' >" + script)
		ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
		v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
		if v.Result.Status != runtime.Exited || v.Result.ExitCode != 0 {
			t.Errorf("%+v", v.Result)
		}
	}
	if got := in("cat out; ls"); got != "good\ngood\nout\nx.sh\n" {
		t.Errorf("%q", got)
	}
}

// TestPlaceSwappedWhileAsked: another directory where the workspace was is not
// what people said yes to.
func TestPlaceSwappedWhileAsked(t *testing.T) {
	for way, swap := range map[string]func(dir string) error{
		"the workspace for a link":   func(dir string) error { return os.Symlink(dir+".evil", dir) },
		"the workspace for another":  func(dir string) error { return os.Rename(dir+".evil", dir) },
		"the workspace for nothing":  func(string) error { return nil },
		"the workspace for a device": func(dir string) error { return unix.Mknod(dir, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) },
	} {
		h := begin(t, "")
		c, people := h.dial("call"), h.watch(h.dial("approval"))
		if err := os.Mkdir(h.dir+"/work.evil", 0o755); err != nil {
			t.Fatal(err)
		}
		v := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
		k := nextTicket(t, people, v.ID)
		if err := os.Rename(h.dir+"/work", h.dir+"/work.good"); err != nil {
			t.Fatal(err)
		}
		if err := swap(h.dir + "/work"); err != nil {
			t.Fatal(err)
		}
		ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
		v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
		if s := v.Result.Status; s != runtime.Denied && s != runtime.SandboxError {
			t.Errorf("%s: %+v", way, v.Result)
		}
		for _, dir := range []string{"work", "work.good", "work.evil"} {
			if _, err := os.Lstat(h.dir + "/" + dir + "/canary"); err == nil {
				t.Errorf("%s: it ran in %s", way, dir)
			}
		}
		h.stop()
	}
}

// TestSearchPathLeadsElsewhere: a name is looked up once, in a PATH that no
// caller sets.
func TestSearchPathLeadsElsewhere(t *testing.T) {
	open, err := os.MkdirTemp("/opt", "clawsup-test-") // a profile can show nothing of /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(open) })
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, manyTickets)
	h.write("profiles/path.toml", fmt.Sprintf("extends = \"build\"\n[files]\nread = [%q]\n[effects]\nexec = \"ask\"\n[environment.set]\nPATH = %q\n", open, open+":/usr/bin:/bin"))
	h.start()
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	evil := open + "/uname"
	run := func(profile string, meanwhile func()) (approval.Ticket, api.Call) {
		s := api.Submit{Args: args("uname"), Profile: profile, Workspace: raw.String(h.dir + "/work"), Env: args("PATH=" + open)}
		v := ask[api.Call](t, c, api.CallSubmit, s)
		k := nextTicket(t, people, v.ID)
		meanwhile()
		ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
		return k, ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	}
	// The caller's PATH counts for nothing.
	overwrite(t, evil)
	if k, v := run("askrw", func() {}); v.Result.ExitCode != 0 || h.ran() || !strings.Contains(strings.Join(fact(k, "command"), ""), "/usr/bin/uname") {
		t.Errorf("%+v %v", v.Result, fact(k, "command"))
	}
	// The profile's leads to where anybody writes, and a program comes up there later.
	if err := os.Remove(evil); err != nil {
		t.Fatal(err)
	}
	if _, v := run("path", func() { overwrite(t, evil) }); v.Result.Status != runtime.Exited || h.ran() {
		t.Errorf("%+v", v.Result)
	}
	// There already, it is what is asked about, sealed.
	if err := os.WriteFile(evil, []byte(goodScript), 0o755); err != nil {
		t.Fatal(err)
	}
	k, v := run("path", func() { replace(t, evil) })
	if v.Result.Status != runtime.Exited || h.ran() || h.read("work/out") != "good\n" || !strings.Contains(strings.Join(fact(k, "program"), ""), evil) {
		t.Errorf("%+v %v", v.Result, fact(k, "program"))
	}
}

// TestForgedFields: who sends an answer with the question is refused, and that
// is written down.
func TestForgedFields(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	head := fmt.Sprintf(`{"args": ["touch", "/workspace/canary"], "profile": "askrw", "workspace": %q, `, h.dir+"/work")
	for _, field := range []string{
		`"approved": true`, `"decision": "allow"`, `"outcome": "exited"`, `"result": {"status": "exited"}`, `"ticket": "t"`, `"grant": "g"`,
		`"state": "running"`, `"rule": "by hand"`, `"requester": "uid 0"`, `"agent": ""`, `"role": "owner"`, `"labels": {"untrusted": false}`, `"Approver": "root"`,
		`"plan": "sha256:00"`, `"quorum": 0`, `"approver": "allow"`,
	} {
		if v, err := try[api.Call](c, api.CallSubmit, json.RawMessage(head+field+"}")); api.CodeOf(err) != api.CodeParams {
			t.Errorf("%s: %v %+v", field, err, v)
		}
	}
	// Who says a thing twice says nothing.
	if v, err := try[api.Call](h.dial("call"), api.CallSubmit, json.RawMessage(head+`"profile": "rw"}`)); err == nil {
		t.Errorf("two profiles: %+v", v)
	}
	// Nor are there words for it on the callers' socket.
	for _, method := range []string{api.TicketAnswer, api.TicketList, api.GrantRevoke, api.Reload, api.Unlock, "call.approve", "call.outcome"} {
		if _, err := try[any](c, method, api.Nothing{}); api.CodeOf(err) != api.CodeMethod {
			t.Errorf("%s: %v", method, err)
		}
	}
	s := shell("true")
	s.Wait = true
	ask[api.Call](t, c, api.CallSubmit, s) // what was begun before it is in the log
	if list := ask[[]api.Call](t, c, api.CallList, api.CallFilter{}); len(list) != 1 {
		t.Errorf("calls began: %+v", list)
	}
	told := false
	for r, err := range audit.Read(h.dir+"/state/audit", 1) {
		if err != nil {
			t.Fatal(err)
		}
		told = told || r.Rule == "refused" && r.Requester == "uid 0" && strings.Contains(fmt.Sprint(r.Facts), "approved") && strings.Contains(fmt.Sprint(r.Facts), api.CallSubmit)
	}
	if !told {
		t.Error("no receipt tells of it")
	}
	if h.ran() {
		t.Error("it ran")
	}
}

// became waits until a ticket is in a state.
func became(t *testing.T, watcher *api.Client, ticket string, state approval.State) {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case n, ok := <-watcher.Notifications():
			if !ok {
				t.Fatal("the daemon hung up")
			}
			var k approval.Ticket
			if n.Method == api.TicketChanged && json.Unmarshal(n.Params, &k) == nil && k.ID == ticket && k.State == state {
				return
			}
		case <-limit:
			t.Fatalf("ticket %s did not become %s", ticket, state)
		}
	}
}

// TestReplayedAnswers: an answer counts once, for the revision that was read.
func TestReplayedAnswers(t *testing.T) {
	h := newHost(t, manyTickets+"expiry = \"1s\"\n")
	h.start()
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	late := func(what string, k approval.Ticket) {
		t.Helper()
		for _, verdict := range []approval.Verdict{approval.Allow, approval.Deny} {
			for revision := range k.Revision + 3 {
				a := answer(k, verdict)
				a.Revision = revision
				if got, err := try[api.Answered](people, api.TicketAnswer, a); api.CodeOf(err) != api.CodeOver && api.CodeOf(err) != api.CodeConflict {
					t.Errorf("%s, %s of revision %d: %v %+v", what, verdict, revision, err, got)
				}
			}
		}
		if h.ran() {
			t.Fatalf("%s: it ran", what)
		}
	}
	// After its time.
	v := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	k := nextTicket(t, people, v.ID)
	became(t, people, k.ID, approval.Expired)
	late("after its time", k)
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Denied {
		t.Errorf("%+v", v.Result)
	}
	// After a no.
	h.configure(manyTickets)
	ask[api.Daemon](t, h.dial("admin"), api.Reload, api.Nothing{})
	v = ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	k = nextTicket(t, people, v.ID)
	ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Deny))
	late("after a no", k)
	// After its call gave up.
	v = ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	k = nextTicket(t, people, v.ID)
	ask[api.Call](t, c, api.CallCancel, api.CallRef{Call: v.ID})
	late("after its call gave up", k)
	// The day after.
	v = ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	k = nextTicket(t, people, v.ID)
	h.stop()
	h.start()
	c, people = h.dial("call"), h.watch(h.dial("approval"))
	late("after a restart", k)
	if v = ask[api.Call](t, c, api.CallShow, api.CallRef{Call: v.ID}); v.Result.Status != runtime.SupervisorRestart {
		t.Errorf("after a restart: %+v", v.Result)
	}
	// What was read before another call joined.
	first := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	old := nextTicket(t, people, first.ID)
	second := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	k = nextTicket(t, people, second.ID)
	if k.ID != old.ID {
		t.Fatalf("%+v", k)
	}
	if _, err := try[api.Answered](people, api.TicketAnswer, answer(old, approval.Allow)); api.CodeOf(err) != api.CodeConflict || h.ran() {
		t.Errorf("a yes to what was seen before: %v", err)
	}
	ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Deny))
	for _, id := range []string{first.ID, second.ID} {
		if v := ask[api.Call](t, c, api.CallWait, api.CallRef{Call: id}); v.Result.Status != runtime.Denied || h.ran() {
			t.Errorf("%+v", v.Result)
		}
	}
}

// TestTwoPeopleAtOnce: of answers that come together one counts, and it is the
// one that its giver was told of.
func TestTwoPeopleAtOnce(t *testing.T) {
	h := begin(t, manyTickets)
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	verdicts := []approval.Verdict{approval.Allow, approval.Deny, approval.Allow, approval.Deny}
	var voters []*api.Client
	for range verdicts {
		voters = append(voters, h.dial("approval"))
	}
	for range 10 {
		_ = os.Remove(filepath.Join(h.dir, "work", "canary"))
		v := ask[api.Call](t, c, api.CallSubmit, h.asking("echo x >>canary"))
		k := nextTicket(t, people, v.ID)
		errs := make([]error, len(verdicts))
		var all sync.WaitGroup
		begin := make(chan struct{})
		for i, verdict := range verdicts {
			all.Go(func() {
				<-begin
				_, errs[i] = try[api.Answered](voters[i], api.TicketAnswer, answer(k, verdict))
			})
		}
		close(begin)
		all.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Errorf("answers %d and %d were both taken", winner, i)
			case err == nil:
				winner = i
			case api.CodeOf(err) != api.CodeOver && api.CodeOf(err) != api.CodeConflict:
				t.Error(err)
			}
		}
		if winner < 0 {
			t.Fatal("no answer was taken")
		}
		v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
		text, _ := os.ReadFile(filepath.Join(h.dir, "work", "canary"))
		yes := verdicts[winner] == approval.Allow
		if yes != (v.Result.Status == runtime.Exited) || yes != (string(text) == "x\n") || !yes && len(text) > 0 {
			t.Errorf("%s counted; %+v, canary %q", verdicts[winner], v.Result, text)
		}
	}
}
