// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/changeset"
)

// owner is whose the workspaces of tests are.
var owner = rootfs.Owner{UID: 61234, GID: 61235}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scratch is a directory that root passes, and others can pass to the workspace.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "clawsup-commit-test-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newWorkspace makes an empty workspace in a directory.
func newWorkspace(t testing.TB, dir string) string {
	t.Helper()
	ws := filepath.Join(dir, "workspace")
	must(t, os.Mkdir(ws, 0o755))
	must(t, os.Chown(ws, owner.UID, owner.GID))
	return ws
}

func newDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(scratch(t), "commit")
	must(t, os.Mkdir(dir, 0o700))
	return dir
}

func write(t testing.TB, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o644))
	must(t, os.Chown(path, owner.UID, owner.GID))
}

func mkdirs(t testing.TB, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		for i, c := range name + "/" {
			if c != '/' {
				continue
			}
			path := filepath.Join(root, name[:i])
			if os.Mkdir(path, 0o755) == nil {
				must(t, os.Chown(path, owner.UID, owner.GID))
			}
		}
	}
}

// perform mounts an overlay over a workspace, lets do change it, and gives the
// set and its source.
func perform(t testing.TB, ws string, do func(view string)) (*changeset.Set, Source) {
	t.Helper()
	dir := scratch(t)
	upper, under := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	must(t, os.Mkdir(upper, 0o755))
	must(t, os.Mkdir(under, 0o700))
	var st unix.Stat_t
	must(t, unix.Stat(ws, &st))
	must(t, os.Chown(upper, int(st.Uid), int(st.Gid)))
	begin := tick(t, dir)
	cfg, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	must(t, err)
	defer unix.Close(cfg)
	for _, kv := range [][2]string{{"lowerdir", ws}, {"upperdir", upper}, {"workdir", under}, {"redirect_dir", "on"},
		{"metacopy", "off"}, {"index", "off"}, {"xino", "off"}} {
		must(t, unix.FsconfigSetString(cfg, kv[0], kv[1]))
	}
	must(t, unix.FsconfigCreate(cfg))
	tree, err := unix.Fsmount(cfg, unix.FSMOUNT_CLOEXEC, 0)
	must(t, err)
	do(fmt.Sprintf("/proc/self/fd/%d", tree))
	must(t, unix.Close(tree))
	up, low := openDir(t, upper), openDir(t, ws)
	set, err := changeset.Walk(context.Background(), changeset.Layer{
		Upper: int(up.Fd()), Lower: int(low.Fd()), Owner: uint32(owner.UID), Begin: begin})
	must(t, err)
	return set, layer(upper)
}

// tick waits until the clock of a file system has gone on, so that what was
// written before is older than what comes now.
func tick(t testing.TB, dir string) time.Time {
	t.Helper()
	var first time.Time
	for {
		f, err := os.CreateTemp(dir, "tick")
		must(t, err)
		info, err := f.Stat()
		must(t, err)
		must(t, f.Close())
		must(t, os.Remove(f.Name()))
		if first.IsZero() {
			first = info.ModTime()
		} else if info.ModTime().After(first) {
			return info.ModTime()
		}
	}
}

func openDir(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// layer is a source: the files of an upper layer.
type layer string

func (l layer) Open(e *changeset.Entry) (*os.File, error) {
	root, err := os.Open(string(l))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	p := newPlace(int(root.Fd()), ^uint32(0))
	defer p.forget()
	fd, err := p.dir(parent(string(e.Path)), inode{}, search)
	if err != nil {
		return nil, err
	}
	file, err := unix.Openat2(fd, base(string(e.Path)), beneath(unix.O_RDONLY))
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(file), string(e.Path)), nil
}

func order(t testing.TB, ws, dir string, set *changeset.Set, s Source) Order {
	t.Helper()
	return Order{Set: set, Source: s, Root: openDir(t, ws), Owner: owner, Dir: dir}
}

// commitAll commits and wants all applied.
func commitAll(t testing.TB, o Order) {
	t.Helper()
	r, err := Commit(context.Background(), o)
	must(t, err)
	if len(r.Refused)+len(r.Conflicts)+len(r.Failed) > 0 {
		t.Fatalf("report: %+v", r)
	}
}

// picture describes a tree: of each path all that a commit promises.
func picture(t testing.TB, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(filepath.Clean(path), filepath.Clean(root)), "/")
		if name == "" {
			return nil
		}
		out[name] = describe(t, path)
		return nil
	}))
	return out
}

func describe(t testing.TB, path string) string {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	text := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		b, err := os.ReadFile(path)
		must(t, err)
		sum := sha256.Sum256(b)
		text += fmt.Sprintf(" %d bytes %s at %d", len(b), hex.EncodeToString(sum[:6]), st.Mtim.Nano())
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		must(t, err)
		text += " to " + target
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
		must(t, err)
		list, err := xattrs(fd)
		must(t, err)
		must(t, unix.Close(fd))
		slices.SortFunc(list, func(a, b changeset.Xattr) int { return strings.Compare(string(a.Name), string(b.Name)) })
		for _, x := range list {
			text += fmt.Sprintf(" %s=%q", x.Name, x.Value)
		}
	}
	return text
}

// equal wants two pictures to be one.
func equal(t testing.TB, got, want map[string]string) {
	t.Helper()
	var names []string
	for name := range got {
		names = append(names, name)
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if got[name] != want[name] {
			t.Errorf("%q: got %q, want %q", name, got[name], want[name])
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
