// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/profiles.md")

// TestReference holds the committed reference to the table of keys.
func TestReference(t *testing.T) {
	var got bytes.Buffer
	if err := Reference(&got); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "docs", "profiles.md")
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s is not what the table of keys says; run go generate ./profiles", path)
	}
	for _, k := range keys {
		if !strings.Contains(got.String(), "| `"+k.name+"` | "+k.kind+" |") {
			t.Errorf("the reference lacks %s", k.name)
		}
	}
	for i, l := range strings.Split(got.String(), "\n") {
		if strings.HasPrefix(l, "|") && strings.Contains(l, "||") {
			t.Errorf("line %d has an empty cell that Markdown would join: %s", i+1, l)
		}
	}
}

func TestShow(t *testing.T) {
	dir := profileDir(t, map[string]string{"mine.toml": "files.read = ['/srv', '/opt']\n[environment.set]\nA = '\"q\" \\'\n"})
	l, err := Load("mine", []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Show(&out, l); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# profile mine, from " + dir + "/mine.toml\n",
		"# digest " + l.Digest + "\n",
		"\n[limits]\n",
		"\nmemory = \"256M\"        # built in: default\n",
		"\nread = [\"/opt\", \"/srv\"]  # " + dir + "/mine.toml\n",
		"\nA = \"\\\"q\\\" \\\\\"",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	// What is shown is a profile file with the same meaning, but for its origins.
	again, err := parsed(out.String())
	if err != nil || again.Digest != l.Digest {
		t.Errorf("shown and read again: %+v, %v", again, err)
	}
}

// TestShowHidesNothing: a path can't write to the terminal.
func TestShowHidesNothing(t *testing.T) {
	l := &Loaded{Source: "/x\x1b[2J/a.toml", Origin: map[string]string{"limits.memory": "/x\u202e/a.toml"}}
	var out bytes.Buffer
	if err := Show(&out, l); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\u202e") {
		t.Errorf("%q", out.String())
	}
}

func TestSchema(t *testing.T) {
	var schema struct {
		Schema     string `json:"$schema"`
		Additional bool   `json:"additionalProperties"`
		Properties map[string]struct {
			Type        string
			Description string
			Additional  any `json:"additionalProperties"`
			Properties  map[string]map[string]any
		}
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if schema.Schema != "https://json-schema.org/draft/2020-12/schema" || schema.Additional {
		t.Errorf("schema %q, additional %v", schema.Schema, schema.Additional)
	}
	for _, k := range keys {
		table, last, nested := strings.Cut(k.name, ".")
		p, ok := schema.Properties[table]
		if !ok || !nested && !strings.HasPrefix(p.Description, k.doc) {
			t.Errorf("no %s in the schema", k.name)
			continue
		}
		if !nested {
			continue
		}
		if p.Type != "object" || p.Additional != false {
			t.Errorf("%s is not a closed table", table)
		}
		if d, _ := p.Properties[last]["description"].(string); !strings.HasPrefix(d, k.doc) || !strings.Contains(d, k.rule) {
			t.Errorf("%s is described as %q", k.name, d)
		}
	}
	if !bytes.Equal(Schema(), Schema()) {
		t.Error("two schemas differ")
	}
}

// TestImports keeps the package light: root's daemon links it.
func TestImports(t *testing.T) {
	if os.Getenv("CLAWSUP_VM") != "" {
		t.Skip("the guest has no Go toolchain")
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"github.com/clawsup/clawsup/profiles", "github.com/BurntSushi/toml", "golang.org/x/sys/unix"}
	for _, path := range strings.Fields(string(out)) {
		ok := false
		for _, a := range allowed {
			ok = ok || path == a || strings.HasPrefix(path, a+"/")
		}
		if !ok {
			t.Errorf("imports %s", path)
		}
	}
	std, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(std)) {
		if path == "net" || strings.HasPrefix(path, "net/") && path != "net/netip" || strings.HasPrefix(path, "crypto/tls") {
			t.Errorf("imports %s", path)
		}
	}
}
