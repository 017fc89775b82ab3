// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// grown is how much there may be of something.
var (
	liveBoxes   = []int{1, 10, 100, 500}
	manyOfThem  = []int{1, 10, 100, 1000}
	receiptLogs = []int{10, 1_000, 100_000}
)

// growthSpan is a throughput's length where there is much of something.
var growthSpan = span{rounds: 1, warm: 250 * time.Millisecond, counted: 2 * time.Second, callers: []int{2}}

// remembered is how many ended calls a daemon knows at most, and wholeReads the
// longest log that it is made to read whole.
const (
	remembered = 4096
	wholeReads = 100_000
)

// growthCalls is how many are measured for a latency.
const growthCalls = 50

// tellCalls measures calls of a site: latency, with a bare spawn after each,
// and if rate throughput.
func (b *bench) tellCalls(name, who string, s *site, submit func(int) api.Submit, rate bool) error {
	a, err := s.caller(submit)
	if err != nil {
		return err
	}
	defer a.Close()
	var calls, spawns []time.Duration
	var before time.Duration
	const first = 5 // not counted
	for n := range growthCalls + first {
		if n == first {
			before = s.meter().read()
		}
		time.Sleep(b.size.rest)
		began := time.Now()
		if err := a.call(n); err != nil {
			return err
		}
		took := time.Since(began)
		time.Sleep(b.size.rest)
		bare, err := b.spawner.spawn([]string{command})
		if err != nil {
			return err
		}
		if n >= first {
			calls, spawns = append(calls, took), append(spawns, bare.wall)
		}
	}
	cpu := (s.meter().read() - before) / growthCalls
	p50 := quantile(calls, 0.5)
	b.report.tell(name, who+", p50", float64(p50)/1e6, "ms", fmt.Sprintf("%s times a spawn beside it; p99 %s ms; CPU %s ms",
		short(float64(p50)/float64(quantile(spawns, 0.5))), milliseconds(quantile(calls, 0.99)), milliseconds(cpu)))
	if !rate {
		return nil
	}
	t, err := growthSpan.run(&contestant{name: name, dial: s.calls(submit), server: s.meter()}, 2)
	if err != nil {
		return err
	}
	b.report.tell(name, who+", 2 callers", t.rate, "calls a second", fmt.Sprintf("CPU %s ms a call", milliseconds(t.CPU/time.Duration(max(1, t.Calls)))))
	return nil
}

// live is calls beside sandboxes in which something sleeps.
func (b *bench) live(ctx context.Context) error {
	s, err := newSite(b.dir, b.programs, "")
	if err != nil {
		return err
	}
	if err := s.profile("sleep", sleepProfile); err != nil {
		return err
	}
	for _, n := range liveBoxes {
		if err := s.up(); err != nil {
			return err
		}
		stop, err := s.sleepers(ctx, n)
		if err == nil {
			err = b.tellCalls("a call beside live sandboxes", strconv.Itoa(n), s, plain("", command), true)
			err = errors.Join(err, stop())
		}
		if err := errors.Join(err, s.down()); err != nil {
			return err
		}
	}
	return nil
}

// manyProfiles is calls where there are many profiles.
func (b *bench) manyProfiles(context.Context) error {
	s, err := newSite(b.dir, b.programs, "")
	if err != nil {
		return err
	}
	have := 0
	for _, n := range manyOfThem {
		for ; have < n; have++ {
			if err := s.profile("profile"+strconv.Itoa(have), fmt.Sprintf("extends = \"default\"\n[limits]\nmemory = \"%dK\"\n", 200_000+have*4)); err != nil {
				return err
			}
		}
		if err := s.up(); err != nil {
			return err
		}
		name, who := "with profiles", strconv.Itoa(n)
		b.report.tell(name, who+", start", float64(s.start)/1e6, "ms", "of the daemon, to its first answer")
		err := b.tellCalls(name, who, s, plain("profile"+strconv.Itoa(n-1), command), true)
		if err := errors.Join(err, s.down()); err != nil {
			return err
		}
	}
	return nil
}

// manyGrants is calls that one of many standing grants allows.
func (b *bench) manyGrants(context.Context) error {
	s, err := newSite(b.dir, b.programs, "")
	if err != nil {
		return err
	}
	if err := s.profile("ask", "extends = \"default\"\n[effects]\nexec = \"ask\"\n"); err != nil {
		return err
	}
	if err := s.up(); err != nil {
		return err
	}
	defer s.down()
	have := 0
	for _, n := range manyOfThem {
		began := time.Now()
		if err := s.grant(have, n); err != nil {
			return err
		}
		took := time.Since(began) / time.Duration(n-have)
		have = n
		name, who := "with standing grants", strconv.Itoa(n)
		b.report.tell(name, who+", one more", float64(took)/1e6, "ms", "the question, the answer and the call")
		submit := func(k int) api.Submit { return granted(k % n) }
		if err := b.tellCalls(name, who, s, submit, true); err != nil {
			return err
		}
	}
	return nil
}

// granted is call n of those that have a grant each, for its plan and session.
func granted(n int) api.Submit {
	return api.Submit{Args: raw.Of([]string{command, strconv.Itoa(n)}), Profile: "ask", Session: "granted", Wait: true}
}

// grant has calls from to to answered with a grant each.
func (s *site) grant(from, to int) error {
	people, err := s.dial("approval")
	if err != nil {
		return err
	}
	defer people.Close()
	// with descriptors, which are a part of the plan
	calls, err := s.caller(granted)
	if err != nil {
		return err
	}
	defer calls.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch, err := s.dial("approval")
	if err != nil {
		return err
	}
	defer watch.Close()
	go func() { _ = watch.Call(ctx, api.TicketWatch, api.Nothing{}, nil) }()
	failed := make(chan error, 1)
	go func() {
		for n := range watch.Notifications() {
			var k approval.Ticket
			if n.Method != api.TicketChanged || json.Unmarshal(n.Params, &k) != nil || k.State != approval.Pending {
				continue
			}
			a := approval.Answer{Ticket: k.ID, Revision: k.Revision, Verdict: approval.Grant, For: time.Hour}
			if err := people.Call(ctx, api.TicketAnswer, a, nil); err != nil && ctx.Err() == nil {
				failed <- err
				return
			}
		}
	}()
	for n := from; n < to; n++ {
		done := make(chan error, 1)
		go func() { done <- calls.call(n) }()
		select {
		case err = <-done:
		case err = <-failed:
		}
		if err != nil {
			return fmt.Errorf("grant %d: %w", n, err)
		}
	}
	return nil
}

// receipts is a daemon whose log has many entries already.
func (b *bench) receipts(ctx context.Context) error {
	sizes := receiptLogs
	if b.growth > 0 {
		sizes = append(sizes, b.growth)
	}
	for _, n := range sizes {
		fmt.Fprintf(os.Stderr, "bench: a log of %d receipts\n", n)
		if err := b.receiptsOf(ctx, n); err != nil {
			return fmt.Errorf("%d receipts: %w", n, err)
		}
	}
	return nil
}

func (b *bench) receiptsOf(ctx context.Context, n int) error {
	s, err := newSite(b.dir, b.programs, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	name, who := "with receipts", strconv.Itoa(n)
	began := time.Now()
	if err := s.writeReceipts(ctx, n); err != nil {
		return err
	}
	b.report.tell(name, who+", written", float64(n)/time.Since(began).Seconds(), "a second", "256 at once, signed and synced")
	// As the daemon leaves it behind: as many calls as it remembers matter still.
	from := max(1, n-2*remembered+1)
	if err := os.WriteFile(filepath.Join(s.state(), "calls.json"), fmt.Appendf(nil, "{\"from\":%d}\n", from), 0o600); err != nil {
		return err
	}
	if err := s.up(); err != nil {
		return err
	}
	b.report.tell(name, who+", start", float64(s.start)/1e6, "ms", fmt.Sprintf("of the daemon, to its first answer; it remembers %d calls", (n-from+1)/2))
	err = b.tellCalls(name, who, s, plain("", command), false)
	weight := s.weigh()
	if err := errors.Join(err, s.down()); err != nil {
		return err
	}
	b.report.tell(name, who+", daemon", mb(weight.daemon), "MB", "proportional set size")
	if n <= wholeReads {
		if err := os.Remove(filepath.Join(s.state(), "calls.json")); err != nil {
			return err
		}
		if err := s.up(); err != nil {
			return err
		}
		b.report.tell(name, who+", start without calls.json", float64(s.start)/1e6, "ms", "the whole log is read")
		if err := s.down(); err != nil {
			return err
		}
	}
	began = time.Now()
	verify := exec.CommandContext(ctx, filepath.Join(b.programs, "clawsup"), "--config", s.config(), "audit", "verify")
	if out, err := verify.CombinedOutput(); err != nil {
		return fmt.Errorf("audit verify: %w: %s", err, out)
	}
	took := time.Since(began)
	b.report.tell(name, who+", verify", float64(n)/took.Seconds(), "a second", fmt.Sprintf("%s ms, of CPU %s, %.0f MB resident at most",
		milliseconds(took), milliseconds(verify.ProcessState.UserTime()+verify.ProcessState.SystemTime()), mb(maxRSS(verify.ProcessState))))
	return nil
}

// writeReceipts fills the log as calls do: a decision and an outcome each.
func (s *site) writeReceipts(ctx context.Context, n int) error {
	key, err := audit.LoadKey(filepath.Join(s.dir, "audit.key"))
	if err != nil {
		return err
	}
	log, err := audit.Open(audit.Options{Dir: filepath.Join(s.state(), "audit"), Anchor: filepath.Join(s.state(), "audit.head"), Key: key, Segment: 16 << 20})
	if err != nil {
		return err
	}
	var last *audit.Pending
	zero := 0
	for i := 0; i < n && err == nil; i++ {
		r := audit.Receipt{Kind: audit.Decision, Call: fmt.Sprintf("call-%026d", i/2), Plan: strings.Repeat("0123456789abcdef", 4),
			Profile: strings.Repeat("fedcba9876543210", 4), Requester: "uid 0", Effect: "exec", Decision: "allow", Rule: "profile default: effects.exec",
			Facts: []audit.Fact{{Name: "command", Value: command}, {Name: "profile", Value: "default"}}}
		if i%2 == 1 {
			r.Kind, r.Status, r.Exit, r.Facts = audit.Outcome, "exited", &zero, nil
			r.Usage = &audit.Usage{Wall: time.Millisecond, User: time.Millisecond, Memory: 1 << 20, Pids: 1}
		}
		last, err = log.Begin(ctx, r)
	}
	if err == nil {
		_, err = last.Wait(ctx)
	}
	return errors.Join(err, log.Close())
}
