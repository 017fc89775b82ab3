// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
)

// ending is how a run of an agent came to its end.
type ending struct {
	result  runtime.Result
	unready bool // it was ended because it did not get ready
	ran     time.Duration
}

// turn is what follows an ending.
type turn struct {
	state State         // Waiting, Stopped or Failed
	after time.Duration // of Waiting: the pause before its next start
	pause int           // how many pauses there were in a row, this one included
	why   string        // in a sentence
}

// next decides, by the configuration and by how many pauses there have been in
// a row. It is a pure function. A run that was longer than the longest pause
// counts as one that went well, and the pause after it is the first again.
func next(c *supervisor.AgentConfig, e ending, pauses int) turn {
	well := e.result.Status == runtime.Exited && e.result.ExitCode == 0 && !e.unready
	stay := func(why string) turn {
		state := Failed
		if well {
			state = Stopped
		}
		return turn{state: state, why: why}
	}
	switch {
	case e.result.Status == runtime.Exited && slices.Contains(c.NoRestart, e.result.ExitCode) && !e.unready:
		return stay(fmt.Sprintf("exit status %d is one of no_restart", e.result.ExitCode))
	case c.Restart == supervisor.RestartNever:
		return stay(`restart is "never"`)
	case c.Restart == supervisor.RestartOnFailure && well:
		return stay(`it ended well, and restart is "on-failure"`)
	}
	if e.ran > time.Duration(c.BackoffMax) {
		pauses = 0
	}
	after := time.Duration(c.Backoff)
	for range pauses {
		if after >= time.Duration(c.BackoffMax)/2 {
			after = time.Duration(c.BackoffMax)
			break
		}
		after *= 2
	}
	return turn{state: Waiting, after: min(after, time.Duration(c.BackoffMax)), pause: pauses + 1, why: fmt.Sprintf("it is started again in %v", min(after, time.Duration(c.BackoffMax)))}
}

// describe says in a sentence how a run ended.
func (e ending) describe() string {
	r := e.result
	text := r.Status.String()
	switch r.Status {
	case runtime.Exited:
		text = fmt.Sprintf("exited with status %d", r.ExitCode)
	case runtime.Signalled:
		text = "ended by " + r.Signal
	case runtime.SandboxError:
		text = fmt.Sprintf("sandbox-error in %s: %s", r.Step, r.Message)
	}
	if e.unready {
		text = "was not ready in time: " + text
	}
	return text
}
