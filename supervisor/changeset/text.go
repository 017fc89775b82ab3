// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"fmt"
	"strings"
)

// String says how much changed, what can't be brought back by itself first:
// "2 deleted, 1 modified, 14 created; 1 in conflict".
func (c Count) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		kind Kind
	}{{c.Deleted, Deleted}, {c.Modified, Modified}, {c.Renamed, Renamed}, {c.Created, Created}, {c.Changed, Changed}, {c.Dropped, Dropped}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.kind))
		}
	}
	text := strings.Join(parts, ", ")
	if text == "" {
		text = "nothing"
	}
	if c.Conflicts > 0 {
		text += fmt.Sprintf("; %d in conflict", c.Conflicts)
	}
	return text
}

// noteNames are for people.
var noteNames = [...]struct {
	note Notes
	text string
}{
	{Conflict, "CONFLICT: changed in the workspace meanwhile"},
	{Leaves, "leads out of the workspace"},
	{Privileged, "setuid, setgid or capabilities are not kept"},
	{HardLinked, "has further names, which keep what it was"},
	{Foreign, "belongs to another user"},
	{Attributes, "some attributes are not kept"},
}

// String gives what people read for the notes.
func (n Notes) String() string {
	var texts []string
	for _, x := range noteNames {
		if n.Has(x.note) {
			texts = append(texts, x.text)
		}
	}
	return strings.Join(texts, "; ")
}
