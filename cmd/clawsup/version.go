// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"github.com/clawsup/clawsup/supervisor/version"
)

const versionUsage = `usage: clawsup version

Prints the version, the Go release that built it, and the platform.
`

func versionCommand() *command {
	return &command{
		name:     "version",
		synopsis: "say which build this is",
		usage:    versionUsage,
		execute: func(p *program, args []string) int {
			words, _, err := parse(p.flags("version"), args)
			if err == nil && len(words) > 0 {
				err = usagef("version takes no arguments")
			}
			if err != nil {
				return p.mistaken(versionCommand(), err)
			}
			return p.print(fmt.Sprintf("clawsup %s, %s, %s/%s\n", version.String(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
		},
	}
}
