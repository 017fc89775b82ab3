// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/credential"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// traffic is what becomes of a request. Several goroutines of net/http's take
// part in that.
type traffic struct {
	began          time.Time
	sent, received atomic.Int64

	mu       sync.Mutex
	code     int           // mu
	address  string        // mu
	error    error         // mu; the first
	refusals *refusedError // mu; the first
}

func (t *traffic) begin() { t.began = time.Now() }

func (t *traffic) status(code int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.code = code
}

// answered says whether the server has.
func (t *traffic) answered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.code != 0
}

func (t *traffic) at(a net.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a != nil {
		t.address = a.String()
	}
}

// failed notes why it failed, if that is not known yet; what is refused because of
// secrets or caps is found in it.
func (t *traffic) failed(err error) {
	if err == nil || errors.Is(err, io.EOF) {
		return
	}
	var secret *credential.RefusedError
	var refused *refusedError
	if errors.As(err, &secret) {
		refused = &refusedError{secret.Kind, secret.Detail}
		err = refused
	} else {
		errors.As(err, &refused)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.error == nil {
		t.error = err
	}
	if t.refusals == nil {
		t.refusals = refused
	}
}

func (t *traffic) refused() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refusals == nil {
		return nil
	}
	return t.refusals
}

func (t *traffic) sum() packet.Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := packet.Traffic{Status: t.code, Sent: t.sent.Load(), Received: t.received.Load(), Took: time.Since(t.began), Address: t.address}
	if t.error != nil {
		sum.Error = reason(t.error)
	}
	return sum
}

// counted is a body whose bytes are counted.
type counted struct {
	io.ReadCloser
	x      *exchange
	count  *atomic.Int64
	answer *http.Response // nil: of a request; the trailer is there at the end, announced or not
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.count.Add(int64(n))
	if err != nil {
		c.x.failed(err)
		if c.answer != nil {
			c.x.box.mask.Load().Header(c.answer.Trailer)
		}
	}
	return n, err
}
