// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
)

// testTemplate makes one that ends with the test.
func testTemplate(t *testing.T, h *Host, spec Spec) *Template {
	t.Helper()
	kind, err := h.Template(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := kind.Close(); err != nil {
			t.Error(err)
		}
	})
	return kind
}

// boxOf prepares a box that ends with the test.
func boxOf(t *testing.T, kind *Template, spec Spec) *Sandbox {
	t.Helper()
	box, err := kind.Prepare(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return box
}

// at is a call that is running: it says its first line, then goes on until its
// input ends.
type at struct {
	first string
	end   func() Result
}

func runUntil(t *testing.T, box *Sandbox, call Call) at {
	t.Helper()
	in, inw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	outr, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan Result, 1)
	go func() {
		done <- box.Run(context.Background(), call, Stdio{In: in, Out: out, Err: out}, nil)
		_, _ = in.Close(), out.Close()
	}()
	first, err := bufio.NewReader(outr).ReadString('\n')
	if err != nil {
		t.Fatalf("it said %q: %v", first, err)
	}
	go func() { _, _ = io.Copy(io.Discard, outr) }()
	return at{strings.TrimSpace(first), func() Result {
		_ = inw.Close()
		r := <-done
		_ = outr.Close()
		return r
	}}
}

// processesOf lists the box's processes on the host, PID 1 first.
func processesOf(t *testing.T, box *Sandbox) []int {
	t.Helper()
	dirs := groupDirs(box.leaf.Config().Path)
	if len(dirs) == 0 {
		t.Fatal("its group is gone")
	}
	b, err := os.ReadFile(filepath.Join(dirs[0], "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, word := range strings.Fields(string(b)) {
		pid, _ := strconv.Atoi(word)
		pids = append(pids, pid)
	}
	// As the box numbers them: the host's numbers begin again at some time.
	number := func(pid int) int {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, after, found := strings.Cut(string(b), "\nNSpid:")
		line, _, _ := strings.Cut(after, "\n")
		if err != nil || !found {
			return math.MaxInt // it has ended
		}
		words := strings.Fields(line)
		n, _ := strconv.Atoi(words[len(words)-1])
		return n
	}
	slices.SortFunc(pids, func(a, b int) int { return cmp.Compare(number(a), number(b)) })
	return pids
}

// victim leaves something in every place that two boxes could share, and
// listens, until its input ends.
const victim = `
import os, socket, sys, ctypes
libc = ctypes.CDLL(None, use_errno=True)
open("/tmp/mine", "w").write("victim")
open("/dev/shm/mine", "w").write("victim")
shm = libc.shmget(0x7ea1, 4096, 0o1666)
sem = libc.semget(0x7ea1, 1, 0o1666)
try:
    unix = socket.socket(socket.AF_UNIX); unix.bind("\0mine"); unix.listen()
except OSError: pass
try:
    tcp = socket.socket(); tcp.bind(("127.0.0.1", 7777)); tcp.listen()
except OSError: pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["hidden", "600"])
    os._exit(0)
print("up", flush=True)
sys.stdin.read()
`

// thief looks for all of it, and hurts whom it can. It says what it found.
const thief = `
import os, socket, sys, ctypes, signal
libc = ctypes.CDLL(None, use_errno=True)
found = ["descriptor " + fd for fd in os.listdir("/proc/self/fd") if int(fd) > 3] # 3 lists them
for d in "/tmp", "/dev/shm":
    if os.listdir(d): found.append(d)
for name, get in (("shm", lambda: libc.shmget(0x7ea1, 4096, 0)), ("sem", lambda: libc.semget(0x7ea1, 1, 0))):
    if get() >= 0: found.append(name)
for name, kind, where in ("abstract", socket.AF_UNIX, "\0mine"), ("tcp", socket.AF_INET, ("127.0.0.1", 7777)):
    try:
        s = socket.socket(kind); s.settimeout(5); s.connect(where); found.append(name)
    except OSError: pass
own = os.getpid()
pids = [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != own]
if pids: found.append("processes %s" % pids)
for pid in [int(a) for a in sys.argv[1:]]:
    for try_ in (lambda: os.kill(pid, signal.SIGKILL), lambda: open("/proc/%d/environ" % pid), lambda: os.listdir("/proc/%d/fd" % pid), lambda: open("/proc/%d/mem" % pid)):
        try: try_(); found.append("pid %d" % pid)
        except OSError: pass
    if libc.ptrace(16, pid, 0, 0) == 0: found.append("ptrace %d" % pid)
try: os.kill(-1, signal.SIGKILL)
except OSError: pass
print("found", found, flush=True)
`

// TestSiblings: of two boxes of one template, each at work, neither finds or
// hurts the other or the template. The same holds with filter and Landlock
// down, from the namespaces alone.
func TestSiblings(t *testing.T) {
	h := testHost(t)
	for name, given := range map[string][]layer.Layer{
		"all layers":      nil,
		"namespaces only": {layer.Seccomp, layer.Landlock},
	} {
		t.Run(name, func(t *testing.T) {
			spec := testSpec(t, h, given...)
			kind := testTemplate(t, h, spec)
			a, b := boxOf(t, kind, spec), boxOf(t, kind, spec)
			one := runUntil(t, a, testCall("python3", "-c", victim))
			args := []string{"python3", "-c", thief, strconv.Itoa(kind.PID())}
			for _, pid := range processesOf(t, a) {
				args = append(args, strconv.Itoa(pid))
			}
			if o := giveCall(t, b, testCall(args...), ""); o.out != "found []\n" || o.ExitCode != 0 {
				t.Errorf("%s %s %+v", o.out, o.err, o.Result)
			}
			if r := one.end(); r.Status != Exited || r.ExitCode != 0 {
				t.Errorf("the victim: %+v", r)
			}
			if !kind.Alive() {
				t.Error("the template is dead")
			}
		})
	}
}

// TestSuccessor: the next box in the slot of one that was used, of the same
// template, finds nothing of it.
func TestSuccessor(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h, layer.Seccomp, layer.Landlock)
	kind := testTemplate(t, h, spec)
	first := boxOf(t, kind, spec)
	if o := giveCall(t, first, testCall("python3", "-c", victim), ""); o.out != "up\n" {
		t.Fatalf("%s %+v", o.err, o.Result)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := boxOf(t, kind, spec)
	if first.slot.number != second.slot.number {
		t.Fatalf("slots %d and %d", first.slot.number, second.slot.number)
	}
	if o := giveCall(t, second, testCall("python3", "-c", thief), ""); o.out != "found []\n" {
		t.Errorf("%s %s %+v", o.out, o.err, o.Result)
	}
}

// status reads fields of /proc/PID/status.
func status(t *testing.T, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	return ""
}

// TestWaitingBox looks at what waits: two boxes of one template, that share no
// namespace and no user with each other, the template or the host, hold no
// capability but PID 1's one, and few descriptors; and the walls stand already.
func TestWaitingBox(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	kind := testTemplate(t, h, spec)
	a, b := boxOf(t, kind, spec), boxOf(t, kind, spec)
	namespace := func(pid int, kind string) string {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
		if err != nil {
			t.Fatal(err)
		}
		return to
	}
	kinds := []string{"user", "mnt", "pid", "net", "ipc", "uts"}
	if spec.Layers.Enforce.Has(layer.NamespaceCgroup) {
		kinds = append(kinds, "cgroup")
	}
	if spec.Layers.Enforce.Has(layer.NamespaceTime) {
		kinds = append(kinds, "time")
	}
	seen := map[string]string{}
	for _, k := range kinds {
		seen[namespace(os.Getpid(), k)] = "the host"
		if k == "mnt" || k == "uts" { // of its own; in the others it is the host
			seen[namespace(kind.PID(), k)] = "the template"
		}
	}
	users := map[string]bool{}
	for _, box := range []*Sandbox{a, b} {
		pids := processesOf(t, box)
		if len(pids) != 2 {
			t.Fatalf("processes %v", pids)
		}
		for _, k := range kinds {
			ns := namespace(pids[0], k)
			if whose := seen[ns]; whose != "" {
				t.Errorf("%s is shared with %s", ns, whose)
			}
			seen[ns] = "another box"
			if other := namespace(pids[1], k); other != ns {
				t.Errorf("PID 1 and the stage: %s and %s", ns, other)
			}
		}
		for i, want := range []struct{ caps, seccomp string }{{"0000000000000020", "0"}, {"0000000000000000", "2"}} {
			pid := pids[i]
			uid := status(t, pid, "Uid")
			if users[uid] || strings.HasPrefix(uid, "0 ") {
				t.Errorf("process %d has the user %s", i, uid)
			}
			users[uid] = true
			for field, value := range map[string]string{
				"CapEff": want.caps, "CapPrm": want.caps, "CapInh": "0000000000000000", "CapAmb": "0000000000000000",
				"CapBnd": "0000000000000000", "NoNewPrivs": "1", "Groups": "", "Seccomp": want.seccomp,
			} {
				if got := status(t, pid, field); got != value {
					t.Errorf("process %d: %s is %q, want %q", i, field, got, value)
				}
			}
		}
		// PID 1: three of /dev/null, both sockets, SIGCHLD, and its ends of three
		// pipes. The stage: the other ends, and its socket; that to the host it
		// closes once it has said hello, which has no event.
		for i, want := range []int{9, 4} {
			var fds []os.DirEntry
			for end := time.Now().Add(time.Minute); time.Now().Before(end); {
				var err error
				if fds, err = os.ReadDir(fmt.Sprintf("/proc/%d/fd", pids[i])); err != nil || len(fds) == want {
					break
				}
			}
			if len(fds) != want {
				t.Errorf("process %d has %d descriptors, want %d", i, len(fds), want)
			}
		}
	}
	if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", kind.PID())); err != nil || len(fds) != 4 {
		t.Errorf("the template has %d descriptors: %v", len(fds), err)
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", kind.PID())); err != nil || len(env) > 0 {
		t.Errorf("the template has the environment %q %v", env, err)
	}
	const allowed = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETPCAP | 1<<unix.CAP_KILL |
		1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_SYS_RESOURCE | 1<<unix.CAP_SYS_CHROOT
	for _, set := range []string{"CapEff", "CapPrm", "CapBnd"} {
		if held, err := strconv.ParseUint(status(t, kind.PID(), set), 16, 64); err != nil || held&^allowed != 0 {
			t.Errorf("the template holds %x: %v", held, err)
		}
	}
}

// enter is a program that goes into namespaces of a process and then, with all
// capabilities over its user namespace, tries what root of a box would.
const enter = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = sys.argv[1]
fds = {k: os.open("/proc/%s/ns/%s" % (pid, k), os.O_RDONLY) for k in ("net", "uts", "ipc", "mnt", "user")}
for k in ("net", "uts", "ipc", "mnt", "user"):
    if libc.setns(fds[k], 0): sys.exit("setns %s: %s" % (k, os.strerror(ctypes.get_errno())))
if libc.setresgid(0, 0, 0) or libc.setresuid(0, 0, 0): sys.exit("become root of the box")
def tried(name, r):
    print(name, "DONE" if r >= 0 else os.strerror(ctypes.get_errno()))
tried("umount", libc.umount2(b"/tmp", 2))
tried("remount", libc.mount(None, b"/usr", None, 32 | 4096, None))
tried("mount", libc.mount(b"x", b"/tmp", b"tmpfs", 0, None))
tried("hostname", libc.sethostname(b"owned", 5))
s = libc.socket(17, 3, 0)
tried("packet", s)
`

// TestNamespacesBelongToTheHost: who has every capability over a box's user
// namespace has none over its mounts, its host name and its network.
func TestNamespacesBelongToTheHost(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	box := boxOf(t, testTemplate(t, h, spec), spec)
	out, err := exec.Command("python3", "-c", enter, strconv.Itoa(processesOf(t, box)[0])).CombinedOutput()
	want := "umount Operation not permitted\nremount Operation not permitted\nmount Operation not permitted\n" +
		"hostname Operation not permitted\npacket Operation not permitted\n"
	if err != nil || string(out) != want {
		t.Errorf("%v %s", err, out)
	}
}

// TestTemplateKilled: boxes that it made go on, at work and waiting; it makes
// no more, and nothing stays.
func TestTemplateKilled(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	runCall(t, h, spec, testCall("true"), "")
	before := takeInventory(t, h)
	kind, err := h.Template(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	var boxes [3]*Sandbox
	for i := range boxes {
		if boxes[i], err = kind.Prepare(context.Background(), spec); err != nil {
			t.Fatal(err)
		}
	}
	running := runUntil(t, boxes[0], testCall("sh", "-c", "echo up; cat; exit 7"))
	if err := unix.Kill(kind.PID(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-kind.ended
	if kind.Alive() {
		t.Error("it is alive")
	}
	var e *Error
	if box, err := kind.Prepare(context.Background(), spec); !errors.As(err, &e) || box != nil {
		t.Errorf("a dead template: %v", err)
	}
	if r := running.end(); r.Status != Exited || r.ExitCode != 7 {
		t.Errorf("at work: %+v", r)
	}
	if !boxes[1].Waiting() {
		t.Error("one that waited is gone")
	}
	if o := giveCall(t, boxes[1], testCall("python3", "-c", thief, strconv.Itoa(kind.PID())), ""); o.out != "found []\n" {
		t.Errorf("%s %s %+v", o.out, o.err, o.Result)
	}
	for _, box := range boxes { // the last was never used
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := kind.Close(); err != nil {
		t.Error(err)
	}
	takeInventory(t, h).same(t, before)
}

// TestTemplateStopped: one that doesn't answer costs its caller no more than
// the caller's time, and can be closed.
func TestTemplateStopped(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	kind := testTemplate(t, h, spec)
	if err := unix.Kill(kind.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if box, err := kind.Prepare(ctx, spec); err == nil || box != nil {
		t.Error("it answered")
	}
	if kind.Alive() {
		t.Error("boxes could be made of it")
	}
	if err := kind.Close(); err != nil {
		t.Error(err)
	}
}

// TestWaitingBoxKilled: who takes it finds out before, and after.
func TestWaitingBoxKilled(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	box := boxOf(t, testTemplate(t, h, spec), spec)
	if !box.Waiting() {
		t.Fatal("it doesn't wait")
	}
	if err := unix.Kill(processesOf(t, box)[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := box.init.await(context.Background()); err != nil {
		t.Fatal(err)
	}
	if box.Waiting() {
		t.Error("it waits")
	}
	if o := giveCall(t, box, testCall("true"), ""); o.Status != SandboxError {
		t.Errorf("%+v", o.Result)
	}
}

// TestKeys: whatever changes a box changes its key, and what a template fixes
// changes the template's; whose call it is changes neither.
func TestKeys(t *testing.T) {
	h := testHost(t)
	make := func() Spec {
		s := testSpec(t, h)
		s.Read = []string{"/etc/hostname"}
		s.Binds = []rootfs.Bind{
			{Source: "/srv/skill", Target: "/skill"},
			{Source: "/srv/work", Target: "/data", Writable: true, Owner: &rootfs.Owner{UID: 5, GID: 6}, Identity: rootfs.Identity{Dev: 1, Ino: 2}},
		}
		return s
	}
	keys := func(s Spec) (Key, Key) {
		a, b, err := s.Keys()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
	base := make()
	template, box := keys(base)
	if a, b := keys(make()); a != template || b != box {
		t.Error("the same spec has other keys")
	}
	for name, change := range map[string]struct {
		do     func(*Spec)
		shared bool // the template's key changes too
	}{
		"layers":         {func(s *Spec) { s.Layers.Enforce = s.Layers.Enforce.Without(layer.CgroupCPU) }, true},
		"abi":            {func(s *Spec) { s.Layers.ABI++ }, true},
		"rootfs":         {func(s *Spec) { s.Rootfs = "/srv/root" }, true},
		"read":           {func(s *Spec) { s.Read[0] = "/etc/hosts" }, true},
		"proc":           {func(s *Spec) { s.ProcPids = true }, true},
		"filter":         {func(s *Spec) { s.Filter = strictFilter }, true},
		"file size":      {func(s *Spec) { s.FileSize++ }, true},
		"open files":     {func(s *Spec) { s.OpenFiles++ }, true},
		"stack":          {func(s *Spec) { s.Stack++ }, true},
		"pids":           {func(s *Spec) { s.Group.Pids++ }, true},
		"stamp":          {func(s *Spec) { s.Stamp = "x" }, true},
		"network":        {func(s *Spec) { s.Network = NetworkHost }, true},
		"egress":         {func(s *Spec) { s.Network = NetworkEgress }, true},
		"skill":          {func(s *Spec) { s.Binds[0].Source = "/srv/other" }, true},
		"place":          {func(s *Spec) { s.Binds[1].Target = "/other" }, true},
		"writable":       {func(s *Spec) { s.Binds[1].Writable = false }, true},
		"sockets":        {func(s *Spec) { s.Binds[1].Sockets = true }, true},
		"another tmpfs":  {func(s *Spec) { s.Tmpfs = append(s.Tmpfs, rootfs.Tmpfs{Target: "/more", Size: 1, Files: 1}) }, true},
		"cpu time":       {func(s *Spec) { s.CPUTime += time.Hour }, true}, // RLIMIT_CPU
		"a bit of it":    {func(s *Spec) { s.CPUTime -= time.Millisecond }, false},
		"memory":         {func(s *Spec) { s.Group.Memory++ }, false},
		"cpu":            {func(s *Spec) { s.Group.CPU += 0.1 }, false},
		"disk read":      {func(s *Spec) { s.Group.DiskRead++ }, false},
		"disk write":     {func(s *Spec) { s.Group.DiskWrite++ }, false},
		"workspace":      {func(s *Spec) { s.Binds[1].Source = "/srv/theirs" }, false},
		"identity":       {func(s *Spec) { s.Binds[1].Identity.Ino++ }, false},
		"owner":          {func(s *Spec) { s.Binds[1].Owner = &rootfs.Owner{UID: 5, GID: 7} }, false},
		"tool":           {func(s *Spec) { s.Tool = &Identity{1, 2} }, false},
		"size of tmpfs":  {func(s *Spec) { s.Tmpfs[0].Size++ }, false},
		"files of tmpfs": {func(s *Spec) { s.Tmpfs[0].Files++ }, false},
		"noexec tmpfs":   {func(s *Spec) { s.Tmpfs[0].Exec = !s.Tmpfs[0].Exec }, false},
	} {
		s := make()
		change.do(&s)
		a, b := keys(s)
		if b == box || (a != template) != change.shared {
			t.Errorf("%s: template changed %v, box changed %v", name, a != template, b != box)
		}
	}
	kind := testTemplate(t, h, testSpec(t, h))
	var e *Error
	if box, err := kind.Prepare(context.Background(), base); !errors.As(err, &e) || e.Step != StepSpec || box != nil {
		t.Errorf("a box of another template: %v", err)
	}
}

// TestGarbageForATemplate: it answers what it doesn't understand with an error,
// makes nothing, and goes on.
func TestGarbageForATemplate(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	kind := testTemplate(t, h, spec)
	whole := (&wire.BoxOrder{Root: 1 << 20, UID: 1<<20 + 1000, GID: 1<<20 + 1000}).Encode()
	for name, m := range map[string]wire.Message{
		"a byte":         {1},
		"zeros":          make(wire.Message, 4096),
		"half":           whole[:len(whole)/2],
		"more":           append(slices.Clone(whole), 1),
		"no descriptors": whole,
		"places":         append(slices.Clone(whole[:len(whole)-8]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
	} {
		if pid, fd, err := kind.ask(context.Background(), m); !errors.Is(err, unix.EPROTO) || pid != 0 || fd != -1 {
			t.Errorf("%s: %d %d %v", name, pid, fd, err)
		}
	}
	if o := giveCall(t, boxOf(t, kind, spec), testCall("true"), ""); o.Status != Exited || o.ExitCode != 0 {
		t.Errorf("%+v", o.Result)
	}
}

// TestLateWord: a box whose host had waited too long for its first word isn't
// given a connection that is out of time.
func TestLateWord(t *testing.T) {
	c, theirs, err := newConn()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer theirs.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.receive(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := theirs.Write([]byte{0, 0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if e, err := c.receive(context.Background()); err != nil || e.Failure != nil || e.Outcome != nil {
		t.Errorf("%+v %v", e, err)
	}
}

// TestWriterLeavesSlowReader: what is still on its way when a stream's writer
// has gone waits for the reader, and nobody computes meanwhile.
func TestWriterLeavesSlowReader(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	spec.CPUTime = 500 * time.Millisecond
	const size = 120_000 // more than two pipes hold
	t.Run("output", func(t *testing.T) {
		box := boxOf(t, testTemplate(t, h, spec), spec)
		in, feed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_ = feed.Close()
		out, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan Result, 1)
		go func() {
			done <- box.Run(context.Background(), testCall("head", "-c", strconv.Itoa(size), "/dev/zero"), Stdio{In: in, Out: w, Err: w}, nil)
			_, _ = in.Close(), w.Close()
		}()
		for len(processesOf(t, box)) > 1 { // until the tool has ended: the reader begins after that
			time.Sleep(time.Millisecond)
		}
		first, err := box.leaf.CPUUsage()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond) // in which a loop would show
		second, err := box.leaf.CPUUsage()
		if err != nil || second-first > 100*time.Millisecond {
			t.Errorf("it took %v of CPU time to wait: %v", second-first, err)
		}
		got, err := io.Copy(io.Discard, out)
		if r := <-done; r.Status != Exited || got != size || r.Usage.Stdout != size {
			t.Errorf("%d bytes, %v: %+v", got, err, r)
		}
	})
	t.Run("input", func(t *testing.T) {
		o := giveCall(t, boxOf(t, testTemplate(t, h, spec), spec), testCall("sh", "-c", "sleep 1; wc -c"), strings.Repeat("x", size))
		if o.Status != Exited || strings.TrimSpace(o.out) != strconv.Itoa(size) {
			t.Errorf("%q %+v", o.out, o.Result)
		}
	})
}

// TestFrozenBoxTakesNoCall: a call that no box takes ends with its caller.
func TestFrozenBoxTakesNoCall(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	box := boxOf(t, testTemplate(t, h, spec), spec)
	if err := box.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	call := testCall("true")
	for range 8 {
		call.Argv = append(call.Argv, strings.Repeat("x", 100_000)) // more than a socket holds
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer w.Close()
	if r := box.Run(ctx, call, Stdio{In: in, Out: w, Err: w}, nil); r.Status != Stopped {
		t.Errorf("%+v", r)
	}
}

// TestFileWithoutSize: a file of /proc says that it has none, and has content.
func TestFileWithoutSize(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	f, err := os.Open("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r := boxOf(t, testTemplate(t, h, spec), spec).Run(context.Background(), testCall("cat"), Stdio{In: f, Out: w, Err: w}, nil)
	_ = w.Close()
	if text, err := io.ReadAll(out); r.ExitCode != 0 || !strings.HasPrefix(string(text), "Linux") {
		t.Errorf("%q %v %+v", text, err, r)
	}
}

// within says whether part is in whole with nothing but gaps.
func within(part, whole string) bool {
	for i := 0; i < len(whole) && part != ""; i++ {
		if whole[i] == part[0] {
			part = part[1:]
		}
	}
	return part == ""
}

// TestWatchCantBeForged: what the watcher is shown the caller gets, also where
// the tool takes back what it wrote. Some of it may be missed.
func TestWatchCantBeForged(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h, layer.Seccomp, layer.Landlock)
	box := boxOf(t, testTemplate(t, h, spec), spec)
	var pipes [4][2]*os.File // in, out, and the watches
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		pipes[i] = [2]*os.File{r, w}
	}
	const forge = `
import os, time
os.write(1, b"x" * 65536)                        # the caller's pipe is full
os.write(1, b"harmless words\n")
back = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
time.sleep(0.3)                                  # in which it could be shown
try: os.read(back, 65536)
except BlockingIOError: pass
os.write(1, b"the secret key\n")
os.close(back)
`
	done := make(chan Result, 1)
	go func() {
		done <- box.Run(context.Background(), testCall("python3", "-c", forge),
			Stdio{In: pipes[0][0], Out: pipes[1][1], Err: pipes[1][1], Watch: [2]*os.File{pipes[2][1], pipes[3][1]}}, nil)
		for _, p := range pipes {
			_ = p[1].Close()
		}
	}()
	shown := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(pipes[2][0])
		shown <- string(text)
	}()
	for len(processesOf(t, box)) > 1 { // the tool has ended
		time.Sleep(time.Millisecond)
	}
	got, err := io.ReadAll(pipes[1][0])
	r := <-done
	if saw := <-shown; err != nil || r.Status != Exited || !within(saw, string(got)) {
		t.Errorf("the caller got %q, the watcher saw %q: %v %+v", strings.Trim(string(got), "x"), strings.Trim(saw, "x"), err, r)
	}
}

// TestBusyStreamHoldsNothingUp: while one stream never pauses, signals and the
// other stream get through.
func TestBusyStreamHoldsNothingUp(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	box := boxOf(t, testTemplate(t, h, spec), spec)
	var pipes [3][2]*os.File
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		pipes[i] = [2]*os.File{r, w}
	}
	flows := make(chan struct{})
	go func() {
		_, _ = io.CopyN(io.Discard, pipes[1][0], 1<<20)
		close(flows)
		_, _ = io.Copy(io.Discard, pipes[1][0])
	}()
	call := testCall("sh", "-c", "trap 'echo heard >&2; exit 5' TERM; cat /dev/zero & echo up >&2; while :; do wait; done")
	call.StdoutMax = 1 << 40
	signals := make(chan unix.Signal)
	done := make(chan Result, 1)
	go func() {
		done <- box.Run(context.Background(), call, Stdio{In: pipes[0][0], Out: pipes[1][1], Err: pipes[2][1]}, signals)
		for _, p := range pipes {
			_ = p[1].Close()
		}
	}()
	said := bufio.NewReader(pipes[2][0])
	if line, err := said.ReadString('\n'); line != "up\n" {
		t.Fatalf("%q %v", line, err)
	}
	<-flows
	signals <- unix.SIGTERM
	if line, err := said.ReadString('\n'); line != "heard\n" {
		t.Errorf("%q %v", line, err)
	}
	if r := <-done; r.Status != Exited || r.ExitCode != 5 || r.Usage.Stdout == 0 {
		t.Errorf("%+v", r)
	}
}
