// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// gates keep commits and live overlays of one tree apart: what an overlay shows
// is undefined once a directory beneath it changes (overlayfs.rst, "Changes to
// underlying filesystems"). Each directory X has three locks:
//
//	X.in    who writes in an overlay of X, or of anything in X, has a share;
//	        so has a commit to anything in X; a commit to X has it alone
//	X.at    who writes in an overlay of X has a share of the whole;
//	        a commit to a tree in X has one byte of it alone, the tree's
//	X.turn  a commit to X that has to wait has it alone, and overlays of X and
//	        in X that begin pass through: so it isn't kept waiting by new ones
//
// so that an overlay meets a commit to its own tree, to one around it and to
// one in it, two overlays never meet, and two commits only where one tree is in
// the other. All are taken at once or none: who has to wait holds nothing, but
// a commit its turn, so that nobody waits for somebody who waits.
//
// X.in and X.at have the moment of the last commit as their time of
// modification.
type gates struct{ dir *os.File }

func openGates(dir string) (*gates, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	return &gates{d}, nil
}

// gate is what one call or commit has of it.
type gate struct {
	gates *gates
	locks []*lock
	marks []string // files that bear the moment of a commit
}

func (g *gate) close() {
	for _, l := range g.locks {
		l.release()
	}
	g.locks = nil
}

// wish is one lock that somebody wants.
type wish struct {
	name string
	part part
	pass bool // it is given back as soon as all are there
}

func gateName(id rootfs.Identity, suffix string) string {
	return fmt.Sprintf("%x-%x.%s", id.Dev, id.Ino, suffix)
}

// own is one byte for each tree.
func own(id rootfs.Identity) part {
	return part{kind: unix.F_WRLCK, start: int64((id.Ino ^ id.Dev<<40) >> 1), len: 1}
}

// write is the gate of a call that is about to write in an overlay of the tree
// whose directories up to the root are line, itself first. since is the moment
// of the last commit that it could see.
func (g *gates) write(ctx context.Context, line []rootfs.Identity) (_ *gate, since time.Time, err error) {
	out := &gate{gates: g}
	var wishes []wish
	for i := len(line) - 1; i >= 0; i-- { // everybody from the root: of two that meet one gets ahead
		wishes = append(wishes, wish{gateName(line[i], "turn"), shared, true}, wish{gateName(line[i], "in"), shared, false})
		out.marks = append(out.marks, gateName(line[i], "in"))
	}
	at := gateName(line[0], "at")
	wishes = append(wishes, wish{at, shared, false})
	out.marks = append(out.marks, at)
	if err := out.take(ctx, wishes); err != nil {
		return nil, since, err
	}
	for _, name := range out.marks {
		var st unix.Stat_t
		if err := unix.Fstatat(int(g.dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			out.close()
			return nil, since, &os.PathError{Op: "stat", Path: name, Err: err}
		}
		if at := time.Unix(st.Mtim.Unix()); at.After(since) {
			since = at
		}
	}
	return out, since, nil
}

// commit is the gate of a commit to a tree.
func (g *gates) commit(ctx context.Context, line []rootfs.Identity) (*gate, error) {
	out := &gate{gates: g}
	var wishes []wish
	for i := len(line) - 1; i > 0; i-- {
		in, at := gateName(line[i], "in"), gateName(line[i], "at")
		wishes = append(wishes, wish{in, shared, false}, wish{at, own(line[0]), false})
		out.marks = append(out.marks, at)
	}
	in := gateName(line[0], "in")
	wishes = append(wishes, wish{in, alone, false})
	out.marks = append(out.marks, in)
	name, err := out.try(wishes)
	if name == "" {
		return out, err
	}
	turn, err := g.turn(ctx, gateName(line[0], "turn"))
	if err != nil {
		return nil, err
	}
	defer turn.release()
	return out, out.take(ctx, wishes)
}

func (g *gates) turn(ctx context.Context, name string) (*lock, error) {
	if err := makeFIFO(int(g.dir.Fd()), name); err != nil {
		return nil, err
	}
	return take(ctx, int(g.dir.Fd()), name, alone)
}

// take waits until it has all.
func (g *gate) take(ctx context.Context, wishes []wish) error {
	for {
		name, err := g.try(wishes)
		if name == "" {
			return err
		}
		if err := free(ctx, int(g.gates.dir.Fd()), name); err != nil {
			return err
		}
	}
}

// try takes all, or none and gives the name of the one that somebody has.
func (g *gate) try(wishes []wish) (string, error) {
	dir := int(g.gates.dir.Fd())
	var pass []*lock
	for _, w := range wishes {
		l, err := try(dir, w.name, w.part)
		if errors.Is(err, unix.ENOENT) {
			if err = makeFIFO(dir, w.name); err == nil {
				l, err = try(dir, w.name, w.part)
			}
		}
		switch {
		case err != nil:
			g.close()
			(&gate{locks: pass}).close()
			if errors.Is(err, errTaken) {
				return w.name, nil
			}
			return "", err
		case w.pass:
			pass = append(pass, l)
		default:
			g.locks = append(g.locks, l)
		}
	}
	(&gate{locks: pass}).close()
	return "", nil
}

// mark notes the end of a commit, with a clock that no time stamp of the
// kernel's is ahead of.
func (g *gate) mark() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return os.NewSyscallError("clock_gettime", err)
	}
	for _, name := range g.marks {
		if err := unix.UtimesNanoAt(int(g.gates.dir.Fd()), name, []unix.Timespec{now, now}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &os.PathError{Op: "utimensat", Path: name, Err: err}
		}
	}
	return nil
}
