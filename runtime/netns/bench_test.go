// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"io"
	"net"
	"testing"
)

// BenchmarkLead is what one box's network costs to be led, the first time and
// again.
func BenchmarkLead(b *testing.B) {
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprintf("again=%v", again), func(b *testing.B) {
			s := newSpace(b)
			for b.Loop() {
				if !again {
					b.StopTimer()
					_ = s.file.Close()
					s = newSpace(b)
					b.StartTimer()
				}
				if err := s.in(func() error {
					e, err := Lead(public)
					if err == nil {
						err = e.Close()
					}
					return err
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// ways are a connection over the box's own loopback and one that is captured.
func ways(b *testing.B, f func(b *testing.B, s *space, l *net.TCPListener, to string)) {
	b.Run("plain", func(b *testing.B) {
		s := newSpace(b)
		var l net.Listener
		if err := s.in(func() (err error) { l, err = net.Listen("tcp4", "127.0.0.1:0"); return err }); err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		f(b, s, l.(*net.TCPListener), l.Addr().String())
	})
	b.Run("captured", func(b *testing.B) {
		s := newSpace(b)
		f(b, s, s.lead(b).tcp, "198.18.7.7:443")
	})
}

// BenchmarkStream writes 64 KiB at a time.
func BenchmarkStream(b *testing.B) {
	ways(b, func(b *testing.B, s *space, l *net.TCPListener, to string) {
		c, err := s.dial(b, "tcp", to)
		if err != nil {
			b.Fatal(err)
		}
		a, err := l.AcceptTCP()
		if err != nil {
			b.Fatal(err)
		}
		ended := make(chan error)
		go func() {
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{a}, make([]byte, 64<<10))
			ended <- err
		}()
		block := make([]byte, 64<<10)
		b.SetBytes(int64(len(block)))
		for b.Loop() {
			if _, err := c.Write(block); err != nil {
				b.Fatal(err)
			}
		}
		_ = c.Close()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		_ = a.Close()
	})
}

// BenchmarkConnect connects, accepts and resets.
func BenchmarkConnect(b *testing.B) {
	ways(b, func(b *testing.B, s *space, l *net.TCPListener, to string) {
		if err := s.in(func() error {
			for b.Loop() {
				c, err := net.Dial("tcp4", to)
				if err != nil {
					return err
				}
				a, err := l.AcceptTCP()
				if err != nil {
					return err
				}
				_ = a.SetLinger(0)
				_, _ = a.Close(), c.Close()
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkQuestion sends a byte and gets one back.
func BenchmarkQuestion(b *testing.B) {
	ways(b, func(b *testing.B, s *space, l *net.TCPListener, to string) {
		c, err := s.dial(b, "tcp", to)
		if err != nil {
			b.Fatal(err)
		}
		a, err := l.AcceptTCP()
		if err != nil {
			b.Fatal(err)
		}
		defer a.Close()
		go func() {
			x := make([]byte, 1)
			for {
				if _, err := io.ReadFull(a, x); err != nil {
					return
				}
				if _, err := a.Write(x); err != nil {
					return
				}
			}
		}()
		x := make([]byte, 1)
		for b.Loop() {
			if _, err := c.Write(x); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(c, x); err != nil {
				b.Fatal(err)
			}
		}
	})
}
