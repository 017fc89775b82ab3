// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// heldTick is how often systemd's work on the held scope is looked at: a group that appears or goes raises no event that
// could be waited for beforehand.
const heldTick = 10 * time.Millisecond

// heldName is the scope of a slice that outlives whoever uses it.
func heldName(slice string) string { return strings.TrimSuffix(slice, ".slice") + "-boxes.scope" }

// OpenHeld is [OpenParent] for a service, which must stay in its own unit and whose leaves outlive it. Where systemd owns a
// v2 tree, the parent is the delegated scope STEM-boxes.scope of the slice path, the same one for every process that asks,
// and this process does not enter it: what keeps it alive is a process in its supervisor group, which holder starts if
// there is none. A holder needs nothing and ends on SIGTERM. Elsewhere OpenHeld is OpenParent and starts nothing.
func OpenHeld(h Host, path string, holder []string) (*Parent, error) {
	if h.Version != V2 || !h.Systemd {
		return OpenParent(h, path)
	}
	if !plainPath(path) {
		return nil, fmt.Errorf("open control group %q: the path must begin with / and have plain names", path)
	}
	slice := filepath.Base(path)
	p := &Parent{host: h, boxes: h, bells: &bells{}, unit: true, held: true, path: filepath.Join(slicePath(slice), heldName(slice))}
	if err := p.hold(slice, holder); err != nil {
		return nil, fmt.Errorf("open control group %s with systemd: %w", p.path, err)
	}
	return p, nil
}

// slicePath is where systemd has a slice: "a-b.slice" lies in "a.slice" (systemd.slice(5)).
func slicePath(slice string) string {
	path, stem := "", strings.TrimSuffix(slice, ".slice")
	for i, c := range stem + "-" {
		if c == '-' {
			path += "/" + stem[:i] + ".slice"
		}
	}
	return path
}

// hold makes the scope or joins the one that is there. A scope may come or go meanwhile, at another process's wish, so
// it is tried again until one of both works out.
func (p *Parent) hold(slice string, argv []string) error {
	deadline := time.Now().Add(scopeWait)
	for {
		if delegated(p.unified()) {
			err := p.occupy(argv)
			if !gone(err) {
				return err
			}
		}
		cmd, err := startHolder(argv)
		if err != nil {
			return err
		}
		err = startScope(filepath.Base(p.path), slice, "clawsup sandboxes", cmd.Process.Pid)
		if err == nil {
			go cmd.Wait() // so that it is no zombie, should it end before this process
			err = p.occupy(nil)
		} else {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		if err == nil {
			return nil
		}
		if !gone(err) && dbusError(err) != "org.freedesktop.systemd1.UnitExists" || time.Now().After(deadline) {
			return err
		}
		time.Sleep(heldTick)
	}
}

// occupy puts the existing scope in order: whoever is in the scope itself goes to the supervisor group, which gets a holder
// if it has none, and controllers are handed down. A process that died in between may have left it at any of these.
func (p *Parent) occupy(argv []string) error {
	supervisor, err := p.makeSupervisor()
	if err != nil {
		return err
	}
	pids, err := members(p.unified())
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := write(supervisor, "cgroup.procs", strconv.Itoa(pid)); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	populated, err := readValue(supervisor, "cgroup.events", "populated")
	if err != nil {
		return err
	}
	if populated == 0 {
		if argv == nil {
			return errors.New("the process that holds the scope has ended")
		}
		cmd, err := startHolder(argv)
		if err != nil {
			return err
		}
		if err := write(supervisor, "cgroup.procs", strconv.Itoa(cmd.Process.Pid)); err != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			return err
		}
		go cmd.Wait()
	}
	return p.handDown(p.unified())
}

// startHolder starts a process that has nothing of this one.
func startHolder(argv []string) (*exec.Cmd, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the process that holds the scope: %w", err)
	}
	return cmd, nil
}

// release ends the holder if the scope has no leaf, and waits a moment for systemd to take the scope away, so that who
// opens it next doesn't meet it on its way out.
func (p *Parent) release() error {
	entries, err := os.ReadDir(p.unified())
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != supervisorGroup {
			return nil
		}
	}
	holders := &Leaf{host: p.host, dirs: []string{filepath.Join(p.unified(), supervisorGroup)}}
	pids, err := processes(holders.dirs)
	if err != nil {
		return err
	}
	fds, err := holders.signal(pids, unix.SIGTERM)
	for _, fd := range fds {
		unix.Close(fd)
	}
	if err != nil {
		return err
	}
	for end := time.Now().Add(deleteWait); time.Now().Before(end); time.Sleep(heldTick) {
		if _, err := os.Lstat(p.unified()); err != nil {
			return nil
		}
	}
	return nil
}
