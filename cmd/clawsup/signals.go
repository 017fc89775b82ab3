// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// interrupts turns signals to clawsup into what they mean for the call: the
// first during the run goes to the tool, the second, or one before the tool
// has begun, stops the call.
type interrupts struct {
	forward chan unix.Signal // to the tool
	cancel  context.CancelFunc
	raw     chan os.Signal

	mu      sync.Mutex
	running bool        // mu
	seen    bool        // mu; one was forwarded
	last    unix.Signal // mu
}

// watchSignals begins to watch, until stop is called.
func watchSignals(parent context.Context) (ctx context.Context, in *interrupts, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	in = &interrupts{forward: make(chan unix.Signal, 1), cancel: cancel, raw: make(chan os.Signal, 8)}
	signal.Notify(in.raw, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	// A reader of our output that goes away is the tool's business: its next
	// write fails. Ignoring the signal instead would be inherited by the tool.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	go func() {
		for s := range in.raw {
			in.take(s.(unix.Signal))
		}
	}()
	return ctx, in, func() {
		signal.Stop(in.raw)
		close(in.raw)
		cancel()
	}
}

func (in *interrupts) take(s unix.Signal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.last = s
	if !in.running || in.seen {
		in.cancel()
		return
	}
	in.seen = true
	in.forward <- s // has room: this happens once
}

// begin says that the call is about to be given.
func (in *interrupts) begin() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.running = true
}

// signal is the last one taken; 0 if there was none.
func (in *interrupts) signal() unix.Signal {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.last
}
