// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// BenchmarkThroughput moves bytes directly over the loopback, and through the
// outlet.
func BenchmarkThroughput(b *testing.B) {
	for _, streams := range []int{1, 64} {
		for _, way := range []string{"direct", "bytes"} {
			b.Run(fmt.Sprintf("%s/%d", way, streams), func(b *testing.B) {
				w := newWorld(b)
				port := w.raw(func(c *net.TCPConn) {
					p := make([]byte, 256<<10)
					for {
						if _, err := c.Read(p); err != nil {
							return
						}
					}
				})
				w.leads(port)
				passing(w, port, packet.TCP)
				to := w.gate
				if way == "direct" {
					to = fmt.Sprintf("127.0.0.1:%d", port)
				}
				p := make([]byte, 256<<10)
				var conns []*net.TCPConn
				for range streams {
					c, err := net.Dial("tcp", to)
					if err != nil {
						b.Fatal(err)
					}
					defer c.Close()
					conns = append(conns, c.(*net.TCPConn))
				}
				b.SetBytes(int64(len(p) * streams))
				for b.Loop() {
					var all sync.WaitGroup
					for _, c := range conns {
						all.Go(func() { _, _ = c.Write(p) })
					}
					all.Wait()
				}
				for _, c := range conns {
					_ = c.CloseWrite()
					_, _ = io.Copy(io.Discard, c)
				}
			})
		}
	}
}

// BenchmarkDownload gets a long body, directly and through the outlet, where TLS
// is ended.
func BenchmarkDownload(b *testing.B) {
	const size = 64 << 20
	for _, protocol := range []string{"http/1.1", "h2"} {
		for _, way := range []string{"direct", "outlet"} {
			b.Run(strings.ReplaceAll(protocol, "/", "")+"/"+way, func(b *testing.B) {
				w := newWorld(b)
				port := w.server("https", func(rw http.ResponseWriter, _ *http.Request) {
					_, _ = io.Copy(rw, io.LimitReader(zeros{}, size))
				})
				w.leads(port)
				c := w.client(protocol)
				url := at("https", port, "/")
				if way == "direct" {
					t := c.Transport.(*http.Transport)
					t.DialContext = nil
					t.TLSClientConfig.RootCAs, t.TLSClientConfig.ServerName = w.beyond.pool(), name
					url = fmt.Sprintf("https://127.0.0.1:%d/", port)
				}
				b.SetBytes(size)
				for b.Loop() {
					r, err := c.Get(url)
					if err != nil {
						b.Fatal(err)
					}
					if n, err := io.Copy(io.Discard, r.Body); n != size || err != nil {
						b.Fatalf("%d bytes: %v", n, err)
					}
					_ = r.Body.Close()
				}
			})
		}
	}
}

// BenchmarkRequests asks one after the other, directly and through the outlet.
func BenchmarkRequests(b *testing.B) {
	for _, scheme := range []string{"http", "https"} {
		for _, protocol := range []string{"http/1.1", "h2"} {
			if scheme == "http" && protocol == "h2" {
				continue
			}
			for _, way := range []string{"direct", "outlet"} {
				for _, parallel := range []int{1, 16} {
					b.Run(fmt.Sprintf("%s/%s/%s/%d", scheme, strings.ReplaceAll(protocol, "/", ""), way, parallel), func(b *testing.B) {
						w := newWorld(b)
						port := w.server(scheme, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "hello") })
						w.leads(port)
						c := w.client(protocol)
						if way == "direct" {
							t := c.Transport.(*http.Transport)
							t.DialContext = nil
							t.TLSClientConfig.RootCAs = w.beyond.pool()
							t.TLSClientConfig.ServerName = name
						}
						url := at(scheme, port, "/")
						if way == "direct" {
							url = fmt.Sprintf("%s://127.0.0.1:%d/", scheme, port)
						}
						b.SetParallelism(parallel)
						ask := func() {
							r, err := c.Get(url)
							if err != nil {
								b.Error(err)
								return
							}
							_, _ = io.Copy(io.Discard, r.Body)
							_ = r.Body.Close()
						}
						ask()
						if parallel == 1 {
							for b.Loop() {
								ask()
							}
							return
						}
						b.ResetTimer()
						b.RunParallel(func(p *testing.PB) {
							for p.Next() {
								ask()
							}
						})
					})
				}
			}
		}
	}
}
