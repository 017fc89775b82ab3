// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const agentUsage = `usage: clawsup agent status [NAME] [--json]
       clawsup agent start|stop|restart|freeze|thaw [NAME]
       clawsup agent logs [NAME] [--bytes N] [--raw]
       clawsup agent restore [NAME] [--snapshot S]
       clawsup agent clear --label L [--reason R] [NAME]

Looks after the agents that clawsupd starts and boxes in. NAME can be left out
where there is one alone.

  status    what runs, since when, with what
  start     starts it; stop ends it with everything that it started, also when
            it doesn't want to; restart does both
  freeze    halts it where it is, thaw lets it go on
  logs      the end of what it wrote
  restore   puts back a snapshot of its state directory; it is stopped before
            and not started after, and what was there becomes a snapshot too.
            Without --snapshot it lists them
  clear     takes a label off it: says that what it has seen is not (private),
            or not untrusted

  --bytes N     how much of the end, at most (as 64K, 1M)
  --raw         its bytes as they are; without it control characters that go
                to a terminal are made visible
  --snapshot S  which one
  --label L     untrusted or private
  --reason R    why; the receipt has it
  --json        objects instead of text

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func agentCommand() *command {
	return &command{name: "agent", subject: "agents", synopsis: "look at, start, stop and restore agents", usage: agentUsage, execute: executeAgent}
}

type agentFlags struct {
	json, raw               bool
	bytes                   int64
	snapshot, label, reason string
}

var agentVerbs = []verb[agentFlags]{
	{name: "status", most: 1, flags: []string{"json"}, execute: (*program).agentStatus},
	agentVerb("start", api.AgentStart),
	agentVerb("stop", api.AgentStop),
	agentVerb("restart", api.AgentRestart),
	agentVerb("freeze", api.AgentFreeze),
	agentVerb("thaw", api.AgentThaw),
	{name: "logs", most: 1, flags: []string{"bytes", "raw"}, execute: (*program).agentLogs},
	{name: "restore", most: 1, flags: []string{"snapshot", "json"}, execute: (*program).agentRestore},
	{name: "clear", most: 1, flags: []string{"label", "reason", "json"}, execute: (*program).agentClear},
}

// agentVerb is one that names an agent and tells its state afterwards.
func agentVerb(name, method string) verb[agentFlags] {
	return verb[agentFlags]{name: name, most: 1, flags: []string{"json"}, execute: func(p *program, f *agentFlags, words []string) error {
		a, err := ask[api.Agent](p, method, api.AgentRef{Agent: optional(words)})
		return p.agentNow(f, &a, err)
	}}
}

func executeAgent(p *program, args []string) int {
	var f agentFlags
	s := p.flags("agent")
	s.BoolVar(&f.json, "json", false, "")
	s.BoolVar(&f.raw, "raw", false, "")
	s.Func("bytes", "", func(v string) (err error) { f.bytes, err = sizeOf(v); return err })
	s.StringVar(&f.snapshot, "snapshot", "", "")
	s.StringVar(&f.label, "label", "", "")
	s.StringVar(&f.reason, "reason", "", "")
	return choose(p, agentCommand(), agentVerbs, &f, s, args)
}

// optional is the only word, or none.
func optional(words []string) string { return strings.Join(words, "") }

// agentNow tells the state of an agent after something was done to it.
func (p *program) agentNow(f *agentFlags, a *api.Agent, err error) error {
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(a)
	}
	_, err = fmt.Fprintf(p.stdout, "agent %s is %s\n", visible.Text(a.Name), visible.Line(a.State))
	return err
}

func (p *program) agentStatus(f *agentFlags, words []string) error {
	list, err := ask[[]api.Agent](p, api.AgentStatus, api.AgentRef{Agent: optional(words)})
	if err != nil {
		return err
	}
	if f.json {
		return p.printJSON(orEmpty(list))
	}
	if len(list) == 0 {
		return p.line("no agent is configured; see [agent] in the configuration")
	}
	now := time.Now()
	for i := range list {
		if i > 0 {
			fmt.Fprintln(p.stdout)
		}
		writeAgent(sheet{p.stdout}, &list[i], now)
	}
	return nil
}

func writeAgent(s sheet, a *api.Agent, now time.Time) {
	state := a.State
	if !a.Since.IsZero() {
		state += " for " + desk.Span(now.Sub(a.Since))
	}
	if !a.Next.IsZero() {
		state += ", starts again in " + desk.Span(a.Next.Sub(now))
	}
	s.add("agent", "%s", visible.Text(a.Name))
	s.add("state", "%s", state)
	s.add("command", "%s", a.Command)
	s.add("user", "%s (uid %d)", a.User, a.UID)
	s.add("restarts", "%d", a.Restarts)
	s.add("last end", "%s", a.Last)
	s.add("labels", "%s", labelsText(a.Labels.Untrusted, a.Labels.Private))
	s.add("uses", "memory %s, %d processes, processor %v", bytesText(a.Memory), a.Pids, a.CPU.Round(time.Millisecond))
	s.add("network", "%s", a.Network)
	s.add("publishes", "%s", strings.Join(a.Publish, ", "))
	if n := len(a.Snapshots); n > 0 {
		s.add("snapshots", "%d, the last %s of %s", n, a.Snapshots[n-1].Name, stamp(a.Snapshots[n-1].Time))
	}
	for _, n := range a.Notes {
		s.add("note", "%s", n)
	}
}

// labelsText names labels, or nothing.
func labelsText(untrusted, private bool) string {
	var list []string
	if untrusted {
		list = append(list, "untrusted")
	}
	if private {
		list = append(list, "private")
	}
	return strings.Join(list, ", ")
}

func (p *program) agentLogs(f *agentFlags, words []string) error {
	l, err := ask[api.Log](p, api.AgentLogs, api.Logs{Agent: optional(words), Bytes: f.bytes})
	if err != nil {
		return err
	}
	out := p.output(f.raw)
	if _, err := out.Write(l.Data); err != nil {
		return err
	}
	return out.Close()
}

func (p *program) agentRestore(f *agentFlags, words []string) error {
	if f.snapshot == "" {
		return p.listSnapshots(f, optional(words))
	}
	a, err := ask[api.Agent](p, api.AgentRestore, api.Restore{Agent: optional(words), Snapshot: f.snapshot})
	return p.agentNow(f, &a, err)
}

func (p *program) listSnapshots(f *agentFlags, name string) error {
	list, err := ask[[]api.Agent](p, api.AgentStatus, api.AgentRef{Agent: name})
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return usagef("say which agent: there are %d", len(list))
	}
	if f.json {
		return p.printJSON(orEmpty(list[0].Snapshots))
	}
	t := newTable(p.stdout, "SNAPSHOT", "TIME", "SIZE", "WHY")
	for _, s := range list[0].Snapshots {
		t.row(s.Name, stamp(s.Time), bytesText(s.Bytes), s.Why)
	}
	return t.flush()
}

func (p *program) agentClear(f *agentFlags, words []string) error {
	if err := checkLabel(f.label); err != nil {
		return err
	}
	a, err := ask[api.Agent](p, api.AgentClear, api.Clear{Name: optional(words), Label: f.label, Reason: f.reason})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(a)
	}
	left := cmp.Or(labelsText(a.Labels.Untrusted, a.Labels.Private), "no label")
	return p.line("%s is off agent %s, which has %s now and is %s", f.label, a.Name, left, a.State)
}

// checkLabel refuses what is no label.
func checkLabel(label string) error {
	switch label {
	case "untrusted", "private":
		return nil
	case "":
		return usagef("say which label to take off: --label untrusted or --label private")
	}
	return usagef("there is no label %s; the labels are untrusted and private", visible.Text(label))
}
