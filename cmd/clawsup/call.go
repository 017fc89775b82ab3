// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/wire"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/stdio"
)

// call carries out one request, from the configuration to the exit status.
func (p *program) call(f *callFlags) int {
	ctx, in, stop := watchSignals(context.Background())
	defer stop()
	o := outcome{flags: f}
	err := p.carryOut(ctx, in, f, &o)
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
func (p *program) carryOut(ctx context.Context, in *interrupts, f *callFlags, o *outcome) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
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
	o.result, err = s.Run(ctx, o.plan, streams.Streams, in.forward, func(*runtime.Sandbox) { in.begin() })
	if err != nil {
		logrus.WithError(err).Warn("something of the box stayed behind; the next start removes it")
	}
	err = streams.Close(ctx)
	var lost *stdio.LostError
	switch ended := o.result.Status; {
	case err == nil:
	case errors.As(err, &lost) && (ended == runtime.Exited || ended == runtime.Signalled): // by SIGPIPE, as a rule
		o.result.Status, o.result.Step, o.result.Message = runtime.SandboxError, wire.StepOutput, lost.Error()
		o.result.ExitCode, o.result.Signal = -1, ""
	default:
		logrus.Warn(err)
	}
	return nil
}
