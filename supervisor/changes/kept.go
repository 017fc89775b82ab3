// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What a session has of its own: DIR/.sessions/ID/ holds a lock, the ledger, and
// for each workspace and caller with an open change set a symbolic link whose
// text is the change set's id.
const (
	sessionsName = ".sessions"
	openPrefix   = "open-"
)

// session locks what a session has, and gives its directory. It is made if
// need be.
func (s *Store) session(ctx context.Context, id string) (dir string, l *lock, err error) {
	if err := checkSession(id); err != nil {
		return "", nil, err
	}
	dir = filepath.Join(s.o.Dir, sessionsName, id)
	for {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return "", nil, err
		}
		d, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", nil, &os.PathError{Op: "open", Path: dir, Err: err}
		}
		if err = makeFIFO(d, lockName); err == nil {
			l, err = take(ctx, d, lockName, alone)
		}
		still := err == nil && (&piece{dir: dir}).still(d)
		_ = unix.Close(d)
		switch {
		case errors.Is(err, unix.ENOENT) && ctx.Err() == nil: // removed meanwhile
		case err != nil:
			return "", nil, err
		case still:
			return dir, l, nil
		default:
			l.release()
		}
	}
}

// pointer is the name of the link for a change set that goes on.
func (e *entry) pointer() string {
	key, _ := json.Marshal([]any{e.Workspace, e.Identity, e.Requester, e.Agent}) // of strings and numbers: it never fails
	sum := sha256.Sum256(key)
	return openPrefix + hex.EncodeToString(sum[:16])
}

// goOn gives the session's open change set for a call that wants to go on with
// it, or begins one.
func (s *Store) goOn(ctx context.Context, want *entry) (*piece, error) {
	for {
		id, p, err := s.openOrNew(ctx, want)
		if p != nil || err != nil {
			return p, err
		}
		p, err = s.take(ctx, id)
		if err != nil && !errors.Is(err, ErrUnknown) {
			return nil, err
		}
		if err == nil {
			if p.State == Writing && p.Working != "" { // its process is gone
				err = p.takeUp(ctx)
			}
			if err == nil && p.State == Writing && p.Keep && !p.gone {
				return p, nil
			}
			if err := errors.Join(err, p.leave()); err != nil {
				return nil, err
			}
		}
		// It was decided while this waited, or is gone: the next look finds no
		// link, or another's.
		if err := s.unlink(ctx, want, id); err != nil {
			return nil, err
		}
	}
}

// openOrNew gives the id of the one that is open, or a new one.
func (s *Store) openOrNew(ctx context.Context, want *entry) (string, *piece, error) {
	dir, l, err := s.session(ctx, want.Session)
	if err != nil {
		return "", nil, err
	}
	defer l.release()
	link := filepath.Join(dir, want.pointer())
	id, err := os.Readlink(link)
	if err == nil && checkID(id) == nil {
		return id, nil, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", nil, err
	}
	p, err := s.create(mint())
	if err != nil {
		return "", nil, err
	}
	p.entry = *want
	p.ID = filepath.Base(p.dir)
	if err := errors.Join(p.note(p.dir), os.Symlink(p.ID, link)); err != nil {
		return "", nil, errors.Join(err, p.remove())
	}
	return "", p, nil
}

// unlink removes the link to a change set that nobody goes on with.
func (s *Store) unlink(ctx context.Context, e *entry, id string) error {
	dir, l, err := s.session(ctx, e.Session)
	if err != nil {
		return err
	}
	defer l.release()
	link := filepath.Join(dir, e.pointer())
	if now, err := os.Readlink(link); err != nil || now != id {
		return nil
	}
	return os.Remove(link)
}

// unkeep is for a change set that no call goes on with any more.
func (s *Store) unkeep(p *piece) error {
	p.Keep = false
	return s.unlink(context.Background(), &p.entry, p.ID)
}
