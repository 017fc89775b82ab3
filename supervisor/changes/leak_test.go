// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loops counts loop devices whose file is in a directory.
func loops(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	must(t, err)
	n := 0
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && strings.HasPrefix(string(text), dir) {
			n++
		}
	}
	return n
}

// TestNothingStays open of what is decided, nor after Close.
func TestNothingStays(t *testing.T) {
	w := newWorld(t, "a", "b")
	round := func() {
		w.commit(w.call(nil, put("a", mint())).ID, Choice{})
		must(t, errFrom(w.store.Discard(t.Context(), w.call(nil, put("a", mint())).ID, "x", "x")))
		w.call(nil, func(string) error { return nil })
		must(t, errFrom(w.store.Hold(w.call(nil, put("b", "held")).ID, "x")))
		c := w.call(in("s-1"), put("b", "kept"))
		_, before, after, err := w.store.Contents(c.ID, "b")
		must(t, err)
		must(t, before.Close())
		must(t, after.Close())
		must(t, w.begin(in("s-1")).Abandon())
		if err := errFrom(w.store.Commit(t.Context(), c.ID, Choice{Only: paths("nowhere")}, "x")); err == nil {
			t.Error("nowhere was committed")
		}
	}
	round()
	before := descriptors(t)
	for range 3 {
		round()
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
	if n := loops(t, w.dir); n != 0 {
		t.Errorf("%d layers are mounted", n)
	}
	w.call(nil, put("a", "open"))
	c := w.call(nil, put("a", "asked"))
	must(t, w.store.Asked(c.ID, "ticket"))
	if n := loops(t, w.dir); n != 1 {
		t.Errorf("%d layers are mounted, want the one that is about to be decided", n)
	}
	must(t, w.store.Close())
	if n := loops(t, w.dir); n != 0 {
		t.Errorf("%d layers are mounted after Close", n)
	}
	other := w.open()
	if got, err := other.Find(c.ID); err != nil || got.State != Held || !strings.Contains(got.Reason, "ended before") {
		t.Errorf("%+v, %v", got, err)
	}
}
