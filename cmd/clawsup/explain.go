// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const explainUsage = `usage: clawsup explain [--profile P] [--labels L] EFFECT [TARGET]
       clawsup explain CALL

Says how a question would be answered, and by which rule. It is the very
function that decides, so it needs no daemon; grants are not looked at.

With the id of a call: how that one was decided, and which call brought each
label. That asks the daemon.

EFFECT is exec, fs.create, fs.modify, fs.delete, net.connect, net.request or
secret.use. TARGET is what it is done to: of fs a path below the workspace, of
net HOST:PORT, of a secret its name; exec has none.

  --profile P  a name or a file; default: the configuration's default profile
  --labels L   what the session has seen: untrusted, private, or both with a
               comma between
  --json       one object: the decision, the rule, and the lines; of a call all
               that is known of it

Exit status: 0, whatever the answer is; 1 if the profile can't be used, or there
is no such call; 3 if there is no daemon.

Examples:
  clawsup explain exec
  clawsup explain --profile build fs.delete docs/plan.md
  clawsup explain --labels untrusted,private net.connect api.example.com:443
  clawsup explain c-4kq2mzj6w3x5vu7a
`

func explainCommand() *command {
	return &command{
		name:     "explain",
		synopsis: "say how a question is decided, and by which rule",
		usage:    explainUsage,
		execute:  executeExplain,
	}
}

type explainFlags struct {
	profile string
	labels  policy.Labels
	json    bool
}

func executeExplain(p *program, args []string) int {
	c := explainCommand()
	var f explainFlags
	s := p.flags("explain")
	s.StringVar(&f.profile, "profile", "", "")
	s.Func("labels", "", f.setLabels)
	s.BoolVar(&f.json, "json", false, "")
	words, err := arguments(c, s, args, 1, 2, "an effect or a call")
	switch {
	case err != nil:
	case strings.HasPrefix(words[0], callPrefix):
		err = p.explainCall(&f, words)
	default:
		err = p.explain(&f, words)
	}
	return p.ended(c, err)
}

func (f *explainFlags) setLabels(list string) error {
	for name := range strings.SplitSeq(list, ",") {
		switch name {
		case "untrusted":
			f.labels.Untrusted = true
		case "private":
			f.labels.Private = true
		default:
			return usagef("there is no label %s; the labels are untrusted and private", visible.Text(name))
		}
	}
	return nil
}

// callPrefix begins the id of every call, and of no effect.
const callPrefix = "c-"

func (p *program) explainCall(f *explainFlags, words []string) error {
	if len(words) > 1 || f.profile != "" || f.labels != (policy.Labels{}) {
		return usagef("a call has its own profile, labels and targets: clawsup explain %s", plainWord(words[0]))
	}
	e, err := ask[api.Explanation](p, api.CallExplain, api.CallRef{Call: words[0]})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(e)
	}
	out := sheet{p.stdout}
	out.add("call", "%s, %s", e.Call.ID, callState(&e.Call))
	out.add("asked by", "%s", e.Call.Requester)
	out.add("command", "%s", e.Call.Command)
	out.add("decision", "%s", e.Call.Decision)
	out.add("rule", "%s", e.Call.Rule)
	out.add("reason", "%s", e.Call.Reason)
	out.add("grant", "%s", e.Call.Grant)
	if e.Call.WouldAsk {
		out.add("note", "a person would have been asked, and nobody was to be")
	}
	if r := e.Call.Reached; r != nil {
		out.add("let out", "%d connections or requests, %d bytes out, %d in", r.Requests, r.Sent, r.Received)
		for i := range r.Denied {
			out.add("not let out", "%s", denialText(&r.Denied[i]))
		}
		if r.More > 0 {
			out.add("not let out", "and %d more", r.More)
		}
	}
	writeLabels(out, e.Labels)
	if e.Ticket == nil {
		for _, f := range e.Facts {
			out.add(f.Name, "%s", f.Value)
			out.add("", "%s", f.Digest)
		}
		return nil
	}
	fmt.Fprintln(p.stdout)
	for _, l := range desk.Text(e.Ticket, terminalWidth(p.stdout)-1, time.Now()) {
		if _, err := fmt.Fprintln(p.stdout, l); err != nil {
			return err
		}
	}
	return nil
}

// effectOf finds an effect by its name.
func effectOf(name string) (policy.Effect, error) {
	var names []string
	for _, e := range policy.Effects() {
		if e.String() == name {
			return e, nil
		}
		names = append(names, e.String())
	}
	if near, ok := spell.Nearest(name, names); ok {
		return 0, usagef("there is no effect %s; did you mean %s?", plainWord(name), near)
	}
	return 0, usagef("there is no effect %s; the effects are %s", plainWord(name), strings.Join(names, ", "))
}

func (p *program) explain(f *explainFlags, words []string) error {
	effect, err := effectOf(words[0])
	if err != nil {
		return err
	}
	subject := policy.Subject{Effect: effect, Labels: f.labels}
	if len(words) > 1 {
		subject.Target = words[1]
	}
	if err := subject.Check(); err != nil {
		return usagef("%v", err)
	}
	config, err := p.ready()
	if err != nil {
		return err
	}
	if f.profile == "" {
		f.profile = config.DefaultProfile
	}
	profile, err := profiles.Load(f.profile, config.ProfilePaths)
	if err != nil {
		return err
	}
	verdict, lines := policy.Explain(subject, policy.FromProfile(profile), nil, time.Now())
	if f.json {
		return p.printJSON(struct {
			Decision profiles.Decision `json:"decision"`
			Quorum   int               `json:"quorum,omitempty"` // of an ask
			Rule     string            `json:"rule"`
			Lines    []string          `json:"lines"`
		}{verdict.Decision, verdict.Quorum, verdict.Rule, lines})
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(p.stdout, visible.Line(l)); err != nil {
			return err
		}
	}
	return nil
}
