// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Choice is what of a change set is meant: what only names and refuse doesn't.
// A path means all that is beneath it too.
type Choice struct {
	Only   []raw.String `json:"only,omitempty"` // none: all
	Refuse []raw.String `json:"refuse,omitempty"`
}

// refused makes a choice a function, nil where nothing is refused. A path that
// means no entry is an error: somebody meant something by it.
func (c *Choice) refused(set *changeset.Set) (func(path string) bool, error) {
	if len(c.Only) == 0 && len(c.Refuse) == 0 {
		return nil, nil
	}
	only, refuse := named(c.Only), named(c.Refuse)
	used := map[string]bool{}
	for i := range set.Entries {
		for up := string(set.Entries[i].Path); up != ""; up = above(up) {
			used[up] = true
		}
	}
	var errs []error
	for _, p := range slices.Concat(c.Only, c.Refuse) {
		if !used[clean(string(p))] {
			errs = append(errs, fmt.Errorf("nothing changed at %s", visible.Quote(clip(string(p)))))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return func(path string) bool {
		return len(only) > 0 && !covers(only, path) || covers(refuse, path)
	}, nil
}

// clean takes a slash off the end of a path, as people write a directory's.
func clean(path string) string { return strings.TrimSuffix(path, "/") }

func named(list []raw.String) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, p := range list {
		m[clean(string(p))] = true
	}
	return m
}

// covers says whether a path, or one above it, is among those that were named.
func covers(named map[string]bool, path string) bool {
	for up := path; up != ""; up = above(up) {
		if named[up] {
			return true
		}
	}
	return false
}

// above is the directory that a path is in; of a name in the root it is empty.
func above(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 0)] }

// base is the last name of a path.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
