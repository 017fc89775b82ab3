// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/difference"
	"github.com/clawsup/clawsup/supervisor/visible"
)

func content(text string) difference.Content {
	return difference.Content{There: true, Size: int64(len(text)), Bytes: []byte(text[:min(len(text), difference.MaxContent)])}
}

func TestCompare(t *testing.T) {
	none := difference.Content{}
	for _, tt := range []struct {
		name          string
		before, after difference.Content
		want          []string
	}{
		{"a line", content("a\nb\nc\n"), content("a\nB\nc\n"), []string{"@lines: 1 added, 1 removed", "@@ -1,3 +1,3 @@", " a", "-b", "+B", " c"}},
		{"created", none, content("a\n"), []string{"@lines: 1 added, 0 removed", "@@ -0,0 +1,1 @@", "+a"}},
		{"deleted", content("a\n"), none, []string{"@lines: 0 added, 1 removed", "@@ -1,1 +0,0 @@", "-a"}},
		{"created empty", none, content(""), []string{"@it is empty"}},
		{"the same", content("a"), content("a"), []string{"@the content is the same"}},
		{"no line feed", content("a"), content("a\n"), []string{"@lines: 1 added, 1 removed", "@@ -1,1 +1,1 @@", "-a", "@the line above has no line feed at its end", "+a"}},
		{"context of three", content("1\n2\n3\n4\n5\n6\n7\n8\n9\n"), content("1\n2\n3\n4\nfive\n6\n7\n8\n9\n"),
			[]string{"@lines: 1 added, 1 removed", "@@ -2,7 +2,7 @@", " 2", " 3", " 4", "-5", "+five", " 6", " 7", " 8"}},
		{"carriage returns", content("a\r\nb\r\n"), content("a\r\nc\r\n"),
			[]string{"@all lines end in a carriage return and a line feed", "@lines: 1 added, 1 removed", "@@ -1,2 +1,2 @@", " a", "-b", "+c"}},
		{"a carriage return more", content("a\n"), content("a\r\n"), []string{"@lines: 1 added, 1 removed", "@@ -1,1 +1,1 @@", "-a", "+a␍"}},
		{"a lone carriage return", content("a\r\n"), content("b\ra\r\n"), []string{"@all lines end in a carriage return and a line feed",
			"@lines: 1 added, 1 removed", "@@ -1,1 +1,1 @@", "-a", `+b\ra`, `@the line above has escapes, and a \ of its own is \\`}},
		{"blanks", content("a\n\tb\n"), content("a \n    b·\n"), []string{"@lines: 2 added, 2 removed", "@@ -1,2 +1,2 @@", "-a", "-→   b", "+a·", `+    b\u00b7`, `@the line above has escapes, and a \ of its own is \\`}},
		{"what stands for others", content(""), content("→␍\n"), []string{"@lines: 1 added, 0 removed", "@@ -0,0 +1,1 @@", `+\u2192\u240d`, `@the line above has escapes, and a \ of its own is \\`}},
		{"an escape of its own", content(""), content("\\u202e\n\\\u202e\n"), []string{"@lines: 2 added, 0 removed", "@@ -0,0 +1,2 @@", `+\u202e`, `+\\\u202e`, `@the line above has escapes, and a \ of its own is \\`}},
		{"a terminal's orders", content(""), content("\x1b[2J\x1b]0;x\a\n"), []string{"@lines: 1 added, 0 removed", "@@ -0,0 +1,1 @@", `+\x1b[2J\x1b]0;x\a`, `@the line above has escapes, and a \ of its own is \\`}},
		{"lines that look like ours", content(""), content("@@ -1 +1 @@\n-x\n\\ No newline at end of file\n"),
			[]string{"@lines: 3 added, 0 removed", "@@ -0,0 +1,3 @@", "+@@ -1 +1 @@", "+-x", `+\ No newline at end of file`}},
		{"data", content("\x7fELF\x02\x01\x01\x00\x00"), content("\x89PNG\r\n\x1a\n\x00"), []string{"-application/x-elf, 9 bytes", "+image/png, 9 bytes", "@they are the same up to byte 0"}},
		{"NUL", content("abc\x00"), content("abd"), []string{"-data of no known kind, 4 bytes", "+text/plain, text, 3 bytes", "@they are the same up to byte 2"}},
		{"no UTF-8", none, content("\xff\xfe\xfd"), []string{"+text/plain, 3 bytes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a := compare(tt.before, tt.after); !slices.Equal(a.Lines, tt.want) || a.Cut {
				t.Errorf("cut %v\n%s\nwant\n%s", a.Cut, strings.Join(a.Lines, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

// TestCompareLongLine: of a line that doesn't fit, the place that differs is shown.
func TestCompareLongLine(t *testing.T) {
	long := strings.Repeat("ä", 5000)
	a := compare(content(long+"x"+long+"\n"), content(long+"y"+long+"\n"))
	if len(a.Lines) != 6 || !a.Cut || !strings.Contains(a.Lines[2], "äxä") || !strings.Contains(a.Lines[4], "äyä") ||
		!strings.Contains(a.Lines[3], "has 20001 bytes, and these are 9901 to 10") || a.Lines[3] != a.Lines[5] {
		t.Errorf("%q", a.Lines)
	}
	a = compare(content(""), content(long+"\n"))
	if len(a.Lines) != 4 || !a.Cut || utf8.RuneCountInString(a.Lines[2]) != 251 || a.Lines[3] != "@the line above has 10000 bytes, and these are 1 to 500" {
		t.Errorf("%q", a.Lines)
	}
}

// TestCompareCut: what is beyond the bounds is said.
func TestCompareCut(t *testing.T) {
	huge := strings.Repeat("line\n", difference.MaxContent/4)
	a := compare(content(huge), content(huge+"x"))
	want := []string{
		"@of the content before, the first 1048576 of 1310720 bytes are compared",
		"@of the content after, the first 1048576 of 1310721 bytes are compared",
		"@as far as that goes they are the same",
	}
	if !a.Cut || !slices.Equal(a.Lines, want) {
		t.Errorf("%v %q", a.Cut, a.Lines)
	}
	a = compare(difference.Content{}, content(huge))
	if last := a.Lines[len(a.Lines)-1]; !a.Cut || len(a.Lines) != difference.MaxLines || last != "@207719 lines more are not shown" {
		t.Errorf("%v %d %q", a.Cut, len(a.Lines), last)
	}
	// a character that the bound cuts in two makes no data of a text
	a = compare(difference.Content{}, content(strings.Repeat("x", difference.MaxContent-1)+"äää"))
	if !a.Cut || len(a.Lines) != 6 || !strings.HasPrefix(a.Lines[3], "+xxx") {
		t.Errorf("%v %.300q", a.Cut, a.Lines)
	}
}

// hostile are contents that are made to cost much.
func hostile() map[string][2]string {
	r := rand.New(rand.NewPCG(1, 2))
	lines := func(n int, line func(int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(line(i))
		}
		return b.String()[:min(b.Len(), difference.MaxContent)]
	}
	feeds := strings.Repeat("\n", difference.MaxContent)
	forward := func(i int) string { return fmt.Sprintf("%x\n", i) }
	backward := func(i int) string { return fmt.Sprintf("%x\n", 200_000-i) }
	return map[string][2]string{
		"line feeds":        {feeds, feeds[1:] + "x"},
		"two lines":         {lines(1<<19, func(int) string { return string("ab"[r.IntN(2)]) + "\n" }), lines(1<<19, func(int) string { return string("ab"[r.IntN(2)]) + "\n" })},
		"turned round":      {lines(200_000, forward), lines(200_000, backward)},
		"shuffled":          {lines(200_000, forward), lines(200_000, func(int) string { return fmt.Sprintf("%x\n", r.IntN(200_000)) })},
		"one line":          {strings.Repeat("a", difference.MaxContent), strings.Repeat("a", difference.MaxContent-1) + "b"},
		"long lines":        {lines(2000, func(i int) string { return strings.Repeat("a", 520) + "\n" }), lines(2000, func(i int) string { return strings.Repeat("a", 519) + "b\n" })},
		"escapes":           {strings.Repeat("\u202e", difference.MaxContent/3), strings.Repeat("\u202d\n", difference.MaxContent/4)},
		"backslashes":       {"", strings.Repeat(strings.Repeat(`\`, 99)+"\x01\n", difference.MaxContent/101)},
		"carriage returns":  {strings.Repeat("\r", difference.MaxContent), strings.Repeat("\r\n", difference.MaxContent/2)},
		"tabs":              {strings.Repeat("\t", difference.MaxContent), strings.Repeat("\t\n", difference.MaxContent/2)},
		"combining marks":   {strings.Repeat("\u0301", difference.MaxContent/2), strings.Repeat("я\u0301\n", difference.MaxContent/5)},
		"NUL":               {strings.Repeat("\x00", difference.MaxContent), strings.Repeat("\xff", difference.MaxContent)},
		"JSON without end":  {strings.Repeat("[", difference.MaxContent), "\x00" + strings.Repeat("{", difference.MaxContent-1)},
		"a compound's head": {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + strings.Repeat("\x00\xff", 1<<18), "PK\x03\x04" + strings.Repeat("\x00PK", 1<<18)},
	}
}

// checkAnswer: what is printed is taken, as it is.
func checkAnswer(t *testing.T, a difference.Answer) {
	t.Helper()
	out, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	d, err := difference.DecodeAnswer(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Lines) != len(a.Lines) || d.Cut != a.Cut {
		t.Errorf("%d lines became %d", len(a.Lines), len(d.Lines))
	}
}

func TestCompareHostile(t *testing.T) {
	for name, h := range hostile() {
		t.Run(name, func(t *testing.T) {
			checkAnswer(t, compare(content(h[0]), content(h[1])))
			checkAnswer(t, compare(content(h[1]), content(h[0])))
			checkAnswer(t, compare(difference.Content{}, content(h[0])))
		})
	}
}

func BenchmarkCompare(b *testing.B) {
	for name, h := range hostile() {
		b.Run(name, func(b *testing.B) {
			x, y := content(h[0]), content(h[1])
			for b.Loop() {
				compare(x, y)
			}
		})
	}
}

// FuzzCompare: any two contents give an answer that is taken; and what is shown
// of a text, put together again, has the lines of the text.
func FuzzCompare(f *testing.F) {
	f.Add([]byte("a\nb\n"), []byte("a\nc"))
	f.Add([]byte("a\r\nb\r\n"), []byte("a\x00"))
	f.Add([]byte("\\ No newline at end of file\n-x\n"), []byte("+y\n@@ x\n"))
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a := compare(content(string(x)), content(string(y)))
		checkAnswer(t, a)
		if bytes.Equal(x, y) || a.Cut || !utf8.Valid(x) || !utf8.Valid(y) || bytes.IndexByte(append(x, y...), 0) >= 0 {
			return
		}
		var added, removed, saidAdded, saidRemoved int
		for _, l := range a.Lines {
			switch l[0] {
			case '+':
				added++
			case '-':
				removed++
			}
			if strings.HasPrefix(l, "@lines: ") && saidAdded+saidRemoved == 0 {
				fmt.Sscanf(l, "@lines: %d added, %d removed", &saidAdded, &saidRemoved)
			}
		}
		if added != saidAdded || removed != saidRemoved || added+removed == 0 {
			t.Errorf("%d added, %d removed; said %d and %d: %q", added, removed, saidAdded, saidRemoved, a.Lines)
		}
	})
}

// TestShowIsExact: no two texts look alike.
func TestShowIsExact(t *testing.T) {
	alphabet := []string{"a", " ", "\t", `\`, "→", "·", "␍", "\r", "\u202e", "u202e", "t", "я", "\u0301"}
	seen := map[string]string{}
	var try func(text string, left int)
	try = func(text string, left int) {
		lines := style{}.line("+"+text+"\n", 0)
		for i := range lines {
			lines[i] = visible.Line(lines[i]) // as root does
		}
		shown := strings.Join(lines, "\n")
		if other, here := seen[shown]; here && other != text {
			t.Fatalf("%q and %q are both shown as %q", text, other, shown)
		}
		seen[shown] = text
		if left > 0 {
			for _, c := range alphabet {
				try(text+c, left-1)
			}
		}
	}
	try("", 4)
}
