// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// between is a program between client and server that decides nothing: what is
// in the way of bytes at least, and what people use. It is on the host, where
// the client is.
type between struct {
	name  string
	gives string
	needs string                                                  // a program; empty: this one
	ways  []string                                                // schemes that it passes on
	argv  func(b *beyond, at map[string]string) ([]string, error) // at: where it listens, by scheme

	at     map[string]string
	server *server
	group  string
}

// bareRelay is one of this program's own.
const bareRelay = "bare relay"

// relayName is the first argument that makes a relay of this program.
const relayName = "relay"

// relay is the main function of one. Of each pair of arguments it accepts at the
// first, and moves bytes to and from the second one with splice(2), as net.TCPConn
// does by itself.
func relay(args []string) error {
	failed := make(chan error)
	for ; len(args) > 1; args = args[2:] {
		l, err := net.Listen("tcp4", args[0])
		if err != nil {
			return err
		}
		go func(address string) { failed <- relayTo(l, address) }(args[1])
	}
	return <-failed
}

func relayTo(l net.Listener, address string) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			to, err := net.Dial("tcp4", address)
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(to, c)
				_ = to.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(c, to)
			_ = to.Close()
		}()
	}
}

// betweens are all of them.
func betweens() []*between {
	return []*between{
		{name: bareRelay, gives: "splice(2), by this program", ways: []string{"tcp", "tls"},
			argv: func(b *beyond, at map[string]string) ([]string, error) {
				self, err := os.Executable()
				return []string{self, relayName, at["tcp"], b.at("tcp"), at["tls"], b.at("tls")}, err
			}},
		{name: "socat", gives: "read(2) and write(2), a process for each connection", needs: "socat", ways: []string{"tcp"},
			argv: func(b *beyond, at map[string]string) ([]string, error) {
				_, port, _ := net.SplitHostPort(at["tcp"])
				return []string{"socat", "-b262144", "TCP4-LISTEN:" + port + ",bind=127.0.0.1,reuseaddr,fork,backlog=128", "TCP4:" + b.at("tcp")}, nil
			}},
		{name: "haproxy", gives: "splice(2); TLS ended, and made anew with one certificate", needs: "haproxy", ways: []string{"tcp", "tls", "http", "https"},
			argv: func(b *beyond, at map[string]string) ([]string, error) {
				file := filepath.Join(b.dir, "haproxy.cfg")
				return []string{"haproxy", "-db", "-q", "-f", file}, os.WriteFile(file, []byte(b.haproxy(at)), 0o600)
			}},
		{name: "mitmproxy", gives: "TLS ended, certificates by an authority", needs: "mitmdump", ways: []string{"https"},
			argv: func(b *beyond, at map[string]string) ([]string, error) {
				dir := filepath.Join(b.dir, "mitmproxy")
				if err := os.MkdirAll(dir, 0o700); err != nil {
					return nil, err
				}
				authority, err := os.ReadFile(b.key)
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, "mitmproxy-ca.pem"), authority, 0o600)
				}
				_, port, _ := net.SplitHostPort(at["https"])
				return []string{"mitmdump", "-q", "--listen-host", "127.0.0.1", "--listen-port", port, "--mode", "reverse:https://" + b.at("https"),
					"--set", "confdir=" + dir, "--set", "keep_host_header=true", "--set", "ssl_verify_upstream_trusted_ca=" + b.roots, "--set", "stream_large_bodies=1"}, err
			}},
	}
}

func (b *beyond) haproxy(at map[string]string) string {
	text := "global\n\tnbthread 2\n\tmaxconn 4000\n\ttune.pipesize 262144\ndefaults\n\ttimeout connect 10s\n\ttimeout client 1h\n\ttimeout server 1h\n\toption splice-auto\n\thttp-reuse always\n"
	for _, scheme := range []string{"tcp", "tls"} {
		text += fmt.Sprintf("listen %s\n\tmode tcp\n\tbind %s\n\tserver s %s\n", scheme, at[scheme], b.at(scheme))
	}
	text += fmt.Sprintf("listen http\n\tmode http\n\tbind %s\n\tserver s %s\n", at["http"], b.at("http"))
	text += fmt.Sprintf("listen https\n\tmode http\n\tbind %s ssl crt %s alpn h2,http/1.1\n\tserver s %s ssl verify required ca-file %s sni str(%s) verifyhost %s alpn http/1.1\n",
		at["https"], b.leaf, b.at("https"), b.roots, nameWeb, nameWeb)
	return text
}

// start starts it, and returns when it answers everywhere.
func (w *between) start(b *beyond) error {
	if w.needs != "" {
		if _, err := exec.LookPath(w.needs); err != nil {
			return errors.New("not installed")
		}
	}
	w.at = make(map[string]string)
	for _, scheme := range w.ways {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return err
		}
		w.at[scheme] = l.Addr().String()
		_ = l.Close()
	}
	argv, err := w.argv(b, w.at)
	if err != nil {
		return err
	}
	w.group = fmt.Sprintf("/clawsupbench%d%s", os.Getpid(), strings.ReplaceAll(w.name, " ", ""))
	if w.server, err = serve(filepath.Join(b.dir, "between.log"), w.group, argv...); err != nil {
		return err
	}
	return w.server.ready(func() error {
		for _, at := range w.at {
			c, err := net.Dial("tcp4", at)
			if err != nil {
				return err
			}
			_ = c.Close()
		}
		return nil
	})
}

func (w *between) stop() error {
	if w.server == nil {
		return nil
	}
	return w.server.stop()
}
