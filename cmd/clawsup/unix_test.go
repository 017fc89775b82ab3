// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUnixSocketOfOutside: a process outside that listens in a directory which
// the box shows gets no visitor and no datagram, whoever may write it.
func TestUnixSocketOfOutside(t *testing.T) {
	b := newBench(t, "")
	shown, err := os.MkdirTemp("/opt", "clawsup-test-") // a profile can't show anything of /tmp
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shown) })
	if err := os.Chmod(shown, 0o755); err != nil {
		t.Fatal(err)
	}
	b.profile("writing", "[workspace]\nmode = \"rw\"\n")
	b.profile("looking", "[workspace]\nmode = \"ro\"\n")
	b.profile("reading", fmt.Sprintf("[files]\nread = [%q]\n", shown))
	for _, c := range []struct {
		name, dir, place string
		flags            []string
	}{
		{"read-only", filepath.Join(b.dir, "work"), "/workspace", []string{"--workspace", "work", "--profile", "looking"}},
		{"overlay", filepath.Join(b.dir, "work"), "/workspace", []string{"--workspace", "work"}},
		{"writable", filepath.Join(b.dir, "work"), "/workspace", []string{"--workspace", "work", "--profile", "writing"}},
		{"files.read", shown, shown, []string{"--profile", "reading"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream, err := net.ListenUnix("unix", &net.UnixAddr{Name: c.dir + "/stream", Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			packet, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: c.dir + "/dgram", Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer packet.Close()
			defer os.Remove(c.dir + "/dgram")
			for _, s := range []string{"/stream", "/dgram"} {
				if err := os.Chmod(c.dir+s, 0o777); err != nil {
					t.Fatal(err)
				}
			}
			script := fmt.Sprintf(`
import socket
for what, kind in ("stream", socket.SOCK_STREAM), ("dgram", socket.SOCK_DGRAM):
    try:
        s = socket.socket(socket.AF_UNIX, kind)
        s.connect("%s/" + what)
        s.send(b"visitor")
        print("out by", what)
    except OSError as e:
        print("refused", e.errno)
a, b = socket.socketpair()
a.send(b"pair")
print(b.recv(9).decode())
`, c.place)
			args := append(append([]string{"run"}, c.flags...), "--", "python3", "-c", script)
			if got := b.run("", args...); strings.Count(got.out, "refused") != 2 || !strings.HasSuffix(got.out, "\npair\n") {
				t.Errorf("%+v", got)
			}
			// The first who come are the test's own.
			if conn, err := net.Dial("unix", c.dir+"/stream"); err != nil {
				t.Fatal(err)
			} else {
				defer conn.Close()
			}
			visitor, err := stream.AcceptUnix()
			if err != nil {
				t.Fatal(err)
			}
			defer visitor.Close()
			if pid := peer(t, visitor); pid != os.Getpid() {
				t.Errorf("process %d came out of the box", pid)
			}
			conn, err := net.Dial("unixgram", c.dir+"/dgram")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("canary")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			if n, err := packet.Read(buf); err != nil || string(buf[:n]) != "canary" {
				t.Errorf("%q, %v came out of the box", buf[:n], err)
			}
		})
	}
}

// peer is the process at the other end (SO_PEERCRED of unix(7)).
func peer(t *testing.T, c *net.UnixConn) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var cred *unix.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) { cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || inner != nil {
		t.Fatal(err, inner)
	}
	return int(cred.Pid)
}

// TestUnixSocketsInside work where there is nobody but the box.
func TestUnixSocketsInside(t *testing.T) {
	b := newBench(t, "")
	b.profile("scratch", "[workspace]\nmode = \"scratch\"\n")
	for _, profile := range []string{"default", "scratch"} {
		got := b.run("", "run", "--profile", profile, "--", "python3", "-c", `
import socket
s = socket.socket(socket.AF_UNIX)
s.bind("here")
s.listen()
c = socket.socket(socket.AF_UNIX)
c.connect("here")
c.send(b"inside")
print(s.accept()[0].recv(9).decode())
`)
		if got.status != 0 || got.out != "inside\n" {
			t.Errorf("%s: %+v", profile, got)
		}
	}
}
