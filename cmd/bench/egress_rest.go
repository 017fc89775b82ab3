// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
)

// Profiles of calls that differ in their way out alone.
const (
	closedProfile = "extends = \"web\"\n[workspace]\nmode = \"none\"\n[network]\nmode = \"none\"\n"
	openProfile   = "extends = \"web\"\n[workspace]\nmode = \"none\"\n[network]\ndefault = \"deny\"\n"
)

// Names of the race about them.
const (
	reachingCall = "/bin/true, in a box with a way out"
	closedCall   = "no network"
	openCall     = "a way out"
)

// calls is what a way out costs a call that doesn't use it.
func (w *wayOut) calls(ctx context.Context) error {
	s := w.site
	list := []contestant{
		{name: unit, gives: "nothing", argv: []string{command}},
		{name: closedCall, gives: "profile web, but mode = \"none\"", dial: s.calls(plain("closed", command)), server: s.meter()},
		{name: openCall, gives: "profile web: namespace led to the helper, an authority of its own", dial: s.calls(plain("open", command)), server: s.meter()},
	}
	return w.bench.race(ctx, reachingCall, list, length{rounds: 40, block: 5, rest: 20 * time.Millisecond, most: 2 * time.Minute})
}

// heldTimes is how often a request is held.
const heldTimes = 40

// held is how long a request goes on waiting once a person has answered.
func (w *wayOut) held(ctx context.Context) error {
	people, err := w.site.dial("approval")
	if err != nil {
		return err
	}
	defer people.Close()
	var all, confirmed []time.Duration
	for range max(leastRounds, w.bench.share(heldTimes)) {
		whole, said, err := w.hold(ctx, people)
		if err != nil {
			return err
		}
		all, confirmed = append(all, whole), append(confirmed, said)
	}
	const name = "a held request"
	tell := func(who string, d time.Duration, note string) {
		w.bench.report.tell(name, who, float64(d)/1e6, "ms", note)
	}
	tell("page read, p50", quantile(all, 0.5), fmt.Sprintf("from the moment a person's answer is sent over approval.sock, %d times; the server is connected to after it", len(all)))
	tell("page read, p99", quantile(all, 0.99), "")
	tell("answer confirmed, p50", quantile(confirmed, 0.5), "the person's answer is on the disk")
	return nil
}

// hold has one request held, and answers.
func (w *wayOut) hold(ctx context.Context, people *api.Client) (whole, confirmed time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	type got struct {
		result
		err error
	}
	done := make(chan got, 1)
	go func() {
		r, err := w.ways[1].client.ask(errand{Do: "request", URL: w.beyond.url("http", nameAsked, "/v1/page"), Times: 1})
		done <- got{r, err}
	}()
	var ticket approval.Ticket
	for ticket.ID == "" {
		var list []approval.Ticket
		if err := people.Call(ctx, api.TicketList, api.TicketFilter{}, &list); err != nil {
			return 0, 0, err
		}
		for _, k := range list {
			if k.State == approval.Pending {
				ticket = k
			}
		}
		select {
		case g := <-done:
			return 0, 0, errors.Join(errors.New("nobody was asked"), g.err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	began := time.Now().Round(0) // the box has its own clock of time passed
	if err := people.Call(ctx, api.TicketAnswer, approval.Answer{Ticket: ticket.ID, Revision: ticket.Revision, Verdict: approval.Allow}, nil); err != nil {
		return 0, 0, err
	}
	confirmed = time.Since(began)
	g := <-done
	return g.When.Sub(began), confirmed, g.err
}

// idleConnections are open at once while memory is read.
const idleConnections = 1000

// helperName is what clawsup-egress is called in its box.
const helperName = "egress"

// memory is what the helper and the kernel hold, in a site of its own.
func (w *wayOut) memory() error {
	b := w.bench
	s, err := newSite(b.dir, b.programs, w.beyond.config())
	if err != nil {
		return err
	}
	if err := s.profile("reaching", w.beyond.reaching(w.tools)); err != nil {
		return err
	}
	if err := s.up(); err != nil {
		return err
	}
	client, err := s.boxed("reaching", filepath.Join(w.tools, "bench"))
	if err != nil {
		return errors.Join(err, s.down())
	}
	err = w.weigh(s, client)
	return errors.Join(err, client.close(), s.down())
}

// holds is what they hold; sizes are kB.
type holds struct{ helper, daemon, kernel int64 }

func (s *site) holds() holds {
	time.Sleep(settle)
	at := s.weigh()
	h := holds{daemon: at.daemon, kernel: at.kernel}
	for pid, name := range s.started() {
		if name == helperName {
			h.helper, _ = pss(pid)
		}
	}
	return h
}

func (w *wayOut) weigh(s *site, client *away) error {
	const name = "memory of the way out"
	r := w.bench.report
	at := func(who string, h holds) {
		r.tell(name, who+": clawsup-egress", mb(h.helper), "MB", "proportional set size")
		r.tell(name, who+": clawsupd", mb(h.daemon), "MB", "the same")
	}
	before := s.holds()
	at("one box, at rest", before)
	for _, kind := range []struct{ scheme, name, what string }{{"tcp", nameBytes, "an idle connection, through tcp"}, {"https", nameWeb, "an idle connection, TLS ended"}} {
		e := errand{Do: "idle", URL: w.beyond.url(kind.scheme, kind.name, "/"), Times: idleConnections}
		before := s.holds()
		if _, err := client.ask(e); err != nil {
			return err
		}
		after := s.holds()
		if _, err := client.ask(errand{Do: "drop"}); err != nil {
			return err
		}
		each := func(who string, kb int64, note string) {
			r.tell(kind.what, who, float64(kb)/idleConnections, "kB", note)
		}
		each("clawsup-egress", after.helper-before.helper, fmt.Sprintf("of %d", idleConnections))
		each("clawsupd", after.daemon-before.daemon, "")
		each("kernel", after.kernel-before.kernel, "of four sockets, the client's and the server's included")
		between := s.holds()
		e.Connect = w.ways[0].at[kind.scheme]
		if _, err := w.ways[0].client.ask(e); err != nil {
			return err
		}
		plain := s.holds()
		if _, err := w.ways[0].client.ask(errand{Do: "drop"}); err != nil {
			return err
		}
		each("kernel, direct", plain.kernel-between.kernel, "of two sockets")
	}
	at("after 2,000 connections", s.holds())
	flood := errand{Do: "request", URL: w.beyond.url("https", nameWeb, "/v1/page"), Streams: 16, For: 5 * time.Second}
	got, err := client.ask(flood)
	if err != nil {
		return err
	}
	if _, err := client.ask(errand{Do: "drop"}); err != nil {
		return err
	}
	at(fmt.Sprintf("after %d requests of 16 clients", got.Done), s.holds())
	return nil
}
