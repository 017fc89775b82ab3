// SPDX-License-Identifier: Apache-2.0

package agent

import "fmt"

// State is where an agent is.
type State int

// The states. An agent with a readiness probe is Running until it answers, one
// without is Ready at once.
const (
	Stopped  State = iota // and stays so until somebody starts it
	Starting              // its state directory is copied, its box made
	Running
	Ready
	Frozen   // by somebody, until they thaw it
	Stopping // it was asked to end
	Waiting  // for its next start
	Failed   // it ended, or could not be started, and stays so until somebody starts it
)

var stateNames = [...]string{"stopped", "starting", "running", "ready", "frozen", "stopping", "waiting", "failed"}

// String gives the name that api.Agent has for the state.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state(%d)", int(s))
	}
	return stateNames[s]
}
