// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const stopUsage = `usage: clawsup stop [--reason R] CALL...
       clawsup stop [--reason R] --all

Stops calls, with everything that they started. One that waits is never begun.

  --all       every call
  --reason R  why; the requester gets it, and the receipt has it
  --json      one object: the calls that were stopped

Exit status: 0; 1 if one of them could not be stopped; 3 if there is no daemon.
`

func stopCommand() *command {
	return &command{name: "stop", synopsis: "stop calls", usage: stopUsage, execute: executeStop}
}

func executeStop(p *program, args []string) int {
	c := stopCommand()
	s := p.flags("stop")
	order := api.Stop{}
	s.BoolVar(&order.All, "all", false, "")
	s.StringVar(&order.Reason, "reason", "", "")
	asJSON := s.Bool("json", false, "")
	words, err := arguments(c, s, args, 0, -1, "")
	switch {
	case err != nil:
	case order.All == (len(words) > 0):
		err = usagef("say which calls to stop, or --all")
	default:
		err = p.stop(order, words, *asJSON)
	}
	return p.ended(c, err)
}

// stop asks for each call by itself, so that one that is over keeps none of
// the others running.
func (p *program) stop(order api.Stop, calls []string, asJSON bool) error {
	if order.All {
		calls = []string{""}
	}
	stopped := api.Stopped{Calls: []string{}}
	var failed []error
	for _, call := range calls {
		order.Call = call
		now, err := ask[api.Stopped](p, api.CallStop, order)
		stopped.Calls = append(stopped.Calls, now.Calls...)
		failed = append(failed, err)
	}
	if asJSON {
		failed = append(failed, p.printJSON(stopped))
	} else {
		for _, id := range stopped.Calls {
			fmt.Fprintf(p.stdout, "stopped %s\n", visible.Line(id))
		}
		if order.All && len(stopped.Calls) == 0 && errors.Join(failed...) == nil {
			fmt.Fprintln(p.stdout, "no call was there to stop")
		}
	}
	return errors.Join(failed...)
}
