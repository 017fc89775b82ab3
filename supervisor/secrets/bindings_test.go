// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBindings(t *testing.T) {
	file := filepath.Join(state(t), "bindings.json")
	open := func() *Bindings {
		t.Helper()
		b, err := OpenBindings(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	bound := func(digest string, pairs ...string) Bound {
		one := Bound{Skill: "weather", Digest: digest, Variables: map[string]string{}, By: "uid 0", At: time.Now().UTC()}
		for i := 0; i < len(pairs); i += 2 {
			one.Variables[pairs[i]] = pairs[i+1]
		}
		return one
	}
	is := func(digest string, want map[string]string) {
		t.Helper()
		for _, b := range []*Bindings{open(), open()} {
			if got, err := b.For("weather", digest); err != nil || !maps.Equal(got, want) {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
		}
	}
	is("sha256:1", nil)
	b := open()
	for _, one := range []Bound{bound("sha256:1", "KEY", "weather"), bound("sha256:1", "OTHER", "openai")} {
		if _, err := b.Bind(one); err != nil {
			t.Fatal(err)
		}
	}
	is("sha256:1", map[string]string{"KEY": "weather", "OTHER": "openai"})
	if _, err := b.For("weather", "sha256:2"); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "look at the skill") {
		t.Error(err)
	}
	got, _ := b.For("weather", "sha256:1")
	got["KEY"] = "changed"
	b.List()[0].Variables["KEY"] = "changed"
	is("sha256:1", map[string]string{"KEY": "weather", "OTHER": "openai"})
	if err := b.Unbind("weather", "NO"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if err := b.Unbind("weather", "OTHER"); err != nil {
		t.Fatal(err)
	}
	is("sha256:1", map[string]string{"KEY": "weather"})
	// Other bytes: what was bound with the old ones is gone.
	if _, err := b.Bind(bound("sha256:2", "NEW", "openai")); err != nil {
		t.Fatal(err)
	}
	is("sha256:2", map[string]string{"NEW": "openai"})
	if err := b.Unbind("weather", "NEW"); err != nil {
		t.Fatal(err)
	}
	if err := b.Unbind("weather"); !errors.Is(err, ErrUnknown) || len(open().List()) != 0 {
		t.Errorf("%v %+v", err, open().List())
	}
	for _, wrong := range []Bound{bound("", "KEY", "a"), bound("sha256:1"), bound("sha256:1", "A=B", "a"), bound("sha256:1", "1A", "a"), bound("sha256:1", "A", "../a")} {
		if _, err := b.Bind(wrong); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	many := bound("sha256:1")
	for i := range MaxVariables {
		many.Variables[fmt.Sprint("V", i)] = "a"
	}
	if _, err := b.Bind(many); err != nil {
		t.Error(err)
	}
	if _, err := b.Bind(bound("sha256:1", "ONE_MORE", "a")); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	for _, text := range []string{`{"format":2,"skills":[]}`, `{"format":1,"skills":[{"skill":"a"}]}`, `{"format":1,"skills":[],"x":1}`,
		`{"format":1,"skills":[{"skill":"a","digest":"d","variables":{"A":"b"}},{"skill":"a","digest":"d","variables":{"A":"b"}}]}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := OpenBindings(file); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %+v, %v", text, b, err)
		}
	}
}
