// SPDX-License-Identifier: Apache-2.0

package summary

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Path finds what a person typed among the entries of a change set: a path below
// the workspace, the whole path of it, or a path in quotes as it is shown. It
// may be a directory that entries lie in. What could be two of them is an error.
func Path(workspace string, entries []changeset.Entry, typed string) (raw.String, error) {
	if typed == "" {
		return "", fmt.Errorf("a path is empty")
	}
	var found []string
	for _, p := range readings(workspace, typed) {
		if has(entries, p) && (found == nil || found[0] != p) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("it has no path %s", visible.Text(typed))
	case 1:
		return raw.String(found[0]), nil
	}
	return "", fmt.Errorf("%s could be %s or %s; write ./ before it for the first", visible.Text(typed), visible.Quote(found[0]), visible.Quote(found[1]))
}

// readings are what typed may stand for.
func readings(workspace, typed string) []string {
	list := []string{path.Clean(typed)}
	if below, ok := strings.CutPrefix(path.Clean(typed), workspace+"/"); ok {
		list = append(list, below)
	}
	// a directory's slash stands behind the quotes
	if shown, err := strconv.Unquote(strings.TrimSuffix(typed, "/")); err == nil && typed[0] == '"' && shown != "" {
		list = append(list, path.Clean(shown))
	}
	return list
}

// has says whether a path is an entry's, or that of a directory above one.
func has(entries []changeset.Entry, p string) bool {
	for i := range entries {
		if rest, ok := strings.CutPrefix(string(entries[i].Path), p); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

// Covers says whether a path is one of paths, or beneath one; without paths
// everything is.
func Covers(paths []raw.String, p raw.String) bool {
	if len(paths) == 0 {
		return true
	}
	for _, c := range paths {
		if rest, ok := strings.CutPrefix(string(p), string(c)); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
