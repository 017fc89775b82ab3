// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"time"
)

// template is a Template of the Source's with who uses it.
type template[S any, B Box] struct {
	key   Key
	ready chan struct{} // closed when live or err is there
	live  Template[S, B]
	err   error
	since time.Time // pool.mu; when it was ready; zero: it isn't

	profiles few[string] // pool.mu
	users    int         // pool.mu; who waits for it or makes a box from it
	used     time.Time   // pool.mu; when it last was, or a box of it was taken
	gone     bool        // pool.mu; not in the pool any more, or never: the last user closes it
}

// attach gives the template for a shelf, which may still be in the making, and
// counts the caller among its users until detach.
func (p *Pool[S, B]) attach(s *shelf[S, B], spec S, once bool, now time.Time) *template[S, B] {
	t := p.templates[s.under]
	if t != nil && !t.since.IsZero() && !t.live.Alive() {
		p.discard(p.drop(t, died, now))
		t = nil
	}
	if t == nil {
		t = &template[S, B]{key: s.under, ready: make(chan struct{}), users: 1, gone: once}
		if !once {
			p.templates[s.under] = t
		}
		// On its own: whoever asked first may give up, and the others wait for it too.
		p.work.Go(func() { p.makeTemplate(t, spec) })
	}
	t.users++
	t.profiles.add(s.owner.Profile)
	return t
}

func (p *Pool[S, B]) makeTemplate(t *template[S, B], spec S) {
	t.live, t.err = p.source.Template(p.context, spec)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.err == nil {
		t.since = now
		if p.config.Age > 0 {
			p.arm(now.Add(p.config.Age))
		}
	} else if p.templates[t.key] == t {
		delete(p.templates, t.key)
	}
	close(t.ready)
	p.detach(t, now)
}

// detach ends a use of a template.
func (p *Pool[S, B]) detach(t *template[S, B], now time.Time) {
	t.users--
	t.used = now
	if p.config.Idle > 0 {
		p.arm(now.Add(p.config.Idle))
	}
	if t.gone && t.users == 0 && !t.since.IsZero() {
		p.discard([]closer{t.live})
	}
	p.discard(p.trimTemplates(now))
}

// prepare makes one box from a template, and gives the time that it took.
func (p *Pool[S, B]) prepare(ctx context.Context, t *template[S, B], spec S) (box B, took time.Duration, err error) {
	select {
	case <-t.ready:
	case <-ctx.Done():
		return box, 0, context.Cause(ctx)
	}
	if t.err != nil {
		return box, 0, t.err
	}
	begin := time.Now()
	box, err = t.live.Prepare(ctx, spec)
	return box, time.Since(begin), err
}

// prepared notes the end of a prepare. again says that the template is what
// failed, and that another is worth a try.
func (p *Pool[S, B]) prepared(t *template[S, B], took time.Duration, err error, now time.Time) (again bool) {
	if err == nil {
		if p.took == 0 {
			p.took = took
		}
		p.took += (took - p.took) / 8
	} else if !t.since.IsZero() && !t.live.Alive() {
		p.discard(p.drop(t, died, now))
		again = true
	}
	p.detach(t, now)
	return again
}

// drop takes a template out of the pool with all boxes that wait and come from
// it. Shelves that still want some get them from its successor.
func (p *Pool[S, B]) drop(t *template[S, B], why event, now time.Time) (rest []closer) {
	if p.templates[t.key] != t {
		return nil
	}
	delete(p.templates, t.key)
	t.gone = true
	for i := len(p.stocked) - 1; i >= 0; i-- { // from behind: it gets shorter
		if s := p.stocked[i]; s.under == t.key {
			rest = append(rest, p.shed(s, len(s.waiting), why)...)
			p.feed(s, now)
		}
	}
	if t.users == 0 {
		rest = append(rest, t.live)
	}
	return rest
}

// trimTemplates drops the least recently used ones above the bound. Those in
// use stay until they aren't.
func (p *Pool[S, B]) trimTemplates(now time.Time) (rest []closer) {
	for len(p.templates) > max(p.config.Templates, 0) {
		t := p.leastUsed(nil)
		if t == nil {
			break
		}
		rest = append(rest, p.drop(t, evicted, now)...)
	}
	return rest
}

// leastUsed is the least recently used template that nobody uses now, but for
// those that keep says to leave.
func (p *Pool[S, B]) leastUsed(keep func(*template[S, B]) bool) (least *template[S, B]) {
	for _, t := range p.templates {
		if t.users > 0 || keep != nil && keep(t) {
			continue
		}
		if least == nil || t.used.Before(least.used) {
			least = t
		}
	}
	return least
}
