// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/stdio"
)

const approvalsUsage = `usage: clawsup approvals [--watch] [--all] [--no-color] [--json]

Lists the tickets that wait for an answer, the oldest first. Answer one by
'clawsup approve' or 'clawsup deny'.

  --watch     a desk on the whole terminal, where one key answers: a allows
              once, g grants for a time, d denies, c changes, w watches what the
              call writes (and k there stops it), ? explains. Of what a call did
              to files enter goes into it: there enter shows how a file differs,
              space refuses a path, and a keeps the others. A key counts only for
              a ticket that was read to its end and stood still
  --all       also those that are answered or over
  --no-color  no colours; so does the variable NO_COLOR
  --json      a list of objects; with --watch one object a line, for each
              ticket that waits and then for each that changes

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

const approvalUsage = `usage: clawsup approval show [--json] TICKET

Shows a ticket: everything that a yes to it would be a yes to. TICKET is its id,
or a beginning of it that no other has.

  --json  one object

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func approvalsCommand() *command {
	return &command{name: "approvals", synopsis: "list or watch what waits for an answer", usage: approvalsUsage, execute: executeApprovals}
}

func approvalCommand() *command {
	return &command{name: "approval", subject: "a ticket", synopsis: "show a ticket", usage: approvalUsage, execute: executeApproval}
}

func executeApprovals(p *program, args []string) int {
	c := approvalsCommand()
	s := p.flags("approvals")
	watch := s.Bool("watch", false, "")
	all := s.Bool("all", false, "")
	plain := s.Bool("no-color", false, "")
	asJSON := s.Bool("json", false, "")
	_, err := arguments(c, s, args, 0, 0, "")
	switch {
	case err != nil:
	case *watch && *all:
		err = usagef("--all does not go with --watch")
	case *watch && *asJSON:
		err = p.tellTickets()
	case *watch:
		err = p.desk(*plain)
	default:
		err = p.listTickets(*all, *asJSON)
	}
	return p.ended(c, err)
}

func (p *program) listTickets(all, asJSON bool) error {
	list, err := ask[[]approval.Ticket](p, api.TicketList, api.TicketFilter{All: all})
	switch {
	case err != nil:
		return err
	case asJSON:
		return p.printJSON(orEmpty(list))
	case len(list) == 0:
		return p.line("nothing waits for an answer")
	}
	now := time.Now()
	t := newTable(p.stdout, "TICKET", "STATE", "ASKED BY", "WANTS", "NOTE")
	for i := range list {
		k := &list[i]
		state := string(k.State)
		if k.State == approval.Pending {
			state = desk.Span(k.Expires.Sub(now)) + " left"
		}
		var more []string
		if k.Count > 1 {
			more = append(more, fmt.Sprintf("%d calls", k.Count))
		}
		if k.Quorum > 1 {
			more = append(more, fmt.Sprintf("takes %d people", k.Quorum))
		}
		if l := labelsText(k.Labels.Untrusted, k.Labels.Private); l != "" {
			more = append(more, l)
		}
		t.row(k.ID, state, k.Requester, clipped(k.Effect.String()+" "+desk.Subject(k)), strings.Join(more, ", "))
	}
	return t.flush()
}

// desk shows the terminal interface.
func (p *program) desk(plain bool) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	if !stdio.IsTerminal(p.stdin) || !stdio.IsTerminal(p.stdout) {
		return errors.New("--watch needs a terminal; without it tickets are listed, and with --json they are told as they change")
	}
	_, without := os.LookupEnv("NO_COLOR")
	return desk.Run(context.Background(), desk.Options{
		Dial:   func(ctx context.Context) (desk.Daemon, error) { return dialDesk(ctx, config) },
		Colour: !plain && !without,
		In:     p.stdin,
		Out:    p.stdout,
	})
}

// dialDesk makes no Daemon of a connection that there isn't.
func dialDesk(ctx context.Context, config supervisor.Config) (desk.Daemon, error) {
	client, err := dial(ctx, config, api.TicketWatch)
	if err != nil {
		return nil, err
	}
	return client, nil
}

// tellTickets prints each ticket that waits, and then each that changes.
func (p *program) tellTickets() error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	ctx := context.Background()
	client, err := dial(ctx, config, api.TicketWatch)
	if err != nil {
		return err
	}
	defer client.Close()
	ended := make(chan error, 1)
	go func() { ended <- client.Call(ctx, api.TicketWatch, api.Nothing{}, nil) }()
	for {
		select {
		case err := <-ended:
			return err
		case n, open := <-client.Notifications():
			if !open {
				return <-ended
			}
			if n.Method != api.TicketChanged {
				continue
			}
			if _, err := fmt.Fprintf(p.stdout, "%s\n", compact(n.Params)); err != nil {
				return err
			}
		}
	}
}

// compact keeps one object in one line, with nothing in it that a terminal obeys.
func compact(object json.RawMessage) string {
	text, err := json.Marshal(object)
	if err != nil {
		return "{}"
	}
	return string(text)
}

type approvalFlags struct{ json bool }

var approvalVerbs = []verb[approvalFlags]{
	{name: "show", least: 1, most: 1, needs: "a ticket", flags: []string{"json"}, execute: (*program).approvalShow},
}

func executeApproval(p *program, args []string) int {
	var f approvalFlags
	s := p.flags("approval")
	s.BoolVar(&f.json, "json", false, "")
	return choose(p, approvalCommand(), approvalVerbs, &f, s, args)
}

func (p *program) approvalShow(f *approvalFlags, words []string) error {
	t, err := ask[approval.Ticket](p, api.TicketShow, api.TicketRef{Ticket: words[0]})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(t)
	}
	of, err := p.changesOf(&t)
	if err != nil && t.State == approval.Pending { // of one that is over it may be gone
		return err
	}
	for _, l := range ticketText(&t, of, terminalWidth(p.stdout)-1) {
		if _, err := fmt.Fprintln(p.stdout, l); err != nil {
			return err
		}
	}
	return nil
}
