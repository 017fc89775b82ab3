// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/record"
)

const (
	ticketsDir   = "tickets"
	asideDir     = "aside"
	lockdownFile = "lockdown.json"
	suffix       = ".json"
)

func (b *Book) file(id string) string { return filepath.Join(b.dir, ticketsDir, id+suffix) }

// openDir makes the directories that are missing, and locks the first.
func openDir(dir string) (*os.File, error) {
	for _, d := range []string{dir, filepath.Join(dir, ticketsDir), filepath.Join(dir, asideDir)} {
		if err := os.Mkdir(d, 0o700); err == nil {
			if err := record.SyncDir(filepath.Dir(d)); err != nil {
				return nil, err
			}
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the book of tickets: %w", err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(d, &st); err != nil {
			return nil, &fs.PathError{Op: "lstat", Path: d, Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 || st.Mode&0o077 != 0 {
			return nil, fmt.Errorf("%s must be a directory of root's that is closed to everybody else (mode 0700): look at what is in it before you change that", d)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the book of tickets %s (is another supervisor using it?): %w", dir, err)
	}
	return f, nil
}

// load reads what is there, makes void what was pending, and writes that.
func (b *Book) load() error {
	if err := errors.Join(record.Sweep(b.dir), record.Sweep(filepath.Join(b.dir, ticketsDir))); err != nil {
		return err
	}
	b.loadLockdown()
	names, err := os.ReadDir(filepath.Join(b.dir, ticketsDir))
	if err != nil {
		return err
	}
	var list []*stored
	grants := map[string]bool{}
	for _, n := range names {
		rec, err := b.read(n.Name())
		if err == nil && rec.Grant != nil && grants[rec.Grant.ID] {
			err = fmt.Errorf("grant %s is there twice", rec.Grant.ID)
		}
		if err != nil {
			if err := b.setAside(n.Name(), err); err != nil {
				return err
			}
			continue
		}
		if rec.Grant != nil {
			grants[rec.Grant.ID] = true
		}
		list = append(list, rec)
	}
	slices.SortFunc(list, func(a, b *stored) int {
		return cmp.Or(a.Ticket.Created.Compare(b.Ticket.Created), strings.Compare(a.Ticket.ID, b.Ticket.ID))
	})
	for _, rec := range list {
		e := &entry{size: rec.size(), settled: make(chan struct{})}
		next := rec
		if rec.Ticket.State == Pending {
			next = next.closed(Void, Restart, b.now())
		}
		if next.live() && b.lockdown != nil {
			next = next.regranted(func(g *policy.Grant) { g.Revoked = b.lockdown.text() })
		}
		if next != rec {
			if err := b.save(next); err != nil {
				return err
			}
		}
		close(e.settled)
		e.rec = next
		b.entries[next.Ticket.ID] = e
		b.over = append(b.over, e)
		b.overSize += e.size
	}
	b.mu.Lock() // what has expired since ends at once, and so at the same time as this
	for _, e := range b.over {
		if e.rec.live() {
			b.addGrant(e)
		}
	}
	b.mu.Unlock()
	b.trim()
	return nil
}

// Restart is the reason of a ticket that is void because the supervisor ended
// while it was pending. The calls that it stood for have that status.
const Restart = "supervisor-restart"

// read reads one ticket's file.
func (b *Book) read(name string) (*stored, error) {
	id, ok := strings.CutSuffix(name, suffix)
	if !ok || !isID("", id) {
		return nil, errors.New("it is not called like a ticket")
	}
	rec := &stored{}
	if err := record.Read(b.file(id), rec); err != nil {
		return nil, err
	}
	return rec, rec.check(id)
}

// setAside moves a file that isn't believed out of the way, and keeps it.
func (b *Book) setAside(name string, why error) error {
	from := filepath.Join(b.dir, ticketsDir, name)
	for n := 1; ; n++ {
		to := filepath.Join(b.dir, asideDir, fmt.Sprint(n))
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return fmt.Errorf("move %q aside: %w", from, err)
		}
		b.notes = append(b.notes, fmt.Sprintf("%q is no ticket that this supervisor wrote, and counts for nothing: it is now %q: %v", from, to, why))
		return record.SyncDir(filepath.Join(b.dir, asideDir))
	}
}
