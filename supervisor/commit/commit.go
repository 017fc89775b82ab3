// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/tree"
)

// Order is one commit.
type Order struct {
	Set     *changeset.Set // as Walk gave it, or Undo
	Source  Source
	Refused func(path string) bool // entries that stay as they are, with all that depends on them; nil: none
	Root    *os.File               // the workspace's directory, held since it was judged
	Owner   rootfs.Owner           // of the workspace: whose rights are used, and whose the new files are
	Dir     string                 // directory of this change set alone, root's: journal, trash and report are kept in it
}

// Source gives the content of what a set creates and modifies.
type Source interface {
	// Open gives the file of an entry: a regular file's, open for reading. Of
	// anything else the entry says all.
	Open(e *changeset.Entry) (*os.File, error)
}

// Report is what came of a commit. Its paths are the entries'.
type Report struct {
	Applied   int    `json:"applied"`             // entries
	Refused   []Left `json:"refused,omitempty"`   // entries that were refused, or depend on one that was
	Conflicts []Left `json:"conflicts,omitempty"` // entries whose file in the workspace is another than was judged
	Failed    []Left `json:"failed,omitempty"`    // entries that could not be applied, with why
}

// Left is an entry that was not applied.
type Left struct {
	Path raw.String     `json:"path"`
	Kind changeset.Kind `json:"kind"`
	Why  string         `json:"why"`
}

// ErrUnfinished, wrapped, says that a set was applied, but that it could not be
// written down: Recover finishes it.
var ErrUnfinished = errors.New("the set was applied, but the commit could not be recorded; recover it")

// Commit applies a set. After an error nothing was applied, but for
// ErrUnfinished; what could not be applied by itself is in the report. It is
// durable when it returns, and who is killed in it leaves what Recover
// finishes. ctx ends it only while nothing was applied.
func Commit(ctx context.Context, o Order) (*Report, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(o.Root.Fd()), &st); err != nil {
		return nil, fmt.Errorf("look at the workspace: %w", err)
	}
	if st.Nlink == 0 {
		return nil, errors.New("the workspace's directory was removed")
	}
	w := &work{ctx: ctx, owner: o.Owner, id: newName()}
	for _, e := range o.Set.Entries {
		if !proper(string(e.Path)) || e.From != "" && !proper(string(e.From)) {
			return nil, fmt.Errorf("the set has the path %s, which is none below a workspace", quote(string(e.Path)))
		}
		if e.Kind != changeset.Dropped {
			w.items = append(w.items, item{Entry: e, Within: -1})
		}
	}
	d, err := w.begin(o.Dir, o.Root)
	if err != nil {
		return nil, err
	}
	defer d.close()
	defer func() {
		if w.kin != nil {
			w.kin.end()
		}
	}()
	if w.journal, err = newJournal(d.dir); err != nil {
		return nil, err
	}
	defer w.journal.file.Close()
	h := head{Version: version, Name: w.id, Root: inodeOf(&st), Owner: o.Owner}
	if err := w.prepare(d, h, o); err != nil {
		return nil, errors.Join(err, d.takeBack(w))
	}
	source, _ := o.Source.(*trashSource)
	return d.finish(w, source)
}

// desk is what a commit has open beside the workspace.
type desk struct {
	dir   *os.File
	trash *os.File
	hand  *hand
}

func (w *work) begin(dir string, root *os.File) (*desk, error) {
	w.index()
	w.place = newPlace(int(root.Fd()), uint32(w.owner.UID))
	w.place.let = w.loosen
	d := &desk{}
	var err error
	if d.dir, err = os.OpenFile(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err != nil {
		return nil, err
	}
	if d.trash, err = openTrash(d.dir, w.owner.UID, w.owner.GID); err != nil {
		_ = d.dir.Close()
		return nil, err
	}
	w.trash = int(d.trash.Fd())
	if d.hand, err = lend(w.owner); err != nil {
		_ = d.trash.Close()
		_ = d.dir.Close()
		return nil, err
	}
	return d, nil
}

func (d *desk) close() {
	d.hand.end()
	_ = d.trash.Close()
	_ = d.dir.Close()
}

// prepare does all that can be taken back: it ends with the journal's "ready".
func (w *work) prepare(d *desk, h head, o Order) error {
	if err := w.journal.add(record{Head: &h}, false); err != nil {
		return err
	}
	if err := d.hand.do(func() error { return w.check(o.Refused) }); err != nil {
		return err
	}
	w.settle()
	if err := w.plan(); err != nil {
		return err
	}
	if err := fsync(int(d.dir.Fd())); err != nil {
		return err
	}
	links := w.links()
	stop := make(chan struct{})
	in := w.sources(o.Source, links, stop)
	_, trusted := o.Source.(*trashSource)
	err := d.hand.do(func() error { return w.stageAll(in, links, trusted) })
	close(stop)
	for c := range in {
		if c.file != nil {
			_ = c.file.Close()
		}
	}
	if err != nil {
		return err
	}
	if err := d.hand.do(w.settleStage); err != nil {
		return err
	}
	return w.ready()
}

// plan writes all that Recover has to know.
func (w *work) plan() error {
	for i := range w.gone {
		if err := w.journal.add(record{Left: &w.gone[i]}, false); err != nil {
			return err
		}
	}
	for i := range w.items {
		if err := w.journal.add(record{Item: &w.items[i]}, false); err != nil {
			return err
		}
	}
	return w.journal.add(record{Plan: true}, true)
}

func (w *work) ready() error {
	for i := range w.items {
		var err error
		if l, left := w.over[i]; left {
			err = w.journal.add(record{Over: &over{Item: i, Left: l}}, false)
		} else if w.made(i) {
			err = w.journal.add(record{Staged: &staged{Item: i, ID: w.items[i].Staged}}, false)
		}
		if err != nil {
			return err
		}
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	return w.journal.add(record{Ready: true}, true)
}

// takeBack removes what was made, before "ready", and then the journal.
func (d *desk) takeBack(w *work) error {
	w.ctx = context.Background()
	err := d.hand.do(func() error {
		defer w.place.forget()
		var err error
		for i := range w.items {
			if w.top(i) && w.stage[i] != "" {
				err = errors.Join(err, w.unstage(i))
			}
		}
		w.tighten()
		return err
	})
	if err != nil {
		return fmt.Errorf("take back what was made: %w", err)
	}
	return d.sweep()
}

// sweep leaves the directory as if there had been no commit.
func (d *desk) sweep() error {
	if err := tree.Remove(context.Background(), int(d.dir.Fd()), trashName); err != nil {
		return err
	}
	for _, name := range []string{journalName, reportName, landedName, reportName + ".new", landedName + ".new"} {
		if err := unlink(int(d.dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return fsync(int(d.dir.Fd()))
}

// finish does what is to be done after "ready". source is the trash that the
// content came from; nil: it came from elsewhere.
func (d *desk) finish(w *work, source *trashSource) (*Report, error) {
	w.ctx = context.Background()
	_ = d.hand.do(func() error { w.apply(); return nil })
	if source != nil {
		source.consume(w)
	}
	err := d.hand.do(func() error {
		defer w.place.forget()
		w.settleLanded()
		return w.settleDisk()
	})
	r := w.report()
	if err == nil {
		err = d.record(w, r)
	}
	if err != nil {
		return r, fmt.Errorf("%w: %w", ErrUnfinished, err)
	}
	return r, nil
}

// settleDisk brings all steps to the disk, and takes rights again.
func (w *work) settleDisk() error {
	root, err := w.list("")
	if err != nil {
		return err
	}
	defer unix.Close(root)
	dirs, took := map[string]bool{}, false
	for i := range w.items {
		e := &w.items[i].Entry
		if w.items[i].Within < 0 {
			dirs[parent(string(e.Path))] = true
		}
		switch e.Kind {
		case changeset.Deleted, changeset.Modified:
			took = true
		case changeset.Renamed: // by way of the root, and maybe of the trash
			took, dirs[""], dirs[w.now(parent(string(e.From)))] = true, true, true
		}
	}
	if took {
		if err := fsync(w.trash); err != nil {
			return err
		}
	}
	if err := w.flush(dirs); err != nil || len(w.opened) == 0 {
		return err
	}
	w.tighten()
	return syncfs(root)
}

// record writes down what came of it, and "done".
func (d *desk) record(w *work, r *Report) error {
	if err := writeWhole(d.dir, landedName, func(out io.Writer) error { return writeLanded(out, w.landed) }); err != nil {
		return err
	}
	err := writeWhole(d.dir, reportName, func(out io.Writer) error {
		about("write")
		return json.NewEncoder(out).Encode(r)
	})
	if err != nil {
		return err
	}
	if err := chown(d.trash, 0, 0); err != nil { // whoever works in what was deleted can't reach its neighbours
		return err
	}
	if err := fsync(int(d.dir.Fd())); err != nil {
		return err
	}
	return w.journal.add(record{Done: true}, true)
}
