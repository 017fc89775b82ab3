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

	"golang.org/x/sys/unix"
)

// bench is one run of this program.
type bench struct {
	options
	size    length
	dir     string // for everything that is written
	bundle  *bundle
	spawner *spawner
	place   place
	crun    thread
	list    []contestant // those that can take part
	report  *report
}

// part is something that is measured by itself.
type part struct {
	name    string
	quick   bool // also with -quick
	measure func(*bench, context.Context) error
}

var parts = []part{
	{"start", true, (*bench).start},
	{"rate", true, (*bench).rate},
	{"changes", true, (*bench).changes},
	{"egress", true, (*bench).egress},
	{"work", false, (*bench).work},
	{"memory", false, (*bench).memory},
	{"steady", false, (*bench).steadiness},
	{"live", false, (*bench).live},
	{"profiles", false, (*bench).manyProfiles},
	{"grants", false, (*bench).manyGrants},
	{"receipts", false, (*bench).receipts},
}

func partNames() []string {
	var all []string
	for _, p := range parts {
		all = append(all, p.name)
	}
	return all
}

func (b *bench) wants(p part) bool {
	if b.parts != "" {
		return slices.Contains(list(b.parts), p.name)
	}
	return !b.options.quick || p.quick
}

func (b *bench) open() (err error) {
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	if b.bundle, err = newBundle(b.dir); err != nil {
		return err
	}
	if b.spawner, err = newSpawner(b.dir); err != nil {
		return err
	}
	if b.crun, err = plainV1(); err != nil {
		return err
	}
	b.place, err = newPlace(b.dir, b.programs, b.bundle)
	return err
}

func (b *bench) close() error {
	for i := range b.list {
		b.list[i].close()
	}
	err := b.place.close()
	if b.bundle != nil {
		b.bundle.remove()
	}
	return err
}

// field gives the contestants that can take part, the others being reported.
func (b *bench) field() []contestant {
	if b.list != nil {
		return b.list
	}
	for _, c := range contestants(b.bundle, b.place, b.crun) {
		if b.only != "" && c.name != unit && !slices.Contains(list(b.only), c.name) {
			continue
		}
		if err := c.try(b.spawner); err != nil {
			b.report.Absent = append(b.report.Absent, fmt.Sprintf("%s: %v", c.name, err))
			continue
		}
		b.list = append(b.list, c)
	}
	return b.list
}

// start is latency: all contestants in rounds.
func (b *bench) start(ctx context.Context) error {
	before, err := syncTimes(b.dir)
	if err != nil {
		return err
	}
	list := b.field()
	rounds, noisy, err := measure(ctx, b.spawner, list, b.size)
	if err != nil {
		return err
	}
	after, err := syncTimes(b.dir)
	if err != nil {
		return err
	}
	b.report.raced[command] = rounds
	b.report.Races = append(b.report.Races, newRace(command, list, rounds, noisy, b.size))
	b.report.Sync = diskOf(append(before, after...))
	return nil
}

// slow are left out of throughput: their latency says it all.
var slow = []string{"firejail", "runc", "clawsup", "new profile"}

// rate is throughput.
func (b *bench) rate(ctx context.Context) error {
	var list []contestant
	for _, c := range b.field() {
		if !slices.Contains(slow, c.name) {
			list = append(list, c)
		}
	}
	rounds, err := measureRates(ctx, list, b.size.rate)
	if err != nil {
		return err
	}
	b.report.rates = rounds
	b.report.Rates = ratesOf(list, rounds, b.size.rate)
	return nil
}

// syncTimes appends lines of a receipt's size to a file, and syncs each.
func syncTimes(dir string) ([]time.Duration, error) {
	f, err := os.OpenFile(filepath.Join(dir, "sync"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []time.Duration
	line := make([]byte, 700)
	for range 100 {
		began := time.Now()
		_, err := f.Write(line)
		if err := errors.Join(err, unix.Fdatasync(int(f.Fd()))); err != nil {
			return nil, err
		}
		all = append(all, time.Since(began))
	}
	return all, nil
}
