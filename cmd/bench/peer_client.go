// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// dialer connects to where an errand says its name is.
func (e errand) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return d.DialContext(ctx, network, cmp.Or(e.Connect, address))
	}
}

// dial makes a connection of an errand's scheme, and says what it is for: see
// (*peer).serve.
func (p *peer) dial(e errand, word byte) (net.Conn, error) {
	at, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := e.dialer()(ctx, "tcp", at.Host)
	if err != nil {
		return nil, err
	}
	if at.Scheme == "tls" {
		config := p.trust.Clone()
		config.ServerName = at.Hostname()
		c = tls.Client(c, config)
	}
	if _, err := c.Write([]byte{word}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// streamBuffer is what streams are read and written by, in bytes.
const streamBuffer = 256 << 10

// streamWarm passes before bytes count: windows have grown by then.
const streamWarm = 50 * time.Millisecond

// stream moves bytes over so many connections at once: of http and https the
// body of one answer each.
func (p *peer) stream(e errand) (result, error) {
	var moved atomic.Int64
	var failed error
	var once sync.Once
	var ends []io.ReadWriteCloser
	var running sync.WaitGroup
	over := make(chan struct{})
	for range e.Streams {
		c, err := p.flow(e)
		if err != nil {
			return result{}, err
		}
		ends = append(ends, c)
	}
	for _, c := range ends {
		running.Go(func() {
			for b := make([]byte, streamBuffer); ; {
				move := c.Read
				if e.Up {
					move = c.Write
				}
				n, err := move(b)
				moved.Add(int64(n))
				select {
				case <-over:
					return
				default:
				}
				if err != nil {
					once.Do(func() { failed = err; close(over) })
					return
				}
			}
		})
	}
	wait := func(d time.Duration) bool {
		select {
		case <-over:
			return false
		case <-time.After(d):
			return true
		}
	}
	var r result
	if wait(streamWarm) {
		began, before, cpu := time.Now(), moved.Load(), used()
		wait(e.For)
		r.Done, r.Wall, r.CPU = moved.Load()-before, time.Since(began), used()-cpu
	}
	once.Do(func() { close(over) })
	for _, c := range ends {
		_ = c.Close()
	}
	running.Wait()
	return r, failed
}

// flow opens one stream.
func (p *peer) flow(e errand) (io.ReadWriteCloser, error) {
	at, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	switch {
	case at.Scheme != "http" && at.Scheme != "https":
		word := byte(wordDown)
		if e.Up {
			word = wordUp
		}
		return p.dial(e, word)
	case e.Up:
		return nil, errors.New("streams of HTTP are received here")
	}
	w, err := p.web(e)
	if err != nil {
		return nil, err
	}
	answer, err := w.client.Get(e.URL)
	if err != nil {
		return nil, err
	}
	return readOnly{answer.Body}, nil
}

// readOnly is a body.
type readOnly struct{ io.ReadCloser }

func (readOnly) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// web is a client of HTTP that keeps its connections.
type web struct {
	client    *http.Client
	transport *http.Transport
}

// web gives one for each errand, place, protocol and number of connections.
func (p *peer) web(e errand) (*web, error) {
	at, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	key := fmt.Sprint(e.Do, at.Scheme, at.Host, e.Connect, e.HTTP2, e.Streams)
	if w := p.http[key]; w != nil {
		return w, nil
	}
	var protocols http.Protocols
	protocols.SetHTTP1(!e.HTTP2)
	protocols.SetHTTP2(e.HTTP2)
	t := &http.Transport{
		DialContext: e.dialer(), TLSClientConfig: p.trust.Clone(), Protocols: &protocols,
		MaxIdleConnsPerHost: e.Streams, DisableCompression: true, ReadBufferSize: streamBuffer,
	}
	w := &web{&http.Client{Transport: t, Timeout: patience}, t}
	p.http[key] = w
	return w, nil
}

// request asks over connections that are kept. One request before is not
// counted.
func (p *peer) request(e errand) (result, error) {
	w, err := p.web(e)
	if err != nil {
		return result{}, err
	}
	ask := func(int) error { return w.get(e) }
	warm := e
	warm.For, warm.Times, warm.Rest = 0, 1, 0
	if e.Times != 1 {
		if _, err := warm.again(ask); err != nil {
			return result{}, err
		}
	}
	return e.again(ask)
}

// get asks once, and reads the answer to its end.
func (w *web) get(e errand) error {
	answer, err := w.client.Get(e.URL)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode != http.StatusOK || len(body) != pageSize:
		return fmt.Errorf("%s, %d bytes: %.200s", answer.Status, len(body), body)
	}
	return nil
}

// connect makes a connection each time: of tcp and tls one that a byte comes
// back on, of http and https one that a request is answered on.
func (p *peer) connect(e errand) (result, error) {
	at, err := url.Parse(e.URL)
	if err != nil {
		return result{}, err
	}
	if at.Scheme == "http" || at.Scheme == "https" {
		w, err := p.web(e)
		if err != nil {
			return result{}, err
		}
		w.transport.DisableKeepAlives = true
		return e.again(func(int) error { return w.get(e) })
	}
	return e.again(func(int) error {
		c, err := p.dial(e, wordEcho)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	})
}

// resolve looks up a name that was not asked for before.
func (p *peer) resolve(e errand) (result, error) {
	at, err := url.Parse(e.URL)
	if err != nil {
		return result{}, err
	}
	r := net.Resolver{PreferGo: true}
	if e.Connect != "" {
		r.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", e.Connect)
		}
	}
	return e.again(func(int) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := r.LookupIP(ctx, "ip4", at.Hostname()+".")
		return err
	})
}

// idle opens so many connections, sees that each works, and keeps them.
func (p *peer) idle(e errand) (result, error) {
	raiseFiles()
	began := time.Now()
	for range e.Times {
		c, err := p.rest(e)
		if err != nil {
			return result{}, fmt.Errorf("connection %d: %w", len(p.kept)+1, err)
		}
		p.kept = append(p.kept, c)
	}
	return result{Done: int64(e.Times), Wall: time.Since(began)}, nil
}

func (p *peer) rest(e errand) (io.Closer, error) {
	at, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	if at.Scheme == "http" || at.Scheme == "https" {
		one := e
		one.Streams = -1 - len(p.kept) // a client for each
		w, err := p.web(one)
		if err != nil {
			return nil, err
		}
		w.transport.MaxIdleConnsPerHost = 1
		return closer(w.transport.CloseIdleConnections), w.get(e)
	}
	c, err := p.dial(e, wordEcho)
	if err != nil {
		return nil, err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return c, err
}

// closer is a function that closes something.
type closer func()

func (f closer) Close() error { f(); return nil }

// drop closes what idle opened.
func (p *peer) drop(errand) (result, error) {
	n := len(p.kept)
	for _, c := range p.kept {
		_ = c.Close()
	}
	p.kept = nil
	for key, w := range p.http {
		w.transport.CloseIdleConnections()
		delete(p.http, key)
	}
	return result{Done: int64(n)}, nil
}
