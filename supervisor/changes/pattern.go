// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// CheckPattern refuses what names no paths in a workspace. A pattern is a path
// below its root, as in Makefile or deploy/keys, and means all that is beneath
// that too; "**/" before it means at every depth, "/**" behind it only what is
// beneath, at every depth, and a star that begins its last name, as in
// **/*.pem, any beginning of one. A star anywhere else stands for itself. Case
// doesn't count.
func CheckPattern(pattern string) error {
	middle := strings.TrimSuffix(strings.TrimPrefix(pattern, "**/"), "/**")
	if middle == "" || !utf8.ValidString(middle) || path.IsAbs(middle) || path.Clean(middle) != middle || middle == "." ||
		slices.Contains(strings.Split(middle, "/"), "..") || strings.Contains(middle, "**") {
		return fmt.Errorf("%s is no pattern of paths in a workspace, as deploy/keys, secrets/** or **/Makefile", visible.Quote(pattern))
	}
	return nil
}

// pattern is one that was taken apart.
type pattern struct {
	names  []string // folded
	deep   bool     // at every depth
	below  bool     // not itself
	ending bool     // the last name is how one ends
}

func compile(text string) pattern {
	var p pattern
	text, p.deep = strings.CutPrefix(text, "**/")
	text, p.below = strings.CutSuffix(text, "/**")
	for name := range strings.SplitSeq(text, "/") {
		p.names = append(p.names, fold(name))
	}
	last := &p.names[len(p.names)-1]
	*last, p.ending = strings.CutPrefix(*last, "*")
	return p
}

// reach is how much of a pattern a path has.
type reach int

const (
	apart  reach = iota
	toward       // it is above what the pattern means
	within       // it is that, or beneath
)

// from compares the folded names of a path, from the first on.
func (p *pattern) from(names []string) reach {
	for i, want := range p.names {
		switch {
		case i == len(names):
			return toward
		case p.ending && i == len(p.names)-1:
			if !strings.HasSuffix(names[i], want) {
				return apart
			}
		case names[i] != want:
			return apart
		}
	}
	if p.below && len(names) == len(p.names) {
		return toward
	}
	return within
}
