// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// Space is a network namespace without a name (network_namespaces(7)).
type Space struct {
	file *os.File
}

// thread runs f on a thread that ends with it, so that it may change what a
// thread has of its own.
func thread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

func newSpace() (*Space, error) {
	var s Space
	err := thread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		s.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return &s, err
}

// Enter takes the calling thread into the namespace. The goroutine is locked to
// it (runtime.LockOSThread).
func (s *Space) Enter() error {
	if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return nil
}

// Do runs f in the namespace. What f makes stays in it: sockets, processes. f
// must not end the test (testing.T.FailNow), since it runs in a goroutine of its own.
func (s *Space) Do(f func() error) error {
	return thread(func() error {
		if err := s.Enter(); err != nil {
			return err
		}
		return f()
	})
}

// Start starts a command in the namespace.
func (s *Space) Start(c *exec.Cmd) error { return s.Do(c.Start) }

// Output runs a command in the namespace and gives what it wrote to stdout.
func (s *Space) Output(c *exec.Cmd) (out []byte, err error) {
	err = s.Do(func() error { out, err = c.Output(); return err })
	return out, err
}

// Dial connects from the namespace to a literal address.
func (s *Space) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = s.Do(func() error {
		var d net.Dialer
		c, err = d.DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens in the namespace.
func (s *Space) Listen(network, address string) (l net.Listener, err error) {
	err = s.Do(func() error { l, err = net.Listen(network, address); return err })
	return l, err
}

// ListenPacket listens in the namespace.
func (s *Space) ListenPacket(network, address string) (c net.PacketConn, err error) {
	err = s.Do(func() error { c, err = net.ListenPacket(network, address); return err })
	return c, err
}

// ID is the namespace's inode number, which readlink of /proc/PID/ns/net has too.
func (s *Space) ID() (uint64, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(s.file.Fd()), &st)
	return st.Ino, err
}

func (s *Space) close() error { return s.file.Close() }
