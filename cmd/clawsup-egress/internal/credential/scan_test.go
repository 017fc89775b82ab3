// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// naive marks every byte of the text that belongs to a form, in the plainest way:
// each way of reading is undone as a whole, and every form looked for at every place.
func naive(text []byte, values [][]byte) []byte {
	masked := bytes.Clone(text)
	for _, read := range []func([]byte) ([]byte, [][2]int){asItIs, unpercent, unescape} {
		symbols, at := read(text)
		for _, v := range values {
			for _, form := range forms(v) {
				if len(form) < minForm {
					continue
				}
				for i := 0; i+len(form) <= len(symbols); i++ {
					if bytes.Equal(symbols[i:i+len(form)], form) {
						for j := at[i][0]; j < at[i+len(form)-1][1]; j++ {
							masked[j] = '*'
						}
					}
				}
			}
		}
	}
	return masked
}

func asItIs(text []byte) (symbols []byte, at [][2]int) {
	for i, c := range text {
		symbols, at = append(symbols, c), append(at, [2]int{i, i + 1})
	}
	return symbols, at
}

func unpercent(text []byte) (symbols []byte, at [][2]int) {
	for i := 0; i < len(text); {
		c, n := text[i], 1
		if c == '%' && i+2 < len(text) && hex(text[i+1]) >= 0 && hex(text[i+2]) >= 0 {
			c, n = byte(hex(text[i+1])<<4|hex(text[i+2])), 3
		}
		symbols, at = append(symbols, c), append(at, [2]int{i, i + n})
		i += n
	}
	return symbols, at
}

func unescape(text []byte) (symbols []byte, at [][2]int) {
	for i := 0; i < len(text); {
		piece, n := text[i:i+1], 1
		if rest := text[i:]; rest[0] == '\\' && len(rest) > 1 {
			if rest[1] == 'u' && len(rest) > 5 && !slices.ContainsFunc(rest[2:6], func(c byte) bool { return hex(c) < 0 }) {
				r := hex(rest[2])<<12 | hex(rest[3])<<8 | hex(rest[4])<<4 | hex(rest[5])
				piece, n = utf8.AppendRune(nil, r), 6
			} else if rest[1] != 'u' && short[rest[1]] != 0 {
				piece, n = []byte{short[rest[1]]}, 2
			}
		}
		for _, c := range piece {
			symbols, at = append(symbols, c), append(at, [2]int{i, i + n})
		}
		i += n
	}
	return symbols, at
}

// chunks gives a text in pieces of lengths that follow from a seed.
type chunks struct {
	rest []byte
	rand *rand.Rand
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := min(1+c.rand.IntN(40), len(p), len(c.rest))
	copy(p, c.rest[:n])
	c.rest = c.rest[n:]
	return n, nil
}

func masked(t *testing.T, values [][]byte, from io.Reader) []byte {
	t.Helper()
	got, err := io.ReadAll(NewMask(values).Reader(io.NopCloser(from)))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// spellings are ways that a value may come back.
func spellings(v string) []string {
	quoted, _ := json.Marshal(v)
	all := []string{
		v, url.QueryEscape(v), url.PathEscape(v), string(quoted[1 : len(quoted)-1]),
		strings.ReplaceAll(v, "/", `\/`),
	}
	var percent, lower, unicode strings.Builder
	for _, c := range []byte(v) {
		fmt.Fprintf(&percent, "%%%02X", c)
		fmt.Fprintf(&lower, "%%%02x", c)
	}
	for _, r := range v {
		fmt.Fprintf(&unicode, `\u%04x`, r)
	}
	all = append(all, percent.String(), lower.String(), unicode.String())
	for _, before := range []string{"", "x", "xy"} {
		for _, e := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			b := e.EncodeToString([]byte(before + v + "user"))
			all = append(all, b, url.QueryEscape(b), strings.ReplaceAll(b, "/", `\/`))
		}
	}
	return all
}

func TestMaskSpellings(t *testing.T) {
	values := []string{"sk-canary-0123456789abcdef", "pass/word+with=all sorts\"of\\it%41?", "müßig-canary-ß", "-----BEGIN KEY-----\nMIIcanary\n-----END KEY-----\n"}
	for _, v := range values {
		for _, spelled := range spellings(v) {
			text := "before " + spelled + " after " + spelled
			got := string(masked(t, [][]byte{[]byte("another value"), []byte(v)}, iotest.OneByteReader(strings.NewReader(text))))
			if want := string(naive([]byte(text), [][]byte{[]byte(v)})); got != want {
				t.Errorf("%q:\ngot  %q\nwant %q", spelled, got, want)
			}
			if !strings.HasPrefix(got, "before ") || len(got) != len(text) {
				t.Errorf("%q became %q", text, got)
			}
			// of base64 up to three characters at both ends stay
			if stars := strings.Count(got, "*"); stars < 2*(len(v)*4/3-6) && stars < 2*len(v) {
				t.Errorf("%q became %q", text, got)
			}
		}
	}
}

func TestMaskLeavesTheRest(t *testing.T) {
	random := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	got := masked(t, [][]byte{[]byte("sk-canary-0123456789abcdef")}, bytes.NewReader(random))
	if !bytes.Equal(got, random) {
		t.Error("something without a value was changed")
	}
}

// An event goes on whole although more may come.
func TestMaskIsPrompt(t *testing.T) {
	from, to := io.Pipe()
	body := NewMask([][]byte{[]byte("sk-canary-0123456789abcdef")}).Reader(from)
	go func() {
		_, _ = io.WriteString(to, "data: one\n\n")
		_, _ = io.WriteString(to, "data: sk-can")
		_, _ = io.WriteString(to, "ned\n\n")
		_ = to.Close()
	}()
	for _, want := range []string{"data: one\n\n", "data: ", "sk-canned\n\n"} {
		b := make([]byte, 1024)
		n, err := body.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("read %q, %v, want %q", b[:n], err, want)
		}
	}
}

// What takes the caller's own buffer, and what takes one of the reader's, is the same.
func TestMaskSmallReads(t *testing.T) {
	value := strings.Repeat("0123456789abcdef", 300)
	text := "x" + value[:len(value)-1] + value + "y"
	got := masked(t, [][]byte{[]byte(value)}, strings.NewReader(text))
	small, err := io.ReadAll(iotest.OneByteReader(NewMask([][]byte{[]byte(value)}).Reader(io.NopCloser(strings.NewReader(text)))))
	if err != nil {
		t.Fatal(err)
	}
	if want := naive([]byte(text), [][]byte{[]byte(value)}); !bytes.Equal(got, want) || !bytes.Equal(small, want) {
		t.Error("not masked right")
	}
}

func TestMaskHoldsNoError(t *testing.T) {
	body := NewMask([][]byte{[]byte("sk-canary")}).Reader(io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)))
	if _, err := io.ReadAll(body); err != io.ErrUnexpectedEOF {
		t.Errorf("err = %v", err)
	}
}

// A periodic value in a periodic text is the worst case of what looks at every
// place anew: 4 MB of it would take minutes.
func TestMaskIsLinear(t *testing.T) {
	value := bytes.Repeat([]byte("a"), MaxToken)
	value[len(value)-1] = 'b'
	text := bytes.Repeat([]byte("a"), 4<<20)
	if got := masked(t, [][]byte{value}, bytes.NewReader(text)); !bytes.Equal(got, text) {
		t.Error("something was changed")
	}
	text = bytes.Repeat([]byte("%61"), 1<<20)
	if got := masked(t, [][]byte{value}, bytes.NewReader(text)); !bytes.Equal(got, text) {
		t.Error("something was changed")
	}
}

func FuzzScan(f *testing.F) {
	f.Add([]byte("sk-ab sk-%61b sk-ab c2stYWI="), []byte("sk-ab"), []byte("k-abc"), uint64(1))
	f.Add([]byte(`aa\u0061a\/a%61%2f%%61a\\u0061`), []byte("aaa/a"), []byte("%61a"), uint64(2))
	f.Add([]byte(`%%%25%25\\\\\\u005c\u005c\\\\`), []byte("%%%%"), []byte(`\\\\`), uint64(3))
	f.Add([]byte("aaaaaaaaaaaaaaaaab"), []byte("aaaaab"), []byte("aaaa"), uint64(4))
	f.Fuzz(func(t *testing.T, text, one, two []byte, seed uint64) {
		if len(text) > 1<<12 || len(one) > 200 || len(two) > 200 {
			return
		}
		values := [][]byte{one, two}
		for _, v := range values {
			if len(v) < MinMasked {
				return
			}
		}
		want := naive(text, values)
		got := masked(t, values, &chunks{text, rand.New(rand.NewPCG(seed, 0))})
		if !bytes.Equal(got, want) {
			t.Errorf("values %q in %q:\ngot  %q\nwant %q", values, text, got, want)
		}
	})
}

// Texts and values of few letters meet where random ones never do.
func TestScanAgainstNaive(t *testing.T) {
	letters := []string{"a", "b", "%", `\`, "6", "1", "u", "0", "/", "%61", `\u0061`, `\/`, "%2f", "YWFh", "ab", " ", "+", "é"}
	r := rand.New(rand.NewPCG(7, 7))
	word := func(n int) []byte {
		var b []byte
		for range n {
			b = append(b, letters[r.IntN(len(letters))]...)
		}
		return b
	}
	found := 0
	for range 8000 {
		values := [][]byte{append(word(3+r.IntN(4)), "a"...), word(4 + r.IntN(8))}
		if len(values[0]) < MinMasked || len(values[1]) < MinMasked {
			continue
		}
		text := word(r.IntN(10))
		for range r.IntN(4) {
			v := values[r.IntN(2)]
			all := spellings(string(v))
			if s := all[r.IntN(len(all))]; utf8.Valid(v) {
				text = append(text, s...)
			}
			text = append(text, word(r.IntN(20))...)
		}
		want := naive(text, values)
		got := masked(t, values, &chunks{text, r})
		if !bytes.Equal(got, want) {
			t.Fatalf("values %q in %q:\ngot  %q\nwant %q", values, text, got, want)
		}
		if !bytes.Equal(want, text) {
			found++
		}
	}
	if found < 400 {
		t.Errorf("only %d texts had a value", found)
	}
}

func BenchmarkMask(b *testing.B) {
	values := [][]byte{[]byte("sk-proj-0123456789abcdefghijABCDEFGHIJ0123456789"), []byte("123456789:AAbbCCddEEffGGhhIIjjKKllMMnnOOppQQr"), []byte("ghp_0123456789abcdefghijABCDEFGHIJ012345")}
	mask := NewMask(values)
	random := make([]byte, 1<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	object := `{"id":"chatcmpl-%d","object":"chat.completion.chunk","choices":[{"delta":{"content":"He said \"well\" and\nwent \\ on"}}]}` + "\n"
	for _, text := range []struct {
		name string
		body []byte
	}{
		{"random", random},
		{"json", bytes.Repeat([]byte(object), 1<<20/len(object))},
		{"base64", []byte(base64.StdEncoding.EncodeToString(random[:768<<10]))},
		{"prose", bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, and so on. "), 1<<20/56)},
		{"percent", bytes.Repeat([]byte("%"), 1<<20)},
	} {
		b.Run(text.name, func(b *testing.B) {
			b.SetBytes(int64(len(text.body)))
			b.ReportAllocs()
			buffer := make([]byte, 32<<10)
			var source bytes.Reader
			for b.Loop() {
				source.Reset(text.body)
				body := mask.Reader(io.NopCloser(&source))
				for {
					if _, err := body.Read(buffer); err != nil {
						break
					}
				}
			}
		})
	}
}

func BenchmarkNewMask(b *testing.B) {
	for b.Loop() {
		NewMask([][]byte{[]byte("sk-proj-0123456789abcdefghijABCDEFGHIJ0123456789")})
	}
}
