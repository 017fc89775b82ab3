// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// unit is the contestant that the others are compared with.
const unit = "spawn"

// command is what all contestants run.
const command = "/bin/true"

// contestant is one way to run a command: a program that is spawned, or a
// server that is asked.
type contestant struct {
	name  string
	gives string // what it puts around the command

	// argv is spawned, its program looked up in PATH. callNumber in it becomes
	// a number that is never used twice, callerNumber that of the caller.
	argv []string
	on   thread // that spawns it; nil means any

	dial func() (asker, error) // connects to a server; nil: argv is spawned

	before func(n int) error // a call, outside of what is measured; may be nil

	server meter // whose CPU time counts, besides that of what is spawned

	path   string // of the program; set by try
	asker  asker  // of one caller; set by try
	calls  int
	absent error // why it can't take part, if that is known beforehand
}

const (
	callNumber   = "{call}"
	callerNumber = "{caller}"
)

// contestants lists all that start command, the unit first. crun may want a
// thread of its own (plainV1).
func contestants(b *bundle, p place, crun thread) []contestant {
	oci := func(name string) []string {
		return []string{name, "--root", filepath.Join(b.dir, name), "run", "--bundle", b.dir + "/" + callerNumber, b.id(name)}
	}
	clawsup := filepath.Join(p.programs, "clawsup")
	return []contestant{
		{name: unit, gives: "nothing", argv: []string{command}},
		{name: "unshare", gives: "namespaces",
			argv: []string{"unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup", "--mount-proc", "--kill-child", command}},
		{name: "bwrap", gives: "namespaces, root", argv: bwrap(nil, command)},
		{name: "firejail", gives: "namespaces, root, filter",
			argv: []string{"firejail", "--quiet", "--noprofile", "--private", "--private-dev", "--private-tmp", "--net=none",
				"--caps.drop=all", "--nonewprivs", "--seccomp", "--", command}},
		{name: "crun", gives: "namespaces, root, filter, cgroup", argv: oci("crun"), on: crun},
		{name: "runc", gives: "namespaces, root, filter, cgroup", argv: oci("runc")},
		{name: "go-judge", gives: "namespaces, root, cgroup; kept and used again", dial: p.judge.dial, server: p.judge.meter(), absent: p.judge.absent},
		{name: "clawsup", gives: "all layers, no daemon", argv: []string{clawsup, "--config", p.alone, "run", "--", command}},
		{name: "clawsup run", gives: "all layers, receipts; the daemon's client as a program",
			argv: []string{clawsup, "--config", p.site.config(), "run", "--", command}, server: p.site.meter()},
		{name: "call", gives: "all layers, receipts; over call.sock",
			dial: p.site.calls(plain("", command)), server: p.site.meter()},
		{name: "new profile", gives: "the same, by a profile that was never used",
			dial: p.strangers.calls(stranger), server: p.strangers.meter()},
	}
}

// bwrap is its command line, with more binds.
func bwrap(binds []string, argv ...string) []string {
	line := []string{"bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
		"--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc",
		"--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
		"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/tmp"}
	return append(append(append(line, binds...), "--"), argv...)
}

// try finds the program and lets it run twice: caches are filled, and what
// doesn't work here is found before anything is measured. What begins anew with
// each call runs once: it is long, and finds nothing that the last one left.
func (c *contestant) try(s *spawner) error {
	if c.absent != nil {
		return c.absent
	}
	var err error
	if c.dial != nil {
		if c.asker, err = c.dial(); err != nil {
			return err
		}
	} else {
		c.path, err = exec.LookPath(c.argv[0])
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return errors.New("not installed")
		}
		if err != nil {
			return err
		}
	}
	times := 2
	if c.before != nil {
		times = 1
	}
	for range times {
		if _, err := c.call(s); err != nil {
			return err
		}
	}
	return nil
}

// call runs the command once.
func (c *contestant) call(s *spawner) (sample, error) {
	n := c.calls
	c.calls++
	if c.before != nil {
		if err := c.before(n); err != nil {
			return sample{}, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	var got sample
	var err error
	do := func() { got, err = s.spawn(c.line(0, strconv.Itoa(n))) }
	switch {
	case c.asker != nil:
		began := time.Now()
		err = c.asker.call(n)
		got.wall = time.Since(began)
		if s, tells := c.asker.(staged); tells {
			got.stages = s.stages()
		}
	case c.on != nil:
		c.on.do(do)
	default:
		do()
	}
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", c.name, err)
	}
	return got, nil
}

// line is what caller spawns as its given call.
func (c *contestant) line(caller int, call string) []string {
	r := strings.NewReplacer(callerNumber, strconv.Itoa(caller), callNumber, strconv.Itoa(caller)+"-"+call)
	line := []string{c.path}
	for _, arg := range c.argv[1:] {
		line = append(line, r.Replace(arg))
	}
	return line
}

// close ends the connection.
func (c *contestant) close() {
	if c.asker != nil {
		_ = c.asker.Close()
	}
}

// version is the first line of what the program says of itself.
func (c *contestant) version() string {
	if c.name == unit || c.path == "" {
		return ""
	}
	out, err := exec.Command(c.path, "--version").Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
