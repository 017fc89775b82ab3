// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/runtime/netns/origin"
	"github.com/clawsup/clawsup/supervisor/guard"
)

func TestClassify(t *testing.T) {
	for text, want := range map[string]kind{
		"":                                     unsure,
		"G":                                    unsure,
		"GET ":                                 unsure,
		"GET /":                                unsure,
		"GET / HTTP/1.1":                       unsure,
		"GET / HTTP/1.1\r\n":                   speaksHTTP,
		"GET / HTTP/1.0\n":                     speaksHTTP,
		"M-SEARCH * HTTP/1.1\r\n":              speaksHTTP,
		"CONNECT a:1 HTTP/1.1\r\n":             speaksHTTP,
		"GET /\r\n":                            speaksElse,
		"GET / HTTP/2.0\r\n":                   speaksElse,
		"PRI * HTTP/2.0\r\n":                   preface,
		"get / HTTP/1.1\r\n":                   speaksElse,
		"SSH-2.0-OpenSSH_9.2p1 Debian\n":       speaksElse,
		"HELO there\r\n":                       speaksElse,
		"PING\r\n":                             speaksElse,
		"\n":                                   speaksElse,
		" ":                                    speaksElse,
		"\x16":                                 unsure,
		"\x16\x03":                             unsure,
		"\x16\x03\x01\x02\x00":                 unsure,
		"\x16\x03\x01\x02\x00\x01":             speaksTLS,
		"\x16\x03\x01\x02\x00\x02":             speaksElse,
		"\x16\x02":                             speaksElse,
		"\x16\x03\x05":                         speaksElse,
		"\x15\x03\x01":                         speaksElse,
		"GET /" + strings.Repeat("x", maxLine): speaksHTTP,
		strings.Repeat("X", 40):                speaksElse,
		"\x00\x00\x00\x08\x04\xd2\x16\x2f":     speaksElse,
	} {
		if got := classify([]byte(text)); got != want {
			t.Errorf("%.40q: %d, want %d", text, got, want)
		}
	}
}

// What is sure stays so, whatever follows, and what is unsure is short.
func FuzzClassify(f *testing.F) {
	for _, s := range []string{"GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM", "\x16\x03\x01\x02\x00\x01", "SSH-2.0-x y\r\n", "PUT ", ""} {
		f.Add([]byte(s), []byte("\r\n"))
	}
	f.Fuzz(func(t *testing.T, b, more []byte) {
		got := classify(b)
		if got == unsure && len(b) > maxLine+64 {
			t.Errorf("%d bytes and still unsure", len(b))
		}
		if got != unsure && len(b) <= maxLine && classify(append(bytes.Clone(b), more...)) != got {
			t.Errorf("%q is %d, and not with %q behind it", b, got, more)
		}
	})
}

func TestSplitAuthority(t *testing.T) {
	for text, want := range map[string]struct {
		host string
		port uint16
	}{
		"a.example": {"a.example", 0}, "a.example:443": {"a.example", 443}, "[::1]": {"[::1]", 0}, "[::1]:80": {"[::1]", 80}, "": {"", 0},
	} {
		if host, port, err := splitAuthority(text); err != nil || host != want.host || port != want.port {
			t.Errorf("%q: %q %d %v", text, host, port, err)
		}
	}
	for _, text := range []string{"a:", "a:0", "a:080", "a:65536", "a:-1", "a:+1", "a:b", "a:1:2", "::1", "[::1", "[::1]80", "[::1]x:80", "a:1 "} {
		if host, port, err := splitAuthority(text); err == nil {
			t.Errorf("%q: %q %d", text, host, port)
		}
	}
}

// What is taken for a host and port can be written again, and means the same.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"a.example:443", "[::1]:80", "127.0.0.1", "2130706433", "A.example.:1", "[1.2.3.4]:5"} {
		f.Add(s)
	}
	b := newWorld(f).box
	f.Fuzz(func(t *testing.T, s string) {
		host, port, err := splitAuthority(s)
		if err != nil {
			return
		}
		if port == 0 {
			port = 443
		}
		to, err := b.targetNamed(host, port)
		if err != nil {
			return
		}
		if to.addr.IsValid() {
			if to.addr.IsLoopback() || to.addr.String() != to.host {
				t.Errorf("%q is %+v", s, to)
			}
		} else if name, err := guard.Name(to.host); err != nil || name != to.host {
			t.Errorf("%q is %+v: %v", s, to, err)
		}
		if err := to.is(b, to.authority("https"), "https"); err != nil {
			t.Errorf("%q is %+v, and that is not itself: %v", s, to, err)
		}
	})
}

func TestSOCKS(t *testing.T) {
	hello, ok := "\x05\x01\x00", "\x05\x00"
	named := func(command byte, host string) string {
		return "\x05" + string(rune(command)) + "\x00\x03" + string(rune(len(host))) + host + "\x01\xbb"
	}
	for what, c := range map[string]struct{ say, want string }{
		"version 4":          {"\x04\x01\x00\x50\x01\x02\x03\x04\x00", ""},
		"no method":          {"\x05\x00", "\x05\xff"},
		"with a password":    {"\x05\x01\x02", "\x05\xff"},
		"BIND":               {hello + named(2, name), ok + "\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"},
		"UDP":                {hello + named(3, name), ok + "\x05\x07\x00\x01\x00\x00\x00\x00\x00\x00"},
		"an unknown address": {hello + "\x05\x01\x00\x05", ok + "\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00"},
		"the loopback":       {hello + "\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb", ok + "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"},
		"::1":                {hello + "\x05\x01\x00\x04" + strings.Repeat("\x00", 15) + "\x01\x01\xbb", ok + "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"},
		"mapped":             {hello + "\x05\x01\x00\x04" + strings.Repeat("\x00", 10) + "\xff\xff\x7f\x00\x00\x01\x01\xbb", ok + "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"},
		"an octal address":   {hello + named(1, "0177.0.0.1"), ok + "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"},
		"localhost":          {hello + named(1, "localhost"), ok + "\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00"},
		"rubbish":            {hello + "\x04\x01\x00\x01", ok},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.leadsToProxy(origin.SOCKS)
			program := w.dial()
			_, _ = io.WriteString(program, c.say)
			got := make([]byte, len(c.want))
			if _, err := io.ReadFull(program, got); err != nil || string(got) != c.want {
				t.Errorf("%q, %v", got, err)
			}
			if n, err := program.Read(make([]byte, 1)); n > 0 || err == nil {
				t.Error("it goes on")
			}
			if len(w.asked()) > 0 {
				t.Errorf("asked for %+v", w.asked())
			}
		})
	}
}

// What is read of a request is what stands in it, and no more than it.
func FuzzSOCKS(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x01a\x01\xbb"))
	f.Add([]byte("\x05\x02\x02\x00\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50"))
	f.Add([]byte("\x05\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if plain, err := socksHello(r); err != nil || !plain {
			return
		}
		request := b[len(b)-r.Len():]
		host, port, reply, err := socksRequest(r)
		if err != nil || reply != socksDone {
			if host != "" || port != 0 {
				t.Errorf("%q:%d of %q, which is refused", host, port, b)
			}
			return
		}
		read := len(request) - r.Len()
		if request[1] != socksConnect || read < 8 || read > 4+1+255+2 {
			t.Errorf("%q:%d of %q", host, port, b)
		}
		if got := uint16(request[read-2])<<8 | uint16(request[read-1]); got != port {
			t.Errorf("port %d of %q", port, b)
		}
		if request[3] == socksName && host != string(request[5:read-2]) {
			t.Errorf("%q of %q", host, b)
		}
	})
}

func TestFirstWait(t *testing.T) {
	if firstWait(443) != headerLimit || firstWait(22) != shortSilence || firstWait(8443) != silence {
		t.Error("ports where the server speaks first are waited for at others' pace")
	}
}
