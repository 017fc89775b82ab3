// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStoppedCommandStopsNoClock: while clawsup itself is stopped, as by
// Ctrl-Z, its call still ends in time: clawsup-init has a clock of its own.
func TestStoppedCommandStopsNoClock(t *testing.T) {
	b := newBench(t, "")
	c := b.command("run", "--timeout", "1s", "--", "sleep", "600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	sleeping := func() bool {
		for _, p := range b.processes() {
			if strings.Contains(p, "(sleep)") {
				return true
			}
		}
		return false
	}
	// /proc tells no events; the tests' own time limit bounds both loops.
	for !sleeping() {
		time.Sleep(time.Millisecond)
	}
	if err := c.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for sleeping() {
		time.Sleep(time.Millisecond)
	}
	if err := c.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if got := status(c); got != 124 {
		t.Errorf("status %d, want 124", got)
	}
}
