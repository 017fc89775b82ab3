// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/overlay"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// Who the tests' workspaces belong to, and who tools are.
var (
	owner = rootfs.Owner{UID: 12345, GID: 12345}
	tool  = rootfs.Owner{UID: 345678, GID: 345678}
)

// size is that of the tests' layers.
var size = overlay.Size{Bytes: 8 << 20, Files: 4096}

// world is a store with a workspace.
type world struct {
	t         testing.TB
	dir       string
	workspace string
	store     *Store

	mu     sync.Mutex
	now    time.Time // mu
	bounds Bounds    // mu
}

func newWorld(t testing.TB, names ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: time.Now(), bounds: Bounds{Keep: time.Hour, Max: 1 << 40, Wait: time.Minute}}
	w.workspace = filepath.Join(w.dir, "workspace")
	for _, d := range []string{w.workspace, w.stage()} {
		must(t, os.Mkdir(d, 0o755))
	}
	plant(t, w.workspace, names...)
	w.chown()
	w.store = w.open()
	return w
}

func (w *world) stage() string { return filepath.Join(w.dir, "stage") }

// chown gives everything in the workspace to its owner.
func (w *world) chown() {
	w.t.Helper()
	must(w.t, filepath.WalkDir(w.workspace, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, owner.UID, owner.GID))
	}))
}

// maker keeps user namespaces for all tests, as a daemon does.
func maker(stage string) overlay.Maker {
	m := keeper()
	m.Stage = stage
	return m
}

var keeper = sync.OnceValue(func() overlay.Maker { return *overlay.New("", "/bin/true", "") })

func (w *world) options() Options {
	return Options{
		Dir: filepath.Join(w.dir, "changes"), Locks: filepath.Join(w.dir, "trees"),
		Maker: maker(w.stage()),
		Bounds: func() Bounds {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.bounds
		},
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now
		},
	}
}

func (w *world) open() *Store {
	w.t.Helper()
	s, err := Open(w.t.Context(), w.options())
	must(w.t, err)
	w.t.Cleanup(func() { _ = s.Close() })
	return s
}

// reopen is what a new process finds.
func (w *world) reopen() {
	w.t.Helper()
	must(w.t, w.store.Close())
	w.store = w.open()
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) bound(change func(b *Bounds)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.bounds)
}

func (w *world) start() Start { return startIn(w.workspace) }

func startIn(workspace string) Start {
	var st unix.Stat_t
	if err := unix.Lstat(workspace, &st); err != nil {
		panic(err)
	}
	return Start{
		ID: mint(), Requester: "uid 0 (root)", Command: "true", Workspace: workspace,
		Identity: rootfs.Identity{Dev: st.Dev, Ino: st.Ino}, Owner: owner, Size: size,
	}
}

// begin begins a call.
func (w *world) begin(change func(s *Start)) *Work {
	w.t.Helper()
	start := w.start()
	if change != nil {
		change(&start)
	}
	work, err := w.store.Begin(w.t.Context(), start)
	must(w.t, err)
	return work
}

// call is one from beginning to end.
func (w *world) call(change func(s *Start), do func(dir string) error) Change {
	w.t.Helper()
	work := w.begin(change)
	must(w.t, write(work, w.workspace, w.stage(), do))
	c, err := work.End(w.t.Context())
	must(w.t, err)
	return c
}

// write mounts the work where no one else sees it, and does something there as
// a tool would.
func write(work *Work, workspace, stage string, do func(dir string) error) error {
	lower, err := unix.Open(workspace, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(lower)
	over := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: namespace and rights end with the thread
		over <- func() error {
			if err := rootfs.Isolate(); err != nil {
				return err
			}
			mount, err := work.Mount(lower, owner, tool)
			if err != nil {
				return err
			}
			defer unix.Close(mount)
			if err := unix.MoveMount(mount, "", unix.AT_FDCWD, stage, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
				return err
			}
			// The thread's own since it was isolated (unshare(2), CLONE_FS).
			if err := unix.Chdir(stage); err != nil {
				return err
			}
			if err := become(tool); err != nil {
				return err
			}
			if err := do("."); err != nil {
				return err
			}
			if err := become(rootfs.Owner{}); err != nil {
				return err
			}
			return errors.Join(unix.Chdir("/"), unix.Unmount(stage, unix.MNT_DETACH))
		}()
	}()
	return <-over
}

// become gives the thread's files to somebody; to root with all its rights.
func become(o rootfs.Owner) error {
	_, _ = unix.SetfsgidRetGid(o.GID)
	_, _ = unix.SetfsuidRetUid(o.UID) // for another than root it drops the rights over files (capabilities(7))
	if uid, _ := unix.SetfsuidRetUid(-1); uid != o.UID {
		return fmt.Errorf("the user is %d still", uid)
	}
	return nil
}

// put writes a file.
func put(name, text string) func(dir string) error {
	return func(dir string) error {
		return errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
}

// erase removes what is at a path.
func erase(name string) func(dir string) error {
	return func(dir string) error { return os.RemoveAll(filepath.Join(dir, name)) }
}

// then does several things.
func then(all ...func(dir string) error) func(dir string) error {
	return func(dir string) error {
		for _, do := range all {
			if err := do(dir); err != nil {
				return err
			}
		}
		return nil
	}
}

// tree tells all that is in the workspace.
func (w *world) tree() string {
	w.t.Helper()
	var b strings.Builder
	must(w.t, filepath.WalkDir(w.workspace, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(w.workspace, path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		switch {
		case d.Type().IsRegular():
			text, err := os.ReadFile(path)
			fmt.Fprintf(&b, " %q %d", text, st.Mtim.Nano())
			if err != nil {
				return err
			}
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			fmt.Fprintf(&b, " -> %s", to)
			if err != nil {
				return err
			}
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

func (w *world) read(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.workspace, name))
	if errors.Is(err, os.ErrNotExist) {
		return "nothing"
	}
	must(w.t, err)
	return string(text)
}

// want compares the workspace's files with name=text.
func (w *world) want(files ...string) {
	w.t.Helper()
	for _, f := range files {
		name, text, _ := strings.Cut(f, "=")
		if got := w.read(name); got != text {
			w.t.Errorf("%s is %q, want %q", name, got, text)
		}
	}
}

// change gives what is known of a change set.
func (w *world) change(id string) Change {
	w.t.Helper()
	c, err := w.store.Find(id)
	must(w.t, err)
	return c
}

// rules are those of a built-in profile: what is new is allowed.
func rules() []policy.Rule {
	return []policy.Rule{
		{Effect: policy.FSCreate, Decision: profiles.Allow, Name: "create"},
		{Effect: policy.FSModify, Decision: profiles.Ask, Name: "modify"},
		{Effect: policy.FSDelete, Decision: profiles.Ask, Name: "delete"},
	}
}

func (w *world) judge(c Change, q Question) Judgement {
	w.t.Helper()
	if q.Rules == nil {
		q.Rules = rules()
	}
	q.Subject.Session = c.Session
	j, err := w.store.Judge(w.t.Context(), c.ID, q)
	must(w.t, err)
	return j
}

func (w *world) commit(id string, c Choice) Change {
	w.t.Helper()
	done, err := w.store.Commit(w.t.Context(), id, c, "a test")
	must(w.t, err)
	return done
}

// entries tells a change set in short.
func (w *world) entries(id string) string {
	w.t.Helper()
	set, err := w.store.Set(w.t.Context(), id)
	must(w.t, err)
	return tell(set)
}

func tell(set *changeset.Set) string {
	var list []string
	for _, e := range set.Entries {
		text := e.Kind.String() + " " + string(e.Path)
		if e.Notes.Has(changeset.Conflict) {
			text += " (conflict)"
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func paths(list ...string) []raw.String { return raw.Of(list) }
