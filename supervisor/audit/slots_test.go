// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"testing"
)

// ahead makes a log with a commit of its own for each of so many entries.
func ahead(t *testing.T, entries int) Options {
	t.Helper()
	o := options(t)
	l := open(t, o)
	for range entries {
		add(t, l, "one")
	}
	closeLog(t, l)
	return o
}

func inode(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestAnchorIsWrittenInPlace: no name and no size changes with a commit, and
// the file has the last two anchors.
func TestAnchorIsWrittenInPlace(t *testing.T) {
	o := options(t)
	l := open(t, o)
	add(t, l, "a")
	add(t, l, "b")
	before := inode(t, o.Anchor)
	for range 5 {
		add(t, l, "c")
	}
	closeLog(t, l)
	if after := inode(t, o.Anchor); !os.SameFile(before, after) || after.Size() != 2*slotSize {
		t.Errorf("%d bytes, the same file: %v", after.Size(), os.SameFile(before, after))
	}
	text, err := os.ReadFile(o.Anchor)
	if err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	for part := range bytes.Lines(text) {
		a, err := ParseAnchor(bytes.TrimRight(part, " \n"))
		if err != nil || !a.SignedBy(public(o.Key)) {
			t.Fatalf("%v, %v", a, err)
		}
		seqs = append(seqs, a.Seq)
	}
	if len(seqs) != 2 || max(seqs[0], seqs[1]) != 8 || min(seqs[0], seqs[1]) != 7 {
		t.Errorf("anchors of %v", seqs)
	}
	intact(t, o)
}

// TestAnchorTorn: what a crash leaves of an anchor that was being written is
// none, the one before counts, and the log goes on.
func TestAnchorTorn(t *testing.T) {
	o := ahead(t, 3)
	text, err := os.ReadFile(o.Anchor)
	if err != nil {
		t.Fatal(err)
	}
	last, err := ReadAnchor(o.Anchor)
	if err != nil {
		t.Fatal(err)
	}
	older := slotSize
	if !bytes.HasPrefix(text, []byte(last.String())) {
		older = 0
	}
	next := *last
	next.Seq, next.Offset = last.Seq+1, last.Offset+1
	next.sign(o.Key)
	line := []byte(next.String())
	if len(line) > 512 {
		t.Errorf("an anchor has %d bytes, more than a sector", len(line))
	}
	for cut := range len(line) {
		torn := bytes.Clone(text)
		clear(torn[older : older+slotSize])
		copy(torn[older:], line[:cut])
		if a, err := newest(torn); err != nil || *a != *last {
			t.Fatalf("torn at %d: %v, %v", cut, a, err)
		}
	}
	torn := bytes.Clone(text)
	clear(torn[older : older+slotSize])
	if err := os.WriteFile(o.Anchor, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, o)
	add(t, l, "on")
	closeLog(t, l)
	intact(t, o)
}

// TestAnchorOfNothing: a file without a whole anchor is none.
func TestAnchorOfNothing(t *testing.T) {
	o := ahead(t, 1)
	for _, text := range [][]byte{bytes.Repeat([]byte{' '}, 2*slotSize), make([]byte, 2*slotSize), nil, []byte("{}")} {
		if err := os.WriteFile(o.Anchor, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := ReadAnchor(o.Anchor); err == nil {
			t.Errorf("%v", a)
		}
		if l, err := Open(o); err == nil {
			closeLog(t, l)
			t.Error("opened")
		}
	}
}

// TestAnchorEdited: where one of the lines isn't as it was signed, the log
// doesn't open, also where the other is.
func TestAnchorEdited(t *testing.T) {
	o := ahead(t, 2)
	text, err := os.ReadFile(o.Anchor)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{`"segment":`, `"offset":`, `"seq":`} {
		for at := range 2 {
			edited := bytes.Clone(text)
			i := bytes.Index(edited[at*slotSize:], []byte(of)) + at*slotSize + len(of)
			edited[i] = '0' + (edited[i]-'0')%9 + 1 // another digit
			if err := os.WriteFile(o.Anchor, edited, 0o600); err != nil {
				t.Fatal(err)
			}
			var p *Problem
			if _, err := Open(o); !errors.As(err, &p) || p.Fault != Edited {
				t.Errorf("%s of line %d: %v", of, at+1, err)
			}
		}
	}
}

// TestAnchorMovedAway: the next commit makes it anew.
func TestAnchorMovedAway(t *testing.T) {
	o := options(t)
	l := open(t, o)
	add(t, l, "a")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open(t, o)
	add(t, l, "b")
	if err := os.Rename(o.Anchor, o.Anchor+".old"); err != nil {
		t.Fatal(err)
	}
	add(t, l, "c")
	closeLog(t, l)
	if r := intact(t, o); r.Anchored != r.Last {
		t.Errorf("%+v", r)
	}
}

// TestBeginAlone: what nobody waits for is in the file at once, and durable
// with the next entry or a moment later.
func TestBeginAlone(t *testing.T) {
	o := options(t)
	l := open(t, o)
	add(t, l, "first")
	alone, err := l.Begin(context.Background(), Receipt{Kind: Decision, Call: "alone"})
	if err != nil {
		t.Fatal(err)
	}
	last := add(t, l, "after")
	select {
	case <-alone.done:
	default:
		t.Error("an entry is durable, and the one before it isn't")
	}
	if list := all(t, o.Dir, last-1); len(list) != 2 || list[0].Call != "alone" {
		t.Errorf("%+v", list)
	}
	alone, err = l.Begin(context.Background(), Receipt{Kind: Decision, Call: "alone again"})
	if err != nil {
		t.Fatal(err)
	}
	<-alone.done // by itself
	if alone.err != nil || alone.seq != last+1 {
		t.Errorf("%d, %v", alone.seq, alone.err)
	}
	closeLog(t, l)
	if a := l.Anchor(); a.Seq != last+1 {
		t.Error(a)
	}
	intact(t, o)
}
