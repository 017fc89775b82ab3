// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	built "github.com/clawsup/clawsup/runtime/programs"
)

// programs is the folder with the programs that the tests run, as built from
// this tree.
var programs string

func TestMain(m *testing.M) {
	if file := os.Getenv(attackerEnv); file != "" {
		attack(file)
	}
	os.Exit(build(m))
}

func build(m *testing.M) int {
	dir, err := built.Directory("clawsup", "clawsup-init", "clawsup-template", "clawsup-inspect")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	return m.Run()
}

// bench is a clawsup with places of its own.
type bench struct {
	t      *testing.T
	dir    string // holds everything
	config string
	group  string

	turn sync.Mutex // see inTurn
}

// inTurn orders a test before and after what a fake daemon's handlers do for
// the clawsup that it runs: the end of a process does so, and the race detector
// doesn't know.
func (b *bench) inTurn() {
	b.turn.Lock()
	defer b.turn.Unlock()
}

// newBench makes the places, and at the end looks whether they are as they were.
func newBench(t *testing.T, more string) *bench {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp(programs, "bench-")
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(dir, 0o755)
	b := &bench{t: t, dir: dir, config: filepath.Join(dir, "clawsup.toml"), group: fmt.Sprintf("/clawsup-test-%d-%s.slice", os.Getpid(), filepath.Base(dir)[6:])}
	b.write("clawsup.toml", fmt.Sprintf("state_dir = %q\nrun_dir = %q\ncgroup_parent = %q\nslots = 64\nskill_paths = [%q]\nprofile_paths = [%q]\n%s",
		dir+"/state", dir+"/run", b.group, dir+"/skills", dir+"/profiles", more))
	for _, d := range []string{"profiles", "skills", "work"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if !t.Failed() {
			b.clean()
		}
		// The group above the boxes stays when commands ended side by side or
		// were killed: its name is always the same.
		for _, dir := range b.groups("") {
			_ = os.Remove(dir)
		}
	})
	return b
}

func (b *bench) write(name, text string) string {
	b.t.Helper()
	file := filepath.Join(b.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// clean fails the test if anything of a box is left.
func (b *bench) clean() {
	b.t.Helper()
	boxes, err := os.ReadDir(filepath.Join(b.dir, "run", "boxes"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Error(err)
	}
	for _, e := range boxes {
		if e.IsDir() {
			b.t.Errorf("box %s is left", e.Name())
		}
	}
	for _, dir := range b.groups("/*") {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			b.t.Errorf("control group %s is left", dir)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		b.t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(b.dir)) {
		b.t.Errorf("a mount is left below %s", b.dir)
	}
	for _, e := range b.processes() {
		b.t.Errorf("a process is left: %s", e)
	}
	for _, dir := range []string{"skills/tmp", "sealed"} {
		temp, err := os.ReadDir(filepath.Join(b.dir, "state", dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			b.t.Error(err)
		}
		for _, e := range temp {
			b.t.Errorf("left in %s: %s", dir, e.Name())
		}
	}
}

// groups are the directories of the bench's control group, or below it.
func (b *bench) groups(below string) []string {
	v1, _ := filepath.Glob("/sys/fs/cgroup/*" + b.group + below)
	v2, _ := filepath.Glob("/sys/fs/cgroup" + b.group + below)
	return append(v1, v2...)
}

// processes are those whose control groups are this bench's. One that is dead
// and not yet reaped by process 1 is not counted.
func (b *bench) processes() []string {
	var left []string
	files, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(text), b.group) {
			continue
		}
		stat, err := os.ReadFile(filepath.Dir(f) + "/stat")
		if err == nil && !strings.Contains(string(stat), ") Z ") {
			left = append(left, string(stat))
		}
	}
	return left
}

// said is what a run of clawsup came to.
type said struct {
	out, err string
	status   int // 128 + n if signal n ended clawsup itself
}

func (b *bench) command(args ...string) *exec.Cmd {
	b.inTurn()
	c := exec.Command(filepath.Join(programs, "clawsup"), append([]string{"--config", b.config}, args...)...)
	c.Dir = b.dir
	return c
}

// run runs clawsup to its end.
func (b *bench) run(stdin string, args ...string) said {
	b.t.Helper()
	c := b.command(args...)
	c.Stdin = strings.NewReader(stdin)
	return b.finish(c)
}

// finish runs a command that is set up, with its output collected.
func (b *bench) finish(c *exec.Cmd) said {
	b.t.Helper()
	var out, err bytes.Buffer
	if c.Stdout == nil {
		c.Stdout = &out
	}
	if c.Stderr == nil {
		c.Stderr = &err
	}
	if e := c.Start(); e != nil {
		b.t.Fatal(e)
	}
	b.wait(c)
	return said{out.String(), err.String(), status(c)}
}

// wait waits for a clawsup's end, whatever it is.
func (b *bench) wait(c *exec.Cmd) {
	_ = c.Wait()
	b.inTurn()
}

func status(c *exec.Cmd) int {
	w := c.ProcessState.Sys().(syscall.WaitStatus)
	if w.Signaled() {
		return 128 + int(w.Signal())
	}
	return w.ExitStatus()
}

// terminal is a pseudo-terminal (pts(4)); screen is the person's end.
func terminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	raw, err := screen.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var inner error
	err = raw.Control(func(fd uintptr) {
		if inner = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); inner == nil {
			n, inner = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, inner); err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return screen, tty
}

// on starts clawsup in a session of its own with tty as its terminal.
func (b *bench) on(tty *os.File, args ...string) *exec.Cmd {
	b.t.Helper()
	c := b.command(args...)
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		b.t.Fatal(err)
	}
	_ = tty.Close() // so that the screen ends with the last of its writers
	return c
}

// until reads from r until text has come, and gives all that came.
func until(t *testing.T, r io.Reader, text string) string {
	t.Helper()
	var seen []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(seen, []byte(text)) {
		n, err := r.Read(buf)
		seen = append(seen, buf[:n]...)
		if err != nil {
			t.Fatalf("%v while waiting for %q; so far %q", err, text, seen)
		}
	}
	return string(seen)
}

// rest reads what comes until the last writer is gone. A terminal says EIO then.
func rest(r io.Reader) string {
	b, _ := io.ReadAll(r)
	return string(b)
}
