// SPDX-License-Identifier: Apache-2.0

// Clawsup runs what strangers wrote in a throwaway sandbox, and says exactly
// what happened.
//
//	clawsup run-skill [flags] SKILL [-- SCRIPT|COMMAND [ARG...]]
//	clawsup run [flags] -- COMMAND [ARG...]
//	clawsup profile list | show P | check FILE | schema
//	clawsup doctor
//
// This package is flags, streams, signals and words; package supervisor does
// the work. Each command is a file of its own, in one table (command.go). The
// texts that 'clawsup help' prints are the manual; testdata holds them.
//
// It makes sandboxes, so it is linked with C code that must run before Go
// does: see runtime.Reexec.
package main

import (
	"os"

	"github.com/clawsup/clawsup/runtime"
)

func main() {
	runtime.Reexec()
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(os.Args[1:]))
}
