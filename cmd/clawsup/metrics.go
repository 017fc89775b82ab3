// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/clawsup/clawsup/supervisor/api"
)

const metricsUsage = `usage: clawsup metrics

Prints the daemon's numbers in the text format of Prometheus, for a collector
that runs a program or reads files: node_exporter's textfile collector, say,
from a timer that writes the output to a file and renames it.

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func metricsCommand() *command {
	return &command{name: "metrics", synopsis: "print the daemon's numbers for monitoring", usage: metricsUsage, execute: executeMetrics}
}

func executeMetrics(p *program, args []string) int {
	c := metricsCommand()
	s := p.flags("metrics")
	_, err := arguments(c, s, args, 0, 0, "")
	if err == nil {
		err = p.metrics()
	}
	return p.ended(c, err)
}

func (p *program) metrics() error {
	d, err := ask[api.Daemon](p, api.Status, api.Nothing{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.stdout, metricsText(&d))
	return err
}

// metric is one of the daemon's numbers. Those of a pool's line are told for
// each profile.
type metric[T any] struct {
	name, kind, help string
	value            func(*T) float64
}

var daemonMetrics = []metric[api.Daemon]{
	{"up_since_seconds", "gauge", "When the daemon started, since 1970.", func(d *api.Daemon) float64 { return float64(d.Started.Unix()) }},
	{"generation", "gauge", "Grows with every reload.", func(d *api.Daemon) float64 { return float64(d.Generation) }},
	{"locked", "gauge", "1 during a lockdown.", func(d *api.Daemon) float64 { return one(d.Locked != "") }},
	{"notes", "gauge", "Things that an operator should look at; 'clawsup doctor' tells them.", func(d *api.Daemon) float64 { return float64(len(d.Notes)) }},
	{"calls_running", "gauge", "Calls at work.", func(d *api.Daemon) float64 { return float64(d.Calls) }},
	{"calls_queued", "gauge", "Calls that wait for their turn.", func(d *api.Daemon) float64 { return float64(d.Queue) }},
	{"tickets_pending", "gauge", "Questions that wait for people.", func(d *api.Daemon) float64 { return float64(d.Tickets) }},
	{"grants", "gauge", "Standing grants.", func(d *api.Daemon) float64 { return float64(d.Grants) }},
	{"sessions", "gauge", "Sessions.", func(d *api.Daemon) float64 { return float64(d.Sessions) }},
	{"receipts_total", "counter", "Receipts in the log.", func(d *api.Daemon) float64 { return float64(d.Receipts) }},
	{"pool_templates", "gauge", "Templates that boxes are cloned from.", func(d *api.Daemon) float64 { return float64(d.Pool.Templates) }},
	{"pool_making", "gauge", "Calls that have their own box made.", func(d *api.Daemon) float64 { return float64(d.Pool.Making) }},
	{"pool_queued", "gauge", "Calls that wait for room on the host.", func(d *api.Daemon) float64 { return float64(d.Pool.Queued) }},
}

var poolMetrics = []metric[api.PoolLine]{
	{"pool_waiting", "gauge", "Boxes that wait for a call.", func(l *api.PoolLine) float64 { return float64(l.Waiting) }},
	{"pool_wanted", "gauge", "Boxes that should wait, as calls have come of late.", func(l *api.PoolLine) float64 { return float64(l.Wanted) }},
	{"pool_memory_bytes", "gauge", "What waiting boxes count as.", func(l *api.PoolLine) float64 { return float64(l.Memory) }},
	{"pool_hits_total", "counter", "Calls that found a box waiting.", func(l *api.PoolLine) float64 { return float64(l.Hits) }},
	{"pool_misses_total", "counter", "Calls that had one made.", func(l *api.PoolLine) float64 { return float64(l.Misses) }},
	{"pool_made_total", "counter", "Boxes made.", func(l *api.PoolLine) float64 { return float64(l.Made) }},
	{"pool_died_total", "counter", "Boxes that died while they waited.", func(l *api.PoolLine) float64 { return float64(l.Died) }},
	{"pool_evicted_total", "counter", "Boxes given up for others.", func(l *api.PoolLine) float64 { return float64(l.Evicted) }},
	{"pool_dropped_total", "counter", "Boxes that went unused for other reasons.", func(l *api.PoolLine) float64 { return float64(l.Dropped) }},
	{"pool_refused_total", "counter", "Calls for which there was no room in time.", func(l *api.PoolLine) float64 { return float64(l.Refused) }},
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// metricsText writes them all.
func metricsText(d *api.Daemon) string {
	var b strings.Builder
	head := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP clawsup_%s %s\n# TYPE clawsup_%s %s\n", name, help, name, kind)
	}
	for _, m := range daemonMetrics {
		head(m.name, m.kind, m.help)
		fmt.Fprintf(&b, "clawsup_%s %v\n", m.name, m.value(d))
	}
	for _, m := range poolMetrics {
		head(m.name, m.kind, m.help)
		for i := range d.Pool.Profiles {
			l := &d.Pool.Profiles[i]
			fmt.Fprintf(&b, "clawsup_%s{profile=%q} %v\n", m.name, l.Profile, m.value(l))
		}
	}
	return b.String()
}
