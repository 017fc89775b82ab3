// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMain is also attr, a command for the scripts of tests:
// attr NAME HEXADECIMAL FILE... sets an extended attribute.
func TestMain(m *testing.M) {
	if os.Getenv("CHANGESET_ATTR") == "" {
		os.Exit(m.Run())
	}
	value, err := hex.DecodeString(os.Args[2])
	for _, file := range os.Args[3:] {
		err = errors.Join(err, unix.Lsetxattr(file, os.Args[1], value, 0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// acl is an access list that lets user 7 read, and everybody, as an attribute
// (linux/posix_acl_xattr.h); more lets them write, too.
const (
	acl  = "02000000" + "01000600ffffffff" + "0200040007000000" + "04000400ffffffff" + "10000400ffffffff" + "20000400ffffffff"
	more = "02000000" + "01000600ffffffff" + "0200060007000000" + "04000400ffffffff" + "10000600ffffffff" + "20000400ffffffff"
)

// capability is that to send raw packets (linux/capability.h, vfs_cap_data).
const capability = "0100000200200000000000000000000000000000"

// stage is a workspace, a layer and the kernel's overlay of the two.
type stage struct {
	t            testing.TB
	lower, upper string
	merged       string // a path through a descriptor: the mount is attached nowhere
	begin        time.Time
}

// prepare makes a workspace by the commands of a shell, and an empty layer.
func prepare(t testing.TB, script string) *stage {
	t.Helper()
	dir := t.TempDir()
	s := &stage{t: t, lower: filepath.Join(dir, "lower"), upper: filepath.Join(dir, "upper")}
	for _, name := range []string{s.lower, s.upper, filepath.Join(dir, "work")} {
		must(t, os.Mkdir(name, 0o755))
	}
	s.shell(s.lower, script)
	s.mount(filepath.Join(dir, "work"))
	return s
}

// mount puts the overlay up, as package overlay does.
func (s *stage) mount(work string) {
	s.t.Helper()
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	must(s.t, err)
	defer unix.Close(fs)
	for _, x := range [][2]string{
		{"lowerdir", s.lower}, {"upperdir", s.upper}, {"workdir", work}, {"redirect_dir", "on"}, {"metacopy", "off"}, {"index", "off"}, {"xino", "off"},
	} {
		must(s.t, unix.FsconfigSetString(fs, x[0], x[1]))
	}
	must(s.t, unix.FsconfigCreate(fs))
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	must(s.t, err)
	s.t.Cleanup(func() { _ = unix.Close(fd) })
	s.merged = fmt.Sprintf("/proc/self/fd/%d/", fd)
	s.begin = tick(s.t, s.lower)
}

// tick waits until the file system of a directory stamps a later time than any
// before, and gives it.
func tick(t testing.TB, dir string) time.Time {
	t.Helper()
	name := filepath.Join(filepath.Dir(dir), "clock")
	stamp := func() int64 {
		must(t, os.WriteFile(name, []byte("x"), 0o600))
		var st unix.Stat_t
		must(t, unix.Stat(name, &st))
		return st.Mtim.Nano()
	}
	first := stamp()
	for {
		if now := stamp(); now > first {
			return time.Unix(0, now)
		}
	}
}

// shell runs commands in a directory.
func (s *stage) shell(dir, script string) {
	s.t.Helper()
	c := exec.Command("/bin/bash", "-euc", "umask 022; "+script)
	c.Dir = dir
	c.Env = append(os.Environ(), "TEST="+os.Args[0], "BASH_FUNC_attr%%=() { CHANGESET_ATTR=1 \"$TEST\" \"$@\"; }")
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// call runs commands in the overlay.
func (s *stage) call(script string) *stage { s.t.Helper(); s.shell(s.merged, script); return s }

// host runs commands in the workspace itself.
func (s *stage) host(script string) *stage { s.t.Helper(); s.shell(s.lower, script); return s }

func open(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	return fd
}

// try walks, with what is to be changed of a layer.
func (s *stage) try(change func(*Layer)) (*Set, error) {
	s.t.Helper()
	l := Layer{Upper: open(s.t, s.upper), Lower: open(s.t, s.lower), Begin: s.begin}
	defer unix.Close(l.Upper)
	defer unix.Close(l.Lower)
	if change != nil {
		change(&l)
	}
	return Walk(context.Background(), l)
}

// walk gives the change set, once it is sure that it comes through its encoding.
func (s *stage) walk() *Set {
	s.t.Helper()
	set, err := s.try(nil)
	must(s.t, err)
	var text bytes.Buffer
	must(s.t, set.Encode(&text))
	again, err := Decode(bytes.NewReader(text.Bytes()))
	must(s.t, err)
	if again.Digest() != set.Digest() || len(again.Entries) != len(set.Entries) {
		s.t.Errorf("the set is another once it is decoded:\n%s", text.Bytes())
	}
	return set
}

// short writes an entry in a few words.
func short(e *Entry) string {
	b := fmt.Sprintf("%s %s", e.Kind, e.Path)
	if e.From != "" {
		b += " <" + string(e.From)
	}
	if e.Link != "" {
		b += " =" + string(e.Link)
	}
	if e.Target != "" {
		b += " >" + string(e.Target)
	}
	for _, n := range []struct {
		note Notes
		text string
	}{{Conflict, " conflict"}, {Leaves, " leaves"}, {Privileged, " privileged"}, {HardLinked, " linked"}, {Foreign, " foreign"}, {Attributes, " attributes"}} {
		if e.Notes.Has(n.note) {
			b += n.text
		}
	}
	return b
}

func shorts(s *Set) []string {
	var list []string
	for i := range s.Entries {
		list = append(list, short(&s.Entries[i]))
	}
	return list
}

// want compares a set with entries in short, a line each.
func want(t testing.TB, s *Set, lines string) {
	t.Helper()
	var wanted []string
	for line := range strings.SplitSeq(lines, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			wanted = append(wanted, line)
		}
	}
	if got := shorts(s); !slices.Equal(got, wanted) {
		t.Errorf("the set is\n\t%s\nand not\n\t%s", strings.Join(got, "\n\t"), strings.Join(wanted, "\n\t"))
	}
}

func sum(text string) string {
	h := sha256.Sum256([]byte(text))
	return prefix + hex.EncodeToString(h[:])
}

// find gives an entry.
func find(t testing.TB, s *Set, kind Kind, path string) *Entry {
	t.Helper()
	for i := range s.Entries {
		if e := &s.Entries[i]; e.Kind == kind && string(e.Path) == path {
			return e
		}
	}
	t.Fatalf("%s %s is not in %q", kind, path, shorts(s))
	return nil
}

// lock gives the goroutine a thread and a mount namespace of its own, which end
// with it.
func lock(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		t.Error(err)
	}
}
