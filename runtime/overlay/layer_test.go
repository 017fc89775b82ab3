// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// What tools do lands in the layer, and the workspace stays as it was.
func TestWrites(t *testing.T) {
	m := testMaker(t)
	w := workspace(t, openDir(t), "mkdir -p d/sub; echo old > mod; echo x > d/x; echo y > d/sub/y; echo g > gone; mkdir gonedir; touch gonedir/f; ln mod modlink")
	before := snapshot(t, w)
	l := makeLayer(t, m, small)
	inside(t, l, w, `
		echo new > new; mkdir newdir; echo n > newdir/n
		echo more >> mod
		rm gone; rm -r gonedir; mkdir gonedir
		mv d e; echo z > e/sub/z
		ln new newlink
		[ "$(cat mod)" = "old
more" ]; [ "$(cat modlink)" = old ]; [ "$(cat e/x)" = x ]; [ ! -e d ]; [ ! -e gone ]; [ -z "$(ls gonedir)" ]`)
	if after := snapshot(t, w); after != before {
		t.Errorf("the workspace was\n%s\nand is\n%s", before, after)
	}
	// In the layer, what is new is its owner's, and what is gone is a whiteout.
	if got, want := upper(t, l, `stat -c "%n %F %u:%g %t:%T %h" *`), `d character special file 0:0 0:0 1
e directory 51000:52000 0:0 3
gone character special file 0:0 0:0 2
gonedir directory 51000:52000 0:0 2
mod regular file 51000:52000 0:0 1
new regular file 51000:52000 0:0 2
newdir directory 51000:52000 0:0 2
newlink regular file 51000:52000 0:0 2
`; !sameExceptWhiteoutLinks(got, want) {
		t.Errorf("the layer holds\n%s\nand should\n%s", got, want)
	}
	f, err := l.Upper()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, want := range map[string]string{"e:trusted.overlay.redirect": "d", "gonedir:trusted.overlay.opaque": "y"} {
		file, attr, _ := strings.Cut(name, ":")
		if got := xattr(t, f, file, attr); got != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
}

// sameExceptWhiteoutLinks leaves out how many names whiteouts have: they share
// an inode, or don't.
func sameExceptWhiteoutLinks(a, b string) bool {
	cut := func(s string) string {
		lines := strings.SplitAfter(s, "\n")
		for i, line := range lines {
			if before, _, found := strings.Cut(line, " 0:0 0:0 "); found && strings.Contains(line, "character") {
				lines[i] = before + "\n"
			}
		}
		return strings.Join(lines, "")
	}
	return cut(a) == cut(b)
}

func xattr(t *testing.T, dir *os.File, file, attr string) string {
	t.Helper()
	value := make([]byte, 256)
	n, err := unix.Lgetxattr("/proc/self/fd/"+itoa(dir.Fd())+"/"+file, attr, value)
	if err != nil {
		t.Fatalf("%s of %s: %v", attr, file, err)
	}
	return string(value[:n])
}

// The root of the overlay is as the workspace's own, and nothing of it changed
// by that.
func TestRootResembles(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), "chmod 2751 .; touch -d 2001-02-03T04:05:06 .")
	if err := unix.Setxattr(w, "user.note", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	// An ACL: version 2, then tag, permissions and id of user::, user:51999,
	// group::, mask:: and other:: (posix_acl_xattr.h).
	acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\x1f\xcb\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x05\x00\xff\xff\xff\xff" + "\x20\x00\x01\x00\xff\xff\xff\xff")
	if err := unix.Setxattr(w, "system.posix_acl_access", acl, 0); err != nil {
		t.Fatal(err)
	}
	l := makeLayer(t, m, small)
	tree := mount(t, l, w, owner, tool)
	if err := unix.Close(tree); err != nil {
		t.Fatal(err)
	}
	f, err := l.Upper()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var want, got unix.Stat_t
	if err := errors.Join(unix.Stat(w, &want), unix.Fstat(int(f.Fd()), &got)); err != nil {
		t.Fatal(err)
	}
	if got.Mode != want.Mode || got.Uid != want.Uid || got.Gid != want.Gid || got.Mtim != want.Mtim {
		t.Errorf("it is %o of %d:%d, %v; the workspace %o of %d:%d, %v",
			got.Mode, got.Uid, got.Gid, got.Mtim, want.Mode, want.Uid, want.Gid, want.Mtim)
	}
	if note := xattr(t, f, ".", "user.note"); note != "kept" {
		t.Errorf("user.note is %q", note)
	}
	if got := xattr(t, f, ".", "system.posix_acl_access"); got != string(acl) {
		t.Errorf("the ACL is %x", got)
	}
}

// A layer that several calls write into one after the other, kept between them.
func TestKept(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), "echo old > file; mkdir dir; touch dir/a")
	l := makeLayer(t, m, small)
	inside(t, l, w, "echo 1 >> file; mv dir moved; chmod 0711 .")
	inside(t, l, w, "echo 2 >> file; ls moved/a; [ $(stat -c %a .) = 711 ]")
	used, err := l.Used()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wholeHost(t, "after Close", attachedTo(t, l.image) == 0)
	again, err := m.Open(l.image)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Discard()
	// A file, a moved directory and a whiteout; before, the last call's mount may
	// still have been ending.
	if got, err := again.Used(); err != nil || got.Files != 3 || got.Bytes == 0 || got.Bytes > used.Bytes || used.Files < 3 {
		t.Errorf("it used %v, and does %v: %v", used, got, err)
	}
	got := inside(t, again, w, "echo 3 >> file; cat file; ls moved")
	if want := "old\n1\n2\n3\na\n"; got != want {
		t.Errorf("the third call sees %q, not %q", got, want)
	}
	if got, want := upper(t, again, "cat file"), "old\n1\n2\n3\n"; got != want {
		t.Errorf("the layer holds %q, not %q", got, want)
	}
}

// wholeHost says what is wrong.
func wholeHost(t *testing.T, when string, ok bool) {
	t.Helper()
	if !ok {
		t.Errorf("%s something stays attached", when)
	}
}

func TestOver(t *testing.T) {
	m, w := testMaker(t), openDir(t)
	lower, err := os.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer lower.Close()
	closed, discarded := makeLayer(t, m, small), makeLayer(t, m, small)
	if err := errors.Join(closed.Close(), discarded.Discard()); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Layer{closed, discarded} {
		_, mountErr := l.Mount(int(lower.Fd()), owner, tool)
		_, upperErr := l.Upper()
		_, usedErr := l.Used()
		for what, err := range map[string]error{"Mount": mountErr, "Upper": upperErr, "Used": usedErr, "Close": l.Close(), "Discard": l.Discard()} {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s gives %v", what, err)
			}
		}
	}
	if _, err := os.Stat(closed.image); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(discarded.image); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the discarded image: %v", err)
	}
	if _, err := m.Make(closed.image, small, owner); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second layer in one image: %v", err)
	}
	if _, err := m.Open(discarded.image); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a layer from no image: %v", err)
	}
}

// Discard is for what still writes, too: it sees errors, and nothing stays.
func TestDiscardUnderWriter(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), ":")
	l := makeLayer(t, m, Size{Bytes: 64 << 20, Files: 100})
	tree := mount(t, l, w, owner, tool)
	root, err := os.OpenRoot("/proc/self/fd/" + itoa(uintptr(tree)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := root.Create("big")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 2*discardSync)); err != nil {
		t.Fatal(err)
	}
	if err := l.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Create("more"); !errors.Is(err, unix.EIO) {
		t.Errorf("a file made after Discard: %v", err)
	}
	if err := errors.Join(f.Close(), root.Close(), unix.Close(tree)); err != nil {
		t.Fatal(err)
	}
	awaitDetached(t, l.image)
}

// While somebody has it mounted, a layer can neither be closed nor opened again.
func TestInUse(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), "echo old > file")
	l := makeLayer(t, m, small)
	if _, err := m.open(l.image, 0); !errors.Is(err, ErrInUse) {
		t.Errorf("a second Open: %v", err)
	}
	tree := mount(t, l, w, owner, tool)
	if err := l.close(0); !errors.Is(err, ErrInUse) {
		t.Errorf("Close under a mount: %v", err)
	}
	if _, err := m.open(l.image, 0); !errors.Is(err, ErrInUse) {
		t.Errorf("Open under a mount: %v", err)
	}
	// Open waits for the last mount to go.
	var opened *Layer
	var openErr error
	var done sync.WaitGroup
	done.Go(func() { opened, openErr = m.Open(l.image) })
	if err := unix.Close(tree); err != nil {
		t.Fatal(err)
	}
	done.Wait()
	if openErr != nil {
		t.Fatal(openErr)
	}
	if err := opened.Discard(); err != nil {
		t.Fatal(err)
	}
}

func TestTorn(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), "echo old > file")
	dir := t.TempDir()
	copied := func(from string) string {
		in, err := os.Open(from)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := os.CreateTemp(dir, "copy")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Name()
	}
	l := makeLayer(t, m, small)
	inside(t, l, w, "echo new > file")
	open := copied(l.image)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	closed := copied(l.image)
	again, err := m.Open(l.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Discard(); err != nil {
		t.Fatal(err)
	}
	// As the image is on the disk while the layer is open.
	if _, err := m.Open(open); !errors.Is(err, ErrTorn) {
		t.Errorf("an image from the middle: %v", err)
	}
	// As it may be after a crash: unmounted by the looks of it.
	f, err := os.OpenFile(closed, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(writeMark(f, small, "an earlier run of the machine"), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Open(closed); !errors.Is(err, ErrTorn) {
		t.Errorf("an image of a run that crashed: %v", err)
	}
	for name, content := range map[string][]byte{"empty": nil, "short": []byte("clawsup layer 1\n"), "zeros": make([]byte, 1<<20), "other": bytes.Repeat([]byte("x"), 1<<20)} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Open(file); !errors.Is(err, errNoLayer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Symlink(closed, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Open(filepath.Join(dir, "link")); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a symbolic link: %v", err)
	}
}

// When the disk is full a call's writes seem to succeed. Upper and Close know.
func TestDiskFull(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), ":")
	for _, end := range []string{"Upper", "Close"} {
		image := filepath.Join(tmpfs(t, "size=24m"), end)
		l, err := m.Make(image, Size{Bytes: 64 << 20, Files: 100}, owner)
		if err != nil {
			t.Fatal(err)
		}
		inside(t, l, w, "head -c 48M /dev/urandom > big")
		if end == "Upper" {
			for range 2 {
				if _, err := l.Upper(); !isRefusal(err) {
					t.Errorf("Upper: %v", err)
				}
			}
			if err := l.Discard(); err != nil {
				t.Error(err)
			}
			awaitDetached(t, image)
			continue
		}
		if err := l.Close(); !isRefusal(err) {
			t.Errorf("Close: %v", err)
		}
		if _, err := m.Open(image); !errors.Is(err, ErrTorn) {
			t.Errorf("Open: %v", err)
		}
	}
	// With next to nothing free there is no layer at all.
	full := tmpfs(t, "size=8m")
	if _, err := m.Make(filepath.Join(full, "x"), small, owner); !isRefusal(err) {
		t.Errorf("Make: %v", err)
	}
	if entries, err := os.ReadDir(full); err != nil || len(entries) > 0 {
		t.Errorf("%v is left: %v", entries, err)
	}
}

func isRefusal(err error) bool {
	var r *Refusal
	return errors.As(err, &r)
}
