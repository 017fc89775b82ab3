// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/session"
)

func (b *Broker) callSubmit(ctx context.Context, who client, r *api.Request) (any, error) {
	s, err := params[api.Submit](r)
	if err != nil {
		return nil, err
	}
	files := r.Files
	r.Files = nil // the call's from here on
	c, known, err := b.accept(who.owner(), s, files)
	if err != nil {
		return nil, err
	}
	if s.Wait {
		if err := c.await(ctx, r, s.Progress); err != nil {
			// Whoever gave a key comes back and finds its call. Without one there
			// is nobody left who could.
			if s.Key == "" {
				c.cancel(errGone)
			}
			return nil, err
		}
	}
	v := c.snapshot()
	v.Known = known
	return v, nil
}

// await returns when the call has ended. With progress the client is told when
// it was accepted and when people are asked.
func (c *call) await(ctx context.Context, r *api.Request, progress bool) error {
	told := ""
	for {
		v, changed := c.changes()
		if progress && v.State != api.Ended && (told == "" || v.Ticket != "" && v.Ticket != told) {
			told = cmp.Or(v.Ticket, "accepted")
			if err := r.Send(ctx, api.CallChanged, v); err != nil {
				return err
			}
		}
		select {
		case <-c.done:
			return nil
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ended gives the call when it has ended, or ctx's cause.
func (c *call) ended(ctx context.Context) (any, error) {
	select {
	case <-c.done:
		return c.snapshot(), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// named gives the call that a request is about, if the client may see it.
func (b *Broker) named(who client, r *api.Request) (*call, error) {
	ref, err := params[api.CallRef](r)
	if err != nil {
		return nil, err
	}
	return b.calls.find(ref.Call, who.sees)
}

func (b *Broker) callWait(ctx context.Context, who client, r *api.Request) (any, error) {
	c, err := b.named(who, r)
	if err != nil {
		return nil, err
	}
	return c.ended(ctx)
}

func (b *Broker) callCancel(ctx context.Context, who client, r *api.Request) (any, error) {
	c, err := b.named(who, r)
	if err != nil {
		return nil, err
	}
	c.cancel(errCancelled)
	return c.ended(ctx)
}

// maxListed bounds an answer: frames are.
const maxListed = 500

func (b *Broker) callList(_ context.Context, who client, r *api.Request) (any, error) {
	f, err := params[api.CallFilter](r)
	if err != nil {
		return nil, err
	}
	if f.Limit <= 0 {
		f.Limit = 100
	}
	list := b.calls.list(func(c *call) bool {
		v := c.snapshot()
		return who.sees(c) && !(f.Live && v.State == api.Ended) && (f.Session == "" || f.Session == v.Session)
	}, min(f.Limit, maxListed))
	for i := range list {
		list[i].Command, list[i].Reason, list[i].Rule = cut(list[i].Command, 512), cut(list[i].Reason, 256), cut(list[i].Rule, 256)
		if list[i].Result != nil { // the layers are in call.show
			short := *list[i].Result
			short.Layers, short.Message = nil, cut(short.Message, 256)
			list[i].Result = &short
		}
		if ch := list[i].Changes; ch != nil {
			short := *ch
			short.Report, short.Command, short.Reason = nil, "", cut(short.Reason, 256)
			list[i].Changes = &short
		}
	}
	return fitting(list), nil
}

func (b *Broker) callShow(_ context.Context, who client, r *api.Request) (any, error) {
	c, err := b.named(who, r)
	if err != nil {
		return nil, err
	}
	return c.snapshot(), nil
}

func (b *Broker) callExplain(_ context.Context, who client, r *api.Request) (any, error) {
	c, err := b.named(who, r)
	if err != nil {
		return nil, err
	}
	v := c.snapshot()
	e := api.Explanation{Call: v, Labels: b.labels(v.Session, v.Agent)}
	e.Facts = c.facts()
	if v.Ticket != "" {
		if t, err := b.book.Show(v.Ticket); err == nil {
			e.Ticket = &t
		}
	}
	return e, nil
}

// labels lists those of a session and an agent with where they came from.
func (b *Broker) labels(id, name string) []api.Label {
	_, ofSession, ofAgent := b.sessions.Labels(id, name)
	var list []api.Label
	add := func(on string, labels []session.Label) {
		for _, l := range labels {
			list = append(list, api.Label{Label: l.Label, On: on, Call: l.Call, Why: l.Why, Since: l.Since})
		}
	}
	add("session "+id, ofSession)
	add("agent "+name, ofAgent)
	return list
}

// part is how much output goes into one notification: with base64 and the rest
// it must fit a frame.
const part = 32 << 10

// maxFollowers bounds how many of one owner's, or one user's, follow and watch
// at one time: each takes memory for what is on its way.
const maxFollowers = 64

// follow counts a follower, until the function that it gives is called.
func (b *Broker) follow(who client) (func(), error) {
	name := who.door.name() + " " + who.owner().String()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.followers[name] >= maxFollowers {
		return nil, failf(api.CodeFull, "%d follow already", maxFollowers)
	}
	b.followers[name]++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.followers[name]--; b.followers[name] == 0 {
			delete(b.followers, name)
		}
	}, nil
}

// callFollow sends what a call writes, from the beginning or where the client
// left off, and its changes of state.
func (b *Broker) callFollow(ctx context.Context, who client, r *api.Request) (any, error) {
	f, err := params[api.Follow](r)
	if err != nil {
		return nil, err
	}
	c, err := b.calls.find(f.Call, who.sees)
	if err != nil {
		return nil, err
	}
	if f.Stdout < 0 || f.Stderr < 0 {
		return nil, failf(api.CodeParams, "an offset is not negative")
	}
	all := c.streams.Load()
	if all == nil {
		return c.snapshot(), nil
	}
	done, err := b.follow(who)
	if err != nil {
		return nil, err
	}
	defer done()
	// An agent may have been cleared since the call ran.
	c.mu.Lock()
	secret := c.secret
	c.mu.Unlock()
	if who.door.kind == agentDoor && secret {
		if err := b.markPrivate(c, "it was asked for its output"); err != nil {
			return nil, err
		}
	}
	at := [2]int64{f.Stdout, f.Stderr}
	// The taps say that there is more; what it is stands in the files.
	var more [2]chan []byte
	for i, tap := range all.taps {
		more[i] = make(chan []byte, 1)
		tap.listen(more[i])
		defer tap.leave(more[i])
	}
	for {
		if err := b.stays(who); err != nil {
			return nil, err
		}
		v, changed := c.changes()
		ended := v.State == api.Ended
		for i := range at {
			if at[i], err = b.sendSpool(ctx, c, all, r, i, at[i]); err != nil {
				return nil, err
			}
		}
		if ended {
			return v, nil
		}
		if err := r.Send(ctx, api.CallChanged, v); err != nil {
			return nil, err
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-changed:
				waiting = false
			case _, ok := <-more[0]:
				if !ok {
					more[0] = nil
				}
			case _, ok := <-more[1]:
				if !ok {
					more[1] = nil
				}
			}
			for i := range at {
				if at[i], err = b.sendSpool(ctx, c, all, r, i, at[i]); err != nil {
					return nil, err
				}
			}
		}
	}
}

// sendSpool sends what a stream's file has beyond an offset, and gives the next.
func (b *Broker) sendSpool(ctx context.Context, c *call, all *streams, r *api.Request, i int, at int64) (int64, error) {
	spool := all.spool[i]
	if spool == nil { // the caller has it
		return at, nil
	}
	buf := make([]byte, part)
	for {
		n, err := spool.ReadAt(buf, at)
		if n > 0 {
			if err := r.Send(ctx, api.Output, api.OutputPart{Call: c.id, Stream: i + 1, Offset: at, Data: buf[:n]}); err != nil {
				return at, err
			}
			at += int64(n)
		}
		switch {
		case errors.Is(err, os.ErrClosed):
			return at, failf(api.CodeOver, "what call %s wrote is not kept any more", c.id)
		case errors.Is(err, io.EOF), err == nil && n == 0:
			return at, nil
		case err != nil:
			return at, err
		}
	}
}

// callWatch sends what a call writes from now on, as far as the client keeps up.
func (b *Broker) callWatch(ctx context.Context, who client, r *api.Request) (any, error) {
	c, err := b.named(who, r)
	if err != nil {
		return nil, err
	}
	all := c.streams.Load()
	if all == nil {
		return c.snapshot(), nil
	}
	done, err := b.follow(who)
	if err != nil {
		return nil, err
	}
	defer done()
	var live [2]chan []byte
	for i, tap := range all.taps {
		live[i] = make(chan []byte, 4)
		tap.listen(live[i])
		defer tap.leave(live[i])
	}
	send := func(stream int, data []byte, ok bool) error {
		if !ok {
			live[stream] = nil
			return nil
		}
		if err := b.stays(who); err != nil {
			return err
		}
		return r.Send(ctx, api.Output, api.OutputPart{Call: c.id, Stream: stream + 1, Offset: -1, Data: data})
	}
	for live[0] != nil || live[1] != nil { // they end with the box
		var err error
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case data, ok := <-live[0]:
			err = send(0, data, ok)
		case data, ok := <-live[1]:
			err = send(1, data, ok)
		}
		if err != nil {
			return nil, err
		}
	}
	return c.ended(ctx)
}

// callStop is the kill cord: for people, and for all calls.
func (b *Broker) callStop(ctx context.Context, who client, r *api.Request) (any, error) {
	s, err := params[api.Stop](r)
	if err != nil {
		return nil, err
	}
	var list []*call
	switch {
	case s.All == (s.Call != ""):
		return nil, failf(api.CodeParams, "name a call, or say all")
	case s.All:
		list = b.calls.live()
	default:
		c, err := b.calls.find(s.Call, who.sees)
		if err != nil {
			return nil, err
		}
		if c.snapshot().State == api.Ended {
			return nil, failf(api.CodeOver, "call %s has ended already", c.id)
		}
		list = []*call{c}
	}
	cause := &stopped{by: who.String(), reason: cut(s.Reason, maxReason)}
	out := api.Stopped{Calls: []string{}}
	for _, c := range list {
		c.cancel(cause)
		out.Calls = append(out.Calls, c.id)
	}
	// Acting comes before writing it down here: nobody waits for a disk to stop something.
	what := "stop all calls"
	if !s.All {
		what = "stop call " + list[0].id
	}
	if err := b.record(ctx, act(who, what, audit.Fact{Name: factReason, Value: cause.reason})); err != nil {
		return nil, err
	}
	for _, c := range list {
		if _, err := c.ended(ctx); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// maxReason bounds what people write as a reason, in bytes.
const maxReason = 1 << 10
