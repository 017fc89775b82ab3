// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/pool"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// receipts gives the whole log.
func (h *host) receipts() (all []audit.Receipt) {
	h.t.Helper()
	for r, err := range audit.Read(h.dir+"/state/audit", 1) {
		if err != nil {
			h.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// verified checks the log of a daemon that has ended.
func (h *host) verified() *audit.Report {
	h.t.Helper()
	key, err := audit.LoadKey(h.dir + "/audit.key")
	if err != nil {
		h.t.Fatal(err)
	}
	anchor, err := audit.ReadAnchor(h.dir + "/state/audit.head")
	if err != nil {
		h.t.Fatal(err)
	}
	report, err := audit.Verify(h.dir+"/state/audit", key.Public().(ed25519.PublicKey), anchor)
	if err != nil || !report.Intact() {
		h.t.Fatalf("the log does not verify: %v %+v", err, report)
	}
	return report
}

// until asks again and again, for as long as a test has patience.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); goruntime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

// runs says whether the daemon still carries calls out.
func (h *host) runs(what string) {
	h.t.Helper()
	s := shell("true")
	s.Wait = true
	if v, err := try[api.Call](h.dial("call"), api.CallSubmit, s); err != nil || v.Result.Status != runtime.Exited {
		h.t.Errorf("%s: %v %+v", what, err, v.Result)
	}
}

// TestTypoInTheConfiguration: what was in force stays, also for what people are
// being asked, and a receipt says so.
func TestTypoInTheConfiguration(t *testing.T) {
	h := begin(t, "[roles]\napprover = [\"uid:4001\"]\n")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.asking("touch good"))
	k := nextTicket(t, people, v.ID)
	for name, config := range map[string]string{
		"a key":      "[roles]\napprovers = [\"uid:4002\"]\n",
		"a section":  "[role]\napprover = [\"uid:4002\"]\n",
		"a value":    "[roles]\napprover = [\"uid:4002\"]\n[approvals]\nexpiry = \"ten minutes\"\n",
		"the syntax": "[roles]\napprover = [\"uid:4002\"\n",
	} {
		h.configure(config)
		_, err := try[api.Daemon](h.dial("admin"), api.Reload, api.Nothing{})
		if api.CodeOf(err) != api.CodeParams || !strings.Contains(fmt.Sprint(err), "clawsup.toml:") {
			t.Errorf("a typo in %s: %v", name, err)
		}
		h.as(4002, nil, "approval.sock", api.TicketAnswer, answer(k, approval.Allow)).wants(t, "who is named behind a typo in "+name, api.CodeDenied)
	}
	refused := 0
	for _, r := range h.receipts() {
		if r.Kind == audit.Generation && r.Rule == "reload refused" && strings.Contains(fmt.Sprint(r.Facts), "clawsup.toml:") {
			refused++
		}
	}
	if refused != 4 || h.broker.generation.Load().Number != 1 {
		t.Errorf("%d receipts tell of 4 refusals; generation %d", refused, h.broker.generation.Load().Number)
	}
	if contains(h.list("work"), "good") {
		t.Error("it ran before anybody answered")
	}
	if r := h.as(4001, nil, "approval.sock", api.TicketAnswer, answer(k, approval.Allow)); r.Error != "" {
		t.Errorf("the old approver: %s", r.Error)
	}
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Exited || !contains(h.list("work"), "good") {
		t.Errorf("%+v", v.Result)
	}
}

// TestReloadDuringCalls: a call that runs goes on as it was allowed; one that
// waits is decided by what is in force when its turn comes.
func TestReloadDuringCalls(t *testing.T) {
	h := begin(t, "[calls]\nper_session = 1\n")
	c := h.dial("call")
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	out, err := os.Create(h.dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s := shell("read line; echo \"$line\" >>canary")
	s.Profile, s.Workspace, s.Session = "rw", raw.String(h.dir+"/work"), "one"
	running := ask[api.Call](t, c, api.CallSubmit, s, in, out, out)
	_ = in.Close()
	until(t, "the call runs", func() bool {
		return ask[api.Call](t, c, api.CallShow, api.CallRef{Call: running.ID}).State == api.Running
	})
	s.Stdin = []byte("queued\n")
	queued := ask[api.Call](t, c, api.CallSubmit, s)

	h.write("profiles/rw.toml", "extends = \"build\"\n[effects]\nexec = \"deny\"\n")
	if d := ask[api.Daemon](t, h.dial("admin"), api.Reload, api.Nothing{}); d.Generation != 2 {
		t.Fatalf("%+v", d)
	}
	denied := ask[api.Call](t, c, api.CallSubmit, s)
	if _, err := io.WriteString(feed, "running\n"); err != nil {
		t.Fatal(err)
	}
	_ = feed.Close()
	if v := ask[api.Call](t, c, api.CallWait, api.CallRef{Call: running.ID}); v.Result.Status != runtime.Exited || v.Result.ExitCode != 0 {
		t.Errorf("of the first generation: %+v", v.Result)
	}
	for _, v := range []api.Call{queued, denied} {
		if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Denied {
			t.Errorf("of the second generation: %+v", v.Result)
		}
	}
	if got := h.read("work/canary"); got != "running\n" {
		t.Errorf("%q", got)
	}
}

// helper gives the pid of this host's clawsup-egress; 0: it doesn't run.
func (h *host) helper() int {
	h.t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, dir := range dirs {
		comm, _ := os.ReadFile(dir + "/comm")
		group, _ := os.ReadFile(dir + "/cgroup")
		if string(comm) == "egress\n" && strings.Contains(string(group), h.group()+"/") {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	return 0
}

// TestEgressIsKilled: a helper that dies, or stands still, is started again, and
// what was published leads to the agent again.
func TestEgressIsKilled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	_ = l.Close()
	h := withAgent(t, fmt.Sprintf("publish = [%q]\n", at), "serve", "--listen", at).start()
	ask[api.Agent](t, h.dial("admin"), api.AgentStart, api.AgentRef{})
	get := func() bool {
		c, err := net.DialTimeout("tcp", at, patience)
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "GET /readyz HTTP/1.1\r\nHost: %s\r\n\r\n", at)
		text, _ := io.ReadAll(c)
		return strings.Contains(string(text), "ok\n")
	}
	until(t, "the agent answers", get)
	for name, signal := range map[string]unix.Signal{"killed": unix.SIGKILL, "stopped": unix.SIGSTOP} {
		old := h.helper()
		if old == 0 {
			t.Fatal("there is no clawsup-egress")
		}
		if err := unix.Kill(old, signal); err != nil {
			t.Fatal(err)
		}
		until(t, "another runs after it was "+name, func() bool { pid := h.helper(); return pid != 0 && pid != old })
		until(t, "the agent answers after it was "+name, get)
		h.runs("after it was " + name)
	}
	if a := ask[[]api.Agent](t, h.dial("admin"), api.AgentStatus, api.AgentRef{})[0]; a.Restarts != 0 || a.State == "stopped" {
		t.Errorf("the agent suffered: %+v", a)
	}
}

// tiny makes a program of machine code (x86-64) that needs nothing of a file
// system: an ELF header, one loadable segment, the code.
func (h *host) tiny(name string, code ...byte) string {
	h.t.Helper()
	const base, header = 0x400000, 64 + 56
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	put([]uint16{2, 62}) // executable, x86-64
	put(uint32(1))
	put([]uint64{base + header, 64, 0})
	put(uint32(0))
	put([]uint16{64, 56, 1, 64, 0, 0})
	put([]uint32{1, 5}) // load, read and execute
	size := uint64(header + len(code))
	put([]uint64{0, base, base, size, size, 4096})
	b.Write(code)
	file := h.write(name, b.String())
	if err := os.Chmod(file, 0o755); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// TestHostileInspect: a clawsup-inspect that hangs, floods, talks rubbish or
// dies fails the call that needed it, and nothing else.
func TestHostileInspect(t *testing.T) {
	if goruntime.GOARCH != "amd64" {
		t.Skip("the programs are of x86-64")
	}
	write := []byte{0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 0, 0, 0x40, 0, 0xba, 0, 0x10, 0, 0, 0x0f, 0x05} // write(1, 0x400000, 4096)
	for name, code := range map[string][]byte{
		"hangs":    {0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7}, // pause, for ever
		"spins":    {0xeb, 0xfe},
		"floods":   append(bytes.Clone(write), 0xeb, byte(-(len(write)+2)&0xff)),
		"rubbish":  append(bytes.Clone(write), 0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05), // exit_group(0)
		"nothing":  {0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05},
		"dies":     {0x0f, 0x0b}, // an invalid instruction
		"no such":  nil,
		"unopened": nil,
	} {
		if testing.Short() && name != "hangs" && name != "floods" {
			continue
		}
		h := newHost(t, "")
		h.write("skills/hello/SKILL.md", "---\nname: hello\ndescription: says hello\n---\n")
		file := h.tiny("inspect", code...)
		switch name {
		case "no such":
			_ = os.Remove(file)
		case "unopened":
			_ = os.Chmod(file, 0o777) // anybody could have put it there
		}
		h.write("clawsup.toml", strings.Replace(h.read("clawsup.toml"), programs+"/clawsup-inspect", file, 1))
		h.start()
		s := api.Submit{Skill: "hello", Args: args("touch", "/workspace/canary"), Profile: "rw", Workspace: raw.String(h.dir + "/work"), Wait: true}
		v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
		if v.Result.Status != runtime.SandboxError || v.Result.Step != runtime.StepSpec && name != "dies" || v.Result.Message == "" || h.ran() {
			t.Errorf("%s: %+v", name, v.Result)
		}
		h.runs("after a clawsup-inspect that " + name)
		h.stop()
	}
}

// TestHostileEgress: a clawsup-egress that spins, floods or dies publishes
// nothing, and neither the agent nor calls suffer.
func TestHostileEgress(t *testing.T) {
	if goruntime.GOARCH != "amd64" {
		t.Skip("the programs are of x86-64")
	}
	write := []byte{0xb8, 1, 0, 0, 0, 0xbf, 0, 0, 0, 0, 0xbe, 0, 0, 0x40, 0, 0xba, 0, 0x10, 0, 0, 0x0f, 0x05} // write(fd, 0x400000, 4096)
	onto := func(fd byte) []byte {
		code := append(bytes.Clone(write), 0xeb, byte(-(len(write)+2)&0xff)) // for ever
		code[6] = fd
		return code
	}
	for name, code := range map[string][]byte{
		"spins":                {0xeb, 0xfe},
		"floods its log":       onto(2),
		"floods its socket":    onto(3),
		"dies at once":         {0x0f, 0x0b},
		"ends without a word":  {0xb8, 231, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05},
		"is no program at all": []byte("#!"),
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at := l.Addr().String()
		_ = l.Close()
		h := withAgent(t, fmt.Sprintf("publish = [%q]\n", at), "serve", "--listen", at)
		h.write("clawsup.toml", strings.Replace(h.read("clawsup.toml"), programs+"/clawsup-egress", h.tiny("egress", code...), 1))
		h.start()
		admin := h.dial("admin")
		ask[api.Agent](t, admin, api.AgentStart, api.AgentRef{})
		lines := h.agentSaid(func(a api.Agent) bool { return a.State == "running" || a.State == "ready" })
		until(t, "the agent serves", func() bool {
			lines = h.agentSaid(func(api.Agent) bool { return true })
			return len(lines) > 0
		})
		if c, err := net.DialTimeout("tcp", at, patience); err == nil {
			_ = c.SetDeadline(time.Now().Add(time.Second))
			fmt.Fprintf(c, "GET /readyz HTTP/1.1\r\n\r\n")
			if text, _ := io.ReadAll(c); strings.Contains(string(text), "ok") {
				t.Errorf("%s: it was answered: %q", name, text)
			}
			_ = c.Close()
		}
		h.runs("with a clawsup-egress that " + name)
		for _, file := range []string{"log.0", "log.1"} {
			if info, err := os.Stat(h.dir + "/run/egress/" + file); err == nil && info.Size() > 64<<10 {
				t.Errorf("%s: it wrote %d bytes", name, info.Size())
			}
		}
		if a := ask[[]api.Agent](t, admin, api.AgentStatus, api.AgentRef{})[0]; a.Restarts != 0 || a.State != "running" && a.State != "ready" {
			t.Errorf("%s: the agent is %+v", name, a)
		}
		h.stop()
	}
}

// resign puts an entry that was changed back into the log's last segment as if
// it had always been so: with the key, which root has.
func (h *host) resign(change func(line string) string) {
	h.t.Helper()
	key, err := audit.LoadKey(h.dir + "/audit.key")
	if err != nil {
		h.t.Fatal(err)
	}
	sign := func(text string) string {
		return strings.TrimSuffix(text, "}") + `,"sig":"` + hex.EncodeToString(ed25519.Sign(key, []byte(text))) + `"}` + "\n"
	}
	anchor, err := audit.ReadAnchor(h.dir + "/state/audit.head")
	if err != nil {
		h.t.Fatal(err)
	}
	segment := filepath.Base(h.segments()[len(h.segments())-1])
	log := h.read("state/audit/" + segment)
	last := strings.TrimSuffix(log[anchor.Offset:], "\n")
	body := change(last[:strings.Index(last, `,"sig":"`)] + "}")
	if err := os.WriteFile(h.dir+"/state/audit/"+segment, []byte(log[:anchor.Offset]+sign(body)), 0o600); err != nil {
		h.t.Fatal(err)
	}
	anchor.Hash = sha256.Sum256([]byte(body))
	text := anchor.String()
	if err := os.WriteFile(h.dir+"/state/audit.head", []byte(sign(text[:strings.Index(text, `,"sig":"`)]+"}")), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// segments are the log's files, the oldest first.
func (h *host) segments() []string {
	h.t.Helper()
	list, err := filepath.Glob(h.dir + "/state/audit/receipts-*.log")
	if err != nil || len(list) == 0 {
		h.t.Fatal(list, err)
	}
	return list
}

// TestClockGoesBack: the log as a clock left it that was an hour ahead: what is
// written now says by how much it is behind, in order.
func TestClockGoesBack(t *testing.T) {
	h := begin(t, "")
	h.runs("before")
	h.stop()
	h.resign(func(line string) string {
		i := strings.Index(line, `"time":"`) + len(`"time":"`)
		const form = "2006-01-02T15:04:05.000000000Z"
		at, err := time.Parse(form, line[i:i+len(form)])
		if err != nil {
			t.Fatal(err)
		}
		return line[:i] + at.Add(time.Hour).Format(form) + line[i+len(form):]
	})
	before := len(h.receipts())
	h.start()
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.asking("touch canary"))
	k := nextTicket(t, people, v.ID)
	if !k.Expires.After(time.Now()) {
		t.Errorf("it expires at %v", k.Expires)
	}
	ask[api.Answered](t, people, api.TicketAnswer, answer(k, approval.Allow))
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Exited || !h.ran() {
		t.Errorf("%+v", v.Result)
	}
	h.stop()
	for _, r := range h.receipts()[before:] {
		if r.Behind < 50*time.Minute || r.Behind > time.Hour {
			t.Errorf("receipt %d is behind by %v", r.Seq, r.Behind)
		}
	}
	if report := h.verified(); report.Set < 4 || report.Behind > time.Hour {
		t.Errorf("%+v", report)
	}
}

// TestLogTamperedWith: a daemon doesn't start on a log that isn't what it left,
// and says what it is and what to do.
func TestLogTamperedWith(t *testing.T) {
	h := begin(t, "")
	for range 5 {
		h.runs("before")
	}
	h.stop()
	lines := func(change func([]string) []string) func() {
		return func() {
			file := h.segments()[0]
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			list := change(strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n"))
			if err := os.WriteFile(file, []byte(strings.Join(list, "")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := len(h.receipts())
	saved := map[string]string{}
	for _, file := range append(h.segments(), h.dir+"/state/audit.head") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		saved[file] = string(text)
	}
	for name, test := range map[string]struct {
		do   func()
		says string
	}{
		"edited": {lines(func(l []string) []string {
			l[4] = strings.Replace(l[4], "exited", "denied", 1)
			l[5] = strings.Replace(l[5], "allow", "deny", 1)
			return l
		}), "edited: entry "},
		"last one edited": {lines(func(l []string) []string {
			l[n-1] = strings.Replace(l[n-1], "exited", "denied", 1)
			return l
		}), fmt.Sprintf("edited: entry %d", n)},
		"reordered":           {lines(func(l []string) []string { l[3], l[4] = l[4], l[3]; return l }), "reordered: entry "},
		"one cut out":         {lines(func(l []string) []string { return append(l[:4:4], l[5:]...) }), "missing: entry 5"},
		"last ones cut off":   {lines(func(l []string) []string { l[n-3] = strings.TrimSuffix(l[n-3], "\n") + "\n"; return l[:n-2] }), "truncated: "},
		"truncated in a line": {func() { _ = os.Truncate(h.segments()[0], int64(len(saved[h.segments()[0]])-100)) }, "edited: entry "},
		"all of it gone":      {func() { _ = os.Remove(h.segments()[0]) }, "truncated: entries 1 to "},
		"a forged line at the end": {lines(func(l []string) []string {
			return append(l[:n-1:n-1], l[n-1]+"\n", l[n-1]+"\n")
		}), "reordered: entry "},
		"anchor edited": {func() {
			a := h.dir + "/state/audit.head"
			_ = os.WriteFile(a, []byte(strings.Replace(saved[a], `"offset":`, `"offset":1`, 1)), 0o600)
		}, "edited: anchor"},
		"nothing": {func() {}, ""},
	} {
		for file, text := range saved {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		test.do()
		b, err := Open(context.Background(), Options{Config: h.dir + "/clawsup.toml"})
		if b != nil {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
		var p *audit.Problem
		switch {
		case test.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.says == "":
		case !errors.As(err, &p) || !strings.HasPrefix(p.Error(), test.says):
			t.Errorf("%s: %v; want %s", name, err, test.says)
		case !strings.Contains(err.Error(), "clawsup audit verify"):
			t.Errorf("%s: it does not say what to do: %v", name, err)
		}
		if test.says == "" {
			continue
		}
		if c, err := api.Dial(context.Background(), h.dir+"/run/call.sock"); err == nil {
			_ = c.Close()
			t.Errorf("%s: somebody listens", name)
		}
	}
}

// holdings is what a daemon holds that must not grow.
type holdings struct {
	Goroutines, Descriptors, Groups, Boxes, Copies, Live, Going, Waiting, Lines, Tickets int
}

func (h *host) holds() (n holdings) {
	h.broker.drain("nothing waits while it is counted", func(pool.Labels) bool { return true })
	h.t.Helper()
	h.broker.calls.tidy(time.Now().Add(2*spoolKeep), 24*time.Hour) // what is kept for followers, for a time
	n.Goroutines = goruntime.NumGoroutine()
	n.Descriptors = len(h.listHost("/proc/self/fd"))
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/pids"} {
		for _, place := range []string{"/box-*", "/*/box-*"} {
			dirs, _ := filepath.Glob(root + h.group() + place)
			n.Groups += len(dirs)
		}
	}
	boxes, _ := filepath.Glob(h.dir + "/run/boxes/box-*[0-9]")
	n.Boxes = len(boxes)
	n.Copies = len(h.list("state/sealed"))
	n.Live = len(h.broker.calls.live())
	n.Going, n.Waiting = h.broker.queue.numbers()
	q := h.broker.queue
	q.mu.Lock()
	n.Lines = len(q.lines) + len(q.order) + len(q.agents) + len(q.skills)
	q.mu.Unlock()
	n.Tickets, _ = h.broker.book.Counts()
	return n
}

func (h *host) listHost(dir string) []os.DirEntry {
	h.t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

// atMost says whether nothing of n is more than of m.
func (n holdings) atMost(m holdings) bool {
	return n.Goroutines <= m.Goroutines && n.Descriptors <= m.Descriptors && n.Groups <= m.Groups && n.Boxes <= m.Boxes &&
		n.Copies <= m.Copies && n.Live <= m.Live && n.Going <= m.Going && n.Waiting <= m.Waiting && n.Lines <= m.Lines && n.Tickets <= m.Tickets
}

// TestNothingIsLeft: after hundreds of calls that ended in every way, the
// daemon holds no more than before.
func TestNothingIsLeft(t *testing.T) {
	h := begin(t, "[calls]\nrate = 100000\n"+strings.Replace(manyTickets, "burst = 1000", "burst = 100000", 1))
	h.write("skills/hello/SKILL.md", "---\nname: hello\ndescription: says hello\n---\n")
	h.write("work/script.sh", "echo x\n")
	work := raw.String(h.dir + "/work")
	var c, people *api.Client
	wait := func(v api.Call) api.Call { return ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}) }
	submit := func(s api.Submit) api.Call { return ask[api.Call](t, c, api.CallSubmit, s) }
	say := func(s api.Submit, verdict approval.Verdict) runtime.Status {
		v := submit(s)
		ask[api.Answered](t, people, api.TicketAnswer, answer(nextTicket(t, people, v.ID), verdict))
		return wait(v).Result.Status
	}
	sealed := api.Submit{Args: args("sh", "script.sh"), Profile: "askrw", Workspace: work}
	kinds := []struct {
		name string
		want runtime.Status
		do   func() runtime.Status
	}{
		{"allowed", runtime.Exited, func() runtime.Status { return wait(submit(shell("echo out; echo err >&2"))).Result.Status }},
		{"in a session", runtime.Exited, func() runtime.Status {
			s := shell("echo x >f")
			s.Session = "one"
			return wait(submit(s)).Result.Status
		}},
		{"skill", runtime.Exited, func() runtime.Status {
			return wait(submit(api.Submit{Skill: "hello", Args: args("true")})).Result.Status
		}},
		{"denied", runtime.Denied, func() runtime.Status {
			s := shell("true")
			s.Profile = "no"
			return wait(submit(s)).Result.Status
		}},
		{"asked, yes", runtime.Exited, func() runtime.Status { return say(sealed, approval.Allow) }},
		{"asked, no", runtime.Denied, func() runtime.Status { return say(sealed, approval.Deny) }},
		{"asked, changed", runtime.Exited, func() runtime.Status {
			v := submit(sealed)
			a := answer(nextTicket(t, people, v.ID), approval.Change)
			a.Args = args("sh", "./script.sh")
			next := ask[api.Answered](t, people, api.TicketAnswer, a).Next
			ask[api.Answered](t, people, api.TicketAnswer, answer(*next, approval.Allow))
			return wait(v).Result.Status
		}},
		{"asked, nobody answers", runtime.Denied, func() runtime.Status {
			s, d := sealed, api.Duration(time.Millisecond)
			s.Deadline = &d
			return wait(submit(s)).Result.Status
		}},
		{"asked, cancelled", runtime.Stopped, func() runtime.Status {
			v := submit(sealed)
			nextTicket(t, people, v.ID)
			return ask[api.Call](t, c, api.CallCancel, api.CallRef{Call: v.ID}).Result.Status
		}},
		{"stopped", runtime.Stopped, func() runtime.Status {
			v := submit(shell("trap '' TERM; echo up; while :; do sleep 100; done"))
			h.awaitOutput(c, v.ID) // which follows it too
			ask[api.Stopped](t, people, api.CallStop, api.Stop{Call: v.ID})
			return wait(v).Result.Status
		}},
		{"failed plan", runtime.SandboxError, func() runtime.Status {
			return wait(submit(api.Submit{Args: args("no-such-program"), Profile: "ask"})).Result.Status
		}},
		{"failed skill", runtime.SandboxError, func() runtime.Status {
			return wait(submit(api.Submit{Skill: "nobodys", Args: args("true")})).Result.Status
		}},
		{"descriptors", runtime.Exited, func() runtime.Status {
			in, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = feed.Close()
			out, into, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			v := ask[api.Call](t, c, api.CallSubmit, shell("cat; echo x"), in, into, into)
			_, _ = in.Close(), into.Close()
			text, _ := io.ReadAll(out)
			_ = out.Close()
			if string(text) != "x\n" {
				t.Errorf("%q", text)
			}
			return wait(v).Result.Status
		}},
		{"refused descriptors", runtime.Exited, func() runtime.Status {
			dir, err := os.Open("/")
			if err != nil {
				t.Fatal(err)
			}
			defer dir.Close()
			if _, err := try[api.Call](c, api.CallSubmit, shell("true"), dir, dir, dir); api.CodeOf(err) != api.CodeParams {
				t.Error(err)
			}
			return runtime.Exited
		}},
		{"followed to the end", runtime.Exited, func() runtime.Status {
			v := submit(shell("echo x"))
			follower := h.dial("call")
			defer follower.Close()
			return ask[api.Call](t, follower, api.CallFollow, api.Follow{Call: v.ID}).Result.Status
		}},
		{"disconnected", runtime.Stopped, func() runtime.Status {
			gone := h.dial("call")
			s := shell("echo up; sleep 600")
			s.Wait, s.Progress = true, true
			ended := make(chan error, 1)
			go func() { ended <- gone.Call(context.Background(), api.CallSubmit, s, nil) }()
			var v api.Call
			if err := json.Unmarshal((<-gone.Notifications()).Params, &v); err != nil {
				t.Fatal(err)
			}
			h.awaitOutput(c, v.ID)
			_ = gone.Close()
			<-ended
			return wait(v).Result.Status
		}},
		{"output of nobody", runtime.OutputLimit, func() runtime.Status {
			return wait(submit(shell("yes"))).Result.Status
		}},
	}
	rounds := func(n int) {
		c, people = h.dial("call"), h.watch(h.dial("approval"))
		for range n {
			for _, k := range kinds {
				if got := k.do(); got != k.want {
					t.Errorf("%s: %v, want %v", k.name, got, k.want)
				}
			}
		}
		_, _ = c.Close(), people.Close()
	}
	rounds(1) // what is made once is made
	before := h.holds()
	n := 18
	if testing.Short() {
		n = 1
	}
	rounds(n)
	for end := time.Now().Add(patience); !h.holds().atMost(before); goruntime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("after %d calls the daemon holds\n%+v, before\n%+v", n*len(kinds), h.holds(), before)
		}
	}
	t.Logf("%d calls: %+v, before %+v", n*len(kinds), h.holds(), before)
	for _, s := range ask[[]api.Session](t, h.dial("admin"), api.SessionList, api.Nothing{}) { // none is in use
		ask[api.Session](t, h.dial("admin"), api.SessionRemove, api.SessionRef{Session: s.ID})
	}
	h.stop()
	h.verified()
}
