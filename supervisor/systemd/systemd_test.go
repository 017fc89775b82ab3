// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// childEnv makes of the test binary a daemon that systemd started.
const childEnv = "CLAWSUP_SYSTEMD_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := child(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// manager is a socket as systemd's own.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	name := filepath.Join(t.TempDir(), "n")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", name)
	return c
}

// hear gives the next message and its descriptors.
func hear(t *testing.T, c *net.UnixConn) (string, []*os.File) {
	t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 4096)
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		t.Fatal(err)
	}
	var files []*os.File
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			f := os.NewFile(uintptr(fd), "heard")
			t.Cleanup(func() { f.Close() })
			files = append(files, f)
		}
	}
	return string(b[:n]), files
}

func TestNotify(t *testing.T) {
	c := manager(t)
	for _, test := range []struct {
		tell func() (bool, error)
		want string // pattern
	}{
		{func() (bool, error) { return Ready("serving, 2 calls") }, `READY=1\nSTATUS=serving, 2 calls`},
		{func() (bool, error) { return Status("a\nMAINPID=1\x1b") }, `STATUS=a MAINPID=1 `},
		{func() (bool, error) { return Status(strings.Repeat("é", 200)) }, `STATUS=(é){128}`},
		{Reloading, `RELOADING=1\nMONOTONIC_USEC=[0-9]+\n`},
		{func() (bool, error) { return Stopping("bye") }, `STOPPING=1\nSTATUS=bye`},
		{Alive, `WATCHDOG=1`},
		{func() (bool, error) { return Remove("agent-1") }, `FDSTOREREMOVE=1\nFDNAME=agent-1`},
	} {
		told, err := test.tell()
		if err != nil || !told {
			t.Errorf("%s: %v, %v", test.want, told, err)
			continue
		}
		if got, files := hear(t, c); !regexp.MustCompile(`\A`+test.want+`\z`).MatchString(got) || files != nil {
			t.Errorf("told %q with %d files, want %s", got, len(files), test.want)
		}
	}
}

func TestStore(t *testing.T) {
	c := manager(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if told, err := Store("agent-1", r, w); err != nil || !told {
		t.Fatalf("%v, %v", told, err)
	}
	got, files := hear(t, c)
	if got != "FDSTORE=1\nFDPOLL=0\nFDNAME=agent-1" || len(files) != 2 {
		t.Fatalf("%q with %d files", got, len(files))
	}
	if _, err := files[1].WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if b := make([]byte, 1); func() bool { _, err := r.Read(b); return err != nil || b[0] != 'x' }() {
		t.Errorf("read %q", b)
	}
	for _, name := range []string{"", "a:b", "a\nFDSTOREREMOVE=1", "é", strings.Repeat("a", 256)} {
		if told, err := Store(name, r); err == nil || told {
			t.Errorf("%q is a name", name)
		}
		if told, err := Remove(name); err == nil || told {
			t.Errorf("%q is a name", name)
		}
	}
	if _, err := Store("a"); err == nil {
		t.Error("stored nothing")
	}
	if _, err := Store("a", make([]*os.File, maxFiles+1)...); err == nil {
		t.Error("stored too much")
	}
}

func TestSynchronise(t *testing.T) {
	c := manager(t)
	heard := make(chan string, 1)
	go func() {
		b, oob := make([]byte, 100), make([]byte, 100)
		n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
		if err != nil {
			heard <- err.Error()
			return
		}
		m, _ := unix.ParseSocketControlMessage(oob[:oobn])
		fds, _ := unix.ParseUnixRights(&m[0])
		heard <- string(b[:n])
		unix.Close(fds[0]) // what says that all before it was read
	}()
	if told, err := Synchronise(time.Minute); err != nil || !told {
		t.Errorf("%v, %v", told, err)
	}
	if got := <-heard; got != "BARRIER=1" {
		t.Errorf("heard %q", got)
	}
	// nobody reads
	if told, err := Synchronise(time.Millisecond); err == nil || told {
		t.Errorf("%v, %v", told, err)
	}
}

func TestWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	for i, tell := range []func() (bool, error){
		func() (bool, error) { return Ready("") }, Reloading, Alive,
		func() (bool, error) { return Store("a", os.Stdin) },
		func() (bool, error) { return Remove("a") },
		func() (bool, error) { return Synchronise(time.Minute) },
		func() (bool, error) { return Ends(t.Context()) },
	} {
		if told, err := tell(); told || err != nil {
			t.Errorf("%d: %v, %v", i, told, err)
		}
	}
	if d, err := Watchdog(); d != 0 || err != nil {
		t.Errorf("%v, %v", d, err)
	}
	// systemd that is gone is an error
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "none"))
	if told, err := Alive(); told || err == nil {
		t.Errorf("%v, %v", told, err)
	}
	if told, err := Store("a", os.Stdin); told || err == nil {
		t.Errorf("%v, %v", told, err)
	}
}

func TestWatchdog(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	if d, err := Watchdog(); d != 15*time.Second || err != nil {
		t.Errorf("%v, %v", d, err)
	}
	t.Setenv("WATCHDOG_PID", "1")
	if d, err := Watchdog(); d != 0 || err != nil {
		t.Errorf("of another process: %v, %v", d, err)
	}
	t.Setenv("WATCHDOG_PID", "")
	t.Setenv("WATCHDOG_USEC", "soon")
	if _, err := Watchdog(); err == nil {
		t.Error("soon is a time")
	}
}

// child checks in a process of its own what systemd gave: a listener, two
// stored files of one name, one without a name.
func child() error {
	os.Setenv("LISTEN_PID", fmt.Sprint(os.Getpid()))
	files, err := Take()
	if err != nil {
		return err
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LISTEN_") {
			return fmt.Errorf("left %s", v)
		}
	}
	if again, err := Take(); again != nil || err != nil {
		return fmt.Errorf("twice: %v, %v", again, err)
	}
	if len(files["approval.sock"]) != 1 || len(files["agent-1"]) != 2 || len(files["unknown"]) != 1 || len(files) != 3 {
		return fmt.Errorf("files %v", files)
	}
	for _, list := range files {
		for _, f := range list {
			flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				return fmt.Errorf("%s: flags %#x, %v", f.Name(), flags, err)
			}
		}
	}
	if _, err := Listener(files["agent-1"]); err == nil {
		return fmt.Errorf("two are one")
	}
	if _, err := Listener(files["unknown"]); err == nil {
		return fmt.Errorf("a pipe is a listener")
	}
	if l, err := Listener(nil); l != nil || err != nil {
		return fmt.Errorf("none: %v, %v", l, err)
	}
	l, err := Listener(files["approval.sock"])
	if err != nil {
		return err
	}
	c, err := l.Accept()
	if err != nil {
		return err
	}
	_, err = io.WriteString(c, "hello")
	return err
}

func TestTake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listening, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.ExtraFiles = []*os.File{listening, r, w, r}
	cmd.Env = append(slices.Clone(os.Environ()), childEnv+"=1", "LISTEN_FDS=4", "LISTEN_FDNAMES=approval.sock:agent-1:agent-1:")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTakeOfOthers(t *testing.T) {
	for _, test := range []struct {
		pid, fds string
		fails    bool
	}{
		{"1", "3", false},
		{"", "", false},
		{fmt.Sprint(os.Getpid()), "many", true},
		{fmt.Sprint(os.Getpid()), "-1", true},
		{fmt.Sprint(os.Getpid()), "1000000", true},
		{fmt.Sprint(os.Getpid()), "0", false},
	} {
		t.Setenv("LISTEN_PID", test.pid)
		t.Setenv("LISTEN_FDS", test.fds)
		files, err := Take()
		if len(files) != 0 || (err != nil) != test.fails {
			t.Errorf("%+v: %v, %v", test, files, err)
		}
	}
}
