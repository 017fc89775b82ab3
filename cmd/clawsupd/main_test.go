// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	built "github.com/clawsup/clawsup/runtime/programs"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
)

// programs is the folder with the programs, as built from this tree.
var programs string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := built.Directory("clawsupd", "clawsup", "clawsup-init", "clawsup-template", "clawsup-inspect", "clawsup-egress")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	return m.Run()
}

// site is a place for a daemon of a test's own.
type site struct {
	t   *testing.T
	dir string
}

func newSite(t *testing.T, config string) *site {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp(programs, "")
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(dir, 0o755)
	s := &site{t, dir}
	s.write("work/.keep", "")
	s.write("profiles/rw.toml", "extends = \"build\"\n[workspace]\nmode = \"rw\"\n")
	s.write("profiles/askchange.toml", "extends = \"build\"\n[effects]\nfs_create = \"ask\"\n")
	s.write("profiles/askrw.toml", "extends = \"rw\"\n[effects]\nexec = \"ask\"\n")
	s.configure(config)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		// A daemon removes the group that it made: one that was killed doesn't.
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			groups, _ := filepath.Glob(root + s.group())
			for _, group := range groups {
				_ = unix.Rmdir(group)
			}
		}
	})
	return s
}

// group is the parent of the boxes.
func (s *site) group() string {
	return fmt.Sprintf("/clawsupd%d%s.slice", os.Getpid(), filepath.Base(s.dir))
}

func (s *site) configure(more string) {
	s.t.Helper()
	s.write("clawsup.toml", fmt.Sprintf("state_dir = %q\nrun_dir = %q\ncgroup_parent = %q\nslots = 64\nprofile_paths = [%q]\n%s\n[audit]\nkey = %q\n",
		s.dir+"/state", s.dir+"/run", s.group(),
		s.dir+"/profiles", more, s.dir+"/audit.key"))
}

func (s *site) write(name, text string) {
	s.t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// daemon is a clawsupd in the foreground.
type daemon struct {
	t     *testing.T
	c     *exec.Cmd
	ended chan error
	lines chan string // of its log
}

// start starts one and returns when it says that it is ready.
func (s *site) start() *daemon {
	s.t.Helper()
	d := s.launch(programs + "/clawsupd")
	d.await("ready: ")
	return d
}

// launch starts a program as one, and ends it with the test.
func (s *site) launch(program string) *daemon {
	s.t.Helper()
	return s.follow(exec.Command(program, "--config", s.dir+"/clawsup.toml"))
}

// follow runs a command that is one in the end.
func (s *site) follow(c *exec.Cmd) *daemon {
	s.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	c.Stderr = w
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = w.Close()
	d := &daemon{t: s.t, c: c, ended: make(chan error, 1), lines: make(chan string, 1000)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(d.lines)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			select {
			case d.lines <- lines.Text():
			default: // nobody reads
			}
		}
	}()
	go func() { d.ended <- c.Wait(); <-read }()
	s.t.Cleanup(func() { d.end(unix.SIGKILL) })
	return d
}

// patience bounds what a test waits for.
const patience = 60 * time.Second

// await waits for a line of its log.
func (d *daemon) await(part string) string {
	d.t.Helper()
	var seen []string
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-d.lines:
			if !ok {
				d.t.Fatalf("it ended before it said %q:\n%s", part, strings.Join(seen, "\n"))
			}
			if strings.Contains(line, part) {
				return line
			}
			seen = append(seen, line)
		case <-limit:
			d.t.Fatalf("it did not say %q:\n%s", part, strings.Join(seen, "\n"))
		}
	}
}

// end sends a signal and waits for the end.
func (d *daemon) end(sig unix.Signal) error {
	d.t.Helper()
	_ = d.c.Process.Signal(sig)
	select {
	case err := <-d.ended:
		d.ended <- err
		return err
	case <-time.After(patience):
		d.t.Fatalf("it does not end by %v", sig)
		return nil
	}
}

func (s *site) dial(name string) (*api.Client, error) {
	return api.Dial(context.Background(), filepath.Join(s.dir, "run", name+".sock"))
}

func try[T any](c *api.Client, method string, params any) (T, error) {
	var v T
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := c.Call(ctx, method, params, &v)
	return v, err
}

// verify checks the whole log, and gives its receipts.
func (s *site) verify() []audit.Receipt {
	s.t.Helper()
	key, err := audit.LoadKey(s.dir + "/audit.key")
	if err != nil {
		s.t.Fatal(err)
	}
	anchor, err := audit.ReadAnchor(s.dir + "/state/audit.head")
	if err != nil {
		s.t.Fatal(err)
	}
	report, err := audit.Verify(s.dir+"/state/audit", key.Public().(ed25519.PublicKey), anchor)
	if err != nil || !report.Intact() {
		s.t.Fatalf("the log does not verify: %v %+v", err, report)
	}
	var all []audit.Receipt
	for r, err := range audit.Read(s.dir+"/state/audit", 1) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// keepNothing stands for keepMemory in the test's own process, which needs its.
func keepNothing() []string { return nil }

func TestFlags(t *testing.T) {
	for name, test := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"help":         {[]string{"--help"}, 0, "usage: clawsupd"},
		"version":      {[]string{"--version"}, 0, "clawsupd "},
		"unknown flag": {[]string{"--colour"}, exitUsage, "clawsupd --help"},
		"arguments":    {[]string{"start"}, exitUsage, "takes no arguments"},
		"bad level":    {[]string{"--log-level", "loud"}, exitUsage, "loud"},
		"no file":      {[]string{"--config", "/nowhere/clawsup.toml"}, exitFault, "/nowhere/clawsup.toml"},
	} {
		var out, err strings.Builder
		if got := run(test.args, &out, &err, keepNothing); got != test.status || !strings.Contains(out.String()+err.String(), test.says) {
			t.Errorf("%s: status %d, %s%s", name, got, &out, &err)
		}
	}
}

func TestBadConfigurationIsNotRestarted(t *testing.T) {
	s := newSite(t, "colour = \"red\"")
	var err strings.Builder
	if got := run([]string{"--config", s.dir + "/clawsup.toml"}, io.Discard, &err, keepNothing); got != exitConfig || !strings.Contains(err.String(), "clawsup.toml:6: unknown key colour") {
		t.Errorf("%d %s", got, &err)
	}
}

func TestSignals(t *testing.T) {
	s := newSite(t, "")
	d := s.start()
	second := s.launch(programs + "/clawsupd")
	if err := <-second.ended; err == nil {
		t.Error("a second daemon in the same place started")
	} else {
		second.ended <- err
	}
	s.configure("colour = \"red\"")
	_ = d.c.Process.Signal(unix.SIGHUP)
	d.await("was not taken")
	s.configure("")
	_ = d.c.Process.Signal(unix.SIGHUP)
	d.await("reloaded: generation 2")
	if err := d.end(unix.SIGTERM); err != nil {
		t.Errorf("by SIGTERM: %v", err)
	}
	s.verify()
}
