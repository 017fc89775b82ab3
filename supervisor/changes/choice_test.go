// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"strings"
	"testing"
)

func TestRefused(t *testing.T) {
	set := created("a", "d/", "d/b", "d/c/", "d/c/e", "dd", "\xff")
	for _, c := range []struct {
		only, refuse []string
		refused      string // of the set's paths
		unknown      string // a part of the error
	}{
		{nil, nil, "", ""},
		{[]string{"a"}, nil, "d d/b d/c d/c/e dd \xff", ""},
		{[]string{"d/c/"}, nil, "a d d/b dd \xff", ""},
		{nil, []string{"d"}, "d d/b d/c d/c/e", ""},
		{[]string{"d", "\xff"}, []string{"d/c/e", "d/b"}, "a d/b d/c/e dd", ""},
		{[]string{"x"}, nil, "", `"x"`},
		{nil, []string{"d/x"}, "", `"d/x"`},
		{[]string{""}, nil, "", `""`},
		{[]string{"/"}, nil, "", `"/"`},
		{[]string{"a", "no\x1b", "nor"}, nil, "", `\x1b`},
	} {
		choice := Choice{Only: paths(c.only...), Refuse: paths(c.refuse...)}
		f, err := choice.refused(set)
		if (err == nil) != (c.unknown == "") || err != nil && !strings.Contains(err.Error(), c.unknown) {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil {
			continue
		}
		var refused []string
		for i := range set.Entries {
			if p := string(set.Entries[i].Path); f != nil && f(p) {
				refused = append(refused, p)
			}
		}
		if got := strings.Join(refused, " "); got != c.refused {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
