// SPDX-License-Identifier: Apache-2.0

package dotenv

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"", "", ""},
		{"# comment\n\n  \t\nA=b", "A=b;", ""},
		{"A=b\r\nexport B='c d'\n  C=\"d\\\"e\\\\\\$\\`\"  \n", `A=b;B=c d;C=d"e\$` + "`;", ""},
		{"A=", "A=;", ""},
		{"A=''", "A=;", ""},
		{"TOKEN=123:AA-b_c", "TOKEN=123:AA-b_c;", ""},
		{"A=b=c==", "A=b=c==;", ""},
		{"A='#$\\\"'", `A=#$\";`, ""},
		{"A", "", "line 1 is not KEY=VALUE"},
		{"\nhunter2", "", "line 2 is not KEY=VALUE"},
		{"A =b", "", "is not KEY=VALUE"},
		{"1A=b", "", "is not KEY=VALUE"},
		{"A= b", "", "not plain"},
		{"A=b # hunter2", "", "not plain"},
		{"A=$HOME", "", "not plain"},
		{"A=b;c", "", "not plain"},
		{"A=\"$HOME\"", "", "without a backslash"},
		{"A=\"a\"b\"", "", "without a backslash"},
		{"A=\"a\\n\"", "", "a backslash that means nothing"},
		{"A=\"a\\\"", "", "a backslash that means nothing"},
		{"A='a'b'", "", "between single quotes"},
		{"A='hunter2\nx'", "", "line 1: the value of A does not end"},
		{"A='a' # b", "", "does not end"},
		{"A=\"", "", "does not end"},
		{"A=1\nB=2\nA=3", "", "line 3: A is there twice"},
		{"A=\xff", "", "no UTF-8"},
		{strings.Repeat("#", MaxText+1), "", "more than"},
	} {
		lines, err := Parse([]byte(c.text))
		got := ""
		for _, l := range lines {
			got += fmt.Sprintf("%s=%s;", l.Key, l.Value)
		}
		if got != c.want || (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%.40q: %q, %v", c.text, got, err)
		}
	}
	var many strings.Builder
	for i := range MaxLines + 1 {
		fmt.Fprintf(&many, "A%d=1\n", i)
	}
	if _, err := Parse([]byte(many.String())); err == nil || !strings.Contains(err.Error(), "more than 1024 keys") {
		t.Error(err)
	}
}

// FuzzParse: what is read can be written in single quotes, or in double ones, and
// is read the same; and an error repeats nothing of a value.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"A=b", "export A='x y'\n", "A=\"\\\\\"", "#\n\nB=\"$\"", "A=1\r\nB=2"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines, err := Parse(text)
		if err != nil {
			return
		}
		var again bytes.Buffer
		for _, l := range lines {
			if bytes.IndexByte(l.Value, '\'') < 0 {
				fmt.Fprintf(&again, "%s='%s'\n", l.Key, l.Value)
				continue
			}
			quoted := strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "$", "\\$", "`", "\\`").Replace(string(l.Value))
			fmt.Fprintf(&again, "%s=\"%s\"\n", l.Key, quoted)
		}
		got, err := Parse(again.Bytes())
		if err != nil || len(got) != len(lines) {
			t.Fatalf("%q became %q: %v", text, again.Bytes(), err)
		}
		for i := range got {
			if got[i].Key != lines[i].Key || !bytes.Equal(got[i].Value, lines[i].Value) {
				t.Errorf("%q became %q", lines[i].Value, got[i].Value)
			}
		}
	})
}
