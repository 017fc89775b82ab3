// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnfinished: a change set that was applied, which could not be written down,
// is neither thrown away nor committed once more: it is finished first.
func TestUnfinished(t *testing.T) {
	for name, decide := range map[string]func(w *world, id string) error{
		"discard": func(w *world, id string) error {
			return errFrom(w.store.Discard(t.Context(), id, "x", "x"))
		},
		"commit": func(w *world, id string) error {
			return errFrom(w.store.Commit(t.Context(), id, Choice{}, "x"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "a")
			c := w.call(nil, put("a", "new"))
			// What landed is written to this name first.
			obstacle := filepath.Join(w.dir, "changes", c.ID, commitName, "landed.new")
			must(t, os.MkdirAll(obstacle, 0o700))
			if err := errFrom(w.store.Commit(t.Context(), c.ID, Choice{}, "somebody")); err == nil {
				t.Fatal("there is no error")
			}
			w.want("a=new")
			w.wantStates("unfinished", c.ID+"=held")
			if err := decide(w, c.ID); err == nil || errors.Is(err, ErrOver) {
				t.Errorf("while it can't be finished: %v", err)
			}
			w.bound(func(b *Bounds) { b.Max = 0 })
			w.expire()
			w.wantStates("while it can't be finished", c.ID+"=held")
			must(t, os.Remove(obstacle))
			if err := decide(w, c.ID); !errors.Is(err, ErrOver) {
				t.Errorf("when it can: %v", err)
			}
			w.wantStates("then", c.ID+"=committed with trash")
			if by := w.change(c.ID).By; by != "somebody" {
				t.Errorf("it was committed by %q", by)
			}
			must(t, errFrom(w.store.TakeBack(t.Context(), c.ID, nil, "x", false)))
			w.want("a=a")
		})
	}
}

// TestHeldUnjudged: who decides about what a killed call left is told what is
// grave in it, though policy wasn't asked; and a record of that has its bounds.
func TestHeldUnjudged(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat(strings.Repeat("\x01", 250)+"/", 15)
	var all []func(dir string) error
	for _, name := range []string{".git/hooks/x", ".ssh/x", ".bashrc", "Makefile", ".vscode/x", "SOUL.md", ".envrc", "package.json", "setup.py", ".netrc"} {
		for range fewPaths {
			name = "d/" + name
			all = append(all, put(name, "x"), put(long+name, "x"))
		}
	}
	c := w.call(nil, then(all...))
	must(t, errFrom(w.store.Hold(c.ID, "the call did not end by itself")))
	w.reopen()
	c = w.change(c.ID)
	if len(c.Because) != 10 {
		t.Errorf("%d reasons: %+v", len(c.Because), c.Because)
	}
	for _, r := range c.Because {
		if !strings.HasPrefix(r.Why, "is protected") || r.Count < 2*fewPaths {
			t.Errorf("%d %s", r.Count, r.Why)
		}
	}
}
