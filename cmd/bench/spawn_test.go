// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"
)

func TestSpawn(t *testing.T) {
	s, err := newSpawner(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// The orphan works after its parent has gone: its CPU time counts, its wall
	// time doesn't.
	got, err := s.spawn([]string{"/bin/sh", "-c", "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done) & exit 0"})
	if err != nil {
		t.Fatal(err)
	}
	if got.cpu <= 20*time.Millisecond || got.cpu <= got.wall {
		t.Errorf("cpu %v, wall %v: the orphan was not waited for", got.cpu, got.wall)
	}
	if _, err := s.spawn([]string{"/bin/sh", "-c", "echo the reason >&2; exit 3"}); err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("got %v, want an error with what was said", err)
	}
	// stderr of the last call isn't shown with the next
	if _, err := s.spawn([]string{"/bin/false"}); err == nil || strings.Contains(err.Error(), "the reason") {
		t.Errorf("got %v, want an error of its own", err)
	}
}

func TestFilterIsWhole(t *testing.T) {
	filter, err := filter()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Join(filter.Syscalls[0].Names, " ") + " "
	for _, want := range []string{"read ", "execve ", "exit_group ", "socket "} {
		if !strings.Contains(names, want) {
			t.Errorf("%q is not allowed", want)
		}
	}
	for _, bad := range []string{"bpf ", "mount ", "CALL ", "group "} {
		if strings.Contains(" "+names, " "+bad) {
			t.Errorf("%q is allowed", bad)
		}
	}
}
