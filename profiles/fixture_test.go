// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nobody owns what root doesn't.
const nobody = 65534

// profileDir makes a directory that root alone can write, with the given files.
func profileDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	return dir
}

// write makes a file that root alone can write.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// disown gives a file or directory to nobody.
func disown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	if err := os.Chown(path, nobody, nobody); err != nil {
		t.Fatal(err)
	}
}

// mustFail checks that err is there, holds every part and shows whole on one line.
func mustFail(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	if !printable(err.Error()) {
		t.Errorf("the error %q has characters that don't show", err)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("the error %q lacks %q", err, p)
		}
	}
}

// parsed reads text as a file that root alone can write.
func parsed(text string) (*Loaded, error) {
	d := &document{name: "test", source: "test.toml", id: fileID{dev: 1, ino: 1}, trusted: true}
	if err := d.parse([]byte(text)); err != nil {
		return nil, err
	}
	return d.resolve(nil)
}
