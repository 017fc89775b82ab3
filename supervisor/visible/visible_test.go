// SPDX-License-Identifier: Apache-2.0

package visible

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestQuote(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ls", `"ls"`},
		{"ls ", `"ls "`},
		{"a b  c   ", `"a b\x20\x20c\x20\x20\x20"`},
		{"", `""`},
		{`a"b\c`, `"a\"b\\c"`},
		{"a\nb\tc\x00", `"a\nb\tc\x00"`},
		{"\x1b[2J", `"\x1b[2J"`},
		{"\xff\xfe", `"\xff\xfe"`},
		{"\u202egnp.exe", `"\u202egnp.exe"`},               // right-to-left override
		{"a\u200bb\u2060\ufeff", `"a\u200bb\u2060\ufeff"`}, // zero width
		{"a\u00a0b\u00adc", `"a\u00a0b\u00adc"`},           // no-break space, soft hyphen
		{"Bücher œuvre", `"Bücher œuvre"`},                 // Latin
		{"пример", `"пример"`},                             // Cyrillic by itself
		{"日本語テスト", `"日本語テスト"`},
		{"p\u0430ypal", `"p\u0430ypal"`},                           // Cyrillic a in a Latin word
		{"\u0441\u043e\u0440\u0435", `"\u0441\u043e\u0440\u0435"`}, // Cyrillic that reads "cope"
		{"ls\uff0frm", `"ls\uff0frm"`},                             // fullwidth slash
		{"a\u2215b", `"a\u2215b"`},                                 // division slash
		{"\u2014help", `"\u2014help"`},                             // em dash
		{"e\u0301", `"e\u0301"`},                                   // combining accent
		{"\u3164", `"\u3164"`},                                     // Hangul filler
		{"\U000e0041", `"\U000e0041"`},                             // tag character
		{"\U0001d41a", `"\U0001d41a"`},                             // mathematical a
		{"naïve-файл.txt", `"naïve-файл.txt"`},                     // two words, two scripts
	} {
		if got := Quote(c.in); got != c.want {
			t.Errorf("Quote(%+q) = %s, want %s", c.in, got, c.want)
		}
	}
	if got := Text("plain/path.txt"); got != "plain/path.txt" {
		t.Errorf("Text of plain text: %s", got)
	}
	if got := Line("it's \"so\"\n\x1b"); got != `it's "so"\n\x1b` {
		t.Errorf("Line: %s", got)
	}
}

func FuzzQuote(f *testing.F) {
	f.Add("a\u202eb", "p\u0430y")
	f.Fuzz(func(t *testing.T, a, b string) {
		qa, qb := Quote(a), Quote(b)
		if (a == b) != (qa == qb) {
			t.Errorf("%+q and %+q are quoted %s and %s", a, b, qa, qb)
		}
		if e := escapeAll(a, true); qa != `"`+e+`"` || Line(a) != escapeAll(a, false) {
			t.Errorf("the short way gives %s, %s for %+q", qa, Line(a), a)
		}
		for _, r := range qa {
			if !strconv.IsPrint(r) || lookalike(r) {
				t.Errorf("%U stays in %s", r, qa)
			}
		}
		if strings.Contains(qa, "  ") {
			t.Errorf("%s has a run of spaces", qa)
		}
		if back, err := strconv.Unquote(qa); err != nil || back != a {
			t.Errorf("%s does not give %+q back: %q, %v", qa, a, back, err)
		}
	})
}

func BenchmarkText(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Text("/usr/local/share/clawsup/skills/csv-summary")
	}
}

func TestWriter(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain\ttext\r\n", "plain\ttext\r\n"},
		{"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"},
		{"\x1b[01;31mred", "\x1b[01;31mred\x1b[m"},
		{"\x1b[1;90mgrey\x1b[22;39m", "\x1b[1;90mgrey\x1b[22;39m\x1b[m"},
		{"\x1b[;4mx\x1b[0;00m", "\x1b[;4mx\x1b[0;00m"},
		{"\x1b[1;38;5;8mgrey", `\x1b[1;38;5;8mgrey`},
		{"\x1b[38;2;8;8;8mx", `\x1b[38;2;8;8;8mx`},
		{"\x1b[8mhidden", `\x1b[8mhidden`},
		{"\x1b[0008mhidden", `\x1b[0008mhidden`},
		{"\x1b[8:1mhidden", `\x1b[8:1mhidden`},
		{"\x1b[4:3mx", `\x1b[4:3mx`},
		{"\x1b[31;8mx", `\x1b[31;8mx`},
		{"\x1b[30;40mx", `\x1b[30;40mx`},
		{"\x1b[31;41mx", `\x1b[31;41mx`},
		{"\x1b[7mx", `\x1b[7mx`},
		{"\x1b[48;5;1mx", `\x1b[48;5;1mx`},
		{"\x1b[2J\x1b[H", `\x1b[2J\x1b[H`},
		{"\x1b]0;title\x07", `\x1b]0;title\a`},
		{"\x1b]52;c;aGk=\x1b\\", `\x1b]52;c;aGk=\x1b\`},
		{"\x1bc\x1b", `\x1bc\x1b`},
		{"\x9b31m", `\x9b31m`},
		{"\u009b2J", `\u009b2J`},
		{"a\bb\x00\x7f", `a\bb\x00\x7f`},
		{"\u202eabc", `\u202eabc`},
		{"é日\u00a0本", "é日\u00a0本"},
		{"\xe6\x97", `\xe6\x97`},
		{"\x1b[" + strings.Repeat("1;", 100) + "m", `\x1b[` + strings.Repeat("1;", 100) + "m"},
	} {
		for _, size := range []int{1, 2, 3, 1000} {
			if got := through(t, c.in, size); got != c.want {
				t.Errorf("%+q in pieces of %d: %+q, want %+q", c.in, size, got, c.want)
			}
		}
	}
}

// TestWriterHoldsNothingBack: what is whole is on the screen at once.
func TestWriterHoldsNothingBack(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	fmt.Fprint(w, "no line feed: ")
	if out.String() != "no line feed: " {
		t.Errorf("after one write: %q", out.String())
	}
}

func through(t *testing.T, in string, size int) string {
	var out bytes.Buffer
	w := NewWriter(&out)
	for p := []byte(in); len(p) > 0; {
		n := min(size, len(p))
		if _, err := w.Write(p[:n]); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// FuzzWriter: whatever comes in, the terminal gets text and colours only, and
// how the bytes were cut makes no difference.
func FuzzWriter(f *testing.F) {
	f.Add([]byte("\x1b[31mred\x1b]0;x\x07\x9b"), 3)
	f.Add([]byte("\x1b[8:1mx\x1b[30;40my\x1b[38;5;1mz\x1b[01;4m"), 2)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		size = max(1, size%16)
		got := through(t, string(in), size)
		if whole := through(t, string(in), len(in)+1); got != whole {
			t.Fatalf("in pieces of %d %+q, whole %+q", size, got, whole)
		}
		for i := 0; i < len(got); {
			if got[i] == '\x1b' {
				n, whole := sequence([]byte(got[i:]))
				if !whole || n == 0 {
					t.Fatalf("a sequence got through: %+q", got[i:])
				}
				for p := range strings.SplitSeq(got[i+2:i+n-1], ";") {
					number, err := strconv.Atoi("0" + p)
					if err != nil || number == 2 || number > 4 && number < 22 || number > 24 && number < 31 || number > 39 && number < 90 || number > 96 {
						t.Fatalf("%q got through in %+q", p, got[i:i+n])
					}
				}
				i += n
				continue
			}
			r, n := utf8.DecodeRuneInString(got[i:])
			if r != '\n' && r != '\t' && r != '\r' && !strconv.IsPrint(r) && !unicode.Is(unicode.Zs, r) {
				t.Fatalf("%U got through", r)
			}
			i += n
		}
	})
}
