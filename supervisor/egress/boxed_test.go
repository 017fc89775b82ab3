// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/netns"
	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/relay/relaytest"
)

// openDir is a directory that boxes can look into.
func openDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// look asks the helper, from within a namespace, for a name's address.
func look(t *testing.T, in func(func() error) error, name string) netip.Addr {
	t.Helper()
	question := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	packed, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var socket *os.File
	if err := in(func() (err error) {
		socket, err = relay.Datagrams(netip.AddrPortFrom(netns.Resolver, 53))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := socket.Write(packed); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 1500)
	n, err := socket.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	var answer dnsmessage.Message
	if err := answer.Unpack(text[:n]); err != nil {
		t.Fatal(err)
	}
	if answer.RCode == dnsmessage.RCodeNameError {
		return netip.Addr{}
	}
	if len(answer.Answers) != 1 {
		t.Fatalf("%+v", answer)
	}
	return netip.AddrFrom4(answer.Answers[0].Body.(*dnsmessage.AResource).A)
}

// The helper in its box: bytes from a box's network to where its name was
// decided to lead.
func TestBoxedHelper(t *testing.T) {
	dir := openDir(t)
	helper, err := relay.Open(relay.Options{
		Supervisor: relaytest.Supervisor(t, dir, programs), Dir: filepath.Join(dir, "egress"),
		Report: func(err error) { t.Log(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOf(t, helper)
	w.egress.lead = netns.Lead
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); helper.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	to := netip.MustParseAddrPort(server.Addr().String())
	w.judge.name = func(host string) packet.Verdict {
		return packet.Verdict{Allow: host == "server.example" || host == "denied.example", Reason: "no rule"}
	}
	w.judge.asks(func(_ context.Context, q packet.Query) packet.Verdict {
		if q.Host != "server.example" || q.Through != packet.TCP || q.Port != to.Port() {
			return packet.Verdict{Reason: "no"}
		}
		return packet.Verdict{Allow: true, Addresses: []netip.Addr{to.Addr()}, Networks: prefixes("127.0.0.1/32")}
	})
	in := namespace(t)
	b, err := w.egress.Open(BoxOptions{In: in, Authority: authority()})
	if err != nil {
		t.Fatal(err)
	}
	at := look(t, in, "server.example")
	if !netns.Names.Contains(at) {
		t.Fatalf("it is at %v", at)
	}
	if at := look(t, in, "other.example"); at.IsValid() {
		t.Errorf("a name that nothing allows is at %v", at)
	}
	exchange := func(at netip.Addr, text string) (string, error) {
		t.Helper()
		client, err := dialIn(t, in, netip.AddrPortFrom(at, to.Port()).String())
		if err != nil {
			return "", err
		}
		defer client.Close()
		if err := client.SetDeadline(time.Now().Add(patience)); err != nil {
			return "", err
		}
		if _, err := client.WriteString(text); err != nil {
			return "", err
		}
		if err := control(client, func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }); err != nil {
			return "", err
		}
		back, err := io.ReadAll(client)
		return string(back), err
	}
	text := strings.Repeat("\x00\x01 no protocol that anybody knows\n", 10_000)
	if back, err := exchange(at, text); back != text {
		t.Errorf("%d of %d bytes came back: %v", len(back), len(text), err)
	}
	if e := w.end(); e.traffic.Sent != int64(len(text)) || e.traffic.Received != int64(len(text)) || e.traffic.Error != "" {
		t.Errorf("%+v", e.traffic)
	}
	if back, err := exchange(look(t, in, "denied.example"), text); back != "" || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("denied: %q, %v", back, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if len(w.judge.ends) > 0 {
		t.Errorf("%+v", <-w.judge.ends)
	}
}
