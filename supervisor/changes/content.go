// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// MaxContents bounds a file of a layer that Contents gives, in bytes.
const MaxContents = 64 << 20

// Contents gives the entry of a path and opens what it was and what it became,
// regular files alone; nil where there is none. Of a path that was deleted and made
// anew it is the second entry, which says more, and before is the first's. before is from the workspace or, after a commit, from
// the trash; after is from the layer, as a copy, or from the workspace. The
// caller closes both. An entry beyond MaxContents is an error.
func (s *Store) Contents(id, path string) (e changeset.Entry, before, after *os.File, err error) {
	ctx, cancel := s.bounded(context.Background())
	defer cancel()
	p, err := s.take(ctx, id)
	if err != nil {
		return e, nil, nil, err
	}
	defer func() {
		err = errors.Join(err, p.leave())
		if err != nil {
			_, _ = before.Close(), after.Close() // of nil it is an error, and nothing else
			before, after = nil, nil
		}
	}()
	var set *changeset.Set
	open := p.layer != nil
	if p.State == Writing {
		set, err = p.look(ctx)
	} else {
		set, err = p.set(p.dir)
	}
	if err != nil {
		return e, nil, nil, errors.Join(err, p.shut())
	}
	found, was, err := find(set, path)
	if err != nil {
		return e, nil, nil, errors.Join(err, p.shut())
	}
	root, err := openWorkspace(string(p.Workspace), p.Identity)
	if err != nil {
		return e, nil, nil, errors.Join(err, p.shut())
	}
	defer root.Close()
	both := *found
	both.Before = was
	before, after, err = p.contents(ctx, root, set, &both)
	if !open {
		err = errors.Join(err, p.shut())
	}
	return *found, before, after, err
}

// find gives the entry of a path, of two the one that is there afterwards, and
// what was there before.
func find(set *changeset.Set, path string) (found *changeset.Entry, was changeset.State, err error) {
	for i := range set.Entries {
		e := &set.Entries[i]
		if string(e.Path) != path {
			continue
		}
		if found == nil || found.Kind != changeset.Deleted {
			was = e.Before
		}
		found = e
	}
	if found == nil {
		return nil, was, fmt.Errorf("%w: it has no path %s", ErrUnknown, visible.Quote(clip(path)))
	}
	return found, was, nil
}

func (p *piece) contents(ctx context.Context, root *os.File, set *changeset.Set, e *changeset.Entry) (before, after *os.File, err error) {
	was, is := e.Before.Type == changeset.Regular, e.After.Type == changeset.Regular
	if p.State == Committed {
		return p.committed(ctx, root, e, was, is)
	}
	if was {
		before = lower(int(root.Fd()), set, e)
	}
	if is && e.Kind != changeset.Dropped && p.State != Discarded {
		after, err = p.after(ctx, root, e)
	}
	return before, after, err
}

// lower opens a file of the workspace as it was before, if it is there still. A
// directory above it may have been renamed by the call, and another deleted
// from the same path: its identity tells.
func lower(root int, set *changeset.Set, e *changeset.Entry) *os.File {
	moves := map[string]string{}
	for i := range set.Entries {
		if m := &set.Entries[i]; m.Kind == changeset.Renamed {
			moves[string(m.Path)] = string(m.From)
		}
	}
	for _, path := range []string{string(e.Path), (&guard{moves: moves}).before(string(e.Path))} {
		f, st, err := openFile(root, path)
		if err != nil {
			continue
		}
		if st.Dev == e.Before.Dev && st.Ino == e.Before.Ino {
			return f
		}
		_ = f.Close()
	}
	return nil
}

// after gives a copy of what an entry became: while a descriptor of the layer
// itself is open, the layer can't be closed.
func (p *piece) after(ctx context.Context, root *os.File, e *changeset.Entry) (*os.File, error) {
	if e.After.Size > MaxContents {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that are shown", visible.Quote(clip(string(e.Path))), e.After.Size, MaxContents)
	}
	source, end, err := p.source(ctx, root)
	if err != nil {
		return nil, err
	}
	f, err := source.Open(e)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	twin, err := duplicate(f, p.dir)
	return twin, errors.Join(err, f.Close(), end())
}

// duplicate copies a file into one without a name, and gives that for reading.
func duplicate(f *os.File, dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	twin := os.NewFile(uintptr(fd), filepath.Base(f.Name()))
	defer twin.Close()
	if _, err := io.Copy(twin, io.LimitReader(f, MaxContents)); err != nil {
		return nil, err
	}
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// committed gives both sides after a commit.
func (p *piece) committed(ctx context.Context, root *os.File, e *changeset.Entry, was, is bool) (before, after *os.File, err error) {
	if was && p.Trash {
		set, source, err := commit.Undo(ctx, filepath.Join(p.dir, commitName), root, func(path string) bool { return path == string(e.Path) })
		if err != nil {
			return nil, nil, err
		}
		for i := range set.Entries {
			back := &set.Entries[i]
			if back.After.Type != changeset.Regular || back.After.Digest != e.Before.Digest {
				continue
			}
			if before, err = source.Open(back); err != nil {
				return nil, nil, err
			}
			break
		}
	}
	if is {
		f, st, err := openFile(int(root.Fd()), string(e.Path))
		switch {
		case err != nil:
		case st.Size == e.After.Size && st.Mtim.Nano() == e.After.Modified:
			after = f
		default: // it has changed since
			_ = f.Close()
		}
	}
	return before, after, nil
}
