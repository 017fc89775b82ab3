// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// program is one run of clawsup: its streams and what every command shares.
type program struct {
	stdin, stdout, stderr *os.File

	configFile string
	logLevel   string
}

// command is one word of the command line.
type command struct {
	name     string
	subject  string // of one with verbs: what it is about, in the plural
	synopsis string // half a line for the list
	usage    string // the whole manual
	execute  func(p *program, args []string) int
}

// group is commands that belong together, in the order of the list.
type group struct {
	name     string
	commands []*command
}

// groups is the table of commands.
func groups() []group {
	return []group{
		{"Run", []*command{runSkillCommand(), runCommand()}},
		{"Watch", []*command{psCommand(), topCommand(), metricsCommand(), logsCommand(), stopCommand(), auditCommand()}},
		{"Decide", []*command{approvalsCommand(), approvalCommand(), approveCommand(), denyCommand(), grantCommand(), explainCommand()}},
		{"Files", []*command{changesCommand(), undoCommand(), trashCommand()}},
		{"Administer", []*command{agentCommand(), sessionCommand(), lockdownCommand(), unlockCommand(), secretCommand(), skillCommand(), configCommand(), profileCommand(), doctorCommand(), versionCommand(), helpCommand()}},
	}
}

// commands are those of all groups.
func commands() []*command {
	var all []*command
	for _, g := range groups() {
		all = append(all, g.commands...)
	}
	return all
}

// Exit statuses that are clawsup's own. What a tool exits with is passed
// through; 'clawsup help run' has the whole table.
const (
	exitOK          = 0
	exitFault       = 1 // it failed or was refused, or a check found something
	exitUsage       = 2 // the command line is wrong, or the caller is not root
	exitUnreachable = 3 // there is no daemon to talk to
)

// usageError is a mistake on the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errHelp asks for the command's manual.
var errHelp = flag.ErrHelp

// run finds the command and executes it.
func (p *program) run(args []string) int {
	global := p.flags("clawsup")
	if err := global.Parse(args); err != nil {
		return p.mistaken(nil, flagError(global, err))
	}
	args = global.Args()
	if len(args) == 0 {
		fmt.Fprint(p.stderr, overview())
		return exitUsage
	}
	c, err := find(args[0])
	if err != nil {
		return p.mistaken(nil, err)
	}
	return c.execute(p, args[1:])
}

// find gives the command with a name.
func find(name string) (*command, error) {
	var names []string
	for _, c := range commands() {
		if c.name == name {
			return c, nil
		}
		names = append(names, c.name)
	}
	if near, ok := spell.Nearest(name, names); ok {
		return nil, usagef("there is no command %s; did you mean %s?", visible.Text(name), near)
	}
	return nil, usagef("there is no command %s; the commands are %s", visible.Text(name), strings.Join(names, ", "))
}

// mistaken says what is wrong with the command line, or shows the manual when
// that was asked for. c is nil where no command is known yet.
func (p *program) mistaken(c *command, err error) int {
	manual, help := overview(), "clawsup help"
	if c != nil {
		manual, help = c.usage, "clawsup help "+c.name
	}
	if errors.Is(err, errHelp) {
		return p.print(manual)
	}
	fmt.Fprintf(p.stderr, "clawsup: %v\nsee '%s'\n", err, help)
	return exitUsage
}

// ended gives the exit status of a command that ended with err, and says it.
func (p *program) ended(c *command, err error) int {
	var mistake *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errHelp), errors.As(err, &mistake):
		return p.mistaken(c, err)
	case api.CodeOf(err) == api.CodeUnavailable:
		return p.fault(exitUnreachable, err)
	}
	return p.fault(exitFault, err)
}

// print writes what was asked for to standard output.
func (p *program) print(text string) int {
	if _, err := io.WriteString(p.stdout, text); err != nil {
		return p.fault(exitFault, err)
	}
	return exitOK
}

// flags makes a set that takes the global flags.
func (p *program) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // mistaken says it
	f.StringVar(&p.configFile, "config", p.configFile, "")
	f.StringVar(&p.logLevel, "log-level", p.logLevel, "")
	return f
}

// parse reads flags that stand anywhere before "--" and gives the other words
// and, separately, what follows "--" (nil without one).
func parse(f *flag.FlagSet, args []string) (words, rest []string, err error) {
	for i, a := range args {
		if a == "--" {
			args, rest = args[:i], args[i+1:]
			if rest == nil {
				rest = []string{}
			}
			break
		}
	}
	for len(args) > 0 {
		if err := f.Parse(args); err != nil {
			return nil, nil, flagError(f, err)
		}
		if args = f.Args(); len(args) > 0 {
			words, args = append(words, args[0]), args[1:]
		}
	}
	return words, rest, nil
}

// arguments reads the flags and words of a command without verbs, which takes
// least to most words (most < 0: any number); needs is what they are.
func arguments(c *command, f *flag.FlagSet, args []string, least, most int, needs string) ([]string, error) {
	words, rest, err := parse(f, args)
	words = append(words, rest...)
	switch {
	case err != nil:
		return nil, err
	case len(words) < least:
		return nil, usagef("%s needs %s", c.name, needs)
	case most == 0 && len(words) > 0:
		return nil, usagef("%s takes no arguments", c.name)
	case most >= 0 && len(words) > most:
		return nil, usagef("%s takes nothing more: %s", c.name, plainWord(words[most]))
	}
	return words, nil
}

// flagError says what package flag found, with the nearest flag for an unknown one.
func flagError(f *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return errHelp
	}
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return usagef("%s", visible.Line(err.Error()))
	}
	var names []string
	f.VisitAll(func(g *flag.Flag) { names = append(names, g.Name) })
	if near, ok := spell.Nearest(name, names); ok {
		return usagef("there is no flag --%s; did you mean --%s?", visible.Text(name), near)
	}
	return usagef("there is no flag --%s", visible.Text(name))
}

// ready sets up the log and reads the configuration.
func (p *program) ready() (supervisor.Config, error) {
	if err := setLog(p.stderr, p.logLevel); err != nil {
		return supervisor.Config{}, err
	}
	return supervisor.LoadConfig(p.configFile)
}

// fault says that something failed, and the daemon's hint in a line of its
// own, and gives the exit status.
func (p *program) fault(status int, err error) int {
	var told *api.Error
	if errors.As(err, &told) && told.Hint != "" {
		without := *told
		without.Hint = ""
		if text, found := strings.CutSuffix(err.Error(), told.Error()); found {
			fmt.Fprintf(p.stderr, "clawsup: %s%s\nhint: %s\n", visible.Line(text), visible.Line(without.Error()), visible.Line(told.Hint))
			return status
		}
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(p.stderr, "clawsup: %s\n", visible.Line(line))
	}
	return status
}

// needRoot says in a sentence what somebody who is not root does.
func (p *program) needRoot(c *command) (status int, ok bool) {
	if os.Geteuid() == 0 {
		return 0, true
	}
	fmt.Fprintf(p.stderr, "clawsup: %s makes namespaces, control groups and mounts, so it must be started by root: sudo clawsup %s ...\n", c.name, c.name)
	return exitUsage, false
}
