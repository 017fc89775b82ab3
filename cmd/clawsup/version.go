// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker: -X main.version=v1.2.3.
var version string

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
			return p.print(fmt.Sprintf("clawsup %s, %s, %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH))
		},
	}
}

// buildVersion is the linker's stamp, else what Go recorded of the checkout.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	var revision, dirty string
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "-dirty"
			}
		}
	}
	if revision != "" {
		return "devel-" + revision + dirty
	}
	if v := info.Main.Version; v != "(devel)" {
		return cmp.Or(v, "devel")
	}
	return "devel"
}
