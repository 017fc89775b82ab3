// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSendReceive(t *testing.T) {
	for _, contents := range [][2]Content{
		{},
		{{There: true, Bytes: []byte{}}, {}},
		{{There: true, Size: 3, Bytes: []byte("a\x00b")}, {There: true, Size: MaxContent + 7, Bytes: bytes.Repeat([]byte("x"), MaxContent)}},
	} {
		var b bytes.Buffer
		if err := Send(&b, contents[0], contents[1]); err != nil {
			t.Fatal(err)
		}
		before, after, err := Receive(iotest.OneByteReader(bytes.NewReader(b.Bytes())))
		if err != nil || !same(before, contents[0]) || !same(after, contents[1]) {
			t.Errorf("%v %v: %v", before.Size, after.Size, err)
		}
		if before, after, err := Receive(bytes.NewReader(append(b.Bytes(), 0))); err == nil {
			t.Errorf("with a byte more: %v, %v", before, after)
		}
		if before, after, err := Receive(bytes.NewReader(b.Bytes()[:b.Len()-1])); err == nil {
			t.Errorf("with a byte less: %v, %v", before, after)
		}
	}
}

func same(x, y Content) bool {
	return x.There == y.There && x.Size == y.Size && bytes.Equal(x.Bytes, y.Bytes)
}

func TestReceiveRefuses(t *testing.T) {
	head := func(there byte, size uint64, n uint32) []byte {
		b := binary.BigEndian.AppendUint64([]byte{there}, size)
		return append(binary.BigEndian.AppendUint32(b, n), make([]byte, 64)...)
	}
	for name, in := range map[string][]byte{
		"nothing":            nil,
		"a third state":      head(2, 0, 0),
		"a negative size":    head(1, 1<<63, 1),
		"more than the file": head(1, 1, 2),
		"less than the file": head(1, 2, 1),
		"4 GiB":              head(1, 1<<32, 1<<32-1),
		"bytes of no file":   head(0, 4, 4),
	} {
		if before, _, err := Receive(bytes.NewReader(in)); err == nil {
			t.Errorf("%s: %+v", name, before)
		}
	}
}

// TestReadContent: a file that became shorter, and one that is longer than what
// is read.
func TestReadContent(t *testing.T) {
	for _, tt := range []struct {
		text string
		size int64
		want Content
	}{
		{"abc", 3, Content{true, 3, []byte("abc")}},
		{"abc", 10, Content{true, 3, []byte("abc")}},
		{"", 0, Content{true, 0, []byte{}}},
		{strings.Repeat("x", MaxContent+1), MaxContent + 1, Content{true, MaxContent + 1, bytes.Repeat([]byte("x"), MaxContent)}},
	} {
		if got, err := ReadContent(strings.NewReader(tt.text), tt.size); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%d of %d: %d bytes of %d, %v", tt.size, len(tt.text), len(got.Bytes), got.Size, err)
		}
	}
}

func TestDecodeAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		out  string
		want []string // nil: refused
	}{
		"good":                  {`{"lines":["@x"," a","-b","+c"]}`, []string{"@x", " a", "-b", "+c"}},
		"cut":                   {`{"lines":[],"cut":true}` + "\n", []string{}},
		"a terminal's orders":   {`{"lines":["+\u001b[2J\n\u202e"]}`, []string{`+\x1b[2J\n\u202e`}},
		"nothing":               {``, nil},
		"no lines":              {`{}`, nil},
		"null":                  {`{"lines":null}`, nil},
		"another field":         {`{"lines":[],"allow":true}`, nil},
		"two":                   {`{"lines":[]}{"lines":[]}`, nil},
		"rubbish behind":        {`{"lines":[]}x`, nil},
		"of no kind":            {`{"lines":["x"]}`, nil},
		"empty":                 {`{"lines":[""]}`, nil},
		"a kind of many bytes":  {`{"lines":["é"]}`, nil},
		"too many":              {`{"lines":[` + strings.Repeat(`" ",`, MaxLines) + `" "]}`, nil},
		"too much":              {`{"lines":["+` + strings.Repeat("x", MaxText) + `"]}`, nil},
		"too much when visible": {`{"lines":["+` + strings.Repeat("\u202e", MaxText/4) + `"]}`, nil},
		"too long":              {`{"lines":[]` + strings.Repeat(" ", MaxAnswer) + `}`, nil},
		"deep":                  {`{"lines":` + strings.Repeat("[", 100_000), nil},
	} {
		a, err := DecodeAnswer([]byte(tt.out))
		if (err == nil) != (tt.want != nil) || err == nil && !slices.Equal(a.Lines, tt.want) {
			t.Errorf("%s: %q, %v", name, a.Lines, err)
		}
	}
}

// TestAnswerAlwaysFits: however much is added, and however it is written as JSON.
func TestAnswerAlwaysFits(t *testing.T) {
	for _, line := range []string{"+", "+" + strings.Repeat(`\`, 100), "+" + strings.Repeat(`"`, 3000)} {
		a := Answer{Lines: []string{}}
		for a.Add(line) {
		}
		a.Close("@" + strings.Repeat("x", reserve-1))
		out, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if d, err := DecodeAnswer(out); err != nil || len(d.Lines) != len(a.Lines) || !d.Cut {
			t.Errorf("%.10q: %d lines of %d: %v", line, len(d.Lines), len(a.Lines), err)
		}
	}
}

// FuzzDecodeAnswer: what is taken keeps all bounds, and shows nothing that a
// terminal obeys.
func FuzzDecodeAnswer(f *testing.F) {
	f.Add([]byte(`{"lines":["@x"," a","-b","+c"],"cut":true}`))
	f.Add([]byte(`{"lines":["+\u001b[2J\n\u202e"]}`))
	f.Fuzz(func(t *testing.T, out []byte) {
		a, err := DecodeAnswer(out)
		if err != nil {
			return
		}
		size := 0
		for _, l := range a.Lines {
			if size += len(l); l == "" || !strings.ContainsRune(" -+@", rune(l[0])) || strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
				t.Errorf("%q", l)
			}
		}
		if len(a.Lines) > MaxLines || size > MaxText {
			t.Errorf("%d lines of %d bytes", len(a.Lines), size)
		}
	})
}

// FuzzReceive: what is taken is what Send would write.
func FuzzReceive(f *testing.F) {
	var b bytes.Buffer
	if err := Send(&b, Content{}, Content{There: true, Size: 2, Bytes: []byte("ab")}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		before, after, err := Receive(bytes.NewReader(in))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := Send(&again, before, after); err != nil || !bytes.Equal(again.Bytes(), in) {
			t.Errorf("%q became %q, %v", in, again.Bytes(), err)
		}
	})
}
