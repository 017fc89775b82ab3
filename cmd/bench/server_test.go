// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && inner[os.Args[1]] != nil {
		if err := inner[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A server and what it leaves are no contestant's orphans, their CPU time is
// the group's, and nothing stays of it.
func TestServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	s, err := newSpawner(dir)
	if err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("/clawsupbenchtest%d", os.Getpid())
	// tail is an orphan from the beginning, and ends with the server
	server, err := serve(filepath.Join(dir, "log"), group, "/bin/sh", "-c",
		"(tail --pid=$$ -f /dev/null &); i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; echo up >"+dir+"/up; exec sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.ready(func() error { _, err := os.Stat(dir + "/up"); return err }); err != nil {
		t.Fatal(err)
	}
	if left, err := orphans(); err != nil || len(left) > 0 {
		t.Errorf("%v are taken for orphans: %v", left, err)
	}
	if _, err := s.spawn([]string{command}); err != nil {
		t.Error(err)
	}
	if used := (meter{group}).read(); used <= 0 {
		t.Errorf("the server has used %v", used)
	}
	names := (&site{daemon: server}).started()
	if _, ok := names[server.pid]; !ok || len(names) != 2 {
		t.Errorf("the server %d and its orphan are %v", server.pid, names)
	}
	if err := server.stop(); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(server.pid, 0); err != unix.ESRCH {
		t.Errorf("the server is still there: %v", err)
	}
	var last sample
	if err := s.reap(&last); err != nil { // tail is ours now
		t.Error(err)
	}
	removeGroup(group)
	if left := slices.DeleteFunc(groupDirs(group), func(dir string) bool { _, err := os.Stat(dir); return err != nil }); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestServerThatEnds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if _, err := newSpawner(dir); err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("/clawsupbenchtest%d", os.Getpid())
	server, err := serve(filepath.Join(dir, "log"), group, "/bin/sh", "-c", "echo the reason >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = server.ready(func() error { return os.ErrNotExist })
	if err == nil || server.said() == "" || server.stop() != nil {
		t.Errorf("%v, and it said %q", err, server.said())
	}
}
