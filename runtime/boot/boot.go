// SPDX-License-Identifier: Apache-2.0

// Package boot is the half of a sandbox that runs inside it: the program
// clawsup-init.
//
// It is started twice in each box. As PID 1 (Init) it holds the control
// socket, relays the three streams, reaps, forwards signals and reports. As
// the stage (Stage) it is the process that becomes the tool: Go can't run
// code between fork and exec, so a program of its own takes on the identity,
// the limits, Landlock and the filter, and then execs. The stage is started
// while the box is being prepared and waits, so that a call does not pay for
// its start.
//
// What each may do:
//
//	PID 1   uid 0 of the box and, once the stage waits, CAP_KILL alone
//	stage   uid 0 with SETUID, SETGID and SETPCAP, then the tool's uid and nothing
//	tool    the tool's uid, no capability in any set, no_new_privs, Landlock, seccomp
//
// A service (runtime/wire says how it differs) is kept by PID 1 when its host
// has gone, as long as somebody holds the host's end of its control socket;
// PID 1 writes its output into a log of two files (package ring) and keeps how
// it ended.
//
// The same program is started outside of all boxes as the process that holds
// a scope of systemd's (Hold).
//
// The tool has another uid than PID 1 and PID 1 is not dumpable: it can't be
// signalled, traced or looked into, and hidepid hides it. Of
// descriptors from outside the tool has none but the one socket that a call
// of clawsup's own helpers may bring; its standard streams are pipes of the
// box, and PID 1 splices between them and the caller's descriptors, counting.
//
// The program is linked without cgo and reads nothing that the tool wrote.
package boot

import (
	"fmt"
	"os"

	"github.com/clawsup/clawsup/runtime/wire"
)

// fail prints why a box could not boot, for the host's diagnosis, and gives
// the exit status.
func fail(step wire.Step, err error) int {
	fmt.Fprintf(os.Stderr, "clawsup-init: %s: %v\n", step, err)
	return 1
}
