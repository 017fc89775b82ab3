// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/raw"
)

// sample is a set of every kind, with names of every kind.
func sample() *Set {
	dir := State{Type: Directory, Mode: 0o755, UID: 1, GID: 2, Modified: -1, Links: 2}
	file := State{Type: Regular, Mode: 0o644, UID: 1000, GID: 1000, Size: 3, Digest: sum("one"), Modified: 1e18 + 7, Links: 1}
	old := func(s State) State { s.Identity = Identity{Dev: 1 << 63, Ino: 1<<64 - 1, Ctime: 5}; return s }
	rich := file
	rich.Xattrs = []Xattr{{"user.a", []byte("\x00<v>")}, {"user.\xff", []byte{}}}
	link := State{Type: Symlink, Mode: 0o777, Size: 5, Digest: sum("/etc\xff"), Links: 1}
	return &Set{Entries: []Entry{
		{Kind: Deleted, Path: "a", Before: old(dir), Notes: Conflict | Foreign},
		{Kind: Created, Path: "a", After: rich},
		{Kind: Deleted, Path: "a/\n\"\\<&>\u2028", Before: old(file), Notes: HardLinked},
		{Kind: Deleted, Path: "a/\xff", Before: old(State{Type: Special, Links: 1})},
		{Kind: Deleted, Path: "a/huge", Before: old(State{Type: Regular, Size: 1 << 50, Links: 1})},
		{Kind: Created, Path: "b", Link: "a", After: file},
		{Kind: Created, Path: "c", Target: "/etc\xff", After: link, Notes: Leaves},
		{Kind: Renamed, Path: "d", From: "é", Before: old(dir), After: dir},
		{Kind: Modified, Path: "d/x", From: "é/x", Before: old(file), After: rich},
		{Kind: Changed, Path: "e", Before: old(file), After: file, Notes: Privileged | Attributes},
		{Kind: Dropped, Path: "f", After: State{Type: Special, Mode: 0o600, Links: 1}},
		{Kind: Dropped, Path: raw.String(strings.Repeat(strings.Repeat("\x01", 255)+"/", 100) + "f"), Before: old(file), After: State{Type: Regular, Size: 1 << 50, Links: 1}},
	}}
}

func encoded(t testing.TB, s *Set) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, s.Encode(&b))
	return b.Bytes()
}

func ordered(s *Set) *Set { s.Sort(); return s }

func TestEncode(t *testing.T) {
	s := ordered(sample())
	text := encoded(t, s)
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	if len(lines) != len(s.Entries) {
		t.Fatalf("%d lines of %d entries", len(lines), len(s.Entries))
	}
	for i, line := range lines {
		wanted, err := json.Marshal(&s.Entries[i])
		must(t, err)
		if !bytes.Equal(line, wanted) {
			t.Errorf("%s, and encoding/json has %s", line, wanted)
		}
	}
	for _, chunk := range []int{1, 7, 1 << 20} {
		got, err := Decode(&slow{text, chunk})
		must(t, err)
		if !reflect.DeepEqual(got, s) {
			t.Errorf("%+v is not %+v", got, s)
		}
	}
	if d := s.Digest(); d != sum(string(text)) {
		t.Error(d)
	}
	if none, err := Decode(strings.NewReader("")); err != nil || len(none.Entries) != 0 || none.Digest() != nothing {
		t.Error(none, err)
	}
	failure := errors.New("full")
	if err := s.Encode(failing{failure}); !errors.Is(err, failure) {
		t.Error(err)
	}
}

// slow gives a text in small parts.
type slow struct {
	text  []byte
	chunk int
}

func (s *slow) Read(b []byte) (int, error) {
	if len(s.text) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.chunk)], s.text)
	s.text = s.text[n:]
	return n, nil
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// What Encode would not have written is not read.
func TestDecodeStrict(t *testing.T) {
	s := &Set{Entries: sample().Entries[9:10]} // e, changed
	line := string(encoded(t, s))
	if _, err := Decode(strings.NewReader(line)); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ old, new string }{
		{"\n", ""},
		{"\n", "\r\n"},
		{"\n", "\n\n"},
		{"\n", "\n" + line},
		{"{", " {"},
		{`"kind":"changed"`, `"kind":"changed","kind":"changed"`},
		{`"kind":"changed"`, `"Kind":"changed"`},
		{`"kind":"changed"`, `"kind":"changed","more":1`},
		{`"kind":"changed"`, `"kind":"gone"`},
		{`"kind":"changed"`, `"kind":"created"`},
		{`"kind":"changed"`, `"kind":"deleted"`},
		{`"kind":"changed"`, `"kind":"renamed"`},
		{`"path":"e"`, `"path":"\u0065"`},
		{`"path":"e"`, `"path":{"base64":"ZQ=="}`},
		{`"path":"e"`, `"path":"e","from":""`},
		{`"path":"e"`, `"path":"e","link":"d"`},
		{`"path":"e"`, `"path":"e","target":"d"`},
		{`"path":"e"`, `"path":""`},
		{`"path":"e"`, `"path":"/e"`},
		{`"path":"e"`, `"path":"e/"`},
		{`"path":"e"`, `"path":"a//e"`},
		{`"path":"e"`, `"path":"../e"`},
		{`"path":"e"`, `"path":"a/./e"`},
		{`"path":"e"`, `"path":"e\u0000"`},
		{`"path":"e"`, `"path":"` + strings.Repeat("e", 256) + `"`},
		{`"path":"e"`, `"path":"` + strings.Repeat("e/", MaxPath/2) + `e"`},
		{`"path":"e"`, `"path":"` + strings.Repeat("e", maxLine) + `"`},
		{`"path":"e"`, `"path":"e","from":".."`},
		{`"type":"file"`, `"type":"none"`},
		{`"type":"file"`, `"type":"link"`},
		{`"type":"file"`, `"type":"directory"`},
		{`"mode":420`, `"mode":4096`},
		{`"mode":420`, `"mode":-1`},
		{`"mode":420`, `"mode":4.2e2`},
		{`"size":3`, `"size":-3`},
		{`"size":3`, `"size":9223372036854775808`},
		{`sha256:`, `sha512:`},
		{sum("one"), strings.ToUpper(sum("one"))},
		{sum("one"), sum("one") + "0"},
		{`"links":1}`, `"links":1,"dev":1}`},
		{`"links":1}`, `"links":1,"xattrs":[]}`},
		{`"links":1}`, `"links":1,"xattrs":null}`},
		{`"links":1}`, `"links":1,"xattrs":[{"name":"security.capability","value":""}]}`},
		{`"links":1}`, `"links":1,"xattrs":[{"name":"user.b","value":""},{"name":"user.a","value":""}]}`},
		{`"links":1}`, `"links":1,"xattrs":[{"name":"user.b","value":null}]}`},
		{`"links":1}`, `"links":1,"xattrs":[{"name":"user.b","value":"` + strings.Repeat("AAAA", MaxXattrs/3) + `"}]}`},
		{`"notes":36`, `"notes":0`},
		{`"notes":36`, `"notes":64`},
		{`"notes":36`, `"notes":65536`},
	} {
		text := strings.Replace(line, x.old, x.new, 1)
		if i := strings.LastIndex(line, x.old); strings.HasPrefix(x.old, `"links"`) {
			text = line[:i] + x.new + line[i+len(x.old):]
		}
		if text == line {
			t.Errorf("%q is not in %s", x.old, line)
		}
		if got, err := Decode(strings.NewReader(text)); err == nil {
			t.Errorf("%.60q for %q was taken: %+v", x.new, x.old, got)
		}
	}
}

func TestWords(t *testing.T) {
	for _, k := range Kinds() {
		var got Kind
		text, err := k.MarshalText()
		must(t, err)
		if err := got.UnmarshalText(text); err != nil || got != k || k.String() != string(text) {
			t.Errorf("%s is %s: %v", text, got, err)
		}
	}
	if text, err := Kind(0).MarshalText(); err == nil {
		t.Errorf("%s", text)
	}
	if got := Type(9).String(); got != "unknown 9" {
		t.Error(got)
	}
}

func TestDecodeOrder(t *testing.T) {
	s := ordered(sample())
	for i := range len(s.Entries) - 1 {
		other := &Set{Entries: append([]Entry(nil), s.Entries...)}
		other.Entries[i], other.Entries[i+1] = other.Entries[i+1], other.Entries[i]
		if _, err := Decode(bytes.NewReader(encoded(t, other))); err == nil {
			t.Errorf("%s came before %s", short(&other.Entries[i]), short(&other.Entries[i+1]))
		}
	}
}

func FuzzDecode(f *testing.F) {
	s := ordered(sample())
	s.Entries = s.Entries[:len(s.Entries)-1] // the last is long
	text := encoded(f, s)
	f.Add(text)
	for _, line := range bytes.SplitAfter(text, []byte("\n")) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Decode(bytes.NewReader(text))
		if err != nil {
			return
		}
		if again := encoded(t, s); !bytes.Equal(again, text) {
			t.Errorf("%q was read of %q", again, text)
		}
		n := 0
		for _, l := range s.Lines() {
			n += l.Entries
		}
		if n != len(s.Entries) || n != s.Count().Entries() {
			t.Errorf("lines and counts have not all of %q", text)
		}
		for i := range s.Entries {
			wanted, err := json.Marshal(&s.Entries[i])
			must(t, err)
			if !bytes.Contains(text, wanted) {
				t.Errorf("%s is not in %q", wanted, text)
			}
		}
	})
}
