// SPDX-License-Identifier: Apache-2.0

// Bench measures what one short command in a sandbox costs, in time, CPU and
// memory: by clawsup, with its daemon and without, and beside it by what people
// use instead. It is part of the repository and not of the product.
//
//	make bench                                   all of it, some twenty minutes
//	out/bench -parts start,rate                  only these parts: latency and throughput
//	out/bench -parts rate -only call,unshare     only these contestants, besides the bare spawn
//	out/bench -programs DIR                      another build's clawsup and clawsupd
//
// # How it measures
//
// Absolute times differ from machine to machine and from hour to hour; ratios
// taken in one run don't. So contestants take turns: a round is a short block
// of each, one call after the other with an equal rest before each call, and before and
// after them a block of the unit, which is /bin/true spawned and waited for
// and nothing else. A ratio is taken within a round, from the medians of two
// blocks; what is reported is the median over all rounds with its quartiles. The rest is
// part of the figure: after 20 ms of it a bare spawn takes twice as long as
// back to back, and so does much of everything else.
//
// A round is noisy when one of its two unit blocks took much longer than units
// of this run commonly do. It is run again, up to as many times as there are
// rounds; if that doesn't help the quietest rounds are used, and the table says
// so. Which rounds count depends on the unit alone.
//
// Processes are spawned as vfork does it, so that the size of this program
// doesn't count. CPU is user and system time of the whole process tree by
// wait4(2): this program is a subreaper (PR_SET_CHILD_SUBREAPER), and a call is
// over when it has waited for the last orphan that the contestant left. The
// clock stops earlier, with the contestant itself. A server's CPU is that of its
// control group, with all that it started, until the rest after the last call
// of a block is over: what it does once it has answered counts. What the kernel
// does in its own threads (taking network namespaces down, freeing control
// groups) is read from their /proc/PID/schedstat; that is the whole machine's,
// so it is only worth something when nothing else runs.
//
// Throughput is callers that never rest, of whom each waits for its call: each a
// process of its own where programs are spawned, each with a connection of its
// own where a server is asked. The first part of the time isn't counted, so
// that what was made ahead is used up: what is left is with replacements.
//
// # What is equal
//
// All run /bin/true of the host's own /usr, read-only, without network. bwrap and
// unshare(1) have no control group and no system call filter; firejail has no
// control group. runc and crun get a bundle with the same namespaces, limits of
// memory, processes and CPU, no capabilities, and a filter that allows the system
// calls that clawsup's does; they have no Landlock. On a hybrid cgroup host crun sees
// cgroup v1 only, since it refuses both. go-judge keeps containers, and uses them
// again; it has no filter. clawsupd is one of the benchmark's own: in the
// foreground, with all layers, a receipt before and after each call, and a
// sandbox that is used once. Its log is on the disk of /var/tmp, whose time for a
// sync is measured in the same run.
//
// # Change sets
//
// The same work is done in a workspace that is written through, or only read, and
// in an overlay, whose change set is committed before the answer; by calls of one
// daemon, and by a spawned command beside them. Each call that writes finds a
// workspace as if it were the first. A call is followed, so that its stages can be told apart: until
// its tool begins, the tool by its own clock, until the change set is listed, and
// until it is committed, that is on the disk. What the other modes write is in
// memory when they return; so there is the spawned command with a sync(1) as well.
//
// # The way out of a box
//
// A client asks a server, both this program's: once on the host with nothing
// between them, once out of a box, and once through each of some relays on the
// host. They stay, and are told by a line on a pipe when to begin and for how
// long, so that ways take turns in blocks of a quarter of a second. What a way
// takes is compared with the direct one of the same round. CPU is that of all who
// take part: client, server and what is between. Where a block begins with
// connections, that time counts for CPU and not for bytes.
//
// On two processors client and server keep both busy. A third process has to get
// its time from them, so that no relay can reach what they do alone: the bare
// relay, which decides nothing and is on the host, shows how far one gets.
//
// # Promises
//
// With -quick there are fewer rounds, and the exit status is 1 when a promise of
// docs/SPECIFICATION.md about a ratio is broken by more than this run's own noise: when
// not the median alone but the better quartile is above the bound. A
// promise that could not be measured is broken. What is aimed at and not
// promised is told with the promises, and fails nothing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// length is how much is measured.
type length struct {
	rounds int           // that count
	block  int           // calls of each contestant in a round
	rest   time.Duration // before each call
	most   time.Duration // no round starts after this
	rate   span
}

var (
	whole = length{rounds: 60, block: 5, rest: 20 * time.Millisecond, most: 10 * time.Minute,
		rate: span{rounds: 5, warm: 500 * time.Millisecond, counted: 2 * time.Second, callers: []int{1, 2, 4}}}
	quick = length{rounds: 12, block: 4, rest: 5 * time.Millisecond, most: 30 * time.Second,
		rate: span{rounds: 3, warm: 250 * time.Millisecond, counted: 750 * time.Millisecond, callers: []int{2}}}
)

// options are the flags.
type options struct {
	quick    bool
	json     string
	programs string
	parts    string
	only     string
	rounds   int
	rest     time.Duration
	steady   int
	growth   int
	tables   string
	into     string
}

// inner are what this program is when it starts itself.
var inner = map[string]func(args []string) error{workerName: worker, keeperName: keep, peerName: peering, relayName: relay}

func main() {
	if len(os.Args) > 1 {
		if do, ok := inner[os.Args[1]]; ok {
			if err := do(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// usage stands above the flags.
const usage = `usage: bench [flag]...
latency and throughput of the daemon beside the fast rivals, in a minute:
	out/bench -parts start,rate -rounds 10 -only unshare,bwrap,crun,go-judge,call
parts: %s
contestants: spawn (always), unshare, bwrap, firejail, crun, runc, go-judge,
	clawsup (no daemon), "clawsup run" (by the daemon), call (over call.sock), "new profile" (the same)
`

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), usage, strings.Join(partNames(), ", "))
		flags.PrintDefaults()
	}
	flags.BoolVar(&o.quick, "quick", false, "fewer rounds, latency, throughput, change sets and the way out alone, and fail when a promise is broken")
	flags.StringVar(&o.json, "json", "", "write all figures to this `file`")
	flags.StringVar(&o.programs, "programs", "bin", "the `folder` with clawsup and clawsupd")
	flags.StringVar(&o.parts, "parts", "", "measure only these parts, a comma-separated `list`")
	flags.StringVar(&o.only, "only", "", "measure only these contestants, a comma-separated `list`")
	flags.IntVar(&o.rounds, "rounds", 0, "this many rounds instead of the default `number`")
	flags.DurationVar(&o.rest, "rest", 0, "rest before each call instead of the default `time`")
	flags.IntVar(&o.steady, "steady", 10_000, "part steady makes this `number` of calls")
	flags.IntVar(&o.growth, "growth", 0, "part receipts looks at a log with this `number` of entries too")
	flags.StringVar(&o.tables, "tables", "", "measure nothing, show the tables of this `file`, which -json wrote")
	flags.StringVar(&o.into, "into", "", "with -tables: put them into this `document`")
	_ = flags.Parse(args)
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, name := range list(o.parts) {
		if !slices.Contains(partNames(), name) {
			return o, fmt.Errorf("there is no part %q, but %s", name, strings.Join(partNames(), ", "))
		}
	}
	o.programs, err = filepath.Abs(o.programs)
	return o, err
}

// list splits at commas.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
}

func run(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if o.tables != "" {
		return show(o.tables, o.into)
	}
	if os.Geteuid() != 0 {
		return errors.New("runc, crun and clawsup need root here; run this as root")
	}
	b := &bench{options: o, size: whole}
	if o.quick {
		b.size = quick
	}
	if o.rounds > 0 {
		b.size.rounds, b.size.rate.rounds = o.rounds, max(1, o.rounds/10)
	}
	if o.rest > 0 {
		b.size.rest = o.rest
	}

	// Not /tmp, which may be memory: receipts are to be on a disk.
	if b.dir, err = os.MkdirTemp("/var/tmp", "clawsup-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	// wait4 waits for children of the thread group, but vfork stops the thread.
	runtime.LockOSThread()
	if err := b.open(); err != nil {
		return errors.Join(err, b.close())
	}
	began := time.Now()
	b.report = newReport()
	for _, p := range parts {
		if !b.wants(p) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s, after %v\n", p.name, time.Since(began).Round(time.Second))
		if e := p.measure(b, ctx); e != nil {
			b.report.Absent = append(b.report.Absent, fmt.Sprintf("part %s: %v", p.name, e))
			err = errors.Join(err, fmt.Errorf("part %s: %w", p.name, e))
		}
		if ctx.Err() != nil {
			break
		}
	}
	err = errors.Join(err, b.close())
	b.report.judgeAll()
	b.report.print(os.Stdout)
	if o.json != "" {
		err = errors.Join(err, b.report.write(o.json))
	}
	if o.quick {
		err = errors.Join(err, b.report.judge())
	}
	return err
}

// show prints the tables of an earlier run, or puts them into a document.
func show(file, document string) error {
	r, err := readReport(file)
	if err != nil {
		return err
	}
	if document != "" {
		return r.into(document, file)
	}
	r.print(os.Stdout)
	return nil
}
