// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func sample(t testing.TB) []byte {
	t.Helper()
	one := 1
	r := Receipt{Kind: Outcome, Call: "c\x1b", Status: "exited", Exit: &one, Usage: &Usage{Wall: 5}, Facts: []Fact{{"a", "b"}, {"c", "\xff"}}}
	body, err := r.body()
	if err != nil {
		t.Fatal(err)
	}
	signed := unsigned(public(testKey(1)), [32]byte{1}, 7, time.Unix(1, 2), 3, body)
	return bytes.TrimSuffix(seal(signed, testKey(1)), []byte("\n"))
}

func TestOneSpelling(t *testing.T) {
	good := string(sample(t))
	f, err := takeApart([]byte(good))
	if err != nil || !f.signedBy(public(testKey(1))) || f.seq != 7 {
		t.Fatalf("%v %v", f.seq, err)
	}
	if _, err := f.receipt(); err != nil {
		t.Fatal(err)
	}
	for _, change := range [][2]string{
		{`"kind"`, ` "kind"`}, {`"kind"`, `"Kind"`}, {`"kind":"outcome"`, `"kind":"outcome","kind":"outcome"`},
		{`"kind":"outcome"`, `"kind":"other"`}, {`"exit":1`, `"exit":1.0`}, {`"exit":1`, `"exit":01`}, {`"exit":1`, `"exit":null`},
		{`\u001b`, `\u001B`}, {`\u001b`, "\x1b"}, {`"b"`, `"\u0062"`}, {`"/w=="`, `"/x=="`}, {`"/w=="`, `"Yg=="`},
		{`"seq":7`, `"seq":07`}, {`"seq":7`, `"seq":0`}, {`"seq":7`, `"seq":-7`}, {`"seq":7`, `"seq":18446744073709551616`}, {`"seq":7`, `"seq":`},
		{`"receipt":1`, `"receipt":2`}, {`"behind":3`, `"behind":-3`}, {`"behind":3,`, `"behind":0,`}, {`000000002Z`, `2Z`},
		{`,"sig":"`, `,"new":1,"sig":"`}, {`,"sig":"`, `}{,"sig":"`}, {`"}`, `"} `}, {`"wall":5`, `"wall":5,"wall":5`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if change[0] == `"}` {
			bad = good + " "
		}
		if bad == good {
			t.Fatalf("%q isn't in the sample", change[0])
		}
		f, err := takeApart([]byte(bad))
		if err == nil {
			_, err = f.receipt()
		}
		if err == nil {
			t.Errorf("%q for %q was taken", change[1], change[0])
		}
	}
	for i := range good { // no line cut short is one
		if _, err := takeApart([]byte(good[:i])); err == nil {
			t.Errorf("%d bytes were taken", i)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add(sample(f))
	f.Add([]byte(openKey))
	f.Fuzz(func(t *testing.T, line []byte) {
		fr, err := takeApart(line)
		if err != nil {
			return
		}
		r, err := fr.receipt()
		if err != nil {
			return
		}
		if r.Seq != fr.seq {
			t.Fatalf("numbers %d and %d", r.Seq, fr.seq)
		}
		body, err := r.body()
		if err != nil {
			t.Fatal(err)
		}
		again := unsigned(fr.key[:], fr.prev, r.Seq, r.Time, r.Behind, body)
		if !bytes.Equal(again, fr.signed) || !bytes.HasPrefix(line, again[:len(again)-1]) {
			t.Fatalf("another spelling:\n%q\n%q", line, again)
		}
	})
}

func FuzzBody(f *testing.F) {
	f.Add("call", "name", []byte("value"), int64(1))
	f.Add("\x00", "\u202e", []byte("\xff\x00"), int64(-1))
	f.Fuzz(func(t *testing.T, call, name string, value []byte, number int64) {
		n := int(number)
		r := Receipt{Kind: Agent, Call: call, Exit: &n, Usage: &Usage{Written: number}, Facts: []Fact{{name, string(value)}}}
		body, err := r.body()
		if err != nil {
			return
		}
		line := seal(unsigned(public(testKey(1)), [32]byte{}, 1, time.Unix(0, 0), 0, body), testKey(1))
		fr, err := takeApart(line[:len(line)-1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := fr.receipt()
		if err != nil {
			t.Fatal(err)
		}
		if got.Call != call || got.Facts[0] != r.Facts[0] || *got.Exit != n || got.Usage.Written != number {
			t.Fatalf("%+v", got)
		}
	})
}

func FuzzAnchor(f *testing.F) {
	a := Anchor{Segment: 1, Offset: 2, Seq: 3}
	a.sign(testKey(1))
	f.Add([]byte(a.String()))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := ParseAnchor(text)
		if err == nil && a.String() != strings.TrimSuffix(string(text), "\n") {
			t.Fatalf("another spelling: %q", text)
		}
	})
}

func FuzzAnchorFile(f *testing.F) {
	key := testKey(1)
	s := slots{}
	var text []byte
	for _, seq := range []uint64{7, 8} {
		a := Anchor{Segment: 1, Offset: 2, Seq: seq}
		a.sign(key)
		text = append(text, s.fill(&a)...)
	}
	f.Add(text, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, text []byte, at uint16, b byte) {
		if len(text) > int(at) {
			text[at] = b
		}
		a, err := newest(text)
		if (a == nil) == (err == nil) {
			t.Fatalf("%v, %v", a, err)
		}
	})
}
