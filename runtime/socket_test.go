// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func init() {
	probes["flood-tcp"] = floodTCP
	probes["flood-udp"] = floodUDP
}

// sockets is how many of a kind a flood uses: with what the kernel gives each
// by itself, several hundred MiB.
const sockets = 100

// hold reports how much was sent and keeps the sockets until stdin ends.
func hold(sent int) error {
	fmt.Println("sent", sent)
	_, _ = os.Stdin.Read(make([]byte, 1))
	return nil
}

// floodTCP fills the buffers of connections that nobody reads from.
func floodTCP([]string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	sent := 0
	var all []net.Conn
	for range sockets {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return err
		}
		other, err := l.Accept()
		if err != nil {
			return err
		}
		_ = c.(*net.TCPConn).SetWriteBuffer(4 << 20)
		all = append(all, c, other)
		_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := c.Write(make([]byte, 16<<20))
		if sent += n; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	err = hold(sent)
	for _, c := range all {
		_ = c.Close()
	}
	return err
}

// floodUDP sends datagrams that nobody reads.
func floodUDP([]string) error {
	sent := 0
	var all []net.PacketConn
	for range sockets {
		to, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		_ = to.(*net.UDPConn).SetReadBuffer(4 << 20)
		all = append(all, to)
		from, err := net.Dial("udp", to.LocalAddr().String())
		if err != nil {
			return err
		}
		for range 64 {
			n, err := from.Write(make([]byte, 60_000))
			if sent += n; err != nil {
				break // refused is what is hoped for
			}
		}
		_ = from.Close()
	}
	err := hold(sent)
	for _, c := range all {
		_ = c.Close()
	}
	return err
}

// socketPages reads how many pages sockets of a kind hold on this host, in
// all its network namespaces (proc(5), /proc/net/sockstat).
func socketPages(t *testing.T, kind string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(line, kind+": ")
		if !ok {
			continue
		}
		words := strings.Fields(rest)
		for i := 0; i+1 < len(words); i += 2 {
			var pages int
			if _, err := fmt.Sscan(words[i+1], &pages); err == nil && words[i] == "mem" {
				return pages
			}
		}
	}
	t.Fatalf("no memory of %s sockets in %q", kind, text)
	return 0
}

// TestSocketBuffersAreLimited has a box of 64 MiB put as much as it can into
// the buffers of its own sockets, and looks at the host's account of them
// while they are full. A third over the memory limit leaves room for what
// v1 allows beside it and for sockets of others.
func TestSocketBuffersAreLimited(t *testing.T) {
	h := testHost(t)
	const memory, most = 64 << 20, 96 << 20
	for probe, kind := range map[string]string{"flood-tcp": "TCP", "flood-udp": "UDP"} {
		t.Run(kind, func(t *testing.T) {
			spec := probeSpec(t, h)
			spec.Group.Memory = memory
			box, err := h.Prepare(context.Background(), spec)
			if err != nil {
				t.Fatal(err)
			}
			defer box.Close()
			var ends [3][2]*os.File
			for i := range ends {
				if ends[i][0], ends[i][1], err = os.Pipe(); err != nil {
					t.Fatal(err)
				}
				defer ends[i][0].Close()
				defer ends[i][1].Close()
			}
			before := socketPages(t, kind)
			done := make(chan Result, 1)
			go func() {
				r := box.Run(context.Background(), probeCall(probe), Stdio{In: ends[0][0], Out: ends[1][1], Err: ends[2][1]}, nil)
				_ = ends[1][1].Close()
				done <- r
			}()
			said, err := bufio.NewReader(ends[1][0]).ReadString('\n')
			rise := (socketPages(t, kind) - before) * os.Getpagesize()
			_ = ends[0][1].Close()
			r := <-done
			var sent int
			if _, scan := fmt.Sscanf(said, "sent %d\n", &sent); scan != nil {
				// The limit may also end the whole box, which bounds it too.
				if r.Status != OutOfMemory {
					t.Fatalf("the flood said %q %v: %+v", said, err, r)
				}
				return
			}
			if kind == "UDP" && sent < most {
				t.Errorf("only %d bytes were sent", sent) // what is dropped counts as sent
			}
			if rise > most {
				t.Errorf("%s sockets of a box of %d MiB hold %d MiB", kind, memory>>20, rise>>20)
			}
			if rise < 1<<20 {
				t.Errorf("the flood did not reach the buffers: %d bytes", rise)
			}
		})
	}
}
