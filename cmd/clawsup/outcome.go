// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/wire"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// outcome is what happened to a call, and what is known of it.
type outcome struct {
	flags  *callFlags
	plan   *supervisor.Plan // nil: it did not get that far
	result runtime.Result
	signal unix.Signal // the last that clawsup got; 0: none

	changes    *changes.Change // what it did to its workspace; nil: nothing, or at once
	call       *api.Call       // through the daemon; else nil
	standalone bool            // without the daemon though one is configured
	hint       string          // what to do, where the daemon said it
}

// statuses are the exit statuses of calls that did not end by themselves.
var statuses = map[runtime.Status]int{
	runtime.OutputLimit:  122,
	runtime.PidsLimit:    123,
	runtime.TimedOut:     124,
	runtime.SandboxError: 125,
	runtime.Denied:       126,
	runtime.OutOfMemory:  137,

	runtime.SupervisorRestart: 125,
}

// exitNotFound is that of a sandbox-error because a program is not in the box.
const exitNotFound = 127

// exitStatus is the table that 'clawsup help run' prints.
func (o *outcome) exitStatus() int {
	r := &o.result
	switch {
	case r.Status == runtime.Exited:
		return r.ExitCode
	case r.Status == runtime.Signalled:
		return 128 + int(unix.SignalNum(r.Signal))
	case r.Status == runtime.Stopped && o.signal == 0: // by somebody else
		return 128 + int(unix.SIGTERM)
	case r.Status == runtime.Stopped:
		return 128 + int(o.signal)
	case r.Status == runtime.SandboxError && programMissing[r.Step]:
		return exitNotFound
	}
	return statuses[r.Status]
}

// programMissing are the steps that fail when the box lacks a program.
var programMissing = map[runtime.Step]bool{
	wire.StepLookup:   true,
	wire.StepRequires: true,
}

// hints say by step what an operator can do about a sandbox-error.
var hints = map[runtime.Step]string{
	runtime.StepSlot:      "see 'clawsup doctor'",
	runtime.StepCgroup:    "see 'clawsup doctor'",
	runtime.StepMount:     "see 'clawsup doctor'",
	runtime.StepContainer: "see 'clawsup doctor'",
	runtime.StepInit:      "see 'clawsup doctor'; a very small memory limit can be the cause too",
	wire.StepRequires:     "install it on this host, or use a profile whose rootfs has it",
	wire.StepLookup:       "the box has the host's system directories, a skill at /skill, a workspace at /workspace",
	wire.StepOutput:       "what the tool wrote is not whole; make room where its output goes, and run it again",
	runtime.StepReport:    "run it again with --log-level debug, and report it if it stays",
}

// limitKeys say by status which keys of the profile bound the call.
var limitKeys = map[runtime.Status]string{
	runtime.OutOfMemory: "limits.memory",
	runtime.PidsLimit:   "limits.pids",
}

// bound names the limit that ended the call, its value and who set it.
func (o *outcome) bound() string {
	if o.plan == nil {
		return ""
	}
	l := &o.plan.Profile.Profile.Limits
	key, value := limitKeys[o.result.Status], ""
	switch o.result.Status {
	case runtime.OutOfMemory:
		value = l.Memory.String()
	case runtime.PidsLimit:
		value = fmt.Sprint(l.Pids)
	case runtime.OutputLimit:
		key, value = "limits.stderr", l.Stderr.String()
		if o.result.Usage.Stdout >= int64(l.Stdout) {
			key, value = "limits.stdout", l.Stdout.String()
		}
	case runtime.TimedOut:
		key, value = "limits.cpu_time", l.CPUTime.String()
		if o.result.Usage.Wall >= o.plan.Call.WallTime {
			if o.plan.Request.Timeout > 0 {
				return "(set by --timeout)"
			}
			key, value = "limits.wall_time", l.WallTime.String()
		}
	default:
		return ""
	}
	return fmt.Sprintf("(%s = %s, set in %s)", key, value, visible.Text(o.plan.Profile.Origin[key]))
}

// message is the cause in a line or a few.
func (o *outcome) message() string {
	r := &o.result
	text := r.Message
	switch r.Status {
	case runtime.Signalled:
		text = "the tool was ended by " + r.Signal
	case runtime.Stopped:
		if o.signal != 0 {
			text = "by " + unix.SignalName(o.signal)
		}
	case runtime.SandboxError:
		if r.Step != runtime.StepSpec { // what was asked for can't be: no step was taken
			text = fmt.Sprintf("%s: %s", r.Step, text)
		}
	}
	text = strings.TrimSpace(text + " " + o.bound())
	if text == "" && r.Status != runtime.Exited {
		text = "no reason was given"
	}
	return text
}

// report says what happened and gives the exit status.
func (p *program) report(o *outcome) int {
	var lost error
	if o.flags.json {
		lost = json.NewEncoder(p.stdout).Encode(o.object())
	}
	p.reportChanges(o)
	p.reportReached(o)
	if o.result.Status != runtime.Exited {
		lines := strings.Split(o.message(), "\n")
		fmt.Fprintf(p.stderr, "clawsup: %s: %s\n", o.result.Status, visible.Line(lines[0]))
		for _, line := range lines[1:] {
			fmt.Fprintf(p.stderr, "  %s\n", visible.Line(strings.TrimSpace(line)))
		}
		hint := o.hint
		if hint == "" && o.result.Status == runtime.SandboxError {
			hint = hints[o.result.Step]
		}
		if hint != "" {
			fmt.Fprintf(p.stderr, "hint: %s\n", visible.Line(hint))
		}
	}
	if lost != nil {
		return p.fault(statuses[runtime.SandboxError], fmt.Errorf("the report of a call that ended %s is lost: %w", o.result.Status, lost))
	}
	return o.status()
}

// object is what --json prints: the result, and what it is about.
type object struct {
	runtime.Result
	Profile *profileObject  `json:"profile"` // null where it did not get that far
	Skill   *skillObject    `json:"skill"`   // null for a raw command
	Plan    string          `json:"plan,omitempty"`
	Changes *changes.Change `json:"changes,omitempty"` // what it did to its workspace
	Reached *api.Reached    `json:"reached,omitempty"` // what it reached beyond its box, and what it was not let

	Call       string `json:"call,omitempty"`       // through the daemon: its id
	Ticket     string `json:"ticket,omitempty"`     // that a person was asked by
	WouldAsk   bool   `json:"would_ask,omitempty"`  // denied, since nobody was to be asked
	Known      bool   `json:"known,omitempty"`      // its key was known: nothing new ran
	Standalone bool   `json:"standalone,omitempty"` // without the daemon though one is configured
}

// Through the daemon, digests and sources are in the receipts.
type profileObject struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"`
	Source string `json:"source,omitempty"`
}

type skillObject struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"`
	Source string `json:"source,omitempty"`
}

func (o *outcome) object() object {
	j := object{Result: o.result, Standalone: o.standalone, Changes: o.changes}
	j.Message = ""
	if o.result.Status != runtime.Exited {
		j.Message = o.message()
	}
	if j.Layers == nil {
		j.Layers = []layer.Report{}
	}
	if c := o.call; c != nil {
		j.Reached = c.Reached
		j.Plan, j.Call, j.Ticket, j.WouldAsk, j.Known = c.Plan, c.ID, c.Ticket, c.WouldAsk, c.Known
		if c.Profile != "" {
			j.Profile = &profileObject{Name: c.Profile}
		}
		if c.Skill != "" {
			j.Skill = &skillObject{Name: c.Skill}
		}
	}
	if o.plan == nil {
		return j
	}
	j.Plan = o.plan.Digest
	j.Profile = &profileObject{o.plan.Profile.Profile.Name, o.plan.Profile.Digest, o.plan.Profile.Source}
	if k := o.plan.Skill; k != nil {
		j.Skill = &skillObject{k.Name, k.Digest, k.Source}
	}
	return j
}
