// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// unit is the contestant that the others are compared with.
const unit = "spawn"

// command is what all contestants run.
const command = "/bin/true"

// contestant is one way to run a command.
type contestant struct {
	name  string
	gives string // what it puts around the command
	// program is looked up in PATH; it is what is spawned.
	program string
	// args gives the arguments of call n, which is never given twice.
	args func(n int) []string
	on   thread // that spawns it; nil means any
	path string // of program; set by try

	calls int
}

// contestants lists all there are, the unit first. crun may want a thread of
// its own (plainV1).
func contestants(b *bundle, clawsup, config string, crun thread) []contestant {
	always := func(args ...string) func(int) []string {
		return func(int) []string { return args }
	}
	oci := func(root string) func(int) []string {
		return func(n int) []string {
			return []string{"--root", filepath.Join(b.dir, root), "run", "--bundle", b.dir, b.id(root, n)}
		}
	}
	return []contestant{
		{name: unit, gives: "nothing", program: command, args: always()},
		{name: "unshare", gives: "namespaces", program: "unshare",
			args: always("--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup", "--mount-proc", "--kill-child", command)},
		{name: "bwrap", gives: "namespaces, root", program: "bwrap",
			args: always("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
				"--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc",
				"--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
				"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--", command)},
		{name: "firejail", gives: "namespaces, root, filter", program: "firejail",
			args: always("--quiet", "--noprofile", "--private", "--private-dev", "--private-tmp", "--net=none",
				"--caps.drop=all", "--nonewprivs", "--seccomp", "--", command)},
		{name: "crun", gives: "namespaces, root, filter, cgroup", program: "crun", args: oci("crun"), on: crun},
		{name: "runc", gives: "namespaces, root, filter, cgroup", program: "runc", args: oci("runc")},
		{name: "clawsup", gives: "all layers", program: clawsup,
			args: always("--config", config, "run", "--", command)},
	}
}

// try finds the program and lets it run twice: caches are filled, and what
// doesn't work here is found before anything is measured.
func (c *contestant) try(s *spawner) error {
	path, err := exec.LookPath(c.program)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return errors.New("not installed")
	}
	if err != nil {
		return err
	}
	c.path = path
	for range 2 {
		if _, err := c.call(s); err != nil {
			return err
		}
	}
	return nil
}

// call runs the command once.
func (c *contestant) call(s *spawner) (sample, error) {
	argv := append([]string{c.path}, c.args(c.calls)...)
	c.calls++
	var got sample
	var err error
	if c.on != nil {
		c.on.do(func() { got, err = s.spawn(argv) })
	} else {
		got, err = s.spawn(argv)
	}
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", c.name, err)
	}
	return got, nil
}

// version is the first line of what the program says of itself.
func (c *contestant) version() string {
	if c.name == unit {
		return ""
	}
	out, err := exec.Command(c.path, "--version").Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
