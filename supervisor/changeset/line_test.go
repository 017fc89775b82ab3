// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"maps"
	"strings"
	"testing"
)

func TestLines(t *testing.T) {
	s := prepare(t, `mkdir -p old/sub keep d $'n\e[31m'; head -c 1234567 /dev/zero >old/big; echo abc >old/sub/a; echo x >keep/a; echo gone >d/.env; echo m >m; mkfifo old/f; echo unique >moved; ln m old/m; touch $'n\e[31m/a'`)
	s.call(`mkdir -p new/in; echo n >new/n; echo n2 >new/in/n; ln -s /etc new/etc; ln new/n new/o; mv d new/d; rm -r old $'n\e[31m'; echo longer >m; chmod 600 keep/a; mkfifo p; mv moved new/here; echo e >new.txt; ln -s "a b" l; : >z`)
	s.host("echo h >>old/sub/a")
	set := s.walk()
	var got []string
	entries, added, removed := 0, int64(0), int64(0)
	for _, l := range set.Lines() {
		got = append(got, l.String())
		entries, added, removed = entries+l.Entries, added+l.Added, removed+l.Removed
	}
	wanted := []string{
		`deleted  moved, now new/here, 7 bytes`,
		`deleted  "n\x1b[31m"/, with 1 in it`,
		`deleted  old/, with 3 in it, 1,234,569 bytes (CONFLICT: changed in the workspace meanwhile; has further names, which keep what it was)`,
		`deleted  old/sub/ (CONFLICT: changed in the workspace meanwhile)`,
		`deleted  old/sub/a, 6 bytes (CONFLICT: changed in the workspace meanwhile)`,
		`modified m, 2 bytes, now 7 (has further names, which keep what it was)`,
		`renamed  new/d/, from d`,
		`created  l, a link to a b`,
		`created  new/, with 5 in it, 12 bytes`,
		`created  new/etc, a link to /etc (leads out of the workspace)`,
		`created  new.txt, 2 bytes`,
		`created  z, 0 bytes`,
		`changed  keep/a`,
		`dropped  p, a device, FIFO or socket`,
	}
	if strings.Join(got, "\n") != strings.Join(wanted, "\n") {
		t.Errorf("the lines are\n\t%s\nand not\n\t%s", strings.Join(got, "\n\t"), strings.Join(wanted, "\n\t"))
	}
	if c := set.Count(); entries != len(set.Entries) || entries != c.Entries() || added != c.Added || removed != c.Removed {
		t.Errorf("%d entries, %d and %d bytes, and %+v", entries, added, removed, c)
	}
}

func TestMoves(t *testing.T) {
	for _, x := range []struct{ name, lower, call, want string }{
		{"one", "echo a >a", "mkdir d; mv a d/b", "a>d/b"},
		{"same name first", "mkdir x y; echo a >x/one; echo a >y/two", "mkdir z; mv y/two z/two; mv x/one z/any", "x/one>z/any y/two>z/two"},
		{"each once", "echo a >a", "cp a b; cp a c; rm a", "a>b"},
		{"empty files are not told apart", "touch a", "mv a b", ""},
		{"other content", "echo a >a", "echo b >b; rm a", ""},
		{"a further name", "echo a >a", "mv a b; ln b c", "a>b"},
		{"links are none", "ln -s x a", "mv a b", ""},
		{"nothing deleted", "echo a >a", "cp a b", ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			set := prepare(t, x.lower).call(x.call).walk()
			var got []string
			moves := set.Moves()
			for i := range set.Entries {
				if e := &set.Entries[i]; e.Kind == Deleted {
					for to, from := range maps.All(moves) {
						if from == i {
							got = append(got, string(e.Path)+">"+string(set.Entries[to].Path))
						}
					}
				}
			}
			if text := strings.Join(got, " "); text != x.want {
				t.Errorf("%q, not %q", text, x.want)
			}
		})
	}
}

func TestLeaves(t *testing.T) {
	for _, x := range []struct {
		path, target string
		want         bool
	}{
		{"l", "a", false}, {"l", ".", false}, {"l", "..", true}, {"l", "/a", true}, {"l", "a/..", true}, {"l", "./a//b/", false},
		{"d/l", "..", false}, {"d/l", "../a", false}, {"d/l", "../..", true}, {"d/l", ".././../a", true}, {"d/e/l", "../../a", false},
		{"d/e/l", "../a/..", true}, {"d/l", "..a/...", false},
	} {
		if got := LeadsOut(x.path, x.target); got != x.want {
			t.Errorf("%s to %s: %v", x.path, x.target, got)
		}
	}
}

func TestCompare(t *testing.T) {
	sorted := []string{"a", "a/\x01", "a/b", "a/b/c", "a/bc", "a\x01", "a\n", "a ", "a!", "a-b", "a0", "ab", "a\xff", "b"}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := compare(a, b); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%q, %q: %d", a, b, got)
			}
		}
	}
}

func TestCountString(t *testing.T) {
	for _, x := range []struct {
		count Count
		want  string
	}{
		{Count{}, "nothing"},
		{Count{Created: 14, Deleted: 2, Modified: 1, Conflicts: 1}, "2 deleted, 1 modified, 14 created; 1 in conflict"},
		{Count{Dropped: 1, Changed: 2, Renamed: 3}, "3 renamed, 2 changed, 1 dropped"},
	} {
		if got := x.count.String(); got != x.want {
			t.Errorf("%q, not %q", got, x.want)
		}
	}
}
