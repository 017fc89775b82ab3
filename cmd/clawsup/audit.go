// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const auditUsage = `usage: clawsup audit show [--last N] [--call ID] [--json]
       clawsup audit search [TEXT] [--kind K] [--since T] [--until T] [--json]
       clawsup audit follow [--json]
       clawsup audit verify [--json]
       clawsup audit export
       clawsup audit public
       clawsup audit anchor

Reads the log of receipts: what was asked, decided and done. It looks at the
files themselves, so it needs no daemon, and on this machine it needs root.
Anywhere else a copy of the folder does.

  show     the last receipts (20, or --last N), or all of a call
  search   receipts that have TEXT in them, of one kind, or of one time
  follow   receipts as they are written, until you stop it
  verify   checks every signature and the chain, and the end of the log with
           the anchor; tells edited, reordered, missing and truncated apart
  export   all receipts, one JSON object a line
  public   prints the public key, with which verify works anywhere
  anchor   prints the anchor; a copy kept where this machine can't write shows
           later that nothing before it was cut off or written anew

  --dir DIR      the log's folder; default: the configuration's
  --public KEY   the public key, or a file with it; default: this machine's
  --anchor FILE  the anchor, or a copy of an older one; default: the
                 configuration's, and with --dir none
  --kind K       decision, outcome, administration, agent,
                 generation or network
  --since T, --until T
                 a time as 2026-05-31, 2026-05-31T17:00:00Z, or an age as 90m
  --json         one JSON object a line; of verify, one object

Exit status: 0; 1 if the log is not intact or can't be read; 2 for a wrong
command line.

Examples:
  clawsup audit search --kind decision --since 24h deny
  clawsup audit verify --dir copy/ --public key.pub --anchor anchor.yesterday
`

func auditCommand() *command {
	return &command{
		name:     "audit",
		subject:  "receipts",
		synopsis: "read and verify the log of receipts",
		usage:    auditUsage,
		execute:  executeAudit,
	}
}

// auditFlags are those of all its verbs.
type auditFlags struct {
	dir, public, anchor string
	json                bool
	last                int
	filter              receiptFilter
}

var auditVerbs = []verb[auditFlags]{
	{name: "show", flags: []string{"dir", "anchor", "last", "call", "json"}, execute: (*program).auditShow},
	{name: "search", most: 1, flags: []string{"dir", "kind", "since", "until", "call", "json"}, execute: (*program).auditSearch},
	{name: "follow", flags: []string{"dir", "anchor", "kind", "call", "json"}, execute: (*program).auditFollow},
	{name: "verify", flags: []string{"dir", "public", "anchor", "json"}, execute: (*program).auditVerify},
	{name: "export", flags: []string{"dir"}, execute: (*program).auditExport},
	{name: "public", execute: (*program).auditPublic},
	{name: "anchor", flags: []string{"anchor"}, execute: (*program).auditAnchor},
}

func executeAudit(p *program, args []string) int {
	var f auditFlags
	s := p.flags("audit")
	s.StringVar(&f.dir, "dir", "", "")
	s.StringVar(&f.public, "public", "", "")
	s.StringVar(&f.anchor, "anchor", "", "")
	s.BoolVar(&f.json, "json", false, "")
	s.IntVar(&f.last, "last", 20, "")
	s.StringVar(&f.filter.call, "call", "", "")
	s.Func("kind", "", f.filter.setKind)
	s.Func("since", "", func(v string) (err error) { f.filter.since, err = moment(v, time.Now()); return err })
	s.Func("until", "", func(v string) (err error) { f.filter.until, err = moment(v, time.Now()); return err })
	return choose(p, auditCommand(), auditVerbs, &f, s, args)
}

// auditPlaces are where the log is, with what the flags leave open from the
// configuration.
type auditPlaces struct{ dir, anchor, key string }

func (p *program) auditPlaces(f *auditFlags) (auditPlaces, error) {
	places := auditPlaces{dir: f.dir, anchor: f.anchor}
	if places.dir != "" {
		return places, nil // a copy, wherever that is: this machine's files say nothing about it
	}
	config, err := p.ready()
	if err != nil {
		return places, err
	}
	own := configuredAudit(config)
	own.anchor = cmp.Or(f.anchor, own.anchor)
	return own, nil
}

// configuredAudit says where a configuration has the log.
func configuredAudit(config supervisor.Config) auditPlaces {
	return auditPlaces{dir: config.Audit.Dir, anchor: config.Audit.Anchor, key: config.Audit.Key}
}

// logFault says in a sentence what keeps somebody from reading the log.
func logFault(err error, dir string) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the log of receipts is root's: %w (use sudo)", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no log of receipts at %s; clawsupd begins it, and --dir names another place", visible.Text(dir))
	}
	return err
}

func (p *program) auditVerify(f *auditFlags, _ []string) error {
	places, err := p.auditPlaces(f)
	if err != nil {
		return err
	}
	public, err := publicKey(f.public, places.key)
	if err != nil {
		return err
	}
	report, err := verify(places, public)
	if err != nil {
		return logFault(err, places.dir)
	}
	if f.json {
		err = p.printJSON(report.object())
	} else {
		err = report.write(p.stdout)
	}
	if err == nil && !report.Intact() {
		err = errors.New("the log is not intact")
	}
	return err
}

// publicKey takes the key itself, a file that has it, or this machine's own.
func publicKey(given, own string) (ed25519.PublicKey, error) {
	switch {
	case strings.HasPrefix(given, "ed25519:"):
		return audit.ParsePublic(given)
	case given != "":
		text, err := os.ReadFile(given)
		if err != nil {
			return nil, fmt.Errorf("the public key: %w", err)
		}
		return audit.ParsePublic(string(text))
	case own == "":
		return nil, usagef("with --dir say which key signed: --public KEY, as 'clawsup audit public' prints it")
	}
	return ownPublic(own)
}

// ownPublic is the public half of this machine's key, which is not made here.
func ownPublic(file string) (ed25519.PublicKey, error) {
	if _, err := os.Lstat(file); err != nil {
		return nil, fmt.Errorf("this machine's key: %w; clawsupd makes it, and --public names another", err)
	}
	key, err := audit.LoadKey(file)
	if err != nil {
		return nil, err
	}
	return key.Public().(ed25519.PublicKey), nil
}

func (p *program) auditPublic(*auditFlags, []string) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	public, err := ownPublic(configuredAudit(config).key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(p.stdout, audit.FormatPublic(public))
	return err
}

func (p *program) auditAnchor(f *auditFlags, _ []string) error {
	places, err := p.auditPlaces(f)
	if err != nil {
		return err
	}
	anchor, err := audit.ReadAnchor(places.anchor)
	if err != nil {
		return logFault(err, places.anchor)
	}
	_, err = fmt.Fprintln(p.stdout, anchor)
	return err
}
