// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/wire"
)

// parentEnv makes this program start one service in the directory that the
// variable names, hand copies of its files out at descriptor 3, and wait to be
// killed.
const parentEnv = "CLAWSUP_TEST_PARENT"

// parentScript is what the service does.
const parentScript = "CLAWSUP_TEST_PARENT_SCRIPT"

func runParent(dir string) int {
	t := &testing.T{}
	config := victimConfig(dir)
	config.Hold = true
	h, err := Open(context.Background(), config)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	box, err := h.Berth(context.Background(), serviceSpec(t, h))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	log := ServiceLog{Max: 1 << 16}
	for i := range log.Files {
		if log.Files[i], err = os.OpenFile(filepath.Join(dir, fmt.Sprintf("log.%d", i)), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	v, err := box.Serve(context.Background(), serviceCall("sh", "-c", os.Getenv(parentScript)), log)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var fds []int
	for _, f := range v.Files() {
		fds = append(fds, int(f.Fd()))
	}
	if err := unix.Sendmsg(3, []byte("x"), unix.UnixRights(fds...), nil, 0); err != nil {
		fmt.Println(err)
		return 1
	}
	for { // to be killed in the middle of a message
		_ = v.link.send(wire.Order{Kind: wire.Tell})
	}
}

// orphan is a service whose maker was killed.
type orphan struct {
	config Config
	files  []*os.File // lock, control socket, network namespace
	log    ServiceLog
}

// makeOrphan has a process start a service that runs script and kills it once
// the service's log holds until.
func makeOrphan(t *testing.T, script, until string) orphan {
	t.Helper()
	dir := openDir(t)
	t.Setenv("CLAWSUP_INIT", initProgram)
	o := orphan{config: victimConfig(dir), log: ServiceLog{Max: 1 << 16}}
	o.config.Hold = true
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "theirs")
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = victimName
	cmd.Env = append(os.Environ(), parentEnv+"="+dir, parentScript+"="+script)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	oob := make([]byte, unix.CmsgSpace(4*3))
	n, oobn, _, _, err := unix.Recvmsg(fds[0], make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	_ = unix.Close(fds[0])
	if err != nil || n != 1 {
		_ = cmd.Wait()
		t.Fatalf("the maker of the service: %d %v", n, err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	kept, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(kept) != 3 {
		t.Fatalf("%v %v", kept, err)
	}
	for i := range o.log.Files {
		if o.log.Files[i], err = os.OpenFile(filepath.Join(dir, fmt.Sprintf("log.%d", i)), os.O_RDWR, 0); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = o.log.Files[i].Close() })
	}
	o.log.await(t, until)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, fd := range kept {
		f := os.NewFile(uintptr(fd), "kept")
		t.Cleanup(func() { _ = f.Close() })
		o.files = append(o.files, f)
	}
	return o
}

// open is the next process.
func (o orphan) open(t *testing.T) *Host {
	t.Helper()
	h, err := Open(context.Background(), o.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		removeGroups(t, o.config.Group)
	})
	return h
}

// TestServiceSurvivesItsMaker: the next process finds it running, its slot
// taken, and can do everything with it.
func TestServiceSurvivesItsMaker(t *testing.T) {
	o := makeOrphan(t, `trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.01; done`, "up")
	h := o.open(t)
	if s, err := h.claim(context.Background()); err != nil || s.number != 1 {
		t.Errorf("its slot was claimed: %+v %v", s, err)
	} else if err := errors.Join(os.Remove(s.dir), s.release()); err != nil {
		t.Error(err)
	}
	if len(boxProcesses(o.config.Group)) < 2 {
		t.Errorf("it did not survive: %v", boxProcesses(o.config.Group))
	}
	v, err := h.Adopt(o.files[2], o.files[0], o.files[1]) // in any order
	if err != nil {
		t.Fatal(err)
	}
	if err := v.InNetwork(func() error { return nil }); err != nil {
		t.Error(err)
	}
	if stats, err := v.Stats(); err != nil || stats.CPU == 0 {
		t.Errorf("%+v %v", stats, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(v.Freeze(ctx), v.Thaw(ctx)); err != nil {
		t.Error(err)
	}
	if err := v.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r := v.Ended(); r.Status != Exited || r.ExitCode != 5 || r.Layers == nil || r.Usage.Wall <= 0 {
		t.Errorf("%+v", r)
	}
	o.log.await(t, "term")
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if left := boxProcesses(o.config.Group); left != nil {
		t.Errorf("left: %v", left)
	}
	if entries, err := os.ReadDir(h.slotDir()); err != nil || len(entries) != 2 { // locks
		t.Errorf("left: %v %v", entries, err)
	}
}

// TestExitStatusIsKept for who comes after the end, and again after that.
func TestExitStatusIsKept(t *testing.T) {
	o := makeOrphan(t, "echo up; exit 9", "up")
	h := o.open(t)
	var copies []*os.File
	for _, f := range o.files {
		copies = append(copies, duplicate(t, f))
	}
	first, err := h.Adopt(o.files...)
	if err != nil {
		t.Fatal(err)
	}
	if r := first.Ended(); r.ExitCode != 9 {
		t.Errorf("%+v", r)
	}
	if err := first.Release(); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("after Release: %v", err)
	}
	for name, err := range map[string]error{
		"kill": first.Kill(context.Background()), "freeze": first.Freeze(context.Background()),
		"thaw": first.Thaw(context.Background()), "signal": first.Signal(unix.SIGTERM),
	} {
		if err == nil {
			t.Errorf("%s after Release", name)
		}
	}
	second, err := h.Adopt(copies...)
	if err != nil {
		t.Fatal(err)
	}
	if r := second.Ended(); r.Status != Exited || r.ExitCode != 9 {
		t.Errorf("%+v", r)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func duplicate(t *testing.T, f *os.File) *os.File {
	t.Helper()
	var fd int
	err := control(f, func(own int) (err error) {
		fd, err = unix.FcntlInt(uintptr(own), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c := os.NewFile(uintptr(fd), "copy")
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestReleaseKeepsAndCloseEnds, whoever has copies; and when nobody has one
// any more the service ends by itself.
func TestReleaseKeepsAndCloseEnds(t *testing.T) {
	h := testHost(t)
	log := openLog(t, 1<<16)
	_ = serve(t, h, serviceSpec(t, h), serviceCall("true"), log).Close() // libcontainer's first opens what the process keeps
	before := takeInventory(t, h)
	serveOne := func() (*Service, []*os.File) {
		box, err := h.Berth(context.Background(), serviceSpec(t, h))
		if err != nil {
			t.Fatal(err)
		}
		v, err := box.Serve(context.Background(), serviceCall("sleep", "600"), log)
		if err != nil {
			t.Fatal(err)
		}
		var copies []*os.File
		for _, f := range v.Files() {
			copies = append(copies, duplicate(t, f))
		}
		return v, copies
	}
	v, copies := serveOne()
	for _, f := range v.Files() {
		f.Fd() // as who passes them on may ask, which sets them to blocking
	}
	if err := v.Release(); err != nil {
		t.Fatal(err)
	}
	if err := h.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	again, err := h.Adopt(copies...)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-again.Done():
		t.Fatalf("released, it ended: %+v", again.Ended())
	default:
	}
	spare := duplicate(t, again.slot.lock)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if s, err := h.claim(context.Background()); err != nil || s.number != 0 { // a copy of the lock holds nothing up
		t.Errorf("%+v %v", s, err)
	} else if err := s.release(); err != nil {
		t.Error(err)
	}
	_ = spare.Close()

	v, copies = serveOne()
	if err := v.Release(); err != nil {
		t.Fatal(err)
	}
	processes := boxProcesses(h.config.Group)
	if len(processes) == 0 {
		t.Error("released, it ended")
	}
	for _, f := range copies {
		_ = f.Close()
	}
	awaitEnd(t, processes)
	<-v.reaped
	if err := h.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	takeInventory(t, h).same(t, before)
}

// TestAdoptAfterTheEnd: a service that was killed behind everybody's back,
// with its control socket and without.
func TestAdoptAfterTheEnd(t *testing.T) {
	h := testHost(t)
	log := openLog(t, 1<<16)
	for _, with := range []bool{true, false} {
		box, err := h.Berth(context.Background(), serviceSpec(t, h))
		if err != nil {
			t.Fatal(err)
		}
		v, err := box.Serve(context.Background(), serviceCall("sleep", "600"), log)
		if err != nil {
			t.Fatal(err)
		}
		var copies []*os.File
		for i, f := range v.Files() {
			if with || i != 1 {
				copies = append(copies, duplicate(t, f))
			}
		}
		if with {
			if err := v.leaf.Kill(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Release(); err != nil {
			t.Fatal(err)
		}
		again, err := h.Adopt(copies...)
		if err != nil {
			t.Fatal(err)
		}
		if r := again.Ended(); r.Status != SandboxError || r.Step != StepReport {
			t.Errorf("%+v", r)
		}
		if err := again.Signal(unix.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAdoptRefuses what is no service of this host's.
func TestAdoptRefuses(t *testing.T) {
	h := testHost(t)
	other := testHost(t)
	log := openLog(t, 1<<16)
	v := serve(t, h, serviceSpec(t, h), serviceCall("sleep", "600"), log)
	files := v.Files()
	fresh := func(f *os.File) *os.File { // not the description that holds the lock
		t.Helper()
		g, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = g.Close() })
		return g
	}
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stream[1])
	socket := os.NewFile(uintptr(stream[0]), "stream")
	defer socket.Close()
	free, err := h.try(7)
	if err != nil {
		t.Fatal(err)
	}
	defer free.release()
	for name, test := range map[string]struct {
		host  *Host
		files []*os.File
		want  string
	}{
		"nothing":              {h, nil, "lock of its slot is missing"},
		"no lock":              {h, files[1:], "lock of its slot is missing"},
		"two of a kind":        {h, []*os.File{files[0], files[0]}, "one of its kind already"},
		"another open file":    {h, []*os.File{fresh(files[0])}, "somebody else holds this slot"},
		"another file":         {h, []*os.File{log.Files[0]}, "is no lock of a slot"},
		"another host":         {other, files, "is not the lock of a slot in"},
		"another socket":       {h, []*os.File{files[0], socket}, "no control socket"},
		"a slot without a box": {h, []*os.File{free.lock}, "no service that could be adopted"},
	} {
		if _, err := test.host.Adopt(test.files...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	select {
	case <-v.Done():
		t.Errorf("%+v", v.Ended())
	default:
	}
}
