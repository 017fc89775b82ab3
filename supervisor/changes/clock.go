// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// stamp is the moment that tells what was changed before a call from what is
// changed during it. File systems stamp with the clock of the last tick, or
// finer where somebody looked at the file since (multigrain timestamps, Linux
// 6.13): so nothing from before is stamped later than this. What is changed
// after it, within the same tick of 1 to 10 ms, may be stamped before it, and
// counts as if it had been; the tool has not begun by then, as a rule.
func stamp() (time.Time, error) { return read(unix.CLOCK_REALTIME) }

func read(clock int32) (time.Time, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return time.Time{}, os.NewSyscallError("clock_gettime", err)
	}
	return time.Unix(t.Unix()), nil
}

// slew is how far the clock of day is from the one that nobody sets, and that
// goes on while the machine sleeps.
func slew() (time.Duration, error) {
	day, err := read(unix.CLOCK_REALTIME)
	if err != nil {
		return 0, err
	}
	boot, err := read(unix.CLOCK_BOOTTIME)
	return day.Sub(boot), err
}

// mostSlew is what clocks drift, and what is taken for an adjustment that makes
// time stamps worthless.
const mostSlew = time.Second

// after waits until it is later than a moment,
// and gives the stamp. A moment that is far ahead is from before the clock was
// set back: then what was stamped since is taken for a conflict, which errs on
// the safe side.
func after(ctx context.Context, moment time.Time) (time.Time, error) {
	for {
		now, err := stamp()
		if err != nil || now.After(moment) || moment.Sub(now) > mostSlew {
			return now, err
		}
		tick := time.NewTimer(moment.Sub(now) + time.Millisecond)
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return now, context.Cause(ctx)
		}
	}
}
