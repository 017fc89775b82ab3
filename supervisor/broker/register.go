// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
)

// maxEnded and spoolKeep bound what is kept of calls that have ended: how many
// of them can be asked for, and how long what they wrote can.
const (
	maxEnded  = 4096
	spoolKeep = 10 * time.Minute
	maxSpools = 64
)

// register knows every call that lives, and those that ended not long ago.
type register struct {
	mu    sync.Mutex
	calls map[string]*call // mu; by id
	keys  map[string]*call // mu; by owner and key
	over  []*call          // mu; ended ones, in the order in which they ended
	kept  []*call          // mu; those of over whose output is kept
}

func newRegister() *register {
	return &register{calls: map[string]*call{}, keys: map[string]*call{}}
}

func keyOf(o owner, key string) string {
	if o.agent != "" {
		o.uid = 0
	}
	return o.String() + "\x00" + key
}

func (r *register) add(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[c.id] = c
	if c.view.Key != "" {
		r.keys[keyOf(c.owner, c.view.Key)] = c
	}
}

// ended notes that a call has ended, and forgets old ones.
func (r *register) ended(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = append(r.over, c)
	if c.streams.Load() != nil {
		r.kept = append(r.kept, c)
	}
	for len(r.over) > maxEnded {
		r.forget(r.over[0])
		r.over = r.over[1:]
	}
	for len(r.kept) > maxSpools {
		r.drop()
	}
}

// drop gives up what is kept of the call that ended first, but for its view.
func (r *register) drop() {
	c := r.kept[0]
	r.kept = r.kept[1:]
	all := c.streams.Load()
	all.close()
	c.streams.Store(all.husk())
	c.mu.Lock()
	c.shown = nil
	c.mu.Unlock()
}

// tidy forgets what ended before keep, and output older than spoolKeep.
func (r *register) tidy(now time.Time, keep time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.over) > 0 && now.Sub(r.over[0].snapshot().Ended) > keep {
		r.forget(r.over[0])
		r.over = r.over[1:]
	}
	for len(r.kept) > 0 && now.Sub(r.kept[0].snapshot().Ended) > spoolKeep {
		r.drop()
	}
}

func (r *register) forget(c *call) {
	delete(r.calls, c.id)
	if key := keyOf(c.owner, c.view.Key); r.keys[key] == c {
		delete(r.keys, key)
	}
}

// byKey gives the call that an owner gave a key to, or nil.
func (r *register) byKey(o owner, key string) *call {
	if key == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys[keyOf(o, key)]
}

// find gives a call by its id, or a beginning of it that no other has, among
// those that may be seen.
func (r *register) find(id string, seen func(*call) bool) (*call, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.calls[id]; c != nil && seen(c) {
		return c, nil
	}
	var found *call
	for other, c := range r.calls {
		if len(id) < 4 || !strings.HasPrefix(other, id) || !seen(c) {
			continue
		}
		if found != nil {
			return nil, failf(api.CodeNotFound, "more than one call begins with %s; give more of its id", id)
		}
		found = c
	}
	if found == nil {
		return nil, failf(api.CodeNotFound, "there is no call %q", cut(id, 64))
	}
	return found, nil
}

// list gives the calls that pass, the newest first.
func (r *register) list(pass func(*call) bool, most int) []api.Call {
	var all []api.Call
	r.mu.Lock()
	for _, c := range r.calls {
		if pass(c) {
			all = append(all, c.snapshot())
		}
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(a, b api.Call) int { return b.Created.Compare(a.Created) })
	return all[:min(len(all), most)]
}

// live gives the calls that have not ended.
func (r *register) live() []*call {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*call
	for _, c := range r.calls {
		select {
		case <-c.done:
		default:
			all = append(all, c)
		}
	}
	return all
}

// least gives the lowest sequence number that a call which is known has in the
// log; 0 if none has.
func (r *register) least() (seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		if first := c.first.Load(); first > 0 && (seq == 0 || first < seq) {
			seq = first
		}
	}
	return seq
}
