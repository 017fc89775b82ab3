// SPDX-License-Identifier: Apache-2.0

package api

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	old := unix.Umask(0o027)
	l, err := Listen(path, 0o666, stranger, stranger+1)
	if now := unix.Umask(old); now != 0o027 {
		t.Errorf("the umask became %#o", now)
	}
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil || st.Mode != unix.S_IFSOCK|0o666 || st.Uid != stranger || st.Gid != stranger+1 {
		t.Errorf("%+v, %v", st, err)
	}
	if err := os.Chown(path, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600, -1, -1); err == nil || !strings.Contains(err.Error(), "another clawsupd") {
		t.Errorf("a second one: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	l.Close()
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatalf("the socket went with the listener: %v", err)
	}
	// now it is dead, and ours
	l, err = Listen(path, 0o600, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := unix.Lstat(path, &st); err != nil || st.Mode != unix.S_IFSOCK|0o600 || st.Uid != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestListenTouchesNothingElse: what is not a dead socket of ours stays.
func TestListenTouchesNothingElse(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(dir, "victim") // a dead socket of ours, but behind a link
	l, err := Listen(victim, 0o600, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	others := filepath.Join(dir, "others")
	if l, err = Listen(others, 0o600, stranger, -1); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("victim", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"link": "something else than a socket", "file": "something else than a socket", "others": "a socket of user 4242",
	} {
		path := filepath.Join(dir, name)
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path, 0o600, -1, -1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) || before.Mode() != after.Mode() {
			t.Errorf("%s was touched: %v, %v", name, after, err)
		}
	}
	if _, err := os.Lstat(victim); err != nil {
		t.Errorf("the link's target: %v", err)
	}
}

func TestListenWhereOthersWrite(t *testing.T) {
	for name, spoil := range map[string]func(dir string) error{
		"a group's":   func(dir string) error { return os.Chmod(dir, 0o775) },
		"everybody's": func(dir string) error { return os.Chmod(dir, 0o1777) },
		"a user's":    func(dir string) error { return os.Chown(dir, stranger, -1) },
	} {
		dir := t.TempDir()
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(filepath.Join(dir, "s"), 0o600, -1, -1); err == nil || !strings.Contains(err.Error(), "root's alone") {
			t.Errorf("%s: %v", name, err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
	if _, err := Listen("/"+strings.Repeat("a", maxPath), 0o600, -1, -1); err == nil || !strings.Contains(err.Error(), "at most 107") {
		t.Errorf("%v", err)
	}
	if _, err := Listen("/nowhere/s", 0o600, -1, -1); err == nil {
		t.Error("nowhere is a directory")
	}
}
