// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func good() Manifest {
	return Manifest{
		Name:        "pdf-tools",
		Description: "Splits and joins PDF files.\nUse it for PDFs. 👩\u200d💻",
		OpenClaw:    OpenClaw{Requires: Requires{Bins: []string{"qpdf", "g++", "python3.11"}}},
	}
}

func TestValidate(t *testing.T) {
	if err := good().Validate("pdf-tools"); err != nil {
		t.Fatal(err)
	}
	many := make([]string, MaxItems+1)
	for i := range many {
		many[i] = "x"
	}
	for name, tt := range map[string]struct {
		change func(*Manifest)
		want   string
	}{
		"no name":               {func(m *Manifest) { m.Name = "" }, "name is empty"},
		"other folder":          {func(m *Manifest) { m.Name = "pdf-tool" }, `the name is "pdf-tool" but the folder is "pdf-tools"`},
		"upper case":            {func(m *Manifest) { m.Name = "PDF" }, "'P' is not a lower-case letter"},
		"dots":                  {func(m *Manifest) { m.Name = ".." }, "'.' is not"},
		"slash":                 {func(m *Manifest) { m.Name = "a/b" }, "'/' is not"},
		"newline":               {func(m *Manifest) { m.Name = "a\nb" }, `"a\nb"`},
		"look-alike":            {func(m *Manifest) { m.Name = "pdf-t\u043eols" }, "'о' is not"},
		"leading hyphen":        {func(m *Manifest) { m.Name = "-a" }, "hyphens"},
		"trailing hyphen":       {func(m *Manifest) { m.Name = "a-" }, "hyphens"},
		"double hyphen":         {func(m *Manifest) { m.Name = "a--b" }, "hyphens"},
		"long name":             {func(m *Manifest) { m.Name = strings.Repeat("a", 65) }, "at most 64"},
		"no description":        {func(m *Manifest) { m.Description = " \n" }, "no description"},
		"long description":      {func(m *Manifest) { m.Description = strings.Repeat("é", 1025) }, "1025 characters"},
		"escape in description": {func(m *Manifest) { m.Description = "a\x1b[2Jb" }, `'\x1b'`},
		"bidi in description":   {func(m *Manifest) { m.Description = "a\u202eb" }, `'\u202e'`},
		"bin with slash":        {func(m *Manifest) { m.OpenClaw.Requires.Bins = []string{"/bin/sh"} }, `requires.bins names "/bin/sh"`},
		"bin with space":        {func(m *Manifest) { m.OpenClaw.Requires.AnyBins = []string{"a b"} }, `requires.anyBins names "a b"`},
		"bin as option":         {func(m *Manifest) { m.OpenClaw.Requires.Bins = []string{"-rf"} }, `names "-rf"`},
		"bin of dots":           {func(m *Manifest) { m.OpenClaw.Requires.Bins = []string{".."} }, `names ".."`},
		"empty bin":             {func(m *Manifest) { m.OpenClaw.Requires.Bins = []string{""} }, `names ""`},
		"bin of install":        {func(m *Manifest) { m.OpenClaw.Install = []Install{{Bins: []string{"a;b"}}} }, `names "a;b"`},
		"many bins":             {func(m *Manifest) { m.OpenClaw.Requires.Bins = many }, "at most 64"},
		"many tools":            {func(m *Manifest) { m.AllowedTools = many }, "at most 64"},
		"many variables":        {func(m *Manifest) { m.OpenClaw.EnvVars = make([]EnvVar, 65) }, "at most 64"},
		"newline in variable":   {func(m *Manifest) { m.OpenClaw.EnvVars = []EnvVar{{Name: "A\nB"}} }, "can't be shown"},
		"long license":          {func(m *Manifest) { m.License = strings.Repeat("x", MaxText+1) }, "at most 4096"},
		"escape in metadata":    {func(m *Manifest) { m.Metadata = map[string]string{"a\x1b": "b"} }, "a key of metadata"},
		"escape in a warning":   {func(m *Manifest) { m.Warnings = []string{"\x1b[1A"} }, "warnings"},
	} {
		t.Run(name, func(t *testing.T) {
			m := good()
			tt.change(&m)
			err := m.Validate("pdf-tools")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q in it", err, tt.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b\u202e") {
				t.Errorf("raw in the error: %q", err)
			}
		})
	}
}

func TestDecodeManifest(t *testing.T) {
	want := good()
	out, err := json.Marshal(Inspection{Manifest: &want})
	if err != nil {
		t.Fatal(err)
	}
	m, err := DecodeManifest(append(out, '\n'))
	if err != nil || fmt.Sprint(m) != fmt.Sprint(want) {
		t.Fatalf("got %+v, %v", m, err)
	}
	_, err = DecodeManifest([]byte(`{"error":{"message":"there is an anchor","line":4}}`))
	var ie *InspectError
	if !errors.As(err, &ie) || err.Error() != "SKILL.md line 4: there is an anchor" {
		t.Errorf("got %v", err)
	}
	for name, tt := range map[string]struct{ out, want string }{
		"nothing":           {"", "something else than a manifest"},
		"empty object":      {"{}", "not exactly one"},
		"null":              {"null", "not exactly one"},
		"both":              {`{"manifest":{"name":"a"},"error":{"message":"b"}}`, "not exactly one"},
		"unknown field":     {`{"manifest":{"name":"a","approved":true}}`, `unknown field "approved"`},
		"unknown at top":    {`{"manifest":{},"decision":"allow"}`, `unknown field "decision"`},
		"two objects":       {`{"manifest":{}}{"manifest":{}}`, "more than one"},
		"rubbish after":     {`{"manifest":{}}x`, "more than one"},
		"wrong type":        {`{"manifest":{"name":[]}}`, "something else"},
		"deep":              {`{"manifest":` + strings.Repeat("[", 100000), "something else"},
		"huge":              {strings.Repeat(" ", MaxManifest+1), "at most 262144"},
		"raw message":       {`{"error":{"message":"a\u001b[2Jb"}}`, "can't be shown"},
		"raw name":          {`{"manifest":{"name":"a\u001b[2Jb"}}`, "can't be shown"},
		"long message":      {`{"error":{"message":"` + strings.Repeat("x", 5000) + `"}}`, "at most 4096"},
		"too many metadata": {`{"manifest":{"metadata":{` + numbered(65) + `}}}`, "at most 64"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := DecodeManifest([]byte(tt.out))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %+v, %v; want %q in the error", m, err, tt.want)
			}
			if m.Name != "" {
				t.Errorf("a refused manifest came back: %+v", m)
			}
		})
	}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"k%d":"v"`, i)
	}
	return b.String()
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add([]byte(`{"manifest":{"name":"a","description":"b","openclaw":{"requires":{"bins":["git"]}}}}`))
	f.Add([]byte(`{"error":{"message":"no","line":3}}`))
	f.Add([]byte(`{"manifest":{"metadata":{"a":"b"},"warnings":["x"]}}`))
	f.Fuzz(func(t *testing.T, out []byte) {
		m, err := DecodeManifest(out)
		if err != nil {
			return
		}
		for _, b := range append(m.OpenClaw.Requires.Bins, m.OpenClaw.Requires.AnyBins...) {
			if b == "" || strings.ContainsAny(b, "/ \x00\n") {
				t.Fatalf("program %q was accepted", b)
			}
		}
		if _, bad := unprintable(m.Name+m.License+strings.Join(m.Warnings, ""), "\n\t"); bad {
			t.Fatalf("unprintable text was accepted: %+v", m)
		}
		again, err := json.Marshal(Inspection{Manifest: &m})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeManifest(again); err != nil && len(again) <= MaxManifest {
			t.Fatalf("not accepted a second time: %v", err)
		}
	})
}
