// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// soak is how long TestKilledAtAnyPoint goes on: CLAWSUP_SOAK, as "10m".
func soak(t *testing.T) time.Duration {
	text := os.Getenv("CLAWSUP_SOAK")
	if text == "" {
		return 8 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("CLAWSUP_SOAK: %v", err)
	}
	return d
}

// witness is what clients of the killed daemon were told.
type witness struct {
	mu       sync.Mutex
	answered map[string]approval.Verdict // by ticket: answers that were confirmed
	results  map[string]string           // by key: how a call was said to have ended
	ids      map[string]string           // by key: the call's id, once it was told
	changed  map[string]changes.State    // by key: what was said to have become of its change set
}

// TestKilledAtAnyPoint kills the daemon again and again while calls run and
// people answer, each time at another moment, and asks the next one what it
// knows: no confirmed answer is lost, no call runs twice, each call that was
// decided has an end, nothing of a box stays, and the log verifies.
func TestKilledAtAnyPoint(t *testing.T) {
	s := newSite(t, "[calls]\nrate = 100000\n[approvals]\nburst = 100000\npending = 1000\npending_per_session = 1000\n")
	w := &witness{answered: map[string]approval.Verdict{}, results: map[string]string{}, ids: map[string]string{}, changed: map[string]changes.State{}}
	end := time.Now().Add(soak(t))
	kills := 0
	for n := 0; time.Now().Before(end); n++ {
		d := s.start()
		ctx, cancel := context.WithCancel(context.Background())
		var clients sync.WaitGroup
		clients.Go(func() { s.people(ctx, w) })
		for i := range 4 {
			clients.Go(func() { s.callers(ctx, w, fmt.Sprintf("%d-%d", n, i)) })
		}
		// Anywhere in the first moments, where most steps are, or later.
		timer := time.NewTimer(time.Duration(rand.Int64N(int64(400 * time.Millisecond))))
		<-timer.C
		d.end(unix.SIGKILL)
		cancel()
		clients.Wait()
		kills++
	}
	d := s.start()
	s.judge(w)
	if err := d.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	s.closed()
	if left, _ := filepath.Glob(s.dir + "/run/boxes/box-*[0-9]"); len(left) > 0 {
		t.Errorf("boxes are left: %v", left)
	}
	t.Logf("%d kills, %d calls told, %d answers confirmed", kills, len(w.results), len(w.answered))
}

// callers submit calls, each with a key and a line of its own in a file.
func (s *site) callers(ctx context.Context, w *witness, who string) {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprintf("%s-%d", who, i)
		profile := []string{"rw", "askrw", "build", "askchange"}[i%4]
		submit := api.Submit{
			Args: raw.Of([]string{"sh", "-c", "echo x >>/workspace/ran-" + key}), Profile: profile,
			Workspace: raw.String(s.dir + "/work"), Key: key, Wait: true,
		}
		c, err := s.dial("call")
		if err != nil {
			return // it is dead
		}
		accept := submit
		accept.Wait = false
		var v api.Call
		if c.Call(ctx, api.CallSubmit, accept, &v) == nil {
			w.mu.Lock()
			w.ids[key] = v.ID
			w.mu.Unlock()
			if c.Call(ctx, api.CallSubmit, submit, &v) == nil && v.Result != nil {
				w.mu.Lock()
				w.results[key] = v.Result.Status.String()
				if v.Changes != nil {
					w.changed[key] = v.Changes.State
				}
				w.mu.Unlock()
			}
		}
		_ = c.Close()
	}
}

// people answer what they are asked, yes and no in turn.
func (s *site) people(ctx context.Context, w *witness) {
	c, err := s.dial("approval")
	if err != nil {
		return
	}
	defer c.Close()
	go func() { _ = c.Call(ctx, api.TicketWatch, api.Nothing{}, nil) }()
	for n := range c.Notifications() {
		var k approval.Ticket
		if n.Method != api.TicketChanged || json.Unmarshal(n.Params, &k) != nil || k.State != approval.Pending {
			continue
		}
		a := approval.Answer{Ticket: k.ID, Revision: k.Revision, Verdict: approval.Allow}
		if rand.IntN(2) == 0 {
			a.Verdict, a.Reason = approval.Deny, "no"
		}
		var got api.Answered
		if c.Call(ctx, api.TicketAnswer, a, &got) == nil {
			w.mu.Lock()
			w.answered[k.ID] = a.Verdict
			w.mu.Unlock()
		}
	}
}

// judge compares what clients were told with what the next daemon knows.
func (s *site) judge(w *witness) {
	s.t.Helper()
	c, err := s.dial("approval")
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	// What was long ago is in the log alone: tickets are kept for a thousand,
	// ended calls for four.
	inLog := map[string]bool{}
	outcomes := map[string]string{}
	for r, err := range audit.Read(s.dir+"/state/audit", 1) {
		if err != nil {
			s.t.Fatal(err)
		}
		if r.Kind == audit.Outcome {
			outcomes[r.Call] = r.Status
		}
		if strings.HasPrefix(r.Rule, "answer ") {
			for _, f := range r.Facts {
				if f.Name == "ticket" {
					inLog[f.Value+" "+r.Rule] = true
				}
			}
		}
	}
	states := map[approval.Verdict]approval.State{approval.Allow: approval.Allowed, approval.Deny: approval.Denied}
	for id, verdict := range w.answered {
		if !inLog[id+" answer "+string(verdict)] {
			s.t.Errorf("the answer %s to ticket %s was confirmed and is not in the log", verdict, id)
		}
		k, err := try[approval.Ticket](c, api.TicketShow, api.TicketRef{Ticket: id})
		if err == nil && k.State != states[verdict] {
			s.t.Errorf("ticket %s: %s was confirmed, and it is %s", id, verdict, k.State)
		}
		if err != nil && api.CodeOf(err) != api.CodeNotFound {
			s.t.Error(err)
		}
	}
	calls, err := s.dial("call")
	if err != nil {
		s.t.Fatal(err)
	}
	defer calls.Close()
	for key, id := range w.ids {
		text, err := os.ReadFile(filepath.Join(s.dir, "work", "ran-"+key))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			s.t.Fatal(err)
		}
		if len(text) > 2 {
			s.t.Errorf("call %s ran %d times", key, len(text)/2)
		}
		told, known := w.results[key]
		v, err := try[api.Call](calls, api.CallShow, api.CallRef{Call: id})
		if err != nil && api.CodeOf(err) != api.CodeNotFound {
			s.t.Error(err)
		}
		switch {
		case known && outcomes[id] != told:
			s.t.Errorf("call %s was said to have ended %s, and the log has %q", key, told, outcomes[id])
		case known && err == nil && v.Result.Status.String() != told:
			s.t.Errorf("call %s was said to have ended %s, and now %s", key, told, v.Result.Status)
		case known && told == runtime.Denied.String() && len(text) > 0:
			s.t.Errorf("call %s was denied and ran", key)
		case len(text) > 0 && outcomes[id] == "":
			s.t.Errorf("call %s ran and is not known", key)
		case err == nil && v.State != api.Ended:
			s.t.Errorf("call %s is %s", key, v.State)
		case w.changed[key] == changes.Committed && len(text) == 0:
			s.t.Errorf("what call %s changed was said to be committed, and is not there", key)
		case (w.changed[key] == changes.Discarded || w.changed[key] == changes.Held) && len(text) > 0:
			s.t.Errorf("what call %s changed was said to be %s, and is there", key, w.changed[key])
		}
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "work", ".clawsup*"))
	if err != nil || len(left) > 0 {
		s.t.Errorf("commits that were cut off left %v, %v", left, err)
	}
	undecided, err := try[[]changes.Change](c, api.ChangesList, api.ChangesFilter{Undecided: true})
	if err != nil {
		s.t.Error(err)
	}
	for _, ch := range undecided {
		if ch.State != changes.Held {
			s.t.Errorf("change set %s is %s, and nobody is at work on it", ch.ID, ch.State)
		}
	}
}

// closed makes sure that each decided call has one outcome.
func (s *site) closed() {
	s.t.Helper()
	open := map[string]int{}
	for _, r := range s.verify() {
		switch {
		case r.Call == "":
		case r.Kind == audit.Decision && open[r.Call] == 0:
			open[r.Call] = 1
		case r.Kind == audit.Outcome:
			if open[r.Call] == 2 {
				s.t.Errorf("call %s has two outcomes", r.Call)
			}
			open[r.Call] = 2
		}
	}
	for id, state := range open {
		if state != 2 {
			s.t.Errorf("call %s was decided and never ended", id)
		}
	}
}
