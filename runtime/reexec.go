// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"

	"github.com/opencontainers/runc/libcontainer"
	// Its C constructor enters the namespaces before the Go runtime starts.
	_ "github.com/opencontainers/runc/libcontainer/nsenter"
)

// Reexec is the first thing that a program which makes sandboxes calls. In
// the copy of the program that libcontainer starts to become a container it
// does not return; elsewhere it does nothing.
func Reexec() {
	if len(os.Args) == 2 && os.Args[1] == "init" && os.Getenv("_LIBCONTAINER_INITPIPE") != "" {
		libcontainer.Init()
	}
}
