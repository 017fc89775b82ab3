// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTidyFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("letter.txt", "Dear Ann,  \nhello\n")
	write("letter (copy).txt", "Dear Ann,  \nhello\n")
	write("empty.log", "")
	write("notes~", "old")
	write(".bashrc", "hidden  \n")
	write("photo.jpg", "\xff\xd8 ")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.txt")); err != nil {
		t.Fatal(err)
	}
	const tool = "tidy-folder/scripts/tidy.py"
	before := names(t, dir)
	if status, out, bad := script(t, "", tool, "--list", dir); status != 0 || bad != "" || !strings.Contains(out, "delete duplicate: 'letter.txt'") {
		t.Errorf("%d %q %q", status, out, bad)
	}
	if after := names(t, dir); after != before {
		t.Errorf("--list did something: %s", after)
	}
	if status, _, bad := script(t, "", tool, dir); status != 0 || bad != "" {
		t.Errorf("%d %q", status, bad)
	}
	if after := names(t, dir); after != ".bashrc INDEX.md letter (copy).txt link.txt photo.jpg" {
		t.Errorf("there is %s", after)
	}
	for name, want := range map[string]string{
		"letter (copy).txt": "Dear Ann,\nhello\n", ".bashrc": "hidden  \n", "photo.jpg": "\xff\xd8 ",
		"INDEX.md": "# Index\n\n- letter (copy).txt (16 bytes): Dear Ann,\n- photo.jpg (3 bytes)\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if status, out, _ := script(t, "", tool, "--no-index", dir); status != 0 || out != "" {
		t.Errorf("the second time: %d %q", status, out)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}
