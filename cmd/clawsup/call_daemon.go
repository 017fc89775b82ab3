// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/wire"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/stdio"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// callDaemon carries out one request through clawsupd, which has the queue,
// the policy, the people to ask and the receipts. The three streams are handed
// over as descriptors.
func (p *program) callDaemon(config supervisor.Config, f *callFlags) int {
	o := outcome{flags: f, call: &api.Call{}}
	s := &submission{p: p, signals: make(chan os.Signal, 8), asked: map[string]bool{}}
	signal.Notify(s.signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	// A reader of our output that goes away is the tool's business: its next
	// write fails.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	defer signal.Stop(s.signals)
	err := s.carryOut(config, f, o.call)
	o.signal = s.last
	switch {
	case o.call.Result != nil:
		o.result = *o.call.Result
		o.result = withLost(o.result, err)
	case o.signal != 0:
		o.result = supervisor.StoppedResult(nil, err)
	case turnedAway[api.CodeOf(err)]:
		o.result = supervisor.DeniedResult(nil, messageOf(err))
	case err != nil:
		o.result = supervisor.Failed(errors.New(messageOf(err)), nil)
	default:
		o.result = supervisor.Failed(errors.New("the daemon gave no result"), nil)
	}
	o.changes = o.call.Changes
	o.hint = hintOf(err)
	return p.report(&o)
}

// turnedAway are the codes of a no: nothing ran, and trying again in the same
// way is of no use now.
var turnedAway = map[api.Code]bool{api.CodeDenied: true, api.CodeLocked: true, api.CodeFull: true, api.CodeFlood: true}

// messageOf is an error without its hint, which stands in a line of its own.
func messageOf(err error) string {
	return strings.TrimSuffix(err.Error(), "; "+hintOf(err))
}

// hintOf says what to do about the daemon's error.
func hintOf(err error) string {
	var told *api.Error
	if !errors.As(err, &told) {
		return ""
	}
	if told.Code == api.CodeUnavailable {
		return strings.TrimPrefix(told.Hint+"; or --standalone runs without it", "; ")
	}
	return told.Hint
}

// withLost is a result whose output could not be passed on whole.
func withLost(r runtime.Result, err error) runtime.Result {
	var lost *stdio.LostError
	if errors.As(err, &lost) && (r.Status == runtime.Exited || r.Status == runtime.Signalled) { // by SIGPIPE, as a rule
		r.Status, r.Step, r.Message = runtime.SandboxError, wire.StepOutput, lost.Error()
		r.ExitCode, r.Signal = -1, ""
	}
	return r
}

// submission is a call on its way through the daemon.
type submission struct {
	p       *program
	client  *api.Client
	signals chan os.Signal
	last    unix.Signal
	seen    api.Call        // as it was told last
	asked   map[string]bool // tickets that were told of
}

// carryOut fills call, also with an error.
func (s *submission) carryOut(config supervisor.Config, f *callFlags, call *api.Call) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var err error
	if s.client, err = dial(ctx, config, api.CallSubmit); err != nil {
		return err
	}
	defer s.client.Close()
	input := s.p.stdin
	if f.stdinSet {
		if input, err = s.open(ctx, f.stdin); err != nil {
			return err
		}
		defer input.Close()
	}
	stdout := s.p.stdout
	if f.json {
		stdout = s.p.stderr
	}
	streams, err := stdio.Connect(input, stdout, s.p.stderr, f.raw)
	if err != nil {
		return err
	}
	request := f.submit(config)
	ended := make(chan error, 1)
	go func() {
		ended <- s.client.Call(ctx, api.CallSubmit, request, call, streams.Streams.In, streams.Streams.Out, streams.Streams.Err)
	}()
	err = s.follow(ctx, ended)
	if call.ID == "" {
		call.ID, call.Ticket = s.seen.ID, s.seen.Ticket
	}
	passing, stop := context.WithCancel(ctx)
	defer stop()
	if err != nil {
		stop() // nothing more is expected of the streams
	}
	lost := streams.Close(passing)
	if err == nil {
		err = lost
	}
	return err
}

// open opens standard input, and gives up waiting for a FIFO's writer at a signal.
func (s *submission) open(ctx context.Context, name string) (*os.File, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		file, err := stdio.Open(ctx, name)
		done <- opened{file, err}
	}()
	select {
	case o := <-done:
		return o.file, o.err
	case sig := <-s.signals:
		s.last = sig.(unix.Signal)
		cancel()
		o := <-done
		return o.file, o.err
	}
}

// follow tells what becomes of the call until it has ended. The first signal
// cancels it, the second drops the connection.
func (s *submission) follow(ctx context.Context, ended <-chan error) error {
	notices := s.client.Notifications()
	for {
		select {
		case err := <-ended:
			return err
		case n, open := <-notices:
			if !open {
				notices = nil
			} else if n.Method == api.CallChanged {
				s.changed(n.Params)
			}
		case sig := <-s.signals:
			first := s.last == 0
			s.last = sig.(unix.Signal)
			if !first || s.seen.ID == "" {
				// Whoever goes away without a key cancels what nobody waits for.
				_ = s.client.Close()
				continue
			}
			go func() {
				if err := s.client.Call(ctx, api.CallCancel, api.CallRef{Call: s.seen.ID}, nil); err != nil && ctx.Err() == nil {
					logrus.WithError(err).Warn("the call could not be cancelled")
				}
			}()
		}
	}
}

// changed says when a person is being asked.
func (s *submission) changed(params json.RawMessage) {
	var now api.Call
	if json.Unmarshal(params, &now) != nil {
		return
	}
	s.seen = now
	if now.State == api.Asking && now.Ticket != "" && !s.asked[now.Ticket] {
		s.asked[now.Ticket] = true
		fmt.Fprintf(s.p.stderr, "clawsup: waiting for approval, ticket %s (clawsup approvals)\n", visible.Line(now.Ticket))
	}
	for _, ticket := range now.Held {
		if !s.asked[ticket] {
			s.asked[ticket] = true
			fmt.Fprintf(s.p.stderr, "clawsup: what it sends waits for approval, ticket %s (clawsup approvals)\n", visible.Line(ticket))
		}
	}
}

// submit makes the daemon's request of the flags. Names are looked up by the
// daemon; paths are made whole here, since its directory is another.
func (f *callFlags) submit(config supervisor.Config) api.Submit {
	r := &f.request
	s := api.Submit{
		Skill: wholePath(r.Skill), Args: raw.Of(r.Args), Profile: r.Profile, Session: r.Session,
		Timeout: api.Duration(r.Timeout), Env: raw.Of(os.Environ()), StdinPath: raw.String(f.stdin),
		Key: f.key, Deadline: f.deadline, Approver: f.approver, Claim: f.claim, Wait: true, Progress: true,
		Keep: r.Keep, DryRun: r.DryRun,
	}
	if strings.Contains(r.Profile, "/") {
		s.Profile = wholePath(r.Profile)
	}
	if r.Workspace != "" {
		s.Workspace = raw.String(workspaceName(config, r.Workspace))
	}
	return s
}

// workspaceName is a configured name, or else a path made whole. What is
// neither and looks like a name stays one: the daemon says that it knows none.
func workspaceName(config supervisor.Config, name string) string {
	for _, w := range config.Workspaces {
		if w.Name == name {
			return name
		}
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return wholePath(name)
	}
	return path
}

// wholePath makes a path of what is one: it has a slash, or is "." or "..".
func wholePath(name string) string {
	if strings.Contains(name, "/") || name == "." || name == ".." {
		if path, err := filepath.Abs(name); err == nil {
			return path
		}
	}
	return name
}
