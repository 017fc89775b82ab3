// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWorkspaceRefused(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "var", "state")
	for _, d := range []string{state, filepath.Join(state, "skills"), filepath.Join(dir, "good"), filepath.Join(dir, "mirror")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"link": filepath.Join(dir, "good"), "sly": state} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	// Another way to the same directory.
	if err := unix.Mount(state, filepath.Join(dir, "mirror"), "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(dir, "mirror"), 0) })
	own := []string{state, filepath.Join(dir, "not", "yet", "there")}

	for _, c := range []struct{ name, says string }{
		{"", "is empty"},
		{"/", "more than one project"},
		{"//", "more than one project"},
		{"/etc/..", "more than one project"},
		{"/etc", "belongs to the system"},
		{"/etc/alternatives", "belongs to the system"},
		{"/usr", "belongs to the system"},
		{"/usr/lib", "belongs to the system"},
		{"/proc", "belongs to the system"},
		{"/proc/self", "is a symbolic link"},
		{"/proc/self/fd", "belongs to the system"},
		{"/sys", "belongs to the system"},
		{"/dev", "belongs to the system"},
		{"/dev/shm", "belongs to the system"},
		{"/run", "belongs to the system"},
		{"/var/run", "is a symbolic link"},
		{"/var", "more than one project"},
		{"/var/lib", "more than one project"},
		{"/boot", "belongs to the system"},
		{"/root", "more than one project"},
		{"/home", "more than one project"},
		{"/tmp", "more than one project"},
		{dir + "/file", "is not a directory"},
		{dir + "/missing", "does not exist"},
		{dir + "/missing/deeper", "no such file"},
		{dir + "/link", "is a symbolic link"},
		{dir + "/link/", "is a symbolic link"},
		{dir + "/sly/skills", "belongs to clawsup"},
		{state, "belongs to clawsup"},
		{state + "/skills", "belongs to clawsup"},
		{dir + "/mirror", "belongs to clawsup"},
		{dir + "/mirror/skills", "belongs to clawsup"},
		{dir + "/var", "contains"},
		{dir, "contains"},
		{dir + "/a\x1b[2J\u202e", `\x1b[2J\u202e`},
		{dir + "/a\x00b", "invalid argument"},
	} {
		w, err := openWorkspace(c.name, own, nil)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %+v, %v; want %q", c.name, w, err, c.says)
		}
	}

	if w, err := openWorkspace(dir+"/good", nil, []string{dir + "/good/deep/audit.key"}); err == nil {
		t.Errorf("it holds a file of clawsup's: %+v", w)
	}
	good, err := openWorkspace(dir+"/good/.", own, []string{dir + "/audit.key"})
	if err != nil {
		t.Fatal(err)
	}
	if good.Path != dir+"/good" || good.same() != nil {
		t.Errorf("%+v, %v", good, good.same())
	}
	// A link on the way is resolved once.
	if err := os.Mkdir(dir+"/good/deep", 0o755); err != nil {
		t.Fatal(err)
	}
	if w, err := openWorkspace(dir+"/link/deep", own, nil); err != nil || w.Path != dir+"/good/deep" {
		t.Errorf("%+v, %v", w, err)
	}
	if err := os.Rename(dir+"/good", dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/good", 0o755); err != nil {
		t.Fatal(err)
	}
	if good.same() == nil {
		t.Error("another directory of the same name passes for the planned one")
	}
}
