// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/seccomp"
	"github.com/clawsup/clawsup/runtime/seccomp/load"
)

// With a socket of the host's network in its hands, and under the helper's filter,
// a thread gets nowhere but where the socket leads.
func TestRefusing(t *testing.T) {
	filter, err := seccomp.Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	canary, at := listener(t)
	defer canary.Close()
	server := echo(t)
	to := netip.MustParseAddrPort(at)
	elsewhere := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	type try struct {
		name string
		err  error
	}
	attack := func() (tries []try, err error) {
		peer, err := Connect(server)
		if err != nil {
			return nil, err
		}
		defer peer.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and never unlocked: the thread ends, with its filter
			if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return
			}
			if err = load.Load(refusing(filter.Bytes(), refused...)); err != nil {
				return
			}
			fd := int(peer.Fd())
			unspecified := [16]byte{unix.AF_UNSPEC}
			tries = []try{
				{"disconnect", rawConnect(fd, unspecified[:])},
				{"connect", unix.Connect(fd, elsewhere)},
				{"bind", unix.Bind(fd, &unix.SockaddrInet4{})},
				{"listen", unix.Listen(fd, 1)},
				{"list the interfaces", interfaces(fd)},
				{"open on the way", unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, elsewhere)},
			}
			err = unix.Sendto(fd, []byte("x"), unix.MSG_NOSIGNAL, nil) // what it is for goes on
		}()
		<-done
		return tries, err
	}
	tries, err := attack()
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range tries {
		if !errors.Is(try.err, unix.EPERM) {
			t.Errorf("%s: %v", try.name, try.err)
		}
	}
	if err := control(canary, func(fd int) error {
		got, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err == nil {
			return errors.Join(errors.New("somebody got through"), unix.Close(got))
		}
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		return os.NewSyscallError("accept4", err)
	}); err != nil {
		t.Error(err)
	}
}

// rawConnect is connect(2) of an address that package unix has no type for.
func rawConnect(fd int, address []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&address[0])), uintptr(len(address)))
	if errno != 0 {
		return errno
	}
	return nil
}

// interfaces asks for those of the network that a socket is of (netdevice(7)).
func interfaces(fd int) error {
	var list struct {
		length int32
		_      [4]byte
		at     uintptr
	}
	if _, _, number := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFCONF, uintptr(unsafe.Pointer(&list))); number != 0 {
		return number
	}
	return nil
}
