// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// newName is for the hidden names of one commit: nobody can have taken one.
func newName() string { return rand.Text()[:12] }

// Recover finishes or takes back what a killed Commit left in dir. open gives
// the workspace's directory again, or an error where it is not the one it was;
// Recover closes it. It gives nil where there is nothing to do, or where the
// commit was taken back: dir is as if it had never been begun. Of a commit
// that was finished it gives the report.
func Recover(ctx context.Context, dir string, open func() (*os.File, error)) (*Report, error) {
	fail := func(err error) (*Report, error) { return nil, fmt.Errorf("recover the commit: %w", err) }
	file, err := os.OpenFile(filepath.Join(dir, journalName), unix.O_RDWR|unix.O_APPEND|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return fail(err)
	}
	defer file.Close()
	h, err := readJournal(file)
	if err != nil {
		return fail(err)
	}
	if h == nil {
		h = &history{} // nothing was done before the first record was whole
	}
	if h.done {
		r, err := readReport(dir)
		if err != nil {
			return fail(err)
		}
		return r, nil
	}
	if err := file.Truncate(h.size); err != nil { // a torn line
		return fail(err)
	}
	root, err := open()
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	w := &work{ctx: ctx, owner: h.head.Owner, id: h.head.Name, items: h.items, gone: h.gone, again: true,
		journal: &journal{file: file}, buffer: make([]byte, 1<<20)}
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return fail(err)
	}
	if h.head.Version != 0 && inodeOf(&st) != h.head.Root {
		return fail(errors.New("the workspace is another directory than the one that was committed to"))
	}
	d, err := w.begin(dir, root)
	if err != nil {
		return fail(err)
	}
	defer d.close()
	w.depend()
	w.stages()
	for i, l := range h.over {
		w.over[i] = l
	}
	// A directory is named by the last record of it.
	for _, o := range slices.Backward(h.opened) {
		if !slices.ContainsFunc(w.opened, func(p opened) bool { return p.ID == o.ID }) {
			w.opened = append(w.opened, o)
		}
	}
	slices.Reverse(w.opened)
	if !h.ready {
		if err := d.takeBack(w); err != nil {
			return fail(err)
		}
		return nil, nil
	}
	return d.finish(w, nil)
}

func readReport(dir string) (*Report, error) {
	b, err := os.ReadFile(filepath.Join(dir, reportName))
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	return r, nil
}
