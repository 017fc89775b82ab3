// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/supervisor/pool"
)

// Boxes keeps prepared sandboxes waiting.
type Boxes = pool.Pool[runtime.Spec, *runtime.Sandbox]

// Boxes are those that wait; nil outside of a daemon.
func (s *Supervisor) Boxes() *Boxes { return s.boxes }

// keepBoxes has calls take boxes that wait, from now on, instead of ones that
// are made for them.
func (s *Supervisor) keepBoxes(config pool.Config) {
	s.boxes = pool.New(config, pool.Source[runtime.Spec, *runtime.Sandbox]{
		Template: func(ctx context.Context, spec runtime.Spec) (pool.Template[runtime.Spec, *runtime.Sandbox], error) {
			t, err := s.host.Template(ctx, spec)
			if err != nil {
				return nil, err
			}
			return t, nil
		},
		Exhausted: exhausted,
		Trouble: func(err error) {
			logrus.WithError(err).Warn("a sandbox could not be made ahead of its call, or not be removed")
		},
	})
}

// exhausted says whether an error means that the host has no room for another
// box, and may have later.
func exhausted(err error) bool {
	for _, full := range []error{runtime.ErrNoSlot, unix.EAGAIN, unix.ENOMEM, unix.ENOSPC, unix.EMFILE, unix.ENFILE, unix.EUSERS} {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}

// box gives a prepared box for a plan, and what ends it. A daemon's boxes are
// removed while the caller has its result already: when a call has ended nothing
// of it is alive, and what is left to do is the host's own housekeeping.
func (s *Supervisor) box(ctx context.Context, p *Plan, spec runtime.Spec) (*runtime.Sandbox, func() error, error) {
	if s.boxes == nil {
		box, err := s.host.Prepare(ctx, spec)
		if err != nil {
			return nil, nil, err
		}
		return box, box.Close, nil
	}
	spec.Stamp = stamp(&spec)
	template, key, err := spec.Keys()
	if err != nil {
		return nil, nil, err
	}
	taken, err := s.boxes.Take(ctx, pool.Want[runtime.Spec]{
		Spec: spec, Key: pool.Key(key), Template: pool.Key(template),
		Labels: pool.Labels{Profile: p.Profile.Profile.Name, Session: p.Request.Session},
		// A copy that was sealed for a question is this call's alone.
		Once: p.Sealed != nil || p.Interpreted != nil,
		// And so is the layer over its workspace, and whom it trusts.
		Alone: p.Overlay || p.Reaches,
	})
	if err != nil {
		var refused *pool.Refused
		var made *runtime.Error
		if errors.As(err, &refused) || !errors.As(err, &made) { // the pool's own, whatever reason it holds
			err = &runtime.Error{Step: runtime.StepSlot, Err: err}
		}
		return nil, nil, err
	}
	return taken.Box, func() error {
		s.ending.Go(func() {
			if err := taken.Close(); err != nil {
				logrus.WithError(err).Warn("something of a box stayed behind; the next start removes it")
			}
		})
		return nil
	}, nil
}

// stamp tells apart what of the host a box shows: a file or a directory that was
// replaced under its name is another one, and so is one over which something
// was mounted. Boxes that wait still have the old one, and the plan is about the
// new.
func stamp(spec *runtime.Spec) string {
	var all strings.Builder
	note := func(path string, flags int) {
		var st unix.Statx_t
		if unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_INO|unix.STATX_MNT_ID, &st) == nil { // else the mount will say so
			fmt.Fprintf(&all, "%x:%x:%x:%x ", st.Dev_major, st.Dev_minor, st.Ino, st.Mnt_id)
		}
	}
	if spec.Rootfs != "" {
		note(spec.Rootfs, 0)
	} else {
		for _, dir := range rootfs.SystemDirs {
			note("/"+dir, unix.AT_SYMLINK_NOFOLLOW)
		}
	}
	for _, p := range spec.Read {
		note(p, 0)
	}
	return all.String()
}
