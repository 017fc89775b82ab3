// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds what is waited for: a server's start and end, one answer.
const patience = 2 * time.Minute

// server is a program that stays while others ask it. It runs in a control
// group of its own, so that its CPU time can be told.
type server struct {
	pid    int
	keeper int    // pid of its parent, see keep
	log    string // file with what it says
	group  string
	ended  chan struct{}
	err    error // once ended is closed
}

// servers are those that run: children that no contestant left.
var servers sync.Map // pid of the keeper to *server

// serve starts argv in a control group.
func serve(log, group string, argv ...string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var enter []string
	for _, dir := range []string{filepath.Join(cgroups, "cpuacct", group), filepath.Join(cgroups, group)} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "cgroup.procs")); err != nil {
			continue // there is no such hierarchy
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		enter = append(enter, "echo $$ >"+dir+"/cgroup.procs;")
	}
	said, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer said.Close()
	// The shell enters the group before there are threads that could be left behind.
	c := exec.Command("/bin/sh", append([]string{"-ec", strings.Join(enter, " ") + ` exec "$@"`, "sh", self, keeperName}, argv...)...)
	c.Stderr = said
	// Ctrl-C is for us to pass on; and when we are killed, the keeper ends too.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	s := &server{keeper: c.Process.Pid, log: log, group: group, ended: make(chan struct{})}
	servers.Store(s.keeper, s)
	_, err = fmt.Fscan(out, &s.pid)
	go func() {
		s.err = c.Wait()
		servers.Delete(s.keeper)
		close(s.ended)
	}()
	if err != nil {
		<-s.ended
		return nil, fmt.Errorf("%w: %s", s.err, s.said())
	}
	return s, nil
}

// ready waits until the test passes.
func (s *server) ready(test func() error) error {
	var err error
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		if err = test(); err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it ended (%v): %s", s.err, s.said())
		case <-time.After(time.Millisecond):
		}
	}
	return fmt.Errorf("not ready after %v: %w: %s", patience, err, s.said())
}

// said is the end of what it said.
func (s *server) said() string {
	text, _ := os.ReadFile(s.log)
	return strings.TrimSpace(string(text[max(0, len(text)-2000):]))
}

// stop ends it, and removes its group.
func (s *server) stop() error {
	_ = syscall.Kill(s.keeper, syscall.SIGTERM)
	var err error
	select {
	case <-s.ended:
	case <-time.After(patience):
		err = errors.New("it does not end by SIGTERM: " + s.said())
		_ = syscall.Kill(s.pid, syscall.SIGKILL)
		<-s.ended
	}
	removeGroup(s.group)
	return err
}
