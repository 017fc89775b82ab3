// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// keepMemory keeps the values of secrets, and the key to them, where they are:
// no other process of this user looks into this one and no fault leaves a dump
// (PR_SET_DUMPABLE of prctl(2)), and nothing of it is swapped out (mlockall(2)). A
// child that executes a program has none of that but the limit of cores. It gives
// what could not be done, in sentences for the operator: calls run without it,
// and secrets have memory of their own that is locked or not given out.
func keepMemory() (notes []string) {
	failed := func(what string, err error) {
		if err != nil {
			notes = append(notes, fmt.Sprintf("%s: %v", what, err))
		}
	}
	failed("the daemon's memory could be dumped", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	// 1 rather than 0 keeps a core from a handler as well (core(5)).
	failed("a core of a child could be dumped", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1}))
	failed("the daemon's memory could be swapped out", lockMemory())
	return notes
}

// lockMemory locks what there is and what comes, page by page as each is first
// used: the Go runtime reserves a gigabyte of addresses and uses little of it.
// The limit goes first, since it holds for every thread that has given up its
// capabilities, and the Go runtime ends a process in which a mapping fails.
// Sandboxes have a limit of their own.
func lockMemory() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return err
	}
	unlimited := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unlimited); err != nil {
		return fmt.Errorf("at most %d bytes may be locked, and that can't be raised: %w; the unit needs LimitMEMLOCK=infinity, any other start CAP_SYS_RESOURCE", limit.Cur, err)
	}
	return unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
}
