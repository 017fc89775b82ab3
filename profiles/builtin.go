// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

//go:embed *.toml
var builtinFiles embed.FS

// builtinNames are the built-in profiles, from the everyday one to the
// tightest, and last the one that is for no call.
var builtinNames = []string{"default", "readonly", "python", "node", "build", "web", "strict", "agent"}

// Builtins gives the names of the built-in profiles, the everyday one first.
func Builtins() []string { return slices.Clone(builtinNames) }

func isBuiltin(name string) bool { return slices.Contains(builtinNames, name) }

// builtin parses a built-in profile.
func builtin(name string) (*document, error) {
	if !isBuiltin(name) {
		return nil, fmt.Errorf("there is no built-in profile %q: %w; there are %s", name, fs.ErrNotExist, strings.Join(builtinNames, ", "))
	}
	data, err := builtinFiles.ReadFile(name + ".toml")
	if err != nil {
		return nil, err
	}
	d := &document{name: name, source: "built in: " + name}
	return d, d.parse(data)
}
