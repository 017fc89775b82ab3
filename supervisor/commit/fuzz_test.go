// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"bytes"
	"testing"

	"github.com/clawsup/clawsup/supervisor/changeset"
)

// FuzzJournal reads journals that were torn, mixed up or forged: it must not
// panic, and gives only items that refer to items.
func FuzzJournal(f *testing.F) {
	var whole []byte
	for _, r := range []record{
		{Head: &head{Version: version, Name: "n"}},
		{Left: &left{Verdict: refused, Left: Left{Path: "p", Kind: changeset.Created, Why: "w"}}},
		{Item: &item{Entry: changeset.Entry{Kind: changeset.Created, Path: "\xff"}, Within: -1}},
		{Opened: &opened{Path: "p", Mode: 0o500}},
		{Plan: true}, {Staged: &staged{ID: inode{1, 2}}}, {Over: &over{Left: left{Verdict: failing, Left: Left{Kind: changeset.Created}}}}, {Ready: true}, {Done: true},
	} {
		line, err := seal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
		whole = append(whole, line...)
		f.Add(bytes.Clone(whole))
	}
	f.Add(whole[:len(whole)-3])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readJournal(bytes.NewReader(b))
		if err != nil || h == nil {
			return
		}
		if h.size > int64(len(b)) {
			t.Errorf("%d of %d bytes", h.size, len(b))
		}
		for i, it := range h.items {
			if it.Within < -1 || it.Within >= i {
				t.Errorf("item %d is within %d", i, it.Within)
			}
		}
		w := &work{id: h.head.Name, items: h.items}
		w.index()
		w.depend()
		w.stages()
	})
}

// FuzzLanded reads lists of what landed, which are the trash's index too.
func FuzzLanded(f *testing.F) {
	for _, l := range []trace{
		{Entry: changeset.Entry{Kind: changeset.Deleted, Path: "d/\xff"}, At: "d/\xff", Trash: "1/\xff"},
		{Entry: changeset.Entry{Kind: changeset.Renamed, Path: "a", From: "b"}, At: "b", Left: changeset.Identity{Ino: 1}},
	} {
		line, err := seal(l)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := decodeLanded(bytes.NewReader(b))
		if err != nil {
			return
		}
		u := newUndoing(all, nil)
		for _, l := range all {
			u.after(string(l.Entry.Path))
			u.before(string(l.At))
		}
	})
}
