// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const trashUsage = `usage: clawsup trash list [--json] [CHANGE]
       clawsup trash restore [--dry-run] [--json] CHANGE [PATH...]
       clawsup trash empty [--older D] [--all] [--json] [CHANGE]

What a commit replaced or deleted is kept in the trash of its change set, for as
long and as much as [changes] in the configuration says. CHANGE is the id of a
call or of its change set, or a beginning of it that no other has.

  list     the change sets that have some; of CHANGE, what is in it
  restore  brings it back, all or PATH: the same as 'clawsup undo'
  empty    removes it for good: what a commit did can't be undone then

  --dry-run   show what it would do, and do nothing
  --older D   of all that was committed longer ago than D ("12h", "168h")
  --all       of all change sets
  --json      objects instead of text

With 'daemon = true' in the configuration clawsupd is asked, and all but list
takes the role admin; else this works on the host's store, as root.

Exit status: 0; 1 if it failed; 2 for a wrong command line; 3 if there is no
daemon.
`

func trashCommand() *command {
	return &command{name: "trash", subject: "the trash", synopsis: "list, restore and empty what commits replaced", usage: trashUsage, execute: executeTrash}
}

type trashFlags struct {
	dry, all, json bool
	older          string
}

var trashVerbs = []verb[trashFlags]{
	{name: "list", most: 1, flags: []string{"json"}, execute: (*program).trashList},
	{name: "restore", least: 1, most: -1, needs: "a change set; see 'clawsup trash list'", flags: []string{"dry-run", "json"}, execute: (*program).trashRestore},
	{name: "empty", most: 1, flags: []string{"older", "all", "json"}, execute: (*program).trashEmpty},
}

func executeTrash(p *program, args []string) int {
	var f trashFlags
	s := p.flags("trash")
	s.BoolVar(&f.dry, "dry-run", false, "")
	s.BoolVar(&f.all, "all", false, "")
	s.BoolVar(&f.json, "json", false, "")
	s.StringVar(&f.older, "older", "", "")
	return choose(p, trashCommand(), trashVerbs, &f, s, args)
}

func (p *program) trashList(f *trashFlags, words []string) error {
	return p.withChanges(func(source changeSource) error {
		if len(words) == 1 {
			return p.trashOf(f, source, words[0])
		}
		list, err := source.list(api.ChangesFilter{})
		if err != nil {
			return err
		}
		have := []changes.Change{}
		for _, c := range list {
			if c.Trash {
				have = append(have, c)
			}
		}
		switch {
		case f.json:
			return p.printJSON(have)
		case len(have) == 0:
			return p.line("the trash is empty")
		}
		now := time.Now()
		t := newTable(p.stdout, "CHANGES", "WHAT", "WORKSPACE", "COMMITTED", "SIZE", "KEPT FOR", "NOTE")
		for i := range have {
			c := &have[i]
			t.row(c.ID, c.Count.String(), clipped(visible.Text(string(c.Workspace))), stamp(c.Ended), bytesText(c.Bytes), keptFor(c, now), changeNote(c))
		}
		return t.flush()
	})
}

// trashOf lists what is in the trash of one change set.
func (p *program) trashOf(f *trashFlags, source changeSource, id string) error {
	list, err := source.trash(id)
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(orEmpty(list))
	case len(list) == 0:
		return p.line("nothing of it is in the trash")
	}
	t := newTable(p.stdout, "PATH", "TYPE", "SIZE", "NOTE")
	for i := range list {
		note := ""
		if list[i].Gone {
			note = "gone"
		}
		t.row(visible.Text(string(list[i].Path)), list[i].Type.String(), bytesText(list[i].Size), note)
	}
	return t.flush()
}

func (p *program) trashRestore(f *trashFlags, words []string) error {
	return p.undo(words[0], words[1:], f.dry, f.json)
}

func (p *program) trashEmpty(f *trashFlags, words []string) error {
	order := api.TrashOrder{Changes: strings.Join(words, "")}
	given := len(words)
	for _, is := range []bool{f.all, f.older != ""} {
		if is {
			given++
		}
	}
	if given != 1 {
		return usagef("say which trash: CHANGE, --older D, or --all")
	}
	if f.older != "" {
		d, err := profiles.ParseDuration(f.older)
		if err != nil || d <= 0 {
			return usagef("--older: a time as 12h or 168h")
		}
		order.Older = api.Duration(d)
	}
	return p.withChanges(func(source changeSource) error {
		done, err := source.empty(order)
		switch {
		case err != nil:
			return err
		case f.json:
			return p.printJSON(done)
		}
		return p.line("emptied: %s are free", bytesText(done.Bytes))
	})
}
