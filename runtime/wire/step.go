// SPDX-License-Identifier: Apache-2.0

package wire

import "fmt"

// Step names what was being done when a sandbox failed. The order is the
// order in which they happen.
type Step int

const (
	StepNone Step = iota
	StepSpec
	StepLayers
	StepSlot
	StepCgroup
	StepMount
	StepContainer
	StepInit
	StepCall
	StepIdentity
	StepRlimit
	StepChdir
	StepRequires
	StepLookup
	StepLandlock
	StepSeccomp
	StepExec
	StepOutput
	StepReport
	StepCleanup
	numSteps
)

var stepNames = [numSteps]string{
	StepNone:      "",
	StepSpec:      "spec",      // the request contradicts itself
	StepLayers:    "layers",    // the host lacks what a layer needs
	StepSlot:      "slot",      // no free uid range, or the run directory
	StepCgroup:    "cgroup",    // making or limiting the group
	StepMount:     "mount",     // building the root file system
	StepContainer: "container", // namespaces, maps, pivot_root
	StepInit:      "init",      // clawsup-init did not report
	StepCall:      "call",      // handing the call over
	StepIdentity:  "identity",  // uid, gid, groups, capabilities
	StepRlimit:    "rlimit",    // resource limits
	StepChdir:     "chdir",     // working directory
	StepRequires:  "requires",  // a program the skill needs is not in the box
	StepLookup:    "lookup",    // the command is not in the box
	StepLandlock:  "landlock",  // the second wall
	StepSeccomp:   "seccomp",   // the filter
	StepExec:      "exec",      // execve refused
	StepOutput:    "output",    // the caller's descriptor refused what the tool wrote
	StepReport:    "report",    // init fell silent
	StepCleanup:   "cleanup",   // something of the box stayed behind
}

// String gives the step's name.
func (s Step) String() string {
	if s < 0 || s >= numSteps {
		return fmt.Sprintf("step(%d)", int(s))
	}
	return stepNames[s]
}

// MarshalText gives the step's name, for JSON.
func (s Step) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes a step's name.
func (s *Step) UnmarshalText(b []byte) error {
	for i, name := range stepNames {
		if name == string(b) {
			*s = Step(i)
			return nil
		}
	}
	return fmt.Errorf("%w: unknown step %q", ErrFrame, b)
}
