// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
)

// callFlagsUsage is what the manuals of run and run-skill share.
const callFlagsUsage = `
  --profile P      what the box may see and use: a name, or a file
  --workspace DIR  shown at /workspace, as the profile says: read-only, written at
                   once, or with a layer over it that becomes a change set
  --stdin FILE     standard input from a file or FIFO; default: clawsup's own
  --timeout D      end the call after D ("30s", "5m"): at most the profile's wall_time
  --session S      a name for what belongs together; part of the plan
  --keep           of an overlay workspace: the session's calls go on in one change
                   set, until 'clawsup changes commit' or 'discard' ends it
  --dry-run        of an overlay workspace: run, show what changed, and discard it
  --json           print one object about the run on standard output; what the
                   tool writes, to either stream, then goes to standard error
  --raw            let the tool's bytes through to a terminal as they are; without
                   it everything but text and colours is shown as \x1b and the like

With 'daemon = true' in the configuration the call goes through clawsupd, which
may ask a person first. Then these count too:
  --deadline D     how long people may take; 0: nobody is asked, and what a person
                   would be asked about is denied at once
  --approver none  the same as --deadline 0
  --claim TEXT     why; shown to who is asked, as your words
  --key K          the same key finds the same call again, also after a lost
                   connection, and nothing runs twice
  --standalone     run without clawsupd all the same; the result says so

Streams are live, each by itself: where both lead to one place, lines of standard
output and standard error can change their order. What the tool writes is the
tool's word, also if it looks like clawsup's. The first Ctrl-C goes to the tool,
the second stops the call; through clawsupd the first cancels the call and the
second doesn't wait for its end.

Exit status: the tool's own, or
    2  the command line is wrong, or you are not root
  122  output-limit: the tool wrote more than stdout or stderr may hold
  123  pids-limit: too many processes
  124  timed-out: wall clock or CPU time is over
  125  sandbox-error: the sandbox failed, nothing is known of the tool; or what it
       wrote, or the report, could not be passed on whole; or clawsupd can't be
       reached, or ended (supervisor-restart)
  126  denied: the profile or a person said no, or clawsupd takes no calls now;
       nothing ran. Or the tool ended well, and what it changed in the workspace
       is not in force, or not all of it
  127  the command, or a program that the skill requires, is not in the box
  137  out-of-memory
  128 + n  signalled: signal n ended the tool; stopped: you sent signal n
  143  stopped: somebody else stopped it
Where it is not the tool's own, a line on standard error says why. A tool can
exit with any of these too: --json tells them apart.
`

// callFlags are the flags of run and run-skill.
type callFlags struct {
	request supervisor.Request
	stdin   string
	timeout string
	json    bool
	raw     bool

	stdinSet bool

	// Of a call through the daemon.
	standalone           bool
	deadline             *api.Duration
	key, claim, approver string
	daemons              string // the first flag that is the daemon's
}

func (f *callFlags) set(s *flag.FlagSet) *flag.FlagSet {
	s.StringVar(&f.request.Profile, "profile", "", "")
	s.Func("workspace", "", func(v string) error {
		if v == "" {
			return usagef("the name of the workspace is empty")
		}
		f.request.Workspace = v
		return nil
	})
	s.StringVar(&f.request.Session, "session", "", "")
	s.BoolVar(&f.request.Keep, "keep", false, "")
	s.BoolVar(&f.request.DryRun, "dry-run", false, "")
	s.Func("stdin", "", func(v string) error { f.stdin, f.stdinSet = v, true; return nil })
	s.StringVar(&f.timeout, "timeout", "", "")
	s.BoolVar(&f.json, "json", false, "")
	s.BoolVar(&f.raw, "raw", false, "")
	s.BoolVar(&f.standalone, "standalone", false, "")
	for name, set := range map[string]func(string) error{
		"deadline": f.setDeadline,
		"key":      func(v string) error { f.key = v; return nil },
		"claim":    func(v string) error { f.claim = v; return nil },
		"approver": f.setApprover,
	} {
		s.Func(name, "", func(v string) error { f.daemons = name; return set(v) })
	}
	return s
}

func (f *callFlags) setDeadline(v string) error {
	if v == "0" {
		v = "0s"
	}
	d, err := profiles.ParseDuration(v)
	if err != nil {
		return usagef("%s", strings.TrimPrefix(err.Error(), "profiles: "))
	}
	f.deadline = (*api.Duration)(&d)
	return nil
}

func (f *callFlags) setApprover(v string) error {
	if v != supervisor.ApproverNone {
		return usagef("the only choice is %s: nobody is asked", supervisor.ApproverNone)
	}
	f.approver = v
	return nil
}

// check reads what package flag left as text.
func (f *callFlags) check() error {
	switch {
	case f.request.Keep && f.request.DryRun:
		return usagef("--keep and --dry-run don't go together: what is shown and discarded is not kept")
	case f.request.Keep && f.request.Session == "":
		return usagef("--keep is for the calls of a session: say which with --session")
	}
	if f.timeout == "" {
		return nil
	}
	d, err := profiles.ParseDuration(f.timeout)
	if err != nil {
		return usagef("--timeout: %s", strings.TrimPrefix(err.Error(), "profiles: "))
	}
	if d <= 0 {
		return usagef("--timeout: it must be longer than nothing")
	}
	f.request.Timeout = time.Duration(d)
	return nil
}
