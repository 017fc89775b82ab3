// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/landlock"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/wire"
)

// Template is a finished root and the program that waits in it, of which boxes
// are cloned. The program is root of the host, in a mount namespace of its own,
// and nothing foreign ever runs in it. Its methods may be called from several
// goroutines.
type Template struct {
	host  *Host
	key   Key
	born  time.Time
	rules []wire.Rule

	process *os.Process
	ended   chan struct{} // closed once it was waited for
	closing atomic.Bool

	mu      sync.Mutex // held from an order to its answer
	control *os.File   // of packets
	devices devicesOf
}

// templateLimit bounds how long a template may take to answer: it waits for
// nobody, and a clone takes less than a millisecond.
const templateLimit = 10 * time.Second

// Template builds the root that the spec describes, but for what is one box's
// own, and starts the program in it. The error is an *Error, and then nothing
// is left.
func (h *Host) Template(ctx context.Context, spec Spec) (*Template, error) {
	if err := h.checkBox(&spec); err != nil {
		return nil, failed(StepSpec, err)
	}
	whole := treeOf(&spec)
	shared, own, err := whole.Split()
	if err != nil {
		return nil, failed(StepMount, err)
	}
	t := &Template{
		host: h, key: spec.templateKey(shared, own), born: time.Now(),
		rules:   slices.DeleteFunc(whole.Rules(), func(r wire.Rule) bool { return r.Path == h.withheld }),
		devices: devicesOf{}, ended: make(chan struct{}),
	}
	setup, err := t.setup(&spec, own)
	if err != nil {
		return nil, failed(StepSpec, err)
	}
	ours, theirs, err := packets()
	if err != nil {
		return nil, failed(StepContainer, err)
	}
	t.control = ours
	err = rootfs.OnOwnThread(func() error { return t.start(shared, theirs) })
	if err := errors.Join(err, theirs.Close()); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	go func() {
		_, _ = t.process.Wait()
		close(t.ended)
	}()
	if _, _, err := t.ask(ctx, setup); err != nil {
		if errors.Is(err, unix.EPROTO) {
			err = errors.New("it does not understand this clawsup: install both from one build, and restart clawsupd")
		}
		return nil, errors.Join(failed(StepContainer, fmt.Errorf("clawsup-template can't begin: %w", err)), t.Close())
	}
	return t, nil
}

// packets makes a pair of SOCK_SEQPACKET sockets, ours for Go's poller.
func packets() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "template")
	// A setup with a long list of rules is more than the default.
	err = unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 2*wire.MaxSetup)
	if err == nil {
		err = unix.SetNonblock(fds[0], true)
	}
	if err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), theirs.Close())
	}
	return os.NewFile(uintptr(fds[0]), "template"), theirs, nil
}

// setup is what all boxes of the template are told.
func (t *Template) setup(spec *Spec, own []rootfs.Own) (wire.Message, error) {
	on := spec.Layers.Enforce
	s := wire.Setup{
		Hostname: Hostname, Proc: procOptions(spec), Empty: rootfs.EmptyDir, Rlimits: spec.rlimits(),
		CgroupNamespace: on.Has(layer.NamespaceCgroup), TimeNamespace: on.Has(layer.NamespaceTime),
	}
	if !spec.ProcPids {
		var err error
		if s.Masked, s.Emptied, err = hiddenProc(); err != nil {
			return nil, err
		}
		s.Readonly = readonlyProc
	}
	for _, o := range own {
		if o.Tmpfs != nil {
			s.Measured = append(s.Measured, o.Target)
		}
	}
	if on.Has(layer.Seccomp) {
		s.Seccomp = spec.Filter
	}
	if l := spec.landlock(t.rules); l != nil {
		var err error
		if s.Landlock, err = landlock.Ruleset(l); err != nil {
			return nil, err
		}
	}
	m := s.Encode()
	if len(m) > wire.MaxSetup {
		return nil, fmt.Errorf("the profile's files and rules take %d bytes to describe; the limit is %d", len(m), wire.MaxSetup)
	}
	return m, nil
}

// landlock is the second wall, with its rules; nil: it is not enforced.
func (spec *Spec) landlock(rules []wire.Rule) *wire.Landlock {
	on := spec.Layers.Enforce
	if !on.Has(layer.Landlock) {
		return nil
	}
	return &wire.Landlock{
		ABI: spec.Layers.ABI, Rules: rules,
		// Where the profile gives the box its own loopback the plan does not
		// wish these: the empty network is the wall.
		TCP:   !on.Has(layer.LandlockTCP),
		UDP:   !on.Has(layer.LandlockUDP),
		Scope: on.Has(layer.LandlockScope),
	}
}

// start builds the root and starts the program in it, on a thread that has a
// mount namespace of its own and ends with this.
func (t *Template) start(tree *rootfs.Tree, control *os.File) error {
	if err := rootfs.Isolate(); err != nil {
		return failed(StepMount, err)
	}
	stage := t.host.stageDir()
	if err := tree.Build(stage); err != nil {
		return failed(StepMount, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return failed(StepContainer, err)
	}
	defer null.Close()
	program := t.host.templateProgram()
	t.process, err = os.StartProcess(program, []string{"clawsup-template"}, &os.ProcAttr{
		Dir: stage, Env: []string{}, Files: []*os.File{null, null, null, control},
	})
	if err != nil {
		return failed(StepContainer, err)
	}
	return nil
}

// templateProgram lies beside clawsup-init.
func (h *Host) templateProgram() string {
	return filepath.Join(filepath.Dir(h.config.Init), "clawsup-template")
}

// ask sends a message and gives the answer: a pid, and a descriptor if one came
// with it, or -1.
func (t *Template) ask(ctx context.Context, m wire.Message, fds ...int) (pid int, pidfd int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := ctx.Err(); err != nil { // while others were answered
		return 0, -1, err
	}
	// Its own bound and no caller's: what one doesn't wait for would be taken for
	// the answer to the next.
	if err := t.control.SetDeadline(time.Now().Add(templateLimit)); err != nil {
		return 0, -1, err
	}
	raw, err := t.control.SyscallConn()
	if err != nil {
		return 0, -1, err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	var did error
	err = raw.Write(func(fd uintptr) bool {
		_, did = unix.SendmsgN(int(fd), m, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(did, unix.EAGAIN) && !errors.Is(did, unix.EINTR)
	})
	if err := errors.Join(err, did); err != nil {
		t.closing.Store(true)
		return 0, -1, fmt.Errorf("clawsup-template: %w", err)
	}
	var answer [8]byte
	var oob [32]byte
	var n, oobn int
	err = raw.Read(func(fd uintptr) bool {
		n, oobn, _, _, did = unix.Recvmsg(int(fd), answer[:], oob[:], unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(did, unix.EAGAIN) && !errors.Is(did, unix.EINTR)
	})
	if err = errors.Join(err, did); err == nil && n != len(answer) {
		err = errors.New("it has ended")
	}
	if err != nil {
		// An answer that comes late would be taken for the next one's.
		t.closing.Store(true)
		return 0, -1, fmt.Errorf("clawsup-template: %w", errors.Join(err, unix.Shutdown(int(t.control.Fd()), unix.SHUT_RDWR)))
	}
	got, err := wire.Rights(oob[:oobn])
	if err != nil || len(got) > 1 {
		return 0, -1, errors.New("clawsup-template: a malformed answer")
	}
	pidfd = -1
	if len(got) == 1 {
		pidfd = got[0]
	}
	if said := int64(binary.NativeEndian.Uint64(answer[:])); said > 0 {
		return int(said), pidfd, nil
	} else {
		return 0, -1, syscall.Errno(-said)
	}
}

// Key is what it is good for.
func (t *Template) Key() Key { return t.key }

// Age is how long ago its root was built: files of the host that it copied, and
// mounts within what it shows, are as they were then.
func (t *Template) Age() time.Duration { return time.Since(t.born) }

// Alive tells whether boxes can be made of it.
func (t *Template) Alive() bool {
	select {
	case <-t.ended:
		return false
	default:
		return !t.closing.Load()
	}
}

// PID is the program's.
func (t *Template) PID() int { return t.process.Pid }

// Close ends the program and gives up the root. Boxes that were made of it go
// on.
func (t *Template) Close() error {
	t.closing.Store(true)
	t.mu.Lock()
	err := t.control.Close()
	t.mu.Unlock()
	// It ends with its socket. One that was stopped doesn't.
	end := time.NewTimer(time.Second)
	defer end.Stop()
	select {
	case <-t.ended:
	case <-end.C:
		err = errors.Join(err, t.process.Kill())
		<-t.ended
	}
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	if err != nil {
		return failed(StepCleanup, err)
	}
	return nil
}
