// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/boxed"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// pass has a connection go on to its target, however that passes. It takes the
// connection over.
func (b *box) pass(c *conn, t target) {
	c.target = t
	if err := b.route(c); err != nil {
		b.refuse(t, err)
		c.reset()
	}
}

func (b *box) route(c *conn) error {
	verdict, err := b.verdict(b.context, c.target)
	if err != nil {
		return err
	}
	if !verdict.Allow {
		return errDenied
	}
	if b.bytes.over.Load() {
		return errCap
	}
	way := through(verdict, c.target.port)
	if way == packet.TCP {
		return b.carry(c, packet.TCP, verdict, false)
	}
	first := firstWait(c.target.port)
	if way == packet.TLS {
		first = headerLimit
	}
	for {
		kind, err := c.sniff(first)
		if err != nil {
			return err
		}
		switch {
		case way == packet.TLS && kind != speaksTLS:
			return &refusedError{packet.RefusedProtocol, "only TLS passes here, and this is none"}
		case kind == speaksTLS && way == packet.TLS:
			if err := c.hello(b.context); err != nil {
				return err
			}
			return b.carry(c, packet.TLS, verdict, false)
		case kind == speaksTLS:
			if err := c.endTLS(b.context); err != nil {
				b.refuse(c.target, err)
				_ = c.Close() // behind the alert
			}
			return nil
		case kind == speaksHTTP:
			c.scheme = "http"
			b.outlet.fromBoxes.give(c)
			return nil
		case kind == preface:
			return &refusedError{packet.RefusedProtocol, "HTTP/2 without TLS is not spoken here"}
		case kind == silent && firstSpeaker(c.target.port):
			return errors.New("nothing was said")
		}
		// A program that was slow to speak has spoken meanwhile: then nobody was to be asked.
		if err := b.carry(c, packet.TCP, verdict, kind == silent); !errors.Is(err, errSpoke) {
			return err
		}
	}
}

// errDenied is a no of clawsupd's, which it knows of.
var errDenied = errors.New("denied")

// errSpoke says that there is something to look at after all.
var errSpoke = errors.New("the program has spoken")

// carry asks whether a connection may pass unopened, and moves its bytes. With
// waiting, the program has said nothing yet.
func (b *box) carry(c *conn, way packet.Through, early packet.Verdict, waiting bool) error {
	t := c.target
	q := packet.Query{Through: way, Host: t.host, Port: t.port, Addresses: b.early(b.context, t, early)}
	held, rest := c.hold(b.context, waiting)
	verdict, err := c.ask(held, q)
	left := held.Err() != nil
	if rest() && err != nil {
		return errSpoke
	}
	switch {
	case err != nil:
		return err
	case !verdict.Allow:
		return errDenied
	}
	began := time.Now()
	var traffic packet.Traffic
	if left {
		err = errors.New("who asked had left")
	} else {
		err = b.move(c, verdict, q, &traffic)
	}
	traffic.Took = time.Since(began)
	if err != nil {
		traffic.Error = reason(err)
	}
	b.outlet.Host.Ended(b.id, verdict.Decision, traffic)
	return err
}

// move connects and moves the bytes.
func (b *box) move(c *conn, verdict packet.Verdict, q packet.Query, traffic *packet.Traffic) error {
	ctx, cancel := context.WithTimeout(b.context, dialLimit)
	server, at, err := b.connect(ctx, c.target, verdict, q.Addresses)
	cancel()
	if err != nil {
		return err
	}
	traffic.Address = at.String()
	if !b.keep(server) {
		return context.Canceled
	}
	defer b.forget(server)
	defer server.Close()
	if len(c.head) > 0 {
		if err := b.bytes.take(out, int64(len(c.head))); err != nil {
			return err
		}
		if err := errors.Join(server.SetWriteDeadline(time.Now().Add(headerLimit)), writeAll(server, c.head), server.SetWriteDeadline(time.Time{})); err != nil {
			return err
		}
		traffic.Sent = int64(len(c.head))
		c.head = nil
	}
	var counts [2]int64 // each is one goroutine's
	err = boxed.Pass(c, server, func(from int, n int64) error {
		c.touch()
		if err := b.bytes.take(from, n); err != nil {
			return err
		}
		counts[from] += n
		return nil
	})
	traffic.Sent += counts[out]
	traffic.Received = counts[in]
	return err
}

func writeAll(f *os.File, p []byte) error {
	if _, err := f.Write(p); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
