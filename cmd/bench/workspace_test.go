// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Each call has a workspace as it was made, of its owner, and the last one's is
// gone.
func TestFresh(t *testing.T) {
	own := fresh{dir: t.TempDir(), fill: func(dir string) error { return writeFiles(dir, map[string]string{"a/b": "text"}) }}
	for n := range 2 {
		if err := own.before(n); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(own.path(n)+"/a/b", &st); err != nil || st.Uid != ownerID || st.Gid != ownerID {
			t.Errorf("call %d: it belongs to %d:%d, %v", n, st.Uid, st.Gid, err)
		}
	}
	if _, err := os.Stat(own.path(0)); !os.IsNotExist(err) {
		t.Errorf("the workspace before is still there: %v", err)
	}
	own.heap = true
	if err := own.before(2); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(own.path(1)); err != nil {
		t.Errorf("a workspace that was to stay is gone: %v", err)
	}
	c := contestant{argv: []string{"x", own.spawned()}}
	if got := c.line(0, "1")[1]; got != own.path(1) {
		t.Errorf("what is spawned works in %s, not in %s", got, own.path(1))
	}
}

func TestWideWorkspace(t *testing.T) {
	dir := t.TempDir()
	if err := makeWide(dir, 2*perFolder+3); err != nil {
		t.Fatal(err)
	}
	if n := regular(t, dir); n != 2*perFolder+3+2 {
		t.Errorf("it has %d files", n)
	}
}

// The tarballs are what npm and tar take them for.
func TestTarballs(t *testing.T) {
	dir := t.TempDir()
	if err := makeTarballs(dir); err != nil {
		t.Fatal(err)
	}
	if n := regular(t, dir); n != treePackages+1 {
		t.Errorf("%d files were made", n)
	}
	unpack := exec.Command("tar", "-xzf", "tarballs/package7.tgz")
	unpack.Dir = dir
	if out, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if n := regular(t, filepath.Join(dir, "package")); n != treeFiles {
		t.Errorf("a package has %d files", n)
	}
}

// regular counts the regular files of a tree.
func regular(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
