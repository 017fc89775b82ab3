// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"
	goruntime "runtime"

	"github.com/moby/sys/capability"
	"github.com/opencontainers/runc/libcontainer"
	// Its C constructor enters the namespaces before the Go runtime starts.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)

// The process's first thread belongs to the main goroutine alone. This package
// and libcontainer move threads into other mount namespaces and let them end;
// the first one can't end, and /proc/self would show its namespace to all.
func init() { goruntime.LockOSThread() }

// Reexec is the first thing that a program which makes sandboxes calls. In
// the copy of the program that libcontainer starts to become a container it
// does not return; elsewhere it does nothing.
func Reexec() {
	if len(os.Args) == 2 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITPIPE") != "" {
		// libcontainer asks for the last capability when the box's own /proc is
		// mounted already, which may not have the file; the answer is kept.
		_, _ = capability.LastCap()
		libcontainer.Init()
	}
}
