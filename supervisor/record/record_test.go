// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type thing struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.json")
	for n := range 3 {
		want := thing{"x\u202e\x00", n}
		if err := Write(file, want); err != nil {
			t.Fatal(err)
		}
		var got thing
		if err := Read(file, &got); err != nil || got != want {
			t.Fatalf("%+v %v", got, err)
		}
	}
	if err := errors.Join(Remove(file), Remove(file)); err != nil {
		t.Fatal(err)
	}
	if err := Read(file, &thing{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after it was removed: %v", err)
	}
}

func TestWhatIsNotBelieved(t *testing.T) {
	for name, text := range map[string]string{
		"torn":          `{"name": "a`,
		"empty":         ``,
		"unknown field": `{"name": "a", "approved": true}`,
		"two objects":   `{"name": "a"} {"name": "b"}`,
		"rubbish after": `{"name": "a"} x`,
		"too large":     `{"name": "` + strings.Repeat("a", Max) + `"}`,
	} {
		file := filepath.Join(t.TempDir(), "a.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Read(file, &thing{}); err == nil {
			t.Errorf("%s: it was read", name)
		}
	}
}

func TestWhoseFileItIs(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")
	if err := Write(file, thing{"a", 1}); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := Read(link, &thing{}); err == nil {
		t.Error("through a symbolic link")
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Read(file, &thing{}); err == nil {
		t.Error("writable by others")
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := Read(file, &thing{}); err == nil {
		t.Error("somebody else's")
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	if err := Write(filepath.Join(dir, "a.json"), thing{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, unfinished+"1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 || entries[0].Name() != "a.json" {
		t.Error(entries)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"a","n":1}`))
	f.Add([]byte(`{"n":1e999}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var a thing
		if decode("f", text, &a) != nil {
			return
		}
		file := filepath.Join(t.TempDir(), "a.json")
		var b thing
		if err := errors.Join(Write(file, a), Read(file, &b)); err != nil || a != b {
			t.Errorf("%+v %+v %v", a, b, err)
		}
	})
}

// Create makes a file once: a second time it is an error, and nothing changes.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	if err := Create(file, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := Create(file, []byte("second")); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	content, err := os.ReadFile(file)
	if err != nil || string(content) != "first" {
		t.Errorf("%q, %v", content, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left: %v, %v", entries, err)
	}
}
