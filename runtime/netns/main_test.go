// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// childEnv names what this program does as a child of its tests.
const childEnv = "CLAWSUP_TEST_NETNS"

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		children[name](os.Args[1:])
		return
	}
	os.Exit(m.Run())
}

var children = map[string]func([]string){}

// public are networks for the tests to capture.
var public = []netip.Prefix{netip.MustParsePrefix("1.0.0.0/8"), netip.MustParsePrefix("8.8.0.0/16")}

// limit bounds what waits for something that should come at once.
const limit = 10 * time.Second

// space is a network namespace.
type space struct{ file *os.File }

// newSpace makes one as a box has it.
func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{}
	err := rootfs.OnOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if s.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.file.Close() })
	return s
}

// in runs f in the namespace.
func (s *space) in(f func() error) error {
	return rootfs.OnOwnThread(func() error {
		if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// lead leads it, and takes connections.
func (s *space) lead(t testing.TB) *ends {
	t.Helper()
	var e *Ends
	if err := s.in(func() (err error) { e, err = Lead(public); return err }); err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	l, err := net.FileListener(e.TCP)
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.FilePacketConn(e.UDP)
	if err != nil {
		t.Fatal(err)
	}
	both := &ends{l.(*net.TCPListener), p.(*net.UDPConn)}
	t.Cleanup(both.close)
	return both
}

// ends are Ends for package net.
type ends struct {
	tcp *net.TCPListener
	udp *net.UDPConn
}

func (e *ends) close() { _, _ = e.tcp.Close(), e.udp.Close() }

// accept takes the next connection.
func (e *ends) accept(t testing.TB) *net.TCPConn {
	t.Helper()
	if err := e.tcp.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	c, err := e.tcp.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// none tells that nothing has come: what was sent was refused before.
func (e *ends) none(t testing.TB) {
	t.Helper()
	now := time.Now().Add(-time.Second)
	if err := errors.Join(e.tcp.SetDeadline(now), e.udp.SetDeadline(now)); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []syscall.Conn{e.tcp, e.udp} {
		c, err := raw.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Control(func(fd uintptr) {
			p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, err := unix.Poll(p, 0); n != 0 || err != nil {
				t.Errorf("something has come through: %d %v", n, err)
			}
		})
	}
}

// dial connects within the namespace.
func (s *space) dial(t testing.TB, network, address string) (c net.Conn, err error) {
	t.Helper()
	err = s.in(func() (err error) {
		c, err = net.DialTimeout(network, address, limit)
		return err
	})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// child runs this program with another identity in the namespace. It has the
// files from descriptor 3 on.
func (s *space) child(t testing.TB, name string, who *syscall.SysProcAttr, files []*os.File, args ...string) string {
	t.Helper()
	// Where others can't look for it, it is run by its descriptor.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	c := exec.Command(fmt.Sprintf("/proc/self/fd/%d", 3+len(files)), args...)
	c.Env = []string{childEnv + "=" + name, "GORACE=atexit_sleep_ms=0"}
	c.SysProcAttr, c.ExtraFiles = who, append(files, self)
	var out []byte
	if err := s.in(func() (err error) { out, err = c.CombinedOutput(); return err }); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// nobody is a tool: no capability, neither here nor over the namespace.
func nobody() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}
