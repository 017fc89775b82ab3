// SPDX-License-Identifier: Apache-2.0

package raw

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestRead(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`""`, ""},
		{`"a b\n\u0000\/"`, "a b\n\x00/"},
		{`"é\u00e9\ud83d\ude00"`, "éé😀"},
		{`"\ufffd` + "\ufffd" + `\uFFFD"`, "\ufffd\ufffd\ufffd"},
		{`"\\ud800"`, `\ud800`},
		{`"\\\\ufffd"`, `\\ufffd`},
		{`{"base64":""}`, ""},
		{` { "base64" : "cm3/" } `, "rm\xff"},
		{`{"\u0062ase64":"cm3/"}`, "rm\xff"},
	} {
		var s String
		if err := json.Unmarshal([]byte(test.text), &s); err != nil || string(s) != test.want {
			t.Errorf("%s: %q, %v; want %q", test.text, s, err, test.want)
		}
	}
}

// TestNotRead: nothing is read that would be something else than what was sent.
func TestNotRead(t *testing.T) {
	for _, text := range []string{
		"\"\xff\"", "\"\xed\xa0\x80\"", "\"a\xc3\"",
		`"\ud800"`, `"\udc00"`, `"\udc00\ud800"`, `"\ud800\ud800\udc00"`, `"\ud800x\udc00"`, `"\ud800\\udc00"`, `"\ud800\n"`,
		// one that is written does not cover one that is made
		`"\\ufffd\ud800"`, `"\ufffd\ud800"`, "\"\ufffd\\ud800\"",
		`null`, `true`, `7`, `[]`, `["a"]`, `{}`,
		`{"base64":null}`, `{"base64":7}`, `{"base64":{}}`, `{"base64":["YQ=="]}`, `{"base64":"?"}`, `{"base64":"YQ"}`,
		`{"BASE64":"YQ=="}`, `{"base64":"YQ==","base64":"Yg=="}`, `{"base64":"YQ==","x":1}`, `{"x":1,"base64":"YQ=="}`, `{"text":"a"}`,
	} {
		s := String("canary")
		if err := json.Unmarshal([]byte(text), &s); err == nil || s != "canary" {
			t.Errorf("%q was read as %q, %v", text, s, err)
		}
	}
}

func TestLists(t *testing.T) {
	list := []string{"", "a", "\xff"}
	b, err := json.Marshal(Of(list))
	if err != nil || string(b) != `["","a",{"base64":"/w=="}]` {
		t.Errorf("%s, %v", b, err)
	}
	var back []String
	if err := json.Unmarshal(b, &back); err != nil || !slices.Equal(Strings(back), list) {
		t.Errorf("%q, %v", back, err)
	}
}

// FuzzBytes: what was written is read.
func FuzzBytes(f *testing.F) {
	for _, s := range []string{"", "a", "\xff", "\ufffd", `\ud800`, "\xed\xa0\x80", "<&>\u2028\x00", `{"base64":""}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := json.Marshal(String(s))
		if err != nil {
			t.Fatal(err)
		}
		var back String
		if err := json.Unmarshal(b, &back); err != nil || string(back) != s {
			t.Errorf("%q was written as %s and read as %q, %v", s, b, back, err)
		}
	})
}

// replacement finds, in another way than Exact, what encoding/json replaces:
// escapes one after the other, a pair of surrogates as one.
var (
	escape = regexp.MustCompile(`(?i)\\u(d[89ab]..)\\u(d[c-f]..)|\\u....|\\.`)
	half   = regexp.MustCompile(`(?i)^\\ud[89a-f]..$`)
)

// FuzzText: of any JSON, what is taken is taken as it is, and what is refused
// would be changed.
func FuzzText(f *testing.F) {
	for _, s := range []string{`"a"`, `"\ud83d\ude00"`, `"\\ufffd\ud800"`, `{"base64":"/w=="}`, "\"\xff\"", `null`, `"\ud800\\udc00"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s String
		err := json.Unmarshal(text, &s)
		if !json.Valid(text) {
			if err == nil {
				t.Errorf("%q is no JSON and was read", text)
			}
			return
		}
		token := strings.Trim(string(text), " \t\r\n")
		if token[0] != '"' {
			return
		}
		replaced := !utf8.Valid(text) || slices.ContainsFunc(escape.FindAllString(token, -1), half.MatchString)
		if replaced != (err != nil) {
			t.Errorf("%q: %v", text, err)
		}
		var plain string
		if err2 := json.Unmarshal(text, &plain); err == nil && (err2 != nil || plain != string(s)) {
			t.Errorf("%q was read as %q, and is %q, %v", text, s, plain, err2)
		}
	})
}
