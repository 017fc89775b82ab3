// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"time"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/wire"
)

// Step names what was being done when something failed.
type Step = wire.Step

// The steps that this package takes itself.
const (
	StepSpec      = wire.StepSpec
	StepLayers    = wire.StepLayers
	StepSlot      = wire.StepSlot
	StepCgroup    = wire.StepCgroup
	StepMount     = wire.StepMount
	StepContainer = wire.StepContainer
	StepInit      = wire.StepInit
	StepCall      = wire.StepCall
	StepOutput    = wire.StepOutput
	StepReport    = wire.StepReport
	StepCleanup   = wire.StepCleanup
)

// Error is a failure with the step that made it.
type Error struct {
	Step Step
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Step, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

func failed(step Step, err error) *Error { return &Error{step, err} }

// Status is why a call ended. The set is closed.
type Status int

const (
	Exited            Status = iota // the tool ended by itself, with an exit code
	Signalled                       // a signal that was not ours ended it
	TimedOut                        // wall clock or CPU time ran out
	OutOfMemory                     // the memory limit was reached
	OutputLimit                     // a stream's cap was reached with more to come
	PidsLimit                       // the process limit was reached
	Denied                          // policy or a human said no; nothing ran
	Stopped                         // somebody stopped it
	SandboxError                    // the sandbox failed; Result.Step says where
	SupervisorRestart               // whoever ran it was gone before it ended; how it would have ended is not known
)

var statusNames = []string{
	"exited", "signalled", "timed-out", "out-of-memory", "output-limit",
	"pids-limit", "denied", "stopped", "sandbox-error", "supervisor-restart",
}

// String gives the status's name.
func (s Status) String() string { return statusNames[s] }

// MarshalText gives the status's name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes a status's name.
func (s *Status) UnmarshalText(b []byte) error {
	for i, name := range statusNames {
		if name == string(b) {
			*s = Status(i)
			return nil
		}
	}
	return fmt.Errorf("unknown status %q", b)
}

// Result is what happened to a call.
type Result struct {
	Status   Status         `json:"status"`
	ExitCode int            `json:"exit_code"`        // of Exited; else -1
	Signal   string         `json:"signal,omitempty"` // of Signalled, as SIGSEGV
	Step     Step           `json:"step,omitempty"`   // of SandboxError
	Message  string         `json:"message,omitempty"`
	Usage    Usage          `json:"usage"`
	Layers   []layer.Report `json:"layers"`
}

// Usage is what a call took.
type Usage struct {
	Wall        time.Duration `json:"wall_ns"`
	User        time.Duration `json:"user_ns"`
	System      time.Duration `json:"system_ns"`
	MemoryPeak  int64         `json:"memory_peak_bytes"`   // of the whole box
	PidsPeak    int64         `json:"pids_peak,omitempty"` // 0 where the kernel does not count
	Written     int64         `json:"written_bytes"`       // towards block devices
	MemoryFiles int64         `json:"memory_files_bytes"`  // left in the box's own tmpfs at the end
	Stdout      int64         `json:"stdout_bytes"`
	Stderr      int64         `json:"stderr_bytes"`
	Preparation time.Duration `json:"preparation_ns"` // before the call was given
}
