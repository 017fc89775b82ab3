// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"os"
	"slices"
	"testing"
)

// TestBetween lets somebody change the workspace between a commit's last look
// and its system call. Their work is never overwritten and never lost.
func TestBetween(t *testing.T) {
	mine := func(t *testing.T, ws, path string) { // by a rename, as editors do
		write(t, ws+"/draft", "mine")
		must(t, os.Rename(ws+"/draft", ws+"/"+path))
	}
	for name, c := range map[string]struct {
		call      func(t *testing.T, root string)
		meddle    map[string]func(t *testing.T, ws string) // by system call, and which one of its kind
		conflicts []string
		want      map[string]string // content, by path
		trash     []string          // paths that the trash has
	}{
		"an exchange": {
			call:      func(t *testing.T, root string) { write(t, root+"/f", "theirs") },
			meddle:    map[string]func(*testing.T, string){"exchange1": func(t *testing.T, ws string) { mine(t, ws, "f") }},
			conflicts: []string{"f"}, want: map[string]string{"f": "mine", "d/1": "1"},
		},
		"an exchange that can't be taken back": {
			call: func(t *testing.T, root string) { write(t, root+"/f", "theirs") },
			meddle: map[string]func(*testing.T, string){
				"exchange1": func(t *testing.T, ws string) { mine(t, ws, "f") },
				"exchange2": func(t *testing.T, ws string) { must(t, os.Remove(ws+"/f")) },
			},
			conflicts: []string{"f"}, want: map[string]string{"d/1": "1"}, trash: []string{"f"},
		},
		"a deletion": {
			call:      func(t *testing.T, root string) { must(t, os.Remove(root+"/f")) },
			meddle:    map[string]func(*testing.T, string){"rename1": func(t *testing.T, ws string) { mine(t, ws, "f") }},
			conflicts: []string{"f"}, want: map[string]string{"f": "mine", "d/1": "1"},
		},
		"a creation": {
			call:      func(t *testing.T, root string) { write(t, root+"/new", "theirs") },
			meddle:    map[string]func(*testing.T, string){"rename1": func(t *testing.T, ws string) { mine(t, ws, "new") }},
			conflicts: []string{"new"}, want: map[string]string{"f": "f", "new": "mine", "d/1": "1"},
		},
		"a deleted directory": {
			call:      func(t *testing.T, root string) { must(t, os.RemoveAll(root+"/d")) },
			meddle:    map[string]func(*testing.T, string){"rename1": func(t *testing.T, ws string) { mine(t, ws, "d/2") }},
			conflicts: []string{"d"}, want: map[string]string{"f": "f", "d/2": "mine"}, trash: []string{"d/1"},
		},
		"a renamed directory's new place": {
			call:      func(t *testing.T, root string) { must(t, os.Rename(root+"/d", root+"/e")) },
			meddle:    map[string]func(*testing.T, string){"rename2": func(t *testing.T, ws string) { mine(t, ws, "e") }},
			conflicts: []string{"e"}, want: map[string]string{"f": "f", "d/1": "1", "e": "mine"},
		},
		"a renamed directory's both places": {
			call: func(t *testing.T, root string) { must(t, os.Rename(root+"/d", root+"/e")) },
			meddle: map[string]func(*testing.T, string){"rename2": func(t *testing.T, ws string) {
				mine(t, ws, "e")
				mine(t, ws, "d")
			}},
			conflicts: []string{"e"}, want: map[string]string{"f": "f", "d": "mine", "e": "mine"}, trash: []string{"d"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ws := newWorkspace(t, scratch(t))
			mkdirs(t, ws, "d")
			write(t, ws+"/d/1", "1")
			write(t, ws+"/f", "f")
			set, source := perform(t, ws, func(view string) { c.call(t, view) })
			o := order(t, ws, newDir(t), set, source)
			number := map[string]int{}
			before = func(call string) {
				number[call]++
				if f := c.meddle[call+string(rune('0'+number[call]))]; f != nil {
					f(t, ws)
				}
			}
			r, err := Commit(context.Background(), o)
			before = nil
			must(t, err)
			if got := paths(r.Conflicts); !slices.Equal(got, c.conflicts) || len(r.Failed) > 0 {
				t.Errorf("report: %+v", r)
			}
			for path, text := range c.want {
				if b, err := os.ReadFile(ws + "/" + path); err != nil || string(b) != text {
					t.Errorf("%s: %q %v, want %q", path, b, err, text)
				}
			}
			for path := range picture(t, ws) {
				if _, ok := c.want[path]; !ok && path != "d" {
					t.Errorf("there is %s", path)
				}
			}
			var got []string
			list, err := Trash(o.Dir)
			must(t, err)
			for _, l := range list {
				if got = append(got, string(l.Path)); l.Gone {
					t.Errorf("%s is gone", l.Path)
				}
			}
			if !slices.Equal(got, c.trash) {
				t.Errorf("the trash has %q, want %q", got, c.trash)
			}
		})
	}
}
