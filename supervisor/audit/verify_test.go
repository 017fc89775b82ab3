// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// tampering is a log of three segments, of four lines each but for the last (three), as text.
type tampering struct {
	text   [3][][]byte
	names  [3]string
	anchor *Anchor
}

// written makes the log's files of fixed entries, so that each case gets the same.
func written(t testing.TB, key byte) *tampering {
	t.Helper()
	tm := &tampering{}
	var end head
	before := ""
	line := func(r Receipt) []byte {
		body, err := r.body()
		if err != nil {
			t.Fatal(err)
		}
		signed := unsigned(public(testKey(key)), end.hash, end.seq+1, time.Unix(int64(end.seq), 0), 0, body)
		f := frame{signed: signed}
		end.seq, end.hash = end.seq+1, f.hash()
		return seal(signed, testKey(key))
	}
	offset := int64(0)
	for s := range tm.text {
		tm.names[s] = segmentName(end.seq + 1)
		tm.text[s] = append(tm.text[s], line(Receipt{Kind: Administration, Rule: ruleSegment, Facts: []Fact{{"previous", before}}}))
		for range 3 - s/2 {
			tm.text[s] = append(tm.text[s], line(Receipt{Kind: Decision, Call: fmt.Sprint(end.seq), Decision: "allow"}))
		}
		before = tm.names[s]
	}
	for _, l := range tm.text[2][:2] {
		offset += int64(len(l))
	}
	tm.anchor = &Anchor{Segment: 9, Offset: offset, Seq: end.seq, Hash: end.hash}
	tm.anchor.sign(testKey(key))
	return tm
}

func (tm *tampering) write(t testing.TB, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, name := range tm.names {
		if name == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), bytes.Join(tm.text[i], nil), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func replace(line []byte, old, new string) []byte {
	return bytes.Replace(line, []byte(old), []byte(new), 1)
}

var tamperings = []struct {
	name   string
	do     func(tm, other *tampering)
	want   []string // Problem.Error begins with it
	starts bool     // Open goes on all the same, since it looks at the end only
}{
	{"nothing", func(tm, _ *tampering) {}, nil, true},
	{"older anchor", func(tm, _ *tampering) {
		f, _ := takeApart(bytes.TrimSuffix(tm.text[1][1], []byte("\n")))
		tm.anchor = &Anchor{Segment: 5, Offset: int64(len(tm.text[1][0])), Seq: 6, Hash: f.hash()}
		tm.anchor.sign(testKey(1))
	}, nil, true},
	{"decision edited", func(tm, _ *tampering) { tm.text[1][2] = replace(tm.text[1][2], "allow", "deny") },
		[]string{"edited: entry 7: receipts-00000000000000000005.log line 3"}, true},
	{"number edited", func(tm, _ *tampering) { tm.text[0][1] = replace(tm.text[0][1], `"seq":2`, `"seq":9`) },
		[]string{"edited: entry 2: receipts-00000000000000000001.log line 2"}, true},
	{"signature edited", func(tm, _ *tampering) {
		l := tm.text[0][1]
		copy(l[len(l)-10:], "0123")
	}, []string{"edited: entry 2:"}, true},
	{"rubbish", func(tm, _ *tampering) { tm.text[0][1] = []byte("\x00\n") }, []string{"edited: entry 2:"}, true},
	{"rubbish put in", func(tm, _ *tampering) { tm.text[0] = slices.Insert(tm.text[0], 1, []byte("x\n")) }, []string{"edited: entry 2:"}, true},
	{"line of a megabyte", func(tm, _ *tampering) {
		tm.text[0] = slices.Insert(tm.text[0], 1, append(bytes.Repeat([]byte("x"), 1<<20), '\n'))
	}, []string{"edited: entry 2:"}, true},
	{"last edited", func(tm, _ *tampering) { tm.text[2][2] = replace(tm.text[2][2], "allow", "deny") },
		[]string{"edited: entry 11: receipts-00000000000000000009.log line 3"}, false},
	{"swapped", func(tm, _ *tampering) { l := tm.text[1]; l[1], l[2] = l[2], l[1] },
		[]string{"reordered: entry 6: receipts-00000000000000000005.log line 3"}, true},
	{"moved to another segment", func(tm, _ *tampering) {
		tm.text[1] = append(tm.text[1], tm.text[0][2])
		tm.text[0] = slices.Delete(tm.text[0], 2, 3)
	}, []string{"reordered: entry 3: receipts-00000000000000000005.log line 5"}, true},
	{"repeated", func(tm, _ *tampering) { tm.text[1] = append(tm.text[1], tm.text[1][3]) },
		[]string{"reordered: entry 8: receipts-00000000000000000005.log line 5"}, true},
	{"file renamed", func(tm, _ *tampering) { tm.names[1] = segmentName(6) },
		[]string{"reordered: entry 5: receipts-00000000000000000006.log line 1", "reordered: entry 9:"}, true},
	{"segments joined", func(tm, _ *tampering) {
		tm.text[0] = append(tm.text[0], tm.text[1]...)
		tm.names[1] = ""
	}, []string{"reordered: entry 5: receipts-00000000000000000001.log line 5", "reordered: entry 9:"}, true},
	{"one missing", func(tm, _ *tampering) { tm.text[1] = slices.Delete(tm.text[1], 1, 2) }, []string{"missing: entry 6"}, true},
	{"some missing", func(tm, _ *tampering) { tm.text[1] = slices.Delete(tm.text[1], 1, 3) }, []string{"missing: entries 6 to 7"}, true},
	{"first missing", func(tm, _ *tampering) { tm.names[0] = "" }, []string{"missing: entries 1 to 4"}, true},
	{"segment missing", func(tm, _ *tampering) { tm.names[1] = "" }, []string{"missing: entries 5 to 8"}, true},
	{"one missing, one edited", func(tm, _ *tampering) {
		tm.text[0] = slices.Delete(tm.text[0], 1, 2)
		tm.text[1][1] = replace(tm.text[1][1], "allow", "deny")
	}, []string{"edited: entry 6", "missing: entry 2"}, true},
	{"end cut off", func(tm, _ *tampering) { tm.text[2] = tm.text[2][:1] }, []string{"truncated: entries 10 to 11"}, false},
	{"last segment cut off", func(tm, _ *tampering) { tm.names[2] = "" }, []string{"truncated: entries 9 to 11"}, false},
	{"everything cut off", func(tm, _ *tampering) { tm.names = [3]string{} }, []string{"truncated: entries 1 to 11"}, false},
	{"half a line", func(tm, _ *tampering) { tm.text[2] = append(tm.text[2], []byte(`{"receipt`)) },
		[]string{"torn: entry 12: receipts-00000000000000000009.log line 4"}, true},
	{"half a line that was told durable", func(tm, _ *tampering) { tm.text[2][2] = tm.text[2][2][:100] },
		[]string{"torn: entry 11:", "truncated: entry 11"}, false},
	{"half a line within", func(tm, _ *tampering) { tm.text[0][3] = tm.text[0][3][:100] }, []string{"edited: entry 4:"}, true},
	{"signed by another", func(tm, other *tampering) { tm.text[1][1] = other.text[1][1] },
		[]string{"foreign key: entry 6: receipts-00000000000000000005.log line 2: it is signed with ed25519:"}, true},
	{"anchor by another", func(tm, other *tampering) { tm.anchor = other.anchor }, []string{"foreign key: anchor"}, false},
	{"anchor edited", func(tm, _ *tampering) { tm.anchor.Seq-- }, []string{"edited: anchor"}, false},
	{"anchor of another past", func(tm, _ *tampering) { tm.anchor.Hash[0]++; tm.anchor.sign(testKey(1)) }, []string{"forked: entry 11"}, false},
	{"written anew from the middle", func(tm, _ *tampering) {
		f, _ := takeApart(bytes.TrimSuffix(tm.text[1][0], []byte("\n")))
		r := Receipt{Kind: Decision, Call: "new past"}
		body, _ := r.body()
		tm.text[1][1] = seal(unsigned(public(testKey(1)), f.hash(), 6, time.Unix(9, 0), 0, body), testKey(1))
	}, []string{"forked: entry 7"}, true},
}

func TestVerifyTellsWhatWasDone(t *testing.T) {
	for _, tc := range tamperings {
		t.Run(tc.name, func(t *testing.T) {
			tm := written(t, 1)
			tc.do(tm, written(t, 2))
			o := options(t)
			o.Key = testKey(1)
			tm.write(t, o.Dir)
			if err := put(tm.anchor, o.Anchor); err != nil {
				t.Fatal(err)
			}
			r := verify(t, o)
			var got []string
			for _, p := range r.Problems {
				got = append(got, p.Error())
			}
			if !slices.EqualFunc(got, tc.want, strings.HasPrefix) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if r.Intact() != (tc.want == nil) {
				t.Error("Intact disagrees")
			}
			if tc.want == nil && (r.Entries != 11 || r.First != 1 || r.Last != 11 || r.Anchored != tm.anchor.Seq) {
				t.Errorf("%+v", r)
			}
			l, err := Open(o)
			if (err == nil) != tc.starts {
				t.Errorf("Open: %v", err)
			}
			var p *Problem
			if err != nil && !errors.As(err, &p) {
				t.Errorf("%v is no Problem", err)
			}
			if err == nil {
				closeLog(t, l)
			}
		})
	}
}

// TestOpenFollowsTheChain: told from where, Open sees what was done to entries
// that the anchor vouches for.
func TestOpenFollowsTheChain(t *testing.T) {
	unseen := map[string]bool{ // what hashes don't cover, and what an archive may have
		"nothing": true, "older anchor": true, "signature edited": true, "file renamed": true, "segments joined": true,
		"first missing": true, "half a line": true,
	}
	for _, tc := range tamperings {
		tm := written(t, 1)
		tc.do(tm, written(t, 2))
		o := options(t)
		o.Since = 1
		tm.write(t, o.Dir)
		if err := put(tm.anchor, o.Anchor); err != nil {
			t.Fatal(err)
		}
		l, err := Open(o)
		var p *Problem
		if unseen[tc.name] != (err == nil) || err != nil && !errors.As(err, &p) {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err == nil {
			closeLog(t, l)
		} else if want := strings.SplitN(tc.want[len(tc.want)-1], ":", 2)[0]; len(tc.want) == 1 && p.Fault.String() != want && p.Fault != Edited {
			t.Errorf("%s: %v, want %s", tc.name, p, want)
		}
	}
	// Segments before are nobody's business.
	tm := written(t, 1)
	tm.text[0][1] = replace(tm.text[0][1], "allow", "deny")
	o := options(t)
	o.Since = 6
	tm.write(t, o.Dir)
	if err := put(tm.anchor, o.Anchor); err != nil {
		t.Fatal(err)
	}
	closeLog(t, open(t, o))
}

func TestWholeLogOfAnotherKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	written(t, 2).write(t, dir)
	r, err := Verify(dir, public(testKey(1)), nil)
	if err != nil || len(r.Problems) != 11 || r.Entries != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, p := range r.Problems {
		if p.Fault != Foreign {
			t.Error(p)
		}
	}
}

// Without an anchor nothing tells of an end cut off between two lines: the manual says so.
func TestCutOffWithoutAnAnchor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	tm := written(t, 1)
	tm.text[2] = tm.text[2][:1]
	tm.write(t, dir)
	if r, err := Verify(dir, public(testKey(1)), nil); err != nil || !r.Intact() || r.Last != 9 || r.Anchored != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	tm := written(t, 1)
	for range 500 {
		tm.text[2] = append(tm.text[2], []byte("x\n"))
	}
	tm.write(t, dir)
	r, err := Verify(dir, public(testKey(1)), nil)
	if err != nil || len(r.Problems) != maxProblems || r.More != 400 {
		t.Errorf("%d and %d, %v", len(r.Problems), r.More, err)
	}
}

func TestReadStopsAtWhatItCantRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	tm := written(t, 1)
	tm.text[1][1] = []byte("rubbish\n")
	tm.write(t, dir)
	n := 0
	var last error
	for _, err := range Read(dir, 0) {
		if last = err; err == nil {
			n++
		}
	}
	if n != 5 || last == nil || !strings.HasPrefix(last.Error(), "receipts-00000000000000000005.log line 2: ") {
		t.Errorf("%d entries, then %v", n, last)
	}
	for _, err := range Read(filepath.Join(dir, "none"), 0) {
		if !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}
