// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/clawsup/clawsup/runtime"
)

// TestStamp: what was replaced under its name is another thing, and a box that
// shows the old one doesn't fit.
func TestStamp(t *testing.T) {
	dir := t.TempDir()
	name := func(s string) string { return filepath.Join(dir, s) }
	for _, d := range []string{"root", "next"} {
		if err := os.Mkdir(name(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name("file"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := runtime.Spec{Rootfs: name("root"), Read: []string{name("file")}}
	before := stamp(&spec)
	if stamp(&spec) != before || before == "" {
		t.Error("the same has another stamp, or none")
	}
	if err := os.WriteFile(name("file"), []byte("in place"), 0o644); err != nil {
		t.Fatal(err)
	}
	if stamp(&spec) != before {
		t.Error("a box shows what is written in place; it needs no other")
	}
	if err := os.WriteFile(name("new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name("new"), name("file")); err != nil {
		t.Fatal(err)
	}
	replaced := stamp(&spec)
	if replaced == before {
		t.Error("another file has the same stamp")
	}
	if err := errors.Join(os.Remove(name("root")), os.Rename(name("next"), name("root"))); err != nil {
		t.Fatal(err)
	}
	if stamp(&spec) == replaced {
		t.Error("another root has the same stamp")
	}
	if stamp(&runtime.Spec{}) == "" {
		t.Error("the system's directories have none")
	}
}
