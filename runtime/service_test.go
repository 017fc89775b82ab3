// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/ring"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
)

// serviceCall is testCall without an end.
func serviceCall(argv ...string) Call {
	c := testCall(argv...)
	c.WallTime, c.StdoutMax, c.StderrMax = 0, 0, 0
	return c
}

// serviceSpec is testSpec without an end.
func serviceSpec(t testing.TB, h *Host, without ...layer.Layer) Spec {
	s := testSpec(t, h, without...)
	s.CPUTime = 0
	return s
}

// openLog makes a log in a directory of the test's.
func openLog(t testing.TB, max int64) ServiceLog {
	t.Helper()
	l := ServiceLog{Max: max}
	dir := t.TempDir()
	for i := range l.Files {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("log.%d", i)), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		l.Files[i] = f
	}
	return l
}

// read gives what is in the log, oldest first.
func (l ServiceLog) read(t testing.TB) string {
	t.Helper()
	at, err := ring.Newer(l.Files, l.Max)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, f := range []*os.File{l.Files[1-at], l.Files[at]} {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return string(all)
}

// await polls the log for text: files have no event that could be waited for.
func (l ServiceLog) await(t testing.TB, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(l.read(t), text); {
		if time.Now().After(end) {
			t.Fatalf("%q is not in the log: %q", text, l.read(t))
		}
		time.Sleep(time.Millisecond)
	}
}

// serve starts a service that ends with the test.
func serve(t testing.TB, h *Host, spec Spec, call Call, log ServiceLog) *Service {
	t.Helper()
	spec.CPUTime = 0
	box, err := h.Berth(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	v, err := box.Serve(context.Background(), call, log)
	if err != nil {
		t.Fatal(errors.Join(err, box.Close()))
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// TestServiceRuns: one stream in order, nothing to read, an exit code, and
// nothing left.
func TestServiceRuns(t *testing.T) {
	h := testHost(t)
	log := openLog(t, 1<<20)
	_ = serve(t, h, serviceSpec(t, h), serviceCall("true"), openLog(t, 1<<10)).Close() // opens what the process keeps
	before := takeInventory(t, h)
	v := serve(t, h, serviceSpec(t, h), serviceCall("sh", "-c",
		"for i in 1 2 3; do echo out$i; echo err$i >&2; done; cat; echo x >/dev/stderr; ls /proc/self/fd | tr '\\n' ' '; setsid sleep 600 & exit 7"), log)
	r := v.Ended()
	if r.Status != Exited || r.ExitCode != 7 {
		t.Errorf("%+v", r)
	}
	if got, want := log.read(t), "out1\nerr1\nout2\nerr2\nout3\nerr3\nx\n0 1 2 3 "; got != want {
		t.Errorf("log %q, want %q", got, want)
	}
	if r.Usage.Stdout != int64(len(log.read(t))) || r.Usage.User+r.Usage.System == 0 || r.Usage.MemoryPeak == 0 {
		t.Errorf("%+v", r.Usage)
	}
	if time := r.Layers[layer.Time]; time.State != layer.Unused {
		t.Errorf("%+v", time)
	}
	if err := v.Signal(unix.SIGTERM); err != nil {
		t.Errorf("signal after the end: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if err := v.Signal(unix.SIGTERM); err == nil {
		t.Error("a closed service took a signal")
	}
	if v.Ended().ExitCode != 7 {
		t.Errorf("after Close: %+v", v.Ended())
	}
	takeInventory(t, h).same(t, before)
}

// TestServiceThatDoesNotStart says which step failed, and leaves nothing.
func TestServiceThatDoesNotStart(t *testing.T) {
	h := testHost(t)
	runCall(t, h, testSpec(t, h), testCall("true"), "")
	log := openLog(t, 1<<10)
	reader, err := os.Open(log.Files[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	before := takeInventory(t, h)
	bounded := serviceCall("true")
	bounded.WallTime = time.Second
	for name, test := range map[string]struct {
		call Call
		log  ServiceLog
		step Step
	}{
		"no program":         {serviceCall("no-such-program"), log, wire.StepLookup},
		"a long name":        {serviceCall("no-such-" + strings.Repeat("\x01", 100_000)), log, wire.StepLookup},
		"not executable":     {serviceCall("/etc/passwd"), log, wire.StepLookup},
		"no directory":       {Call{Argv: []string{"true"}, Dir: "/none"}, log, wire.StepChdir},
		"a bound":            {bounded, log, StepSpec},
		"no log":             {serviceCall("true"), ServiceLog{Max: 1}, StepOutput},
		"a log without room": {serviceCall("true"), ServiceLog{Files: log.Files}, StepOutput},
		"a log to read":      {serviceCall("true"), ServiceLog{Files: [2]*os.File{reader, log.Files[1]}, Max: 1}, StepOutput},
	} {
		box, err := h.Berth(context.Background(), serviceSpec(t, h))
		if err != nil {
			t.Fatal(err)
		}
		v, err := box.Serve(context.Background(), test.call, test.log)
		var e *Error
		if v != nil || !errors.As(err, &e) || e.Step != test.step {
			t.Errorf("%s: %v", name, err)
		}
		if err := box.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	box, err := h.Berth(context.Background(), serviceSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box.Serve(ctx, serviceCall("true"), log); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := box.Close(); err != nil {
		t.Error(err)
	}
	takeInventory(t, h).same(t, before)
}

// TestServiceLogIsBounded: much more than the log holds, and the end of it is
// there, in order.
func TestServiceLogIsBounded(t *testing.T) {
	h := testHost(t)
	const most = 10_000
	log := openLog(t, most)
	v := serve(t, h, serviceSpec(t, h), serviceCall("seq", "1", "200000"), log)
	if r := v.Ended(); r.Status != Exited || r.ExitCode != 0 || r.Usage.Stdout < 1_000_000 {
		t.Fatalf("%+v", r)
	}
	var whole bytes.Buffer
	for i := 1; i <= 200_000; i++ {
		fmt.Fprintln(&whole, i)
	}
	got := log.read(t)
	if len(got) < most || len(got) > 2*most || !strings.HasSuffix(whole.String(), got) {
		t.Errorf("%d bytes, from %.20q to %q", len(got), got, got[max(len(got)-20, 0):])
	}
}

// TestFullDiskDropsLog: the service goes on.
func TestFullDiskDropsLog(t *testing.T) {
	h := testHost(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	log := ServiceLog{Max: 1 << 20}
	for i := range log.Files {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		log.Files[i] = f
	}
	v := serve(t, h, serviceSpec(t, h), serviceCall("sh", "-c", "head -c 1000000 /dev/zero; exit 3"), log)
	if r := v.Ended(); r.Status != Exited || r.ExitCode != 3 || r.Usage.Stdout != 1_000_000 {
		t.Errorf("%+v", r)
	}
}

// hostile forks, stops, traps, and changes session, all of it without end.
const hostile = `trap '' TERM HUP INT QUIT; echo up
while :; do (trap '' TERM; setsid sh -c 'trap "" TERM; kill -STOP $$' &) ; done`

// TestHostileServiceStandsStillAndDies within limits that were read back
// before anything hostile runs.
func TestHostileServiceStandsStillAndDies(t *testing.T) {
	h := testHost(t)
	log := openLog(t, 1<<16)
	spec := serviceSpec(t, h)
	spec.Group.Pids = 40
	v := serve(t, h, spec, serviceCall("sh", "-c", hostile), log)
	log.await(t, "up")
	for { // until it is at its limit, which only counts
		stats, err := v.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if stats.PidsLimitHits > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case <-v.Done():
		t.Fatalf("the process limit ended it: %+v", v.Ended())
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for range 3 {
		if err := v.Freeze(ctx); err != nil {
			t.Fatal(err)
		}
		first := rest(t, v)
		time.Sleep(50 * time.Millisecond) // in which a moving one would count
		second, err := v.Stats()
		if err != nil || first.CPU != second.CPU || first.PidsLimitHits != second.PidsLimitHits {
			t.Errorf("it moves while frozen: %+v %+v %v", first, second, err)
		}
		if err := v.Thaw(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.Signal(unix.SIGTERM); err != nil {
		t.Errorf("signal to a frozen box: %v", err)
	}
	if err := v.Kill(ctx); err != nil { // frozen, stopped, at its limit
		t.Fatal(err)
	}
	if r := v.Ended(); r.Status != Stopped {
		t.Errorf("%+v", r)
	}
	if left := boxProcesses(h.config.Group); left != nil {
		t.Errorf("still there: %v", left)
	}
}

// rest reads the counts of a frozen service until they stand. The kernel
// calls a group frozen when its last process is about to sleep, and books
// that process's last steps after that.
func rest(t *testing.T, v *Service) cgroup.Stats {
	t.Helper()
	last, err := v.Stats()
	for until := time.Now().Add(time.Minute); err == nil; {
		time.Sleep(time.Millisecond)
		next, nextErr := v.Stats()
		if nextErr == nil && next.CPU == last.CPU {
			return next
		}
		if time.Now().After(until) {
			t.Fatalf("it never comes to rest: %+v %+v", last, next)
		}
		last, err = next, nextErr
	}
	t.Fatal(err)
	return last
}

// TestSignalsReachAService in its process group.
func TestSignalsReachAService(t *testing.T) {
	h := testHost(t)
	log := openLog(t, 1<<16)
	v := serve(t, h, serviceSpec(t, h), serviceCall("sh", "-c", `trap 'echo got; exit 4' TERM; echo up; while :; do sleep 0.01; done`), log)
	log.await(t, "up")
	if err := v.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := v.Ended(); r.ExitCode != 4 || !strings.HasSuffix(log.read(t), "got\n") {
		t.Errorf("%+v %q", r, log.read(t))
	}
}

// TestSignalWaitsForRoom: orders that others left don't lose it, and a box
// that takes none keeps nobody.
func TestSignalWaitsForRoom(t *testing.T) {
	h := testHost(t)
	log := openLog(t, 1<<16)
	v := serve(t, h, serviceSpec(t, h), serviceCall("sh", "-c", `trap 'exit 4' TERM; echo up; while :; do sleep 0.01; done`), log)
	log.await(t, "up")
	ctx := context.Background()
	if err := v.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	for full := false; !full; {
		err := control(v.link.file, func(fd int) error { return wire.SendPacket(fd, wire.Order{Kind: wire.Tell}) })
		if full = errors.Is(err, unix.EAGAIN); err != nil && !full {
			t.Fatal(err)
		}
	}
	if err := v.Signal(unix.SIGTERM); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("frozen and full: %v", err)
	}
	if err := v.Thaw(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := v.Ended(); r.ExitCode != 4 {
		t.Errorf("%+v", r)
	}
}

// TestServiceOutOfMemory ends as a whole.
func TestServiceOutOfMemory(t *testing.T) {
	h := testHost(t)
	spec := probeSpec(t, h)
	spec.Group.Memory = 64 << 20
	call := serviceCall("sh", "-c", "sleep 600 & /probe 256; echo not alone; wait")
	call.Env = append(call.Env, probeEnv+"=memory", quickRace)
	v := serve(t, h, spec, call, openLog(t, 1<<16))
	if r := v.Ended(); r.Status != OutOfMemory {
		t.Errorf("%+v", r)
	}
	if err := v.Kill(context.Background()); err != nil {
		t.Error(err)
	}
	if left := boxProcesses(h.config.Group); left != nil {
		t.Errorf("still there: %v", left)
	}
}

// TestToolIsAnAccount: what the tool writes belongs to the account on the
// host, and the box's own root stays nobody there.
func TestToolIsAnAccount(t *testing.T) {
	h := testHost(t)
	dir := openDir(t)
	const uid, gid = 48123, 48124
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	spec := serviceSpec(t, h)
	spec.Tool = &Identity{uid, gid}
	spec.Binds = append(spec.Binds, rootfs.Bind{Source: dir, Target: dir, Writable: true})
	v := serve(t, h, spec, serviceCall("sh", "-c", "id -u; id -g; cd "+dir+" && echo mine > file; stat -c %u:%g file; touch /tmp/x /workspace/y"), openLog(t, 1<<16))
	if r := v.Ended(); r.Status != Exited || r.ExitCode != 0 {
		t.Errorf("%+v", r)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "file"), &st); err != nil || st.Uid != uid || st.Gid != gid {
		t.Errorf("%v: %d:%d", err, st.Uid, st.Gid)
	}
	for _, id := range []Identity{{0, gid}, {uid, 0}, {-1, gid}, {DefaultUIDBase + 5, gid}, {uid, DefaultUIDBase}, {1<<32 - 1, gid}} {
		spec.Tool = &id
		var e *Error
		if box, err := h.Berth(context.Background(), spec); !errors.As(err, &e) || e.Step != StepSpec {
			t.Errorf("%+v: %v", id, err)
			if box != nil {
				_ = box.Close()
			}
		}
	}
}

// TestNetworks: none is a namespace of the box's own, and the host's is named.
func TestNetworks(t *testing.T) {
	h := testHost(t)
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func(spec Spec) (string, string) {
		spec.Binds = append(spec.Binds, probeBind(t))
		said := func(call Call) string {
			call.WallTime, call.StdoutMax, call.StderrMax = 0, 0, 0
			log := openLog(t, 1<<10)
			serve(t, h, spec, call, log).Ended()
			return strings.TrimSpace(log.read(t))
		}
		return said(testCall("readlink", "/proc/self/ns/net")), said(probeCall("dial", l.Addr().String()))
	}
	if ns, said := dial(serviceSpec(t, h)); ns == own || said != "refused ECONNREFUSED" {
		t.Errorf("none: %s %s", ns, said)
	}
	wish := layer.HostNetwork(layer.All).Without(layer.LandlockUnix)
	plan, err := layer.Lower(wish, h.Layers, layer.Of(layer.LandlockScope))
	if err != nil {
		t.Fatal(err)
	}
	spec := serviceSpec(t, h)
	spec.Network = NetworkHost
	var e *Error
	if _, err := h.Berth(context.Background(), spec); !errors.As(err, &e) || e.Step != StepSpec {
		t.Errorf("the host's network under a plan that claims none: %v", err)
	}
	spec.Layers = plan
	if ns, said := dial(spec); ns != own || said != "LEAKED" {
		t.Errorf("host: %s %s", ns, said)
	}
	spec.Network = NetworkNone
	if _, err := h.Berth(context.Background(), spec); !errors.As(err, &e) || e.Step != StepSpec {
		t.Errorf("no network under a plan for the host's: %v", err)
	}
	spec.Network = NetworkHost
	resolver, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Skip(err)
	}
	log := openLog(t, 1<<16)
	if r := serve(t, h, spec, serviceCall("cat", "/etc/resolv.conf"), log).Ended(); log.read(t) != string(resolver) {
		t.Errorf("%q %+v", log.read(t), r)
	}
}

// TestInNetwork makes sockets in the box's network from outside: one that
// listens for the tool and one that reaches it.
func TestInNetwork(t *testing.T) {
	h := testHost(t)
	log := openLog(t, 1<<16)
	script := `
import socket
s = socket.create_server(("127.0.0.1", 7001))
print("listening", flush=True)
c, _ = s.accept()
print("tool got", c.recv(100).decode(), flush=True)
d = socket.create_connection(("127.0.0.1", 7002))
d.sendall(b"from inside")
`
	v := serve(t, h, serviceSpec(t, h), serviceCall("python3", "-c", script), log)
	var l net.Listener
	err := v.InNetwork(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:7002")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log.await(t, "listening")
	var fd int
	err = v.InNetwork(func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet4{Port: 7001, Addr: [4]byte{127, 0, 0, 1}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, []byte("hello")); err != nil {
		t.Error(err)
	}
	_ = unix.Close(fd)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "from inside" {
		t.Errorf("%q %v", b, err)
	}
	if r := v.Ended(); r.ExitCode != 0 || !strings.Contains(log.read(t), "tool got hello") {
		t.Errorf("%+v %q", r, log.read(t))
	}
	if _, err := net.Dial("tcp", "127.0.0.1:7002"); err == nil {
		t.Error("the listener is reachable from outside")
	}
	want := errors.New("mine")
	if err := v.InNetwork(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("%v", err)
	}
}

// TestBoxed reads the group file of a real box, and of others.
func TestBoxed(t *testing.T) {
	h := testHost(t)
	v := serve(t, h, serviceSpec(t, h), serviceCall("sleep", "600"), openLog(t, 1<<16))
	inside, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", v.PID()))
	if err != nil {
		t.Fatal(err)
	}
	outside, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	leaf := v.leaf.Config().Path
	for text, want := range map[string]bool{
		string(inside):                    true,
		string(outside):                   false,
		"":                                true,
		"rubbish":                         true,
		"0::/\n":                          false,
		"0::" + leaf + "\n":               true,
		"0::" + leaf + " (deleted)":       true,
		"5:cpu:/\n4:pids:" + leaf + "/x":  true,
		"0::" + filepath.Dir(leaf) + "\n": false,
		"0::" + filepath.Dir(leaf) + "/supervisor\n":                 false,
		"0::" + filepath.Dir(leaf) + "/box-01234567-0001\n":          true, // of another run directory
		"0::/user.slice" + leaf + "\n":                               false,
		"0::" + filepath.Dir(leaf) + "-other/" + filepath.Base(leaf): false,
	} {
		if got := h.Boxed(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestCallSocket: a helper gets its socket as descriptor 3, and nothing else.
func TestCallSocket(t *testing.T) {
	h := testHost(t)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	script := `
import os, socket
print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:4], len(os.listdir("/proc/self/fd")))
s = socket.socket(fileno=3)
s.send(b"got " + s.recv(100))`
	call := testCall("python3", "-c", script)
	call.Socket = theirs
	if o := runCall(t, h, testSpec(t, h), call, ""); o.Status != SandboxError || o.Step != StepSpec {
		t.Errorf("an ordinary call with a socket: %+v", o.Result)
	}
	b := make([]byte, 100)
	call = serviceCall("python3", "-c", script)
	call.Socket = theirs
	if _, err := ours.WriteString("second"); err != nil {
		t.Fatal(err)
	}
	v := serve(t, h, serviceSpec(t, h), call, openLog(t, 1<<16))
	_ = theirs.Close()
	if n, err := ours.Read(b); err != nil || string(b[:n]) != "got second" {
		t.Errorf("%q %v", b[:n], err)
	}
	if n, err := ours.Read(b); n != 0 { // nobody else has kept a copy
		t.Errorf("%d %v", n, err)
	}
	v.Ended()

	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	call = serviceCall("true")
	call.Socket = pipe
	berth, err := h.Berth(context.Background(), serviceSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	defer berth.Close()
	var e *Error
	if _, err := berth.Serve(context.Background(), call, openLog(t, 1<<16)); !errors.As(err, &e) || e.Step != StepSpec {
		t.Errorf("a pipe as socket: %v", err)
	}
}

// TestAgentPlaces is a box as an agent's: its state where the host has it, a
// workspace that it can't write, and the directory of its socket.
func TestAgentPlaces(t *testing.T) {
	h := testHost(t)
	dir := openDir(t)
	const uid = 48123
	state, run := filepath.Join(dir, "state"), filepath.Join(dir, "run")
	inner := filepath.Join(state, "workspace")
	for _, d := range []string{state, inner, run} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(d, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("unix", filepath.Join(run, "call.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(filepath.Join(run, "call.sock"), 0o666); err != nil {
		t.Fatal(err)
	}
	accepted := make(chan struct{}, 2)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
			accepted <- struct{}{}
		}
	}()
	spec := probeSpec(t, h)
	spec.Tool = &Identity{uid, uid}
	spec.Binds = append(spec.Binds,
		rootfs.Bind{Source: inner, Target: inner},
		rootfs.Bind{Source: state, Target: state, Writable: true, Sockets: true},
		rootfs.Bind{Source: run, Target: "/run/clawsup", Sockets: true},
		rootfs.Bind{Source: run, Target: "/other"}, // the same, but for its sockets
	)
	wish := layer.All
	plan, err := layer.Lower(wish, h.Layers, layer.Of(layer.LandlockUnix))
	if err != nil {
		t.Fatal(err)
	}
	spec.Layers = plan
	call := serviceCall("sh", "-c", "echo kept >"+state+"/file && ! touch "+inner+"/file && ! touch /run/clawsup/x && ls "+state+" && /probe /run/clawsup/call.sock; /probe /other/call.sock; exit 0")
	call.Env = append(call.Env, probeEnv+"=dial-unix", quickRace)
	log := openLog(t, 1<<16)
	v := serve(t, h, spec, call, log)
	want := "file\nworkspace\nLEAKED\nLEAKED\n"
	if plan.Enforce.Has(layer.LandlockUnix) {
		want = "file\nworkspace\nLEAKED\nrefused EACCES\n"
	}
	if r := v.Ended(); r.ExitCode != 0 || !strings.HasSuffix(log.read(t), want) {
		t.Errorf("%+v %s", r, log.read(t))
	}
	<-accepted
	if b, err := os.ReadFile(filepath.Join(state, "file")); err != nil || string(b) != "kept\n" {
		t.Errorf("%q %v", b, err)
	}
	if entries, err := os.ReadDir(inner); err != nil || len(entries) != 0 {
		t.Errorf("the workspace was written: %v %v", entries, err)
	}
}

// TestPlacesAreRefused: nothing is made in a tree that is shown, nothing is
// mounted where a planted link leads, and what a box has of its own stays.
func TestPlacesAreRefused(t *testing.T) {
	h := testHost(t)
	dir := openDir(t)
	canary := openDir(t)
	if err := os.Symlink(canary, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	outer := rootfs.Bind{Source: dir, Target: "/agent", Writable: true}
	for target, want := range map[string]string{
		"/agent/missing":  "there is no such place",
		"/agent/link":     "symbolic link",
		"/agent/link/x":   "symbolic link",
		"/usr/no-such":    "there is no such place",
		"/proc/sys":       "every box's own",
		"/dev":            "every box's own",
		"/.clawsup/init":  "every box's own",
		"/":               "not the root itself",
		"relative":        "must be absolute",
		"/agent/../etc/x": "must be absolute",
	} {
		spec := testSpec(t, h)
		spec.Binds = []rootfs.Bind{outer, {Source: canary, Target: target}}
		box, err := h.Prepare(context.Background(), spec)
		spec.CPUTime = 0
		berth, refused := h.Berth(context.Background(), spec)
		for _, err := range []error{err, refused} {
			var e *Error
			if !errors.As(err, &e) || e.Step != StepMount || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", target, err)
			}
		}
		if box != nil {
			_ = box.Close()
		}
		if berth != nil {
			_ = berth.Close()
		}
	}
	for _, d := range []string{dir, canary} {
		if entries, err := os.ReadDir(d); err != nil || len(entries) > 1 {
			t.Errorf("something was made in %s: %v %v", d, entries, err)
		}
	}
	spec := testSpec(t, h)
	spec.Binds = []rootfs.Bind{{Source: canary, Target: "/tmp/deep/place"}}
	if o := runCall(t, h, spec, testCall("ls", "-d", "/tmp/deep/place"), ""); o.ExitCode != 0 {
		t.Errorf("a place in the box's own /tmp: %s %+v", o.err, o.Result)
	}
}

// TestGarbageOnTheControlSocket does a running service no harm.
func TestGarbageOnTheControlSocket(t *testing.T) {
	h := testHost(t)
	log := openLog(t, 1<<16)
	v := serve(t, h, serviceSpec(t, h), serviceCall("sh", "-c", "trap 'exit 6' TERM; echo up; while :; do sleep 0.01; done"), log)
	log.await(t, "up")
	for _, packet := range []string{"x", "{", "null", "[]", `{"Kind":99}`, `{"Kind":2,"Signal":-1}`, `{"Kind":2,"Signal":4096}`, `{"Kind":"x"}`, strings.Repeat(" ", 3*wire.MaxPacket)} {
		err := control(v.link.file, func(fd int) error {
			rights := unix.UnixRights(0)
			return unix.Sendmsg(fd, []byte(packet), rights, nil, unix.MSG_NOSIGNAL)
		})
		if err != nil {
			t.Errorf("%.20q: %v", packet, err)
		}
	}
	if err := v.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := v.Ended(); r.ExitCode != 6 {
		t.Errorf("%+v", r)
	}
}

// TestServiceFromAllSides: every method at once, and then the end.
func TestServiceFromAllSides(t *testing.T) {
	h := testHost(t)
	v := serve(t, h, serviceSpec(t, h), serviceCall("sh", "-c", "while :; do sleep 0.001; done"), openLog(t, 1<<16))
	ctx := context.Background()
	var callers sync.WaitGroup
	for _, f := range []func(){
		func() { _ = v.Freeze(ctx) },
		func() { _ = v.Thaw(ctx) },
		func() { _ = v.Signal(unix.SIGWINCH) },
		func() { _, _ = v.Stats() },
		func() { _ = v.InNetwork(func() error { return nil }) },
		func() { _ = v.Files() },
	} {
		callers.Go(func() {
			for range 100 {
				f()
			}
		})
	}
	for range 3 {
		callers.Go(func() {
			if err := v.Kill(ctx); err != nil {
				t.Error(err)
			}
			if err := v.Close(); err != nil {
				t.Error(err)
			}
			if r := v.Ended(); r.Status != Stopped {
				t.Errorf("%+v", r)
			}
		})
	}
	callers.Wait()
	if err := v.Release(); err != nil {
		t.Error(err)
	}
	if left := boxProcesses(h.config.Group); left != nil {
		t.Errorf("still there: %v", left)
	}
}

// TestFreezeDuringRun stops a call that runs; the end of its caller ends it.
func TestFreezeDuringRun(t *testing.T) {
	h := testHost(t)
	box, err := h.Prepare(context.Background(), testSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	in, inw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{in, inw, r, w} {
		defer f.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan Result)
	go func() {
		done <- box.Run(ctx, testCall("sh", "-c", "echo up; while :; do :; done"), Stdio{In: in, Out: w, Err: w}, nil)
	}()
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if err := box.Freeze(context.Background()); err != nil {
		t.Fatal(err)
	}
	first, err := box.leaf.CPUUsage()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := box.leaf.CPUUsage(); err != nil || first != second {
		t.Errorf("it runs while frozen: %v %v %v", first, second, err)
	}
	// More freezing, beside the killing and the removal.
	freezes := make(chan error)
	go func() {
		var errs []error
		for range 200 {
			errs = append(errs, box.Freeze(context.Background()))
		}
		freezes <- errors.Join(errs...)
	}()
	cancel()
	if r := <-done; r.Status != Stopped {
		t.Errorf("%+v", r)
	}
	if err := box.Close(); err != nil {
		t.Error(err)
	}
	if err := <-freezes; err != nil {
		t.Error(err)
	}
	if _, err := box.leaf.Stats(); !errors.Is(err, cgroup.ErrDeleted) {
		t.Errorf("statistics of a box that is gone: %v", err)
	}
}
