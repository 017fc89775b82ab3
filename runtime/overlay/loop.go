// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const loopControl = "/dev/loop-control"

// loopTries bounds how often a free loop device may turn out to have been taken
// by somebody else.
const loopTries = 2000

// attach gives an image a loop device, held by the descriptor. The device is
// free again when neither a descriptor nor a mount holds it (loop(4),
// LO_FLAGS_AUTOCLEAR). It keeps the image's open file description, and so a lock
// on it, until then.
func attach(image *os.File) (*os.File, error) {
	control, err := unix.Open(loopControl, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, explainLoop(err)
	}
	defer unix.Close(control)
	for range loopTries {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, explainLoop(fmt.Errorf("find a free loop device: %w", err))
		}
		device, err := configure(fmt.Sprintf("/dev/loop%d", n), image)
		switch {
		case err == nil:
			return device, nil
		case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
			// Somebody else has it now, or it was removed.
			time.Sleep(rand.N(time.Millisecond))
		default:
			return nil, explainLoop(err)
		}
	}
	return nil, &Refusal{Err: errors.New("every loop device that was free is taken at once"), Do: "find out who attaches them, with losetup --list"}
}

func configure(name string, image *os.File) (*os.File, error) {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	// With sectors of the file system's size nothing of the device is read twice.
	config := unix.LoopConfig{Fd: uint32(image.Fd()), Size: block}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if err := unix.IoctlLoopConfigure(fd, &config); err != nil {
		return nil, errors.Join(&os.PathError{Op: "attach", Path: name, Err: err}, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// forReading exchanges a device's descriptor for one that can't write: some
// kernels mount nothing that anyone has open for writing. The device is attached
// throughout.
func forReading(device *os.File) (*os.File, error) {
	fd, err := unix.Open(device.Name(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err := errors.Join(err, device.Close()); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), device.Name()), nil
}

// waitLimit bounds how long an image may be attached after its last mount is
// gone, as far as anyone can see.
const waitLimit = 10 * time.Second

// lock waits until no loop device has the image any more, and nobody else is
// about to attach it: two mounts of it would destroy it.
func lock(image *os.File, limit time.Duration) error {
	pause := 100 * time.Microsecond
	for end := time.Now().Add(limit); ; {
		err := unix.Flock(int(image.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock the image: %w", err)
		}
		if time.Now().After(end) {
			return ErrInUse
		}
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}
