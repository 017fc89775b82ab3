// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// curl runs one on the host, with names from the world's resolver.
func (w *World) curl(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"--silent", "--show-error", "--max-time", "30", "--cacert", w.Roots}, args...)
	for _, n := range []Name{API, Other, Moved, Bot, Git, Wheels, Packages, Plain, Sealed, Expired, Stranger, Misnamed, Old} {
		for _, port := range []int{80, 443} {
			args = append(args, "--resolve", fmt.Sprintf("%s:%d:%s", n, port, n.Address()))
		}
	}
	c := exec.Command("curl", args...)
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := w.Host.Output(c)
	if err != nil {
		return fmt.Sprintf("%s%s(%v)", out, &stderr, err)
	}
	return string(out)
}

func TestServers(t *testing.T) {
	w := New(t)
	for name, test := range map[string]struct {
		args []string
		says string // part of what curl says
	}{
		"echo":     {[]string{"--data", "hello", "https://api.test/echo?q=1"}, `"body":"hello"`},
		"HTTP/2":   {[]string{"https://api.test/echo"}, `"proto":"HTTP/2.0"`},
		"HTTP/1.1": {[]string{"--http1.1", "https://api.test/echo"}, `"proto":"HTTP/1.1"`},
		"plain":    {[]string{"http://plain.test/echo"}, `"host":"plain.test"`},
		"redirect": {[]string{"--location", "https://moved.test/echo"}, `"host":"other.test"`},
		"back":     {[]string{"-H", "Authorization: Bearer a/b", "https://api.test/back?as=base64&shift=1"}, "before eGEvYg== after"},
		"bot":      {[]string{"https://bot.test/bot" + BotToken + "/getMe"}, `"method":"getMe"`},
		"no bot":   {[]string{"https://bot.test/botX/getMe"}, `"error_code":401`},
		"token":    {[]string{"--data", "grant_type=client_credentials", "https://api.test/token"}, `"access_token":"fresh/`},
		"wheels":   {[]string{"https://wheels.test/simple/sunflower/"}, "sunflower-1.0.0-py3-none-any.whl"},
		"packages": {[]string{"https://packages.test/sunflower"}, "sunflower-1.0.0.tgz"},
		"git":      {[]string{"https://git.test/garden.git/info/refs?service=git-upload-pack"}, "refs/heads/main"},
		"sealed":   {[]string{"https://sealed.test/echo"}, `"host":"sealed.test"`},
		"expired":  {[]string{"https://expired.test/echo"}, "(exit status 60)"},
		"stranger": {[]string{"https://stranger.test/echo"}, "(exit status 60)"},
		"misnamed": {[]string{"https://misnamed.test/echo"}, "(exit status 60)"},
		"old":      {[]string{"--tlsv1.2", "https://old.test/echo"}, "(exit status 35)"},
		"a part":   {[]string{"https://api.test/wait?parts=1"}, "part 0\n"},
	} {
		if got := w.curl(t, test.args...); !strings.Contains(got, test.says) {
			t.Errorf("%s: %s", name, got)
		}
	}
	seen := w.Log.Await(t, func(s Seen) bool { return s.Method == "POST" && s.Ended })
	if seen.Server != API || seen.SNI != string(API) {
		t.Errorf("%+v", seen)
	}
	if n := len(w.Issued()); n != 1 {
		t.Errorf("%d tokens", n)
	}
}

// TestBodies: what is large arrives whole, and parts come one by one.
func TestBodies(t *testing.T) {
	w := New(t)
	const size = 3 << 20
	file := filepath.Join(t.TempDir(), "body")
	b, err := io.ReadAll(Content(size))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := w.curl(t, "--upload-file", file, "https://api.test/upload"), fmt.Sprintf("%d %s\n", size, Digest(size)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s := w.Log.Await(t, func(s Seen) bool { return s.Target == "/upload" && s.Ended }); s.Size != size || s.SHA != Digest(size) || len(s.Body) != MaxBody {
		t.Errorf("%d bytes, %s", s.Size, s.SHA)
	}
	if got := w.curl(t, fmt.Sprintf("https://api.test/download?size=%d", size)); got != string(b) {
		t.Errorf("%d bytes came", len(got))
	}

	client := http.Client{Transport: &http.Transport{TLSClientConfig: w.Client(), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return w.Host.Dial(ctx, network, netip.AddrPortFrom(API.Address(), 443).String())
	}}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("https://api.test/events?parts=3")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	for i := range 3 {
		part := fmt.Sprintf("data: part %d\n\n", i)
		got := make([]byte, len(part))
		if _, err := io.ReadFull(answer.Body, got); err != nil || string(got) != part {
			t.Fatalf("%v %q", err, got)
		}
		if i < 2 {
			w.Gate <- struct{}{}
		}
	}
}

func TestRaw(t *testing.T) {
	w := New(t)
	for port, greeting := range map[uint16]string{EchoPort: "", GreetPort: Greeting} {
		c, err := w.Host.Dial(t.Context(), "tcp", netip.AddrPortFrom(Raw.Address(), port).String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(greeting)+5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != greeting+"hello" {
			t.Errorf("%v %q", err, got)
		}
		_ = c.Close()
		if s := w.Log.Await(t, func(s Seen) bool { return s.To.Port() == port && s.Ended }); string(s.Body) != "hello" {
			t.Errorf("%+v", s)
		}
	}
}

func TestZone(t *testing.T) {
	w := New(t)
	ask := func(network string, name Name, kind uint16) []string {
		conn, err := w.Host.Dial(t.Context(), network, netip.AddrPortFrom(Resolver, 53).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := &dns.Conn{Conn: conn}
		q := new(dns.Msg).SetQuestion(dns.Fqdn(string(name)), kind)
		if err := c.WriteMsg(q); err != nil {
			t.Fatal(err)
		}
		answer, err := c.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		said := []string{dns.RcodeToString[answer.Rcode]}
		for _, r := range answer.Answer {
			_, value, _ := strings.Cut(r.String(), "\tIN\t")
			said = append(said, value)
		}
		return said
	}
	for _, test := range []struct {
		name Name
		kind uint16
		want string
	}{
		{API, dns.TypeA, "NOERROR A\t20.80.0.10"},
		{"API.Test", dns.TypeA, "NOERROR A\t20.80.0.10"},
		{API, dns.TypeAAAA, "NOERROR AAAA\t2600:80::10"},
		{API, dns.TypeHTTPS, "NOERROR"},
		{"nobody.test", dns.TypeA, "NXDOMAIN"},
		{Alias, dns.TypeA, "NOERROR CNAME\tmiddle.alias.test. CNAME\tapi.test. A\t20.80.0.10"},
		{ToAlias, dns.TypeA, "NOERROR CNAME\tloopback.inward.test. A\t127.0.0.1"},
		{ToMapped, dns.TypeAAAA, "NOERROR AAAA\t::ffff:127.0.0.1"},
		{Rebind, dns.TypeAAAA, "NOERROR"},
		{Rebind, dns.TypeA, "NOERROR A\t20.80.0.16"},
		{Rebind, dns.TypeA, "NOERROR A\t127.0.0.1"},
		{"c2VjcmV0.tunnel.test", dns.TypeTXT, "NOERROR TXT\t\"orders from afar\""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if test.name == Rebind && network == "tcp" {
				continue
			}
			if got := strings.Join(ask(network, test.name, test.kind), " "); got != test.want {
				t.Errorf("%s %s: %q, want %q", network, test.name, got, test.want)
			}
		}
	}
	if got := ask("udp", Endless, dns.TypeA); len(got) < 3 {
		t.Errorf("%q", got)
	}
	if q := w.Questions(); !slices.Contains(q, Question{"c2VjcmV0.tunnel.test.", "TXT", true}) || !slices.Contains(q, Question{"API.Test.", "A", false}) {
		t.Errorf("%+v", q)
	}
}

// TestSink: whatever is sent is counted, so that an empty list means something.
func TestSink(t *testing.T) {
	w := New(t)
	send := func(kind, protocol int, to unix.Sockaddr, domain int) func() error {
		return func() error {
			fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if kind == unix.SOCK_STREAM {
				if err := unix.Connect(fd, to); err != unix.EINPROGRESS {
					return fmt.Errorf("connect: %w", err)
				}
				return nil
			}
			return unix.Sendto(fd, []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}, 0, to) // an ICMP echo, where it is one
		}
	}
	four := func(port int, a string) unix.Sockaddr {
		return &unix.SockaddrInet4{Port: port, Addr: netip.MustParseAddr(a).As4()}
	}
	six := func(port int, a string) unix.Sockaddr {
		return &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr(a).As16()}
	}
	mark := w.Sink.Mark(t)
	w.Sink.Silent(t, mark)
	for _, test := range []struct {
		send func() error
		want string // how the packet reads, with the source cut out
	}{
		{send(unix.SOCK_STREAM, 0, four(4444, "93.0.2.1"), unix.AF_INET), "tcp to 93.0.2.1:4444"},
		{send(unix.SOCK_STREAM, 0, four(81, "10.1.2.3"), unix.AF_INET), "tcp to 10.1.2.3:81"},
		{send(unix.SOCK_STREAM, 0, six(443, "2600:99::1"), unix.AF_INET6), "tcp to [2600:99::1]:443"},
		{send(unix.SOCK_STREAM, 0, four(81, "127.0.0.1"), unix.AF_INET), "tcp to 127.0.0.1:81 on lo"},
		{send(unix.SOCK_DGRAM, 0, four(443, "20.80.0.10"), unix.AF_INET), "udp to 20.80.0.10:443"},
		{send(unix.SOCK_DGRAM, 0, four(53, "20.53.0.54"), unix.AF_INET), "udp to 20.53.0.54:53"},
		{send(unix.SOCK_DGRAM, 0, four(5353, "224.0.0.251"), unix.AF_INET), "udp to 224.0.0.251:5353"},
		{send(unix.SOCK_DGRAM, 0, six(53, "2600:99::53"), unix.AF_INET6), "udp to [2600:99::53]:53"},
		{send(unix.SOCK_RAW, unix.IPPROTO_ICMP, four(0, "93.0.2.1"), unix.AF_INET), "icmp to 93.0.2.1:0"},
		{send(unix.SOCK_RAW, 132, four(0, "93.0.2.1"), unix.AF_INET), "protocol 132 of 0x0800 to 93.0.2.1:0"},
	} {
		mark := w.Sink.Mark(t)
		if err := w.Host.Do(test.send); err != nil {
			t.Errorf("%s: %v", test.want, err)
			continue
		}
		packets := w.Sink.Since(t, mark)
		if !slices.ContainsFunc(packets, func(p Packet) bool {
			before, after, _ := strings.Cut(p.String(), " "+p.From.String()+" ")
			return before+" "+after == test.want
		}) {
			t.Errorf("%s: seen were %v", test.want, packets)
		}
	}
}

// watcher is a test that keeps what it is told.
type watcher struct {
	testing.TB
	said []string
}

func (w *watcher) Errorf(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

// TestSilent: what left is an error of the test, and so is a touched canary.
func TestSilent(t *testing.T) {
	w := New(t)
	mark := w.Sink.Mark(t)
	c, err := w.Host.Dial(t.Context(), "tcp", netip.AddrPortFrom(Plain.Address(), 80).String())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	told := &watcher{TB: t}
	w.Sink.Silent(told, mark)
	if len(told.said) == 0 || !strings.Contains(told.said[0], "20.80.0.16:80") {
		t.Errorf("%q", told.said)
	}
	w.Sink.Silent(t, mark, func(p Packet) bool { return p.To == netip.AddrPortFrom(Plain.Address(), 80) })
}

func TestCanaries(t *testing.T) {
	told := &ending{watcher: watcher{TB: t}}
	w := New(told)
	for _, a := range []netip.Addr{localhost, netip.IPv6Loopback(), HostAddress, Private, Metadata, Local} {
		c, err := w.Host.Dial(t.Context(), "tcp", netip.AddrPortFrom(a, 80).String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		w.Log.Await(t, func(s Seen) bool { return s.Protocol == canary && s.To.Addr() == a && s.Ended })
	}
	told.end()
	if len(told.said) != 6 {
		t.Errorf("%q", told.said)
	}
}

// ending is a watcher whose end comes when it is told.
type ending struct {
	watcher
	cleanups []func()
}

func (e *ending) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

func (e *ending) end() {
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
}

// TestNothingIsLeft: with the end of a world its namespaces are nobody's any
// more, also while connections were open, and its files are gone.
func TestNothingIsLeft(t *testing.T) {
	told := &ending{watcher: watcher{TB: t}}
	w := New(told)
	c := exec.Command("curl", "--silent", "--no-buffer", "http://"+netip.AddrPortFrom(Plain.Address(), 80).String()+"/wait")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Host.Start(c); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("part 0\n"))
	if _, err := io.ReadFull(out, first); err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, s := range []*Space{w.Host, w.Internet} {
		id, err := s.ID()
		if err != nil {
			t.Fatal(err)
		}
		ids[fmt.Sprintf("net:[%d]", id)] = true
	}
	if len(holders(t, ids)) == 0 {
		t.Error("nobody holds them while they are in use")
	}
	told.end()
	_ = c.Wait() // its connection was closed
	left := holders(t, ids)
	for end := time.Now().Add(Patience); len(left) > 0 && time.Now().Before(end); left = holders(t, ids) {
	}
	if len(left) > 0 || len(told.said) > 0 {
		t.Errorf("held by %v; %q", left, told.said)
	}
	if _, err := os.Lstat(w.dir); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// TestSweep: what a killed test left is removed, and nobody else's is.
func TestSweep(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	for name, stays := range map[string]bool{
		fmt.Sprint(prefix, dead.Process.Pid, "-1"): false, fmt.Sprint(prefix, os.Getpid(), "-1"): true, prefix + "other": true,
	} {
		dir := filepath.Join(os.TempDir(), name)
		if err := os.MkdirAll(dir+"/git", 0o755); err != nil {
			t.Fatal(err)
		}
		sweep()
		if _, err := os.Lstat(dir); os.IsNotExist(err) == stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// holders are the threads, descriptors and mounts that hold a namespace.
func holders(t *testing.T, ids map[string]bool) (all []string) {
	t.Helper()
	for _, pattern := range []string{"/proc/[0-9]*/task/[0-9]*/ns/net", "/proc/[0-9]*/fd/[0-9]*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			if to, err := os.Readlink(link); err == nil && ids[to] {
				all = append(all, link)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for id := range ids {
		if strings.Contains(string(mounts), id) {
			all = append(all, "a mount of "+id)
		}
	}
	return all
}

// FuzzDecode: no packet is too odd to be counted.
func FuzzDecode(f *testing.F) {
	f.Add(uint16(unix.ETH_P_IP), []byte("\x45\x00\x00\x1c\x00\x00\x40\x00\x40\x11\x00\x00\x14\x00\x00\x01\x14\x35\x00\x35\x04\x00\x00\x35\x00\x08\x00\x00"))
	f.Add(uint16(unix.ETH_P_IPV6), append([]byte("\x60\x00\x00\x00\x00\x08\x00\x01"), make([]byte, 48)...))
	f.Fuzz(func(t *testing.T, ether uint16, b []byte) {
		p := decode(ether, b)
		if p.Ether != ether || len(p.Payload) > maxPayload || p.String() == "" {
			t.Errorf("%+v", p)
		}
	})
}
