// SPDX-License-Identifier: Apache-2.0

// Clawsup-init is PID 1 of a sandbox and the stage that becomes the tool, and
// the process that holds a scope of systemd's. Nobody starts it by hand:
// package boot says what it does.
package main

import (
	"fmt"
	"os"

	"github.com/clawsup/clawsup/runtime/boot"
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "stage":
		os.Exit(boot.Stage())
	case len(os.Args) == 2 && os.Args[1] == "hold":
		boot.Hold()
	case len(os.Args) == 1 && os.Getpid() == 1:
		os.Exit(boot.Init())
	}
	fmt.Fprintln(os.Stderr, "clawsup-init: this program is PID 1 of a sandbox and is started by clawsup; see 'clawsup run --help'")
	os.Exit(2)
}
