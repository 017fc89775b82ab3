// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Ways from a client to a server. The first is the unit of this part.
const (
	direct  = "direct"
	through = "clawsup"
)

// way is how a client reaches servers.
type way struct {
	name, gives string
	client      *away
	at          map[string]string // where servers are for it, by scheme; nil: it looks them up
	meter       meter             // of what is between, and for a box of the client
	boxed       bool              // the meter's is the client's time too
}

// trial is something that clients do, by several ways.
type trial struct {
	name   string
	errand errand // without Connect
	scheme string
	others []string // between client and server, besides direct and clawsup
	quick  bool
}

// bytes says whether results are of a gigabyte each, or else of one time.
func (t trial) bytes() bool { return t.errand.Do == "stream" }

// trials are all of them. With a pause before each time processes have gone to sleep.
func (b *beyond) trials() []trial {
	const pause = 5 * time.Millisecond
	flow := func(scheme, name, path string, streams int) errand {
		return errand{Do: "stream", URL: b.url(scheme, name, path), Streams: streams, For: 250*time.Millisecond + time.Duration(streams)*2*time.Millisecond}
	}
	ask := func(scheme string, streams int, second bool) errand {
		return errand{Do: "request", URL: b.url(scheme, nameWeb, "/v1/page"), Streams: streams, HTTP2: second, For: 250 * time.Millisecond}
	}
	paced := func(e errand) errand {
		e.Rest, e.For, e.Times = pause, 0, 25
		return e
	}
	once := func(scheme, name string) errand {
		return errand{Do: "connect", URL: b.url(scheme, name, "/"), For: 200 * time.Millisecond}
	}
	relays := []string{bareRelay, "socat", "haproxy"}
	enders := []string{"haproxy", "mitmproxy"}
	up := flow("tcp", nameBytes, "", 1)
	up.Up = true
	return []trial{
		{oneStream, flow("tcp", nameBytes, "", 1), "tcp", relays, true},
		{"one stream sent, through tcp", up, "tcp", relays, false},
		{"64 streams, through tcp", flow("tcp", nameBytes, "", 64), "tcp", relays, false},
		{oneSealed, flow("tls", nameSealed, "", 1), "tls", relays[:1], true},
		{"64 streams, through tls", flow("tls", nameSealed, "", 64), "tls", relays[:1], false},
		{oneEnded, flow("https", nameWeb, "/stream", 1), "https", enders[:1], true},
		{"64 streams, TLS ended", flow("https", nameWeb, "/stream", 64), "https", nil, false},
		{onePlain, ask("http", 1, false), "http", enders[:1], true},
		{"requests of 16 clients, http", ask("http", 16, false), "http", enders[:1], false},
		{oneSecret, ask("https", 1, false), "https", enders, true},
		{"requests of 16 clients, TLS ended", ask("https", 16, false), "https", enders, false},
		{"requests of one client, TLS ended, HTTP/2", ask("https", 1, true), "https", enders, false},
		{"requests of 16 clients, TLS ended, HTTP/2", ask("https", 16, true), "https", enders, false},
		{pacedPlain, paced(ask("http", 1, false)), "http", enders[:1], true},
		{pacedSecret, paced(ask("https", 1, false)), "https", enders, true},
		{"a new connection and a byte back, through tcp", once("tcp", nameBytes), "tcp", relays, false},
		{"a new connection and a request, TLS ended", once("https", nameWeb), "https", enders, false},
		{"a name", errand{Do: "resolve", URL: b.url("dns", nameBytes, ""), For: 100 * time.Millisecond}, "dns", nil, false},
	}
}

// Names of trials that promises are about.
const (
	oneStream   = "one stream, through tcp"
	oneSealed   = "one stream, through tls"
	oneEnded    = "one stream, TLS ended"
	onePlain    = "requests of one client, http"
	oneSecret   = "requests of one client, TLS ended"
	pacedPlain  = "a request every 5 ms, http"
	pacedSecret = "a request every 5 ms, TLS ended"
)

// trialRounds is how often the ways take turns, and leastTrials even with -quick.
const (
	trialRounds = 15
	leastTrials = 5
)

// wayOut is where the egress is measured.
type wayOut struct {
	bench  *bench
	beyond *beyond
	site   *site
	tools  string // folder that boxes see
	ways   []*way
	others []*between
}

// egress is what the way out of a box costs.
func (b *bench) egress(ctx context.Context) (err error) {
	w := &wayOut{bench: b, tools: filepath.Join(b.dir, "tools")}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.open(); err != nil {
		return err
	}
	if err := errors.Join(w.calls(ctx), w.held(ctx)); err != nil {
		return err
	}
	if !b.options.quick {
		if err := w.memory(); err != nil {
			return err
		}
	}
	for _, t := range w.beyond.trials() {
		if b.options.quick && !t.quick {
			continue
		}
		began := time.Now()
		if err := w.run(ctx, t); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s, in %v\n", t.name, time.Since(began).Round(time.Second))
	}
	return nil
}

func (w *wayOut) open() (err error) {
	b := w.bench
	if w.beyond, err = newBeyond(filepath.Join(b.dir, "beyond")); err != nil {
		return err
	}
	if w.site, err = newSite(b.dir, b.programs, w.beyond.config()); err != nil {
		return err
	}
	if err := os.MkdirAll(w.tools, 0o755); err != nil {
		return err
	}
	if err := copyProgram(filepath.Join(w.tools, "bench")); err != nil {
		return err
	}
	for name, text := range map[string]string{"reaching": w.beyond.reaching(w.tools), "closed": closedProfile, "open": openProfile + w.beyond.rules()} {
		if err := w.site.profile(name, text); err != nil {
			return err
		}
	}
	if err := w.site.up(); err != nil {
		return err
	}
	client, err := outside("the client", filepath.Join(w.beyond.dir, "client.log"), w.beyond.roots)
	if err != nil {
		return err
	}
	at := make(map[string]string)
	for scheme := range w.beyond.ports {
		at[scheme] = w.beyond.at(scheme)
	}
	w.ways = append(w.ways, &way{name: direct, gives: "nothing between client and server", client: client, at: at})
	boxed, err := w.site.boxed("reaching", filepath.Join(w.tools, "bench"))
	if err != nil {
		return err
	}
	w.ways = append(w.ways, &way{name: through, gives: "a box, decisions, receipts", client: boxed, meter: w.site.meter(), boxed: true})
	for _, o := range betweens() {
		if b.options.quick && o.name != bareRelay {
			continue
		}
		if b.only != "" && !slices.Contains(list(b.only), o.name) {
			continue
		}
		w.others = append(w.others, o)
		if err := o.start(w.beyond); err != nil {
			b.report.Absent = append(b.report.Absent, fmt.Sprintf("%s: %v", o.name, err))
			continue
		}
		w.ways = append(w.ways, &way{name: o.name, gives: o.gives, client: client, at: o.at, meter: meter{o.group}})
	}
	return nil
}

func (w *wayOut) close() error {
	var all []error
	for i := range w.ways {
		if i < 2 { // the others share the first one's
			all = append(all, w.ways[i].client.close())
		}
	}
	for _, o := range w.others {
		all = append(all, o.stop())
	}
	if w.site != nil {
		all = append(all, w.site.down())
	}
	if w.beyond != nil {
		all = append(all, w.beyond.close())
	}
	return errors.Join(all...)
}

// takes are the ways of a trial.
func (w *wayOut) takes(t trial) []*way {
	var all []*way
	for _, y := range w.ways {
		if y.name == direct || y.name == through || slices.Contains(t.others, y.name) {
			all = append(all, y)
		}
	}
	return all
}

// able are those of them that can do it, the others being reported.
func (w *wayOut) able(t trial) []*way {
	t.errand.Times = 1
	t.errand.For = min(t.errand.For, 20*time.Millisecond)
	return slices.DeleteFunc(w.takes(t), func(y *way) bool {
		if y.name == direct || y.name == through {
			return false // which has to
		}
		_, err := w.once(t, y)
		if err != nil {
			w.bench.report.Absent = append(w.bench.report.Absent, fmt.Sprintf("%s of %s: %.200q", y.name, t.name, err.Error()))
		}
		return err != nil
	})
}

// run has the ways take turns, as contestants do.
func (w *wayOut) run(ctx context.Context, t trial) error {
	ways := w.able(t)
	outcomes := make(map[string][]outcome)
	var rounds []round
	for n := range max(leastTrials, w.bench.share(trialRounds)) {
		r := round{blocks: make(map[string]block)}
		for i := range ways {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			y := ways[(i+n)%len(ways)]
			o, err := w.once(t, y)
			if err != nil {
				return fmt.Errorf("%s: %w", y.name, err)
			}
			outcomes[y.name] = append(outcomes[y.name], o)
			r.blocks[y.name] = block{samples: []sample{{wall: o.one}}}
		}
		rounds = append(rounds, r)
	}
	w.bench.report.raced[t.name] = rounds
	w.bench.report.Trials = append(w.bench.report.Trials, newTrialFigures(t, ways, outcomes, rounds))
	return nil
}

// outcome is one block of one way.
type outcome struct {
	one  time.Duration   // what a gigabyte, or one time, took
	cpu  time.Duration   // for it, of the client, the server and what is between
	each []time.Duration // what each time took
}

// once has one way's client do the errand.
func (w *wayOut) once(t trial, y *way) (outcome, error) {
	e := t.errand
	e.Connect = y.at[t.scheme]
	before, err := w.beyond.server.ask(errand{Do: "cpu"})
	if err != nil {
		return outcome{}, err
	}
	between := y.meter.read()
	r, err := y.client.ask(e)
	if err != nil {
		return outcome{}, err
	}
	between = y.meter.read() - between
	after, err := w.beyond.server.ask(errand{Do: "cpu"})
	if err != nil {
		return outcome{}, err
	}
	if r.Done == 0 {
		return outcome{}, errors.New("nothing was done")
	}
	return newOutcome(t, y, r, between, after.CPU-before.CPU), nil
}

func newOutcome(t trial, y *way, r result, between, server time.Duration) outcome {
	cpu := between + server
	if !y.boxed {
		cpu += r.CPU
	}
	if t.bytes() {
		// The others' time has that before bytes counted, too.
		share := float64(r.Wall) / float64(r.Wall+streamWarm)
		perGB := 1e9 / float64(r.Done)
		return outcome{one: time.Duration(float64(r.Wall) * perGB), cpu: time.Duration(float64(cpu) * share * perGB)}
	}
	one := time.Duration(float64(r.Wall) / float64(r.Done))
	if t.errand.Rest > 0 {
		one = quantile(r.Each, 0.5)
	}
	return outcome{one: one, cpu: cpu / time.Duration(r.Done), each: r.Each}
}
