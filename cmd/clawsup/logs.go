// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const logsUsage = `usage: clawsup logs [--follow] [--raw] CALL

Prints what a call wrote, standard output to standard output and standard error
to standard error.

Without --follow that is what was kept of it up to now. Output is kept of calls
whose streams were not handed over as descriptors, as an agent's mostly are not,
until ten minutes after the end. With --follow it is what any call writes from
now on; what comes faster than it can be taken is missed.

  --follow  go on until the call has ended
  --raw     bytes as they are; without it everything but text and colours that
            goes to a terminal is shown as \x1b and the like

Exit status: 0; 1 if there is no such call; 3 if there is no daemon.
`

func logsCommand() *command {
	return &command{name: "logs", synopsis: "print or follow what a call writes", usage: logsUsage, execute: executeLogs}
}

func executeLogs(p *program, args []string) int {
	c := logsCommand()
	s := p.flags("logs")
	follow := s.Bool("follow", false, "")
	rawBytes := s.Bool("raw", false, "")
	words, err := arguments(c, s, args, 1, 1, "a call; see 'clawsup ps'")
	if err == nil {
		err = p.logs(words[0], *follow, *rawBytes)
	}
	return p.ended(c, err)
}

// logs asks for a call's output and prints it: to its end, or until what was
// kept is told, after which the state comes.
func (p *program) logs(id string, follow, rawBytes bool) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	method, params := api.CallFollow, any(api.Follow{Call: id})
	if follow {
		method, params = api.CallWatch, api.CallRef{Call: id}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, err := dial(ctx, config, method)
	if err != nil {
		return err
	}
	defer client.Close()
	out := [2]io.WriteCloser{toolOutput(p.stdout, rawBytes), toolOutput(p.stderr, rawBytes)}
	written := make(chan error, 1)
	go func() {
		written <- writeOutput(client.Notifications(), out, follow)
		cancel()
		for range client.Notifications() { // unread, they would hold up the answer
		}
	}()
	var end api.Call
	err = client.Call(ctx, method, params, &end)
	_ = client.Close() // so that what was told ends
	if failed := <-written; failed != nil {
		return failed
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if end.Result != nil {
		fmt.Fprintf(p.stderr, "clawsup: %s ended: %s\n", visible.Line(end.ID), visible.Line(callState(&end)))
	}
	return nil
}

// writeOutput writes what notifications tell of the two streams, until they
// end, or without live until the call's state is told.
func writeOutput(told <-chan api.Notification, out [2]io.WriteCloser, live bool) error {
	var failed error
	for n := range told {
		if n.Method == api.CallChanged && !live {
			break
		}
		var part api.OutputPart
		if n.Method != api.Output || json.Unmarshal(n.Params, &part) != nil || part.Stream < 1 || part.Stream > 2 {
			continue
		}
		if _, err := out[part.Stream-1].Write(part.Data); err != nil && failed == nil {
			failed = err
		}
	}
	for _, w := range out {
		if err := w.Close(); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}
