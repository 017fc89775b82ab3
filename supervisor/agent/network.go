// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/relay"
)

// place is a box's network, before its program runs and while it does.
type place struct {
	mu sync.Mutex
	in func(func() error) error // mu; the box's, then the service's
}

// run runs something there.
func (p *place) run(f func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.in(f)
}

// serve has the program run.
func (p *place) serve(ctx context.Context, box *runtime.Berth, call runtime.Call, log runtime.ServiceLog) (*runtime.Service, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	service, err := box.Serve(ctx, call, log)
	if err == nil {
		p.in = service.InNetwork
	}
	return service, err
}

// publish opens the ports on the host, once for all runs: between two of them
// nobody else can take one.
func (a *Agent) publish() error {
	if a.published != nil {
		return nil
	}
	var opened []*relay.Relay
	for _, p := range a.o.Config.Publish {
		at, err := netip.ParseAddrPort(p)
		if err != nil {
			return refusal{err}
		}
		listener, err := relay.Listen(at)
		if errors.Is(err, relay.ErrNoFamily) {
			a.warn("publish "+p, err)
			continue
		}
		var r *relay.Relay
		if err == nil {
			r, err = a.o.Relay.Relay(listener, func() (*os.File, error) { return a.connect(at) })
		}
		if err != nil {
			for _, r := range opened {
				err = errors.Join(err, r.Close())
			}
			return fmt.Errorf("publish: %w", err)
		}
		opened = append(opened, r)
	}
	a.published = opened
	return nil
}

// connect makes a socket of the agent's network that is on its way to one of
// its own addresses.
func (a *Agent) connect(to netip.AddrPort) (*os.File, error) {
	a.mu.Lock()
	r := a.run
	a.mu.Unlock()
	if r == nil {
		return nil, errNotRunning
	}
	return r.connect(to)
}

func (r *run) connect(to netip.AddrPort) (file *os.File, err error) {
	err = r.service.InNetwork(func() error {
		var err error
		file, err = relay.Connect(to)
		return err
	})
	return file, err
}

// loopback opens, in the agent's network, what leads to the host's.
func (a *Agent) loopback(r *run) error {
	for _, p := range a.o.Config.Loopback {
		to, err := netip.ParseAddrPort(p)
		if err != nil {
			return refusal{err}
		}
		var listener *os.File
		err = r.service.InNetwork(func() error {
			var err error
			listener, err = relay.Listen(to)
			return err
		})
		var l *relay.Relay
		if err == nil {
			l, err = a.o.Relay.Relay(listener, func() (*os.File, error) { return relay.Connect(to) })
		}
		if err != nil {
			return fmt.Errorf("loopback: %w", err)
		}
		r.relays = append(r.relays, l)
	}
	return nil
}

// probed says whether readiness is asked for.
func (a *Agent) probed() bool { return a.o.Config.Ready.HTTP != "" || a.o.Config.Ready.TCP != "" }

// question is how readiness is asked for.
func question(r *supervisor.AgentReady) (to netip.AddrPort, p relay.Probe, err error) {
	host := r.TCP
	if rest, ok := strings.CutPrefix(r.HTTP, "http://"); ok {
		var path string
		host, path, _ = strings.Cut(rest, "/")
		p.Path = "/" + path
	}
	p.Host, p.Timeout = host, probeLimit
	to, err = netip.ParseAddrPort(host)
	return to, p, err
}

// probeLimit bounds one try.
const probeLimit = 5 * time.Second

// awaitReady asks until the answer is yes, or the time is over, which ends the
// run. Times at which there is nobody to ask, or the agent is frozen,
// don't count.
func (a *Agent) awaitReady(r *run) {
	to, p, err := question(&a.o.Config.Ready)
	if err != nil {
		a.warn("ready", err)
		return
	}
	deadline := time.Now().Add(time.Duration(a.o.Config.Ready.Timeout))
	every := time.NewTicker(time.Duration(a.o.Config.Ready.Every))
	defer every.Stop()
	for {
		err := a.ask(r.ended, r, to, p)
		switch {
		case r.ended.Err() != nil:
			return
		case err == nil:
			a.nowReady(r)
			return
		case errors.Is(err, relay.ErrNotRunning), a.Status().State == Frozen.String():
			deadline = deadline.Add(time.Duration(a.o.Config.Ready.Every))
		case time.Now().After(deadline):
			a.notReady(r, err)
			return
		}
		select {
		case <-every.C:
		case <-r.ended.Done():
			return
		}
	}
}

func (a *Agent) ask(ctx context.Context, r *run, to netip.AddrPort, p relay.Probe) error {
	socket, err := r.connect(to)
	if err != nil {
		return err
	}
	return a.o.Relay.Probe(ctx, socket, p)
}

func (a *Agent) nowReady(r *run) {
	a.mu.Lock()
	r.ready = true
	switch {
	case a.run != r:
	case a.state == Running:
		a.change(Ready)
	case a.state == Frozen && r.before == Running:
		r.before = Ready
	}
	a.mu.Unlock()
	a.receipt("ready", "", nil, detail(fmt.Sprintf("after %v", time.Since(r.began).Round(time.Millisecond))))
	a.o.Changed(a.Status())
}

func (a *Agent) notReady(r *run, why error) {
	a.mu.Lock()
	r.unready = true
	a.mu.Unlock()
	a.receipt("ready", "failed", nil, detail(why.Error()))
	ctx, cancel := context.WithTimeout(a.life, killLimit)
	defer cancel()
	a.warn("end it, since it is not ready", r.service.Kill(ctx)) // watch does the rest
}
