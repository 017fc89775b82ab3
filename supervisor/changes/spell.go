// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"strings"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/policy"
)

// mostTarget is what policy takes of a path, in bytes.
const mostTarget = 4095

// spelled gives a path that policy can spell for one that it can't: bytes that
// are no UTF-8 replaced, a last name that would be a pattern made longer, and
// what is too long cut. So a pattern of a directory above still has it.
func spelled(path string) string {
	path = strings.ToValidUTF8(path, string(utf8.RuneError))
	if len(path) > mostTarget-len("/x") {
		path = path[:mostTarget-len("/x")]
		path = strings.TrimRight(strings.ToValidUTF8(path, ""), "/")
	}
	if base(path) == "**" {
		path += string(utf8.RuneError)
	}
	if (policy.Subject{Effect: policy.FSCreate, Target: path}).Check() != nil {
		return "."
	}
	return path
}
