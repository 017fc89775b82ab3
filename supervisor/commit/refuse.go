// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"slices"

	"github.com/clawsup/clawsup/supervisor/changeset"
)

// depend finds what can't be applied without what:
//
//   - what is created or changed in a directory, without the creation or the
//     rename of that directory;
//   - what comes to a path, without that what is there leaves it;
//   - the deletion of a directory, without that all in it leaves it;
//   - the deletion of a path where something else is created, without that.
func (w *work) depend() {
	for i := range w.items {
		it := &w.items[i]
		e := &it.Entry
		if it.Within >= 0 {
			w.need(i, it.Within)
		}
		at, within, beneath := w.origin(string(e.Path))
		if beneath >= 0 && e.Kind != changeset.Deleted {
			w.need(i, beneath)
		}
		if (e.Kind == changeset.Created || e.Kind == changeset.Renamed) && within < 0 {
			if j, ok := w.taken[at]; ok {
				w.need(i, j)
				if e.Kind == changeset.Created {
					w.need(j, i)
				}
			}
			if j, ok := w.from[at]; ok && j != i {
				w.need(i, j)
			}
		}
		switch e.Kind {
		case changeset.Deleted, changeset.Renamed:
			if j, ok := w.taken[parent(string(it.At))]; ok {
				w.need(j, i)
			}
		}
	}
}

func (w *work) need(i, j int) {
	w.users[j] = append(w.users[j], i)
	w.needs[i] = append(w.needs[i], j)
}

// leave says that an item is not applied, and with it all that depends on it
// and isn't done yet.
func (w *work) leave(i int, v verdict, why string) {
	if !w.live(i) || w.done[i] {
		return
	}
	w.over[i] = w.leftOf(i, v, why)
	for list := []int{i}; len(list) > 0; {
		i := list[len(list)-1]
		list = list[:len(list)-1]
		for _, j := range w.users[i] {
			if w.live(j) && !w.done[j] {
				w.over[j] = w.leftOf(j, v, "it depends on "+quote(string(w.items[i].Entry.Path))+", which is not applied")
				list = append(list, j)
			}
		}
	}
}

func (w *work) leftOf(i int, v verdict, why string) left {
	e := &w.items[i].Entry
	return left{Verdict: v, Left: Left{Path: e.Path, Kind: e.Kind, Why: why}}
}

// settle drops the items that are over, and counts the others anew, before the
// plan is written.
func (w *work) settle() {
	number := make([]int, len(w.items))
	var live []item
	for i, it := range w.items {
		if l, over := w.over[i]; over {
			w.gone = append(w.gone, l)
			number[i] = -1
			continue
		}
		number[i] = len(live)
		if it.Within >= 0 {
			it.Within = number[it.Within] // a directory is before what is in it
		}
		live = append(live, it)
	}
	w.items = live
	w.index()
	w.depend()
	w.stages()
}

// stages finds where each item is made.
func (w *work) stages() {
	for i := range w.items {
		w.stage[i] = w.staging(i)
	}
}

// staging is where an item is made: in the directory that will be its own,
// under a hidden name, or in a directory that is staged itself.
func (w *work) staging(i int) string {
	it := &w.items[i]
	if it.Within >= 0 {
		return join(w.stage[it.Within], base(string(it.Entry.Path)))
	}
	return join(parent(string(it.At)), w.hide(i))
}

// top says whether an item is staged by itself.
func (w *work) top(i int) bool {
	it := &w.items[i]
	return it.Entry.Kind == changeset.Modified || it.Entry.Kind == changeset.Created && it.Within < 0
}

func sortLeft(all []left) {
	slices.SortStableFunc(all, func(a, b left) int { return compare(string(a.Path), string(b.Path)) })
}

// compare orders paths as a set does: byte by byte, '/' before every other.
func compare(a, b string) int {
	for i := range min(len(a), len(b)) {
		x, y := int(a[i]), int(b[i])
		if x == y {
			continue
		}
		if x == '/' {
			x = -1
		}
		if y == '/' {
			y = -1
		}
		return x - y
	}
	return len(a) - len(b)
}
