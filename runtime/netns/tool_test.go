// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/netns/origin"
)

func init() {
	children["tool"] = tool
	children["destination"] = destinationOf
}

func nft() ([]*nftables.Table, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	return c.ListTables()
}

// deeds are what a tool must not be able to do to its network.
var deeds = []struct {
	name string
	do   func() error
}{
	{"bind the port of the ends", bindTo(unix.SOCK_STREAM, [4]byte{198, 18, 0, 1}, 0)},
	{"the same from another address", bindTo(unix.SOCK_STREAM, [4]byte{127, 0, 0, 1}, unix.IP_FREEBIND)},
	{"the same of UDP", bindTo(unix.SOCK_DGRAM, [4]byte{8, 8, 8, 8}, unix.IP_FREEBIND)},
	{"the same for any address", bindTo(unix.SOCK_DGRAM, [4]byte{}, 0)},
	{"be transparent", bindTo(unix.SOCK_STREAM, [4]byte{1, 1, 1, 1}, unix.IP_TRANSPARENT)},
	{"delete the table", func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.DelTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4})
		return c.Flush()
	}},
	{"add a rule before it", func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.AddTable(&nftables.Table{Name: "mine", Family: nftables.TableFamilyIPv4})
		return c.Flush()
	}},
	{"lead it elsewhere", func() error { _, err := Lead(nil); return err }},
	{"take lo down", func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(lo)
	}},
	{"add an interface", func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}})
	}},
	{"add a way for IPv6", func() error {
		return netlink.RouteAdd(&netlink.Route{LinkIndex: 1, Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, Type: unix.RTN_LOCAL})
	}},
	{"make raw packets", func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW); return err }},
	{"make packets of the link", func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err }},
	{"ping", func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP); return err }},
	{"let ports be everybody's", func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
	}},
}

// bindTo binds port 53 of an address, with an option of level SOL_IP.
func bindTo(kind int, addr [4]byte, option int) func() error {
	return func() error {
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, o := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, o, 1); err != nil {
				return err
			}
		}
		if option != 0 {
			if err := unix.SetsockoptInt(fd, unix.SOL_IP, option, 1); err != nil {
				return err
			}
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Addr: addr, Port: port})
	}
}

func tool([]string) {
	for _, d := range deeds {
		if err := d.do(); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
			fmt.Printf("%s: %v\n", d.name, err)
		}
	}
	fmt.Println("tried")
}

// TestTool has a program try what a box's might, also with all capabilities in
// a user namespace of its own.
func TestTool(t *testing.T) {
	mapped := nobody()
	mapped.Cloneflags = unix.CLONE_NEWUSER
	mapped.Credential = &syscall.Credential{}
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}}
	mapped.UidMappings, mapped.GidMappings = ids, ids
	for name, who := range map[string]*syscall.SysProcAttr{"nobody": nobody(), "root of its own": mapped} {
		t.Run(name, func(t *testing.T) {
			s := newSpace(t)
			e := s.lead(t)
			if said := s.child(t, "tool", who, nil); said != "tried" {
				t.Error(said)
			}
			e.none(t)
			if _, err := s.dial(t, "tcp", "198.18.7.7:443"); err != nil {
				t.Fatal(err)
			}
			e.accept(t)
		})
	}
}

func destinationOf([]string) {
	for fd := 3; ; fd++ {
		file := os.NewFile(uintptr(fd), "")
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
			return
		}
		fmt.Println(origin.Destination(file))
	}
}

// TestDestinationElsewhere reads it in another process, of another user and
// network.
func TestDestinationElsewhere(t *testing.T) {
	s, empty := newSpace(t), newSpace(t)
	e := s.lead(t)
	if _, err := s.dial(t, "tcp", "1.2.3.4:567"); err != nil {
		t.Fatal(err)
	}
	file, err := e.accept(t).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if said := empty.child(t, "destination", nobody(), []*os.File{file}); !strings.HasPrefix(said, "1.2.3.4:567 <nil>") {
		t.Error(said)
	}
}
