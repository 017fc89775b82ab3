// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"encoding/base64"
)

// automaton finds many needles at once in time linear in the text, whatever the
// text and the needles are: Aho, Corasick, "Efficient string matching", 1975. A
// needle has several forms (see forms), and a scan reads the text in three ways
// at once: as it is, with percent-encoding undone, and with JSON's escapes undone.
//
// Where nothing has begun, most bytes are never looked at: a table says of two
// bytes how far from the beginning of a needle they can stand, as in Wu and
// Manber's "A fast algorithm for multi-pattern searching", 1994. It never changes
// what is found.
//
// It never changes, and any number of scans can use it.
type automaton struct {
	fold  bool // ASCII letters are the same in both cases
	nodes []node
	edges []edge
	root  [256]int32
	reach int // bytes that the table looks ahead; all forms are at least as long
	skip  [1 << skipBits]uint8
}

// node is what has been read of a needle, and stands for the longest piece of
// the text, up to here, that begins any.
type node struct {
	next   int32 // node behind label; 0: none, since nothing leads to the root
	more   int32 // in edges, of further labels; -1: none
	fail   int32 // the longest node that this one ends with
	depth  int32
	needle int32 // the longest that ends here; -1: none
	length int32 // of the form of it
	label  byte
}

type edge struct {
	to, more int32
	label    byte
}

const (
	skipBits = 12
	maxReach = 16
	minForm  = 4 // bytes: what is shorter stands everywhere
)

func block(a, b byte) int { return (int(a)<<4 ^ int(b)) & (1<<skipBits - 1) }

// newAutomaton makes one of needles, which are found by their index. Those
// shorter than minForm are left out. nil finds nothing.
func newAutomaton(needles [][]byte, fold bool) *automaton {
	a := &automaton{fold: fold, nodes: []node{{more: -1, needle: -1}}, reach: maxReach}
	var all [][]byte
	for id, needle := range needles {
		for _, form := range forms(needle) {
			if len(form) < minForm {
				continue
			}
			form = a.folded(form)
			a.add(int32(id), form)
			a.reach = min(a.reach, len(form))
			all = append(all, form)
		}
	}
	if len(all) == 0 {
		return nil
	}
	a.link()
	for i := range a.skip {
		a.skip[i] = uint8(a.reach - 1)
	}
	for _, form := range all {
		for i := range a.reach - 1 {
			at := &a.skip[block(form[i], form[i+1])]
			*at = min(*at, uint8(a.reach-2-i))
		}
	}
	return a
}

// forms are a needle, the needle with pluses for spaces, as forms have them, and
// those of its characters in base64 that don't depend on what stands around it,
// in both alphabets, at the three places that its beginning may have.
func forms(needle []byte) [][]byte {
	forms := [][]byte{needle}
	if bytes.IndexByte(needle, ' ') >= 0 {
		forms = append(forms, bytes.ReplaceAll(needle, []byte(" "), []byte("+")))
	}
	for before, first := range []int{0, 2, 3} {
		padded := append(make([]byte, before), needle...)
		last := len(padded) * 8 / 6
		if last <= first {
			continue
		}
		standard := base64.RawStdEncoding.AppendEncode(nil, padded)[first:last]
		forms = append(forms, standard)
		if bytes.ContainsAny(standard, "+/") {
			forms = append(forms, base64.RawURLEncoding.AppendEncode(nil, padded)[first:last])
		}
	}
	return forms
}

func (a *automaton) folded(form []byte) []byte {
	if a.fold {
		return lower(form)
	}
	return form
}

// lower copies, with ASCII letters in lower case.
func lower(b []byte) []byte {
	b = bytes.Clone(b)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return b
}

func (a *automaton) add(id int32, form []byte) {
	at := int32(0)
	for _, c := range form {
		next := a.child(at, c)
		if next == 0 {
			next = int32(len(a.nodes))
			a.nodes = append(a.nodes, node{more: -1, needle: -1, depth: a.nodes[at].depth + 1})
			a.join(at, c, next)
		}
		at = next
	}
	a.nodes[at].needle, a.nodes[at].length = id, int32(len(form))
}

func (a *automaton) join(from int32, c byte, to int32) {
	if from == 0 {
		a.root[c] = to
		return
	}
	n := &a.nodes[from]
	if n.next == 0 {
		n.next, n.label = to, c
		return
	}
	a.edges = append(a.edges, edge{to: to, more: n.more, label: c})
	n.more = int32(len(a.edges) - 1)
}

// child is 0 if there is none.
func (a *automaton) child(at int32, c byte) int32 {
	if at == 0 {
		return a.root[c]
	}
	n := &a.nodes[at]
	if n.next != 0 && n.label == c {
		return n.next
	}
	for e := n.more; e >= 0; e = a.edges[e].more {
		if a.edges[e].label == c {
			return a.edges[e].to
		}
	}
	return 0
}

// link sets where every node falls back to, in order of depth.
func (a *automaton) link() {
	var queue []int32
	for _, to := range a.root {
		if to != 0 {
			queue = append(queue, to)
		}
	}
	visit := func(from int32, c byte, to int32) {
		n := &a.nodes[to]
		n.fail = a.step(a.nodes[from].fail, c)
		if fail := a.nodes[n.fail]; n.needle < 0 {
			n.needle, n.length = fail.needle, fail.length
		}
		queue = append(queue, to)
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		n := a.nodes[at]
		if n.next != 0 {
			visit(at, n.label, n.next)
		}
		for e := n.more; e >= 0; e = a.edges[e].more {
			visit(at, a.edges[e].label, a.edges[e].to)
		}
	}
}

// step is the node after one more byte.
func (a *automaton) step(at int32, c byte) int32 {
	for {
		if next := a.child(at, c); next != 0 || at == 0 {
			return next
		}
		at = a.nodes[at].fail
	}
}

// find calls f for every place of a whole text where a needle ends, with the
// longest one that does.
func (a *automaton) find(text string, f func(needle, from, to int)) {
	if a == nil || text == "" {
		return
	}
	s := newScan(a)
	s.feed([]byte(text), 0, 0, f)
}
