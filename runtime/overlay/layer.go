// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Errors of Open and Close, wrapped.
var (
	ErrInUse = errors.New("the layer is still mounted")
	ErrTorn  = errors.New("the layer was not closed before the machine stopped, or the disk was full: what it held is lost")
)

// Layer is a file system of its own, in an image file, that one call after
// another may write into. While it is open it is mounted, nowhere. Its methods
// may be called from several goroutines; after Close or Discard they give
// os.ErrClosed.
type Layer struct {
	maker  *Maker
	image  string
	size   Size
	device string // path of its loop device

	mu    sync.Mutex
	root  *os.File // guarded by mu; of the file system, which it keeps mounted; nil: closed
	dirty bool     // guarded by mu; it was mounted since the last sync
	lost  error    // guarded by mu; the kernel tells it but once
}

// Make makes a layer in the file image, which must not exist.
func (m *Maker) Make(image string, size Size, owner rootfs.Owner) (_ *Layer, err error) {
	defer func() { err = wrap("make", image, err) }()
	if err := size.check(); err != nil {
		return nil, err
	}
	if !owner.Valid() {
		return nil, fmt.Errorf("%v is no user and group", owner)
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	if err := checkRoom(filepath.Dir(image), minRoom); err != nil {
		return nil, err
	}
	blank, err := m.blank(size, filepath.Dir(image))
	if err != nil {
		return nil, err
	}
	defer blank.Close()
	f, err := os.OpenFile(image, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, explainRoom(filepath.Dir(image), err)
	}
	defer f.Close()
	l := &Layer{maker: m, image: image, size: size}
	if err := l.make(f, blank, boot, owner); err != nil {
		if l.root != nil {
			err = errors.Join(err, l.root.Close())
		}
		return nil, errors.Join(err, os.Remove(image))
	}
	return l, nil
}

// make fills a new image. The device comes first: what is written to it is there
// when it is mounted, while the kernel would write an image that was filled
// already to the disk, and wait for that, before it attached it.
func (l *Layer) make(image, blank *os.File, boot string, owner rootfs.Owner) error {
	info, err := blank.Stat()
	if err != nil {
		return err
	}
	if err := image.Truncate(info.Size()); err != nil {
		return explainRoom(filepath.Dir(l.image), err)
	}
	if err := lock(image, waitLimit); err != nil {
		return err
	}
	device, err := attach(image)
	if err != nil {
		return err
	}
	if err := errors.Join(copyExtents(device, blank), writeMark(device, l.size, boot)); err != nil {
		return errors.Join(err, device.Close())
	}
	if err := l.mountDevice(device); err != nil {
		return err
	}
	return unix.Fchownat(int(l.root.Fd()), upperName, owner.UID, owner.GID, unix.AT_SYMLINK_NOFOLLOW)
}

// Open opens a layer that Close left, or a process that was killed. While its
// old mount is ending it waits, for ten seconds at most.
func (m *Maker) Open(image string) (*Layer, error) {
	l, err := m.open(image, waitLimit)
	return l, wrap("open", image, err)
}

func (m *Maker) open(image string, limit time.Duration) (*Layer, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(image, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := lock(f, limit); err != nil {
		return nil, err
	}
	mark, clean, err := readMark(f)
	if err != nil {
		return nil, err
	}
	if !clean || mark.boot() != "" && mark.boot() != boot {
		return nil, ErrTorn
	}
	if mark.boot() == "" {
		// On the disk before anything that the mount writes.
		if err := errors.Join(writeMark(f, mark.Size, boot), f.Sync()); err != nil {
			return nil, err
		}
	}
	device, err := attach(f)
	if err != nil {
		return nil, err
	}
	l := &Layer{maker: m, image: image, size: mark.Size}
	if err := l.mountDevice(device); err != nil {
		return nil, err
	}
	return l, nil
}

// mountDevice mounts the file system on a device, attached nowhere. The image is
// locked, and stays so for as long as the device has it; the descriptor of the
// device is closed.
func (l *Layer) mountDevice(device *os.File) (err error) {
	l.device = device.Name()
	l.root, err = mountRoot(device)
	return err
}

// mountRoot gives the root directory of the file system on a device, which keeps
// it mounted.
func mountRoot(device *os.File) (*os.File, error) {
	device, err := forReading(device)
	if err != nil {
		return nil, err
	}
	defer device.Close()
	tree, err := mountExt4(device.Name())
	if err != nil {
		return nil, err
	}
	defer unix.Close(tree)
	fd, err := unix.Openat(tree, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a layer's root: %w", err)
	}
	return os.NewFile(uintptr(fd), "layer"), nil
}

// Upper opens the directory that holds what was written, for reading. It fails
// when something of it was lost because the disk is full.
func (l *Layer) Upper() (_ *os.File, err error) {
	defer func() { err = wrap("read", l.image, err) }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.root == nil {
		return nil, os.ErrClosed
	}
	if err := l.sync(); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(int(l.root.Fd()), upperName, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), upperName), nil
}

// sync writes the layer to its image, though the image not to the disk, and
// tells what failed of all that was written since it was opened (syncfs(2)).
func (l *Layer) sync() error {
	if err := unix.Syncfs(int(l.root.Fd())); err != nil && l.lost == nil {
		l.lost = &Refusal{Err: fmt.Errorf("of what was written to the layer something is lost: %w", err),
			Do: "look whether the disk below " + filepath.Dir(l.image) + " is full"}
	}
	l.dirty = false
	return l.lost
}

// Used is what the layer holds at the moment, in whole blocks of 4 KiB.
func (l *Layer) Used() (_ Size, err error) {
	defer func() { err = wrap("measure", l.image, err) }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.root == nil {
		return Size{}, os.ErrClosed
	}
	room, err := free(l.root)
	if err != nil {
		return Size{}, err
	}
	return Size{Bytes: max(l.size.blocks()*block-room.Bytes, 0), Files: max(l.size.Files-room.Files, 0)}, nil
}

// Close writes the layer to its image, and that to the disk, and unmounts it.
// What still has the layer open or mounted must be gone. When it fails, what
// the layer holds may be lost.
func (l *Layer) Close() error { return wrap("close", l.image, l.close(waitLimit)) }

func (l *Layer) close(limit time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.root == nil {
		return os.ErrClosed
	}
	lost := l.sync()
	err := l.root.Close()
	l.root = nil
	if err != nil {
		return errors.Join(lost, err)
	}
	f, err := os.OpenFile(l.image, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return errors.Join(lost, err)
	}
	defer f.Close()
	if err := lock(f, limit); err != nil {
		return errors.Join(lost, err)
	}
	if lost != nil {
		// As if the machine had stopped: no run of it has this name.
		return errors.Join(lost, writeMark(f, l.size, "lost"))
	}
	if _, clean, err := readMark(f); err != nil || !clean {
		return errors.Join(ErrTorn, err)
	}
	// The image first: the mark says that it is whole.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := errors.Join(writeMark(f, l.size, ""), f.Sync()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(l.image))
}

// discardSync is how much a layer may hold, in bytes, for Discard to let the
// kernel write it to the image, which is gone anyhow. To stop it costs an alert
// in the kernel's log.
const discardSync = 16 << 20

// Discard throws the layer and its image away. What is still mounted of it ends
// with whoever has it.
func (l *Layer) Discard() (err error) {
	defer func() { err = wrap("discard", l.image, err) }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.root == nil {
		return os.ErrClosed
	}
	var errs []error
	if room, err := free(l.root); l.dirty && (err != nil || l.size.Bytes-room.Bytes > discardSync) {
		errs = append(errs, shutdown(l.root))
	}
	errs = append(errs, l.root.Close(), os.Remove(l.image))
	l.root = nil
	return errors.Join(errs...)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// wrap says what was being done.
func wrap(what, image string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s layer %s: %w", what, image, err)
}
