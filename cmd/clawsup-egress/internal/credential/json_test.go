// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"encoding/json"
	"strings"
	"testing"
)

// Whatever passes: it is JSON to the standard library too, and each value stands
// where walk says.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(`{"a" : [1, {"b":"\u0061"} , null], "c":{"d":-1.5e3,"":"x"}}`))
	f.Add([]byte(`[{"a":1,"a":2}]`))
	f.Add([]byte(` "x" `))
	f.Fuzz(func(t *testing.T, text []byte) {
		err := walk(text, func(e element) error {
			if e.kind == objectElement || e.kind == arrayElement {
				return nil
			}
			var v any
			d := json.NewDecoder(strings.NewReader(string(text[e.from:e.to])))
			d.UseNumber()
			if err := d.Decode(&v); err != nil {
				t.Fatalf("%q is no value: %v", text[e.from:e.to], err)
			}
			switch v := v.(type) {
			case string:
				if e.kind != stringElement || v != e.text {
					t.Fatalf("%q is taken for %q", v, e.text)
				}
			case json.Number:
				if e.kind != numberElement || v.String() != e.text {
					t.Fatalf("%v is taken for %q", v, e.text)
				}
			}
			return nil
		})
		if err == nil && !json.Valid(text) {
			t.Fatal("it is no JSON")
		}
	})
}

func TestWalkRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "{", "{}{}", "[1 2]", "[,1]", `{"a" 1}`, `{"a":1,}`, "{'a':1}", "[1]x", "\ufeff{}", "\"\xff\"", "// x\n{}", "NaN",
		`{"a":1,"\u0061":2}`, strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1),
	} {
		if err := walk([]byte(text), func(element) error { return nil }); err == nil {
			t.Errorf("%.40q passes", text)
		}
	}
	for _, text := range []string{"1", `{"a":{"a":{"a":1}},"A":1}`, `[{"a":1},{"a":1}]`, strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)} {
		if err := walk([]byte(text), func(element) error { return nil }); err != nil {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}
