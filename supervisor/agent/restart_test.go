// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
)

func TestNext(t *testing.T) {
	exit := func(code int) ending {
		return ending{result: runtime.Result{Status: runtime.Exited, ExitCode: code}}
	}
	other := func(s runtime.Status) ending { return ending{result: runtime.Result{Status: s, ExitCode: -1}} }
	long := exit(1)
	long.ran = 11 * time.Second
	unready := exit(0)
	unready.unready = true
	unready78 := exit(78)
	unready78.unready = true
	for _, c := range []struct {
		name    string
		restart supervisor.Restart
		e       ending
		pauses  int
		want    State
		after   time.Duration
		pause   int
	}{
		{"well, on failure", supervisor.RestartOnFailure, exit(0), 0, Stopped, 0, 0},
		{"well, always", supervisor.RestartAlways, exit(0), 0, Waiting, time.Second, 1},
		{"well, never", supervisor.RestartNever, exit(0), 0, Stopped, 0, 0},
		{"badly, never", supervisor.RestartNever, exit(1), 0, Failed, 0, 0},
		{"badly", supervisor.RestartOnFailure, exit(1), 0, Waiting, time.Second, 1},
		{"badly again", supervisor.RestartOnFailure, exit(1), 1, Waiting, 2 * time.Second, 2},
		{"and again", supervisor.RestartOnFailure, exit(1), 3, Waiting, 8 * time.Second, 4},
		{"capped", supervisor.RestartOnFailure, exit(1), 4, Waiting, 10 * time.Second, 5},
		{"capped for ever", supervisor.RestartOnFailure, exit(1), 1 << 20, Waiting, 10 * time.Second, 1<<20 + 1},
		{"after a long run", supervisor.RestartOnFailure, long, 7, Waiting, time.Second, 1},
		{"listed, on failure", supervisor.RestartOnFailure, exit(78), 0, Failed, 0, 0},
		{"listed, always", supervisor.RestartAlways, exit(78), 0, Failed, 0, 0},
		{"signalled", supervisor.RestartOnFailure, other(runtime.Signalled), 0, Waiting, time.Second, 1},
		{"out of memory", supervisor.RestartOnFailure, other(runtime.OutOfMemory), 0, Waiting, time.Second, 1},
		{"sandbox", supervisor.RestartAlways, other(runtime.SandboxError), 0, Waiting, time.Second, 1},
		{"sandbox, never", supervisor.RestartNever, other(runtime.SandboxError), 0, Failed, 0, 0},
		{"not ready", supervisor.RestartOnFailure, unready, 0, Waiting, time.Second, 1},
		{"not ready, with a listed status of the kill's", supervisor.RestartOnFailure, unready78, 0, Waiting, time.Second, 1},
		{"not ready, never", supervisor.RestartNever, unready, 0, Failed, 0, 0},
	} {
		config := supervisor.AgentConfig{
			Restart: c.restart, NoRestart: []int{78},
			Backoff: profiles.Duration(time.Second), BackoffMax: profiles.Duration(10 * time.Second),
		}
		got := next(&config, c.e, c.pauses)
		if got.state != c.want || got.after != c.after || got.pause != c.pause || got.why == "" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestStatesHaveTheNamesOfTheSocket(t *testing.T) {
	for s := Stopped; s <= Failed; s++ {
		if s.String() == "" {
			t.Errorf("state %d has no name", s)
		}
	}
	if Failed.String() != "failed" || Stopped.String() != "stopped" || State(99).String() != "state(99)" {
		t.Error("names are shifted")
	}
}
