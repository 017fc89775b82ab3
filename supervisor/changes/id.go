// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"regexp"
	"strings"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// idForm is what may become the name of a directory. No name of the store's
// own, all of which begin with a dot, is of it.
var idForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)

// checkID refuses, before it becomes a file name, what is no id.
func checkID(id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("%s: %w: an id has 1 to 128 letters, digits, dots, hyphens and underscores and begins with no dot", visible.Quote(clip(id)), ErrUnknown)
	}
	return nil
}

// checkSession refuses what can't be a session's directory.
func checkSession(id string) error {
	if !idForm.MatchString(id) {
		return fmt.Errorf("%s is no session's id", visible.Quote(clip(id)))
	}
	return nil
}

// mint makes an id of 80 random bits.
func mint() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return "cs-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// clip bounds what a message repeats of its input.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
