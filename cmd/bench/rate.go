// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxCallers is the most of them that there are at one time.
const maxCallers = 4

// span is how long callers go on without a rest. The first part isn't counted:
// what was made ahead is used up in it.
type span struct {
	rounds  int
	warm    time.Duration
	counted time.Duration
	callers []int
}

// tally is what one caller, or several at once, did.
type tally struct {
	Calls  int           `json:"calls"` // in the counted part
	All    int           `json:"all"`
	Wall   time.Duration `json:"wall_ns"` // of the counted part
	CPU    time.Duration `json:"cpu_ns"`  // of the counted part
	rate   float64       // calls a second
	kernel time.Duration // of the kernel's threads, in all
}

// repeat calls until the span is over.
func (p span) repeat(call func(n int) (time.Duration, error)) (tally, error) {
	var t tally
	began := time.Now()
	var counting time.Time
	for {
		now := time.Now()
		if counting.IsZero() && now.Sub(began) >= p.warm {
			counting = now
		}
		if !counting.IsZero() && now.Sub(counting) >= p.counted {
			t.Wall = now.Sub(counting)
			return t, nil
		}
		cpu, err := call(t.All)
		if err != nil {
			return tally{}, err
		}
		t.All++
		if !counting.IsZero() {
			t.Calls++
			t.CPU += cpu
		}
	}
}

// worker is the main function of a process that is one caller. Spawning
// takes a lock of the whole process, so that callers in one would wait for each
// other. Its arguments are two durations and a command line.
func worker(args []string) error {
	if len(args) < 3 {
		return errors.New("worker: too few arguments")
	}
	p := span{}
	var err error
	if p.warm, err = time.ParseDuration(args[0]); err != nil {
		return err
	}
	if p.counted, err = time.ParseDuration(args[1]); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "clawsup-bench-worker-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := newSpawner(dir)
	if err != nil {
		return err
	}
	t, err := p.repeat(func(n int) (time.Duration, error) {
		line := slices.Clone(args[2:])
		for i := range line {
			line[i] = strings.ReplaceAll(line[i], callNumber, strconv.Itoa(n))
		}
		got, err := s.spawn(line)
		return got.cpu, err
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(t)
}

// run has several callers at work at once.
func (p span) run(c *contestant, callers int) (tally, error) {
	one := p.ask
	if c.dial == nil {
		one = p.spawn
	}
	type answer struct {
		t   tally
		err error
	}
	answers := make(chan answer)
	kernel := readKernelTime()
	var before, after time.Duration
	for n := range callers {
		go func() {
			t, err := one(c, n)
			answers <- answer{t, err}
		}()
	}
	go func() {
		time.Sleep(p.warm)
		before = c.server.read()
		time.Sleep(p.counted)
		after = c.server.read()
		answers <- answer{}
	}()
	var sum tally
	var err error
	for range callers + 1 {
		a := <-answers
		err = errors.Join(err, a.err)
		sum.Calls += a.t.Calls
		sum.All += a.t.All
		sum.CPU += a.t.CPU
		if a.t.Wall > 0 {
			sum.rate += float64(a.t.Calls) / a.t.Wall.Seconds()
		}
	}
	sum.CPU += after - before
	sum.kernel = readKernelTime().since(kernel)
	if err != nil {
		return tally{}, fmt.Errorf("%s, %d callers: %w", c.name, callers, err)
	}
	return sum, nil
}

// ask is one caller of a server.
func (p span) ask(c *contestant, _ int) (tally, error) {
	a, err := c.dial()
	if err != nil {
		return tally{}, err
	}
	defer a.Close()
	return p.repeat(func(n int) (time.Duration, error) { return 0, a.call(n) })
}

// spawn is one caller that spawns.
func (p span) spawn(c *contestant, caller int) (tally, error) {
	line := c.line(caller, callNumber)
	w := exec.Command("/proc/self/exe", append([]string{workerName, p.warm.String(), p.counted.String()}, line...)...)
	w.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	var out, said strings.Builder
	w.Stdout, w.Stderr = &out, &said
	err := errors.New("not started")
	if start := func() { err = w.Start() }; c.on != nil {
		c.on.do(start)
	} else {
		start()
	}
	if err == nil {
		err = w.Wait()
	}
	var t tally
	if err == nil {
		err = json.Unmarshal([]byte(out.String()), &t)
	}
	if err != nil {
		return tally{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	}
	return t, nil
}

// workerName is the first argument that makes a worker of this program.
const workerName = "worker"

// rateKey is a contestant with so many callers.
type rateKey struct {
	name    string
	callers int
}

// measureRates has the contestants take turns, each with so many callers.
func measureRates(ctx context.Context, list []contestant, p span) ([]map[rateKey]tally, error) {
	var rounds []map[rateKey]tally
	for n := range p.rounds {
		round := make(map[rateKey]tally)
		for i := range list {
			c := &list[(i+n)%len(list)]
			for _, callers := range p.callers {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				t, err := p.run(c, callers)
				if err != nil {
					return nil, err
				}
				round[rateKey{c.name, callers}] = t
			}
		}
		rounds = append(rounds, round)
		fmt.Fprintf(os.Stderr, "bench: throughput, %d rounds of %d\n", n+1, p.rounds)
	}
	return rounds, nil
}

// rateFigures are one contestant's with so many callers.
type rateFigures struct {
	Name    string        `json:"name"`
	Callers int           `json:"callers"`
	Calls   int           `json:"calls"`
	Rate    ratio         `json:"per_second"` // median and quartiles over rounds
	CPU     time.Duration `json:"cpu_ns"`
	Kernel  time.Duration `json:"kernel_threads_ns"`
}

func ratesOf(list []contestant, rounds []map[rateKey]tally, p span) []rateFigures {
	var all []rateFigures
	for _, c := range list {
		for _, callers := range p.callers {
			f := rateFigures{Name: c.name, Callers: callers}
			var rates []float64
			every := 0
			for _, r := range rounds {
				t := r[rateKey{c.name, callers}]
				rates = append(rates, t.rate)
				f.Calls += t.Calls
				every += t.All
				f.CPU += t.CPU
				f.Kernel += t.kernel
			}
			f.Rate = spread(rates)
			if f.Calls > 0 {
				f.CPU /= time.Duration(f.Calls)
				f.Kernel /= time.Duration(every)
			}
			all = append(all, f)
		}
	}
	return all
}
