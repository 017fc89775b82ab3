// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/tree"
)

// leaving begins the name of a session that is being removed: its record
// must not be found beside half of its files.
const leaving = "leaving-"

// retryEvery is how long what could not be removed is left alone.
const retryEvery = time.Minute

// remover removes directories of the store one after the other, in a goroutine
// that is there while there is something to do.
type remover struct {
	ctx context.Context
	dir string

	mu     sync.Mutex
	queue  []string         // mu; names in dir
	work   chan struct{}    // mu; closed when that is done; nil: nothing is at work
	failed map[string]error // mu; what could not be removed, by name
	tried  time.Time        // mu; when that was last put into the queue again
}

func newRemover(ctx context.Context, dir string) *remover {
	return &remover{ctx: ctx, dir: dir, failed: map[string]error{}}
}

// add puts names into the queue.
func (r *remover) add(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, names...)
	if r.work == nil && len(r.queue) > 0 {
		r.work = make(chan struct{})
		go r.run()
	}
}

// run ends with the queue, or with the store.
func (r *remover) run() {
	for {
		r.mu.Lock()
		if len(r.queue) == 0 || r.ctx.Err() != nil {
			close(r.work)
			r.work = nil
			r.mu.Unlock()
			return
		}
		name := r.queue[0]
		r.queue = r.queue[1:]
		r.mu.Unlock()
		err := r.remove(name)
		r.mu.Lock()
		delete(r.failed, name)
		if err != nil && !errors.Is(err, unix.ENOENT) { // ENOENT: it was never there
			r.failed[name] = err
		}
		r.mu.Unlock()
	}
}

func (r *remover) remove(name string) error {
	dir, err := unix.Open(r.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", r.dir, err)
	}
	defer unix.Close(dir)
	return tree.Remove(r.ctx, dir, name)
}

// idle gives a channel that is closed when nothing is at work.
func (r *remover) idle() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.work != nil {
		return r.work
	}
	done := make(chan struct{})
	close(done)
	return done
}

// retry tries again what could not be removed, not too often.
func (r *remover) retry(now time.Time) {
	r.mu.Lock()
	var names []string
	if now.Sub(r.tried) >= retryEvery {
		r.tried = now
		for name := range r.failed {
			if !slices.Contains(r.queue, name) {
				names = append(names, name)
			}
		}
	}
	r.mu.Unlock()
	r.add(names...)
}

// note says what could not be removed; empty: nothing.
func (r *remover) note() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, err := range r.failed {
		return fmt.Sprintf("the files of %d removed sessions are still there, and are tried again: %s: %v", len(r.failed), name, err)
	}
	return ""
}
