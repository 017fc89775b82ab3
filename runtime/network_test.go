// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/netns"
	"github.com/clawsup/clawsup/runtime/netns/origin"
)

// led has a namespace lead to a server that tells each connection where it was
// meant to go, and answers whatever is asked of DNS with its question.
func led(t *testing.T, in func(func() error) error) {
	t.Helper()
	var ends *netns.Ends
	if err := in(func() (err error) { ends, err = netns.Lead(nil); return err }); err != nil {
		t.Fatal(err)
	}
	defer ends.Close()
	l, err := net.FileListener(ends.TCP)
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.FilePacketConn(ends.UDP)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { _, _ = l.Close(), p.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			to, err := origin.Destination(c.(*net.TCPConn))
			_, _ = fmt.Fprintln(c, to, err)
			_ = c.Close()
		}
	})
	serving.Go(func() {
		b, oob := make([]byte, 1500), make([]byte, 64)
		u := p.(*net.UDPConn)
		for {
			n, oobn, _, from, err := u.ReadMsgUDPAddrPort(b, oob)
			if err != nil {
				return
			}
			_, _, _ = u.WriteMsgUDPAddrPort(b[:n], oob[:oobn], from)
		}
	})
}

// egressScript is what a tool does in such a box.
const egressScript = `
import errno, socket
def tcp(to):
    try:
        with socket.create_connection(to, 10) as s:
            return s.makefile().read().strip()
    except OSError as e:
        return errno.errorcode.get(e.errno, e)
def udp(to):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.settimeout(10)
        s.connect(to)
        s.send(b"question")
        return s.recv(100).decode()
    except OSError as e:
        return errno.errorcode.get(e.errno, e)
print(tcp(("198.18.7.7", 443)))
print(tcp(("10.0.0.1", 443)))
print(tcp(("127.0.0.1", 443)))
print(tcp(("2606:4700:4700::1111", 443)))
print(udp(("198.18.0.1", 53)))
print(udp(("198.18.7.7", 443)))
l = socket.create_server(("127.0.0.1", 7001))
socket.create_connection(("127.0.0.1", 7001)).close()
try:
    socket.create_server(("198.18.0.1", 53))
except OSError as e:
    print(errno.errorcode[e.errno])
print(open("/etc/resolv.conf").read().split())
print([x for x in open("/etc/nsswitch.conf") if x.startswith("hosts")])
print(len(socket.getaddrinfo("198.18.7.7", 1, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)))
print(socket.gethostbyname("localhost"), socket.gethostbyname(socket.gethostname()))
`

const egressSaid = `198.18.7.7:443 <nil>
ECONNREFUSED
ECONNREFUSED
ENETUNREACH
question
EPERM
EACCES
['nameserver', '198.18.0.1', 'options', 'no-aaaa', 'timeout:2', 'attempts:4']
['hosts: files dns\n']
1
127.0.0.1 127.0.0.1
`

// egressSpec is testSpec with a network that leads somewhere.
func egressSpec(t testing.TB, h *Host) Spec {
	spec := testSpec(t, h)
	spec.Network = NetworkEgress
	return spec
}

// TestEgress leads the network of a call that waits, and has it run.
func TestEgress(t *testing.T) {
	h := testHost(t)
	box, err := h.Prepare(context.Background(), egressSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	led(t, box.InNetwork)
	o := giveCall(t, box, testCall("python3", "-c", egressScript), "")
	if o.out != egressSaid || o.ExitCode != 0 {
		t.Errorf("%+v\n%s\n%s", o.Result, o.out, o.err)
	}
	if got := o.Layers[layer.Network]; got.State != layer.Enforced || got.Detail != ledNetwork {
		t.Errorf("%+v", got)
	}
	if err := box.init.await(t.Context()); err != nil { // it has said its last word, and ends
		t.Fatal(err)
	}
	if err := box.InNetwork(func() error { t.Error("it ran outside"); return nil }); !errors.Is(err, unix.ESRCH) {
		t.Errorf("in the network of a box that has ended: %v", err)
	}
	if err := box.Close(); err != nil {
		t.Error(err)
	}
	if err := box.InNetwork(func() error { t.Error("it ran outside"); return nil }); err == nil {
		t.Error("in the network of a box that is closed")
	}
}

// TestEgressOfService is the same for a service.
func TestEgressOfService(t *testing.T) {
	h := testHost(t)
	spec := serviceSpec(t, h)
	spec.Network = NetworkEgress
	log := openLog(t, 1<<16)
	v := serve(t, h, spec, serviceCall("python3", "-c", "import os, time\nwhile not os.path.exists('/tmp/go'): time.sleep(0.01)\n"+egressScript), log)
	led(t, v.InNetwork)
	// The tool's /tmp, by way of its PID 1, which tells it that the way is there.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/tmp/go", v.PID()), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if r := v.Ended(); r.ExitCode != 0 || log.read(t) != egressSaid || r.Layers[layer.Network].Detail != ledNetwork {
		t.Errorf("%+v\n%s", r, log.read(t))
	}
}

// TestInNetworkOfCall makes a listener while the tool runs.
func TestInNetworkOfCall(t *testing.T) {
	h := testHost(t)
	box, err := h.Prepare(context.Background(), testSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	stdout, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	var running sync.WaitGroup
	running.Go(func() {
		defer out.Close()
		script := `import socket; print("ready", flush=True); input(); print(socket.create_connection(("127.0.0.1", 7003)).makefile().read())`
		if r := box.Run(context.Background(), testCall("python3", "-c", script), Stdio{In: in, Out: out, Err: out}, nil); r.ExitCode != 0 {
			t.Errorf("%+v", r)
		}
	})
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	if err := box.InNetwork(func() (err error) { l, err = net.Listen("tcp", "127.0.0.1:7003"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, _ = stdin.WriteString("\n")
	_ = stdin.Close()
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("from outside"))
	_ = c.Close()
	if b, err := io.ReadAll(stdout); err != nil || strings.TrimSpace(string(b)) != "from outside" {
		t.Errorf("%q %v", b, err)
	}
	running.Wait()
}

// A plan that is for another network is refused, and so is no network at all.
func TestNetworkFitsThePlan(t *testing.T) {
	h := testHost(t)
	base := layer.All.Without(layer.LandlockUnix)
	for _, c := range []struct {
		network Network
		on      layer.Set
		fits    bool
	}{
		{NetworkNone, base, true},
		{NetworkNone, layer.LedNetwork(base), true}, // a loopback of its own
		{NetworkNone, layer.HostNetwork(base), false},
		{NetworkEgress, layer.LedNetwork(base), true},
		{NetworkEgress, base, false},
		{NetworkEgress, base.Without(layer.LandlockTCP), false},
		{NetworkEgress, base.Without(layer.LandlockUDP), false},
		{NetworkEgress, layer.HostNetwork(base), false},
		{NetworkHost, layer.HostNetwork(base), true},
		{NetworkHost, base, false},
		{NetworkEgress + 1, base, false},
		{-1, base, false},
	} {
		spec := testSpec(t, h)
		spec.Network, spec.Layers.Enforce = c.network, c.on
		if err := h.check(&spec); (err == nil) != c.fits {
			t.Errorf("%d under %b: %v", c.network, c.on, err)
		}
	}
	spec := testSpec(t, h)
	spec.Network, spec.Layers.Enforce = NetworkHost, layer.HostNetwork(base)
	if h.checkBox(&spec) == nil {
		t.Error("a call is in the host's network")
	}
}
