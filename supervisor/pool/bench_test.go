// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// still is a box that costs nothing to make.
type still struct{}

func (still) Close() error  { return nil }
func (still) Waiting() bool { return true }

type mold struct{}

func (mold) Prepare(context.Context, spec) (*still, error) { return &still{}, nil }
func (mold) Close() error                                  { return nil }
func (mold) Alive() bool                                   { return true }

// stock is a pool in which n boxes wait for each of as many keys.
func stock(b *testing.B, keys, n int) *Pool[spec, *still] {
	c := Config{Boxes: keys * n, Templates: 10, Least: n, PerKey: n, Patience: time.Hour, Idle: time.Hour, Age: time.Hour}
	p := New(c, Source[spec, *still]{
		Template:  func(context.Context, spec) (Template[spec, *still], error) { return mold{}, nil },
		Exhausted: func(error) bool { return false },
		Trouble:   func(err error) { b.Error(err) },
	})
	b.Cleanup(func() {
		if err := p.Close(); err != nil {
			b.Error(err)
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range keys {
		w := askFor(i, "p", fmt.Sprint(i), 0)
		s := p.arrive(&w, time.Now())
		t := p.attach(s, w.Spec, false, time.Now())
		for range n {
			p.put(&Taken[spec, *still]{Box: &still{}, pool: p, shelf: s, from: t})
		}
		p.mu.Unlock()
		<-t.ready
		p.mu.Lock()
		p.detach(t, time.Now())
	}
	return p
}

// BenchmarkTakeHit is a Take that finds a box, and the end of its call. The box
// goes back on its shelf, which only a benchmark does.
func BenchmarkTakeHit(b *testing.B) {
	for _, keys := range []int{1, 32, 500} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			p := stock(b, keys, 1)
			wants := make([]want, keys)
			for i := range wants {
				wants[i] = askFor(i, "p", fmt.Sprint(i), 0)
			}
			ctx := b.Context()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				t, err := p.Take(ctx, wants[i%keys])
				if err != nil {
					b.Fatal(err)
				}
				p.mu.Lock()
				p.put(&Taken[spec, *still]{Box: t.Box, pool: p, shelf: t.shelf, from: t.from})
				p.mu.Unlock()
				if err := t.Close(); err != nil {
					b.Fatal(err)
				}
			}
			if s := p.Stats().Total; s.Misses > 0 {
				b.Errorf("%+v", s)
			}
		})
	}
}

// BenchmarkTakeMiss is a Take that makes its own box from a template that is
// there, and the end of its call.
func BenchmarkTakeMiss(b *testing.B) {
	p := stock(b, 1, 1)
	p.Set(Config{Templates: 1})
	w := askFor(0, "p", "0", 0)
	b.ReportAllocs()
	for b.Loop() {
		t, err := p.Take(b.Context(), w)
		if err != nil {
			b.Fatal(err)
		}
		if err := t.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStats(b *testing.B) {
	for _, keys := range []int{1, 1000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			p := stock(b, keys, 1)
			b.ReportAllocs()
			for b.Loop() {
				if s := p.Stats(); s.Total.Waiting == 0 {
					b.Fatalf("%+v", s)
				}
			}
		})
	}
}
