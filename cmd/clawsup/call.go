// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/stdio"
)

// call carries out one request, from the configuration to the exit status.
func (p *program) call(f *callFlags) int {
	config, err := p.ready()
	switch {
	case err != nil:
	case config.Daemon && !f.standalone:
		return p.callDaemon(config, f)
	case !config.Daemon && f.daemons != "":
		err = usagef("--%s is for clawsupd; 'daemon = true' in the configuration makes calls go through it", f.daemons)
	case config.Daemon && f.daemons != "":
		err = usagef("--%s is for clawsupd, and --standalone runs without it", f.daemons)
	}
	return p.callHere(config, err, f)
}

// callHere carries out one request in this process, unless err keeps it from that.
func (p *program) callHere(config supervisor.Config, err error, f *callFlags) int {
	ctx, in, stop := watchSignals(context.Background())
	defer stop()
	o := outcome{flags: f}
	if err == nil {
		if o.standalone = config.Daemon; o.standalone {
			fmt.Fprintln(p.stderr, "clawsup: standalone: without clawsupd, its approvals and its receipts")
		}
		err = p.carryOut(ctx, in, config, f, &o)
	}
	var mistake *usageError
	if errors.As(err, &mistake) {
		return p.mistaken(nil, err)
	}
	if err != nil {
		o.result = supervisor.Failed(err, o.plan)
		if ctx.Err() != nil {
			o.result.Status, o.result.Step = runtime.Stopped, 0
		}
	}
	o.signal = in.signal()
	return p.report(&o)
}

// carryOut fills o. Its error means that the call got no result of its own.
func (p *program) carryOut(ctx context.Context, in *interrupts, config supervisor.Config, f *callFlags, o *outcome) (err error) {
	input := p.stdin
	if f.stdinSet {
		if input, err = stdio.Open(ctx, f.stdin); err != nil {
			return err
		}
		defer input.Close()
	}
	f.request.Env = os.Environ()
	f.request.Requester = os.Getuid()
	f.request.Stdin = supervisor.StdinOf(input, f.stdin)

	s, err := supervisor.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		if err := s.Close(); err != nil {
			logrus.WithError(err).Warn("the control group could not be given back")
		}
	}()
	for _, line := range s.Stuck() {
		logrus.WithField("box", line).Warn("a dead box can't be removed yet; its slot stays unused")
	}
	if o.plan, err = s.Plan(ctx, f.request); err != nil {
		return err
	}
	defer func() {
		if err := o.plan.Close(); err != nil {
			logrus.WithError(err).Warn("the sealed copy stayed behind; the next start removes it")
		}
	}()
	logrus.WithFields(logrus.Fields{"plan": o.plan.Digest, "profile": o.plan.Profile.Digest}).Info("planned")
	if err := o.plan.Decide(ctx, supervisor.AskTerminal); err != nil {
		o.result = supervisor.Failed(err, o.plan)
		o.result.Status, o.result.Step = runtime.Denied, 0
		return nil
	}
	stdout := p.stdout
	if f.json {
		stdout = p.stderr
	}
	streams, err := stdio.Connect(input, stdout, p.stderr, f.raw)
	if err != nil {
		return err
	}
	ran, err := s.Run(ctx, o.plan, supervisor.Running{
		Streams: streams.Streams, Signals: in.forward, Started: func(*runtime.Sandbox) { in.begin() },
		Requester: fmt.Sprintf("uid %d", f.request.Requester),
	})
	o.result = ran.Result
	if err != nil {
		logrus.WithError(err).Warn("something of the box stayed behind; the next start removes it")
	}
	err = streams.Close(ctx)
	ended := o.result.Status
	if o.result = withLost(o.result, err); err != nil && o.result.Status == ended {
		logrus.Warn(err)
	}
	if o.changes = ran.Changes; o.changes != nil { // what the tool said was before the question about what it did
		if err := p.settle(ctx, s, o); err != nil {
			return fmt.Errorf("changes %s: %w", o.changes.ID, err)
		}
	}
	return nil
}
