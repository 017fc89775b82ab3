// SPDX-License-Identifier: Apache-2.0

// Package version says which build this is: of clawsup and clawsupd alike,
// since the two are installed together.
//
//	go build -ldflags '-X github.com/clawsup/clawsup/supervisor/version.stamp=v1.2.3'
//
// Without a stamp it is what Go recorded of the checkout.
package version

import (
	"cmp"
	"runtime/debug"
)

// stamp is set by the linker.
var stamp string

// String is the linker's stamp, else "devel", with the commit if it is known.
func String() string {
	if stamp != "" {
		return stamp
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
