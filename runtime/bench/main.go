// SPDX-License-Identifier: Apache-2.0

// Bench measures what it costs to start one short command in a sandbox, as a
// whole process from spawn to exit: by `clawsup run`, and beside it by what
// people use instead. It is part of the repository and not of the product.
//
// # How it measures
//
// Absolute times differ from machine to machine and from hour to hour; ratios
// taken in one run don't. So contestants take turns: a round is a short block
// of each, one call after the other with an equal rest between calls, and before and
// after them a block of the unit, which is /bin/true spawned and waited for
// and nothing else. A ratio is taken within a round, from the medians of two
// blocks; what is reported is the median over all rounds with its quartiles.
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
// clock stops earlier, with the contestant itself. What the kernel
// does later in its own threads (taking network namespaces down, freeing control
// groups) is read from their /proc/PID/schedstat; that is the whole machine's,
// so it is only worth something when nothing else runs.
//
// # What is equal
//
// All run /bin/true of the host's own /usr, read-only, without network. bwrap and
// unshare(1) have no control group and no system call filter; firejail has no
// control group. runc and crun get a bundle with the same namespaces, limits of
// memory, processes and CPU, no capabilities, and a filter that allows the system
// calls that clawsup's does; they have no Landlock. On a hybrid cgroup host crun sees
// cgroup v1 only, since it refuses both. None of them keeps anything ready.
//
// # Promises
//
// With -quick there are fewer rounds, and the exit status is 1 when a promise of
// docs/SPECIFICATION.md about a ratio is broken by more than this run's own noise: when
// not the median alone but the better quartile is above the bound. A
// promise that could not be measured is broken.
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
}

var (
	whole = length{rounds: 60, block: 5, rest: 10 * time.Millisecond, most: 8 * time.Minute}
	quick = length{rounds: 15, block: 4, rest: 5 * time.Millisecond, most: time.Minute}
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	short := flags.Bool("quick", false, "fewer rounds, and fail when a promise is broken")
	file := flags.String("json", "", "write all figures to this `file`")
	program := flags.String("clawsup", "bin/clawsup", "the clawsup `program` to measure")
	config := flags.String("config", "", "configuration `file` for clawsup; without one it keeps to a folder of its own")
	only := flags.String("only", "", "measure only these contestants, a comma-separated `list`")
	rounds := flags.Int("rounds", 0, "this many rounds instead of the default `number`")
	_ = flags.Parse(args)
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if os.Geteuid() != 0 {
		return errors.New("runc, crun and clawsup need root here; run this as root")
	}
	size := whole
	if *short {
		size = quick
	}
	if *rounds > 0 {
		size.rounds = *rounds
	}

	dir, err := os.MkdirTemp("", "clawsup-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bundle, err := newBundle(dir)
	if err != nil {
		return err
	}
	defer bundle.remove()
	if *config == "" {
		if *config, err = bundle.config(); err != nil {
			return err
		}
	}
	absolute, err := filepath.Abs(*program)
	if err != nil {
		return err
	}

	// wait4 waits for children of the thread group, but vfork stops the thread.
	runtime.LockOSThread()
	spawner, err := newSpawner(dir)
	if err != nil {
		return err
	}
	crun, err := plainV1()
	if err != nil {
		return err
	}
	var list []contestant
	var absent []string
	for _, c := range contestants(bundle, absolute, *config, crun) {
		if *only != "" && c.name != unit && !slices.Contains(strings.Split(*only, ","), c.name) {
			continue
		}
		if err := c.try(spawner); err != nil {
			absent = append(absent, fmt.Sprintf("%s: %v", c.name, err))
			continue
		}
		list = append(list, c)
	}
	kept, noisy, err := measure(ctx, spawner, list, size)
	if err != nil {
		return err
	}
	r := newReport(list, kept, noisy, absent, size)
	r.print(os.Stdout)
	if *file != "" {
		if err := r.write(*file); err != nil {
			return err
		}
	}
	if *short {
		return r.judge()
	}
	return nil
}
