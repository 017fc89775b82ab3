// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/summary"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// changesQuestion is what a person is asked on the terminal about a change set.
type changesQuestion struct {
	change  changes.Change
	entries []changeset.Entry
	because []changes.Reason
	diff    func(ctx context.Context, path raw.String) (lines []string, cut bool, err error)
}

// changesAnswer is what the person said.
type changesAnswer struct {
	commit bool         // else it is thrown away
	refuse []raw.String // of a commit: what stays as it is
	reason string       // of a no; may be empty
}

// askChanges asks on the process's controlling terminal. Only whole words that
// were typed after the question was there are an answer. The error says why
// there is none: then nobody has decided.
func askChanges(ctx context.Context, q *changesQuestion) (changesAnswer, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return changesAnswer{}, errors.New("a person must be asked, and there is no terminal to ask on")
	}
	defer tty.Close()
	return q.on(ctx, tty)
}

func (q *changesQuestion) on(ctx context.Context, tty *os.File) (changesAnswer, error) {
	width, height := terminalSize(tty)
	t := &changesTalk{changesQuestion: q, ctx: ctx, tty: tty, width: width - 1, height: height, summary: summary.Of(q.entries)}
	return t.hold()
}

// changesTalk is such a question while it goes on.
type changesTalk struct {
	*changesQuestion
	ctx           context.Context
	tty           *os.File
	width, height int
	summary       *summary.Summary
	read          bool // the summary was shown to its end
	refused       []raw.String
}

// hold is the talk from its beginning to the answer.
func (t *changesTalk) hold() (changesAnswer, error) {
	if err := t.show(t.summary.Folded()); err != nil {
		return changesAnswer{}, err
	}
	for {
		typed, err := t.ask("yes, no, refuse N, diff N, list or help: ")
		if err != nil {
			return changesAnswer{}, err
		}
		word, rest, _ := strings.Cut(strings.TrimSpace(typed), " ")
		switch rest = strings.TrimSpace(rest); {
		case typed == "yes" && t.commits():
			return changesAnswer{commit: true, refuse: t.refused}, nil
		case typed == "yes":
			continue // commits has said why not
		case typed == "no":
			return changesAnswer{}, nil
		case strings.HasPrefix(typed, "no: "):
			return changesAnswer{reason: visible.Line(strings.TrimSpace(typed[len("no: "):]))}, nil
		case word == "refuse" && rest != "":
			err = t.refuse(rest)
		case word == "diff" && rest != "":
			err = t.differ(rest)
		case typed == "list":
			err = t.show(t.summary.All())
		case typed == "show":
			err = t.show(t.summary.Folded())
		default:
			err = t.page(changesWords)
		}
		if err != nil {
			return changesAnswer{}, err
		}
	}
}

// changesWords are the words that are understood.
var changesWords = []string{
	"  yes           keep it: all but what is refused",
	"  no            throw it away; no: REASON says why",
	"  refuse 3,5-7  leave these as they are in the workspace; refuse none: none after all",
	"  diff 4        see how a file differs",
	"  list          every path; show: the summary again",
	"Nothing else is an answer. Without one it is held, for 'clawsup changes'.",
}

// show writes what the question is about.
func (t *changesTalk) show(lines []summary.Line) error {
	var rows []string
	fact := func(name, format string, args ...any) {
		for _, v := range visible.Wrap(visible.Line(fmt.Sprintf(format, args...)), t.width-15) {
			rows = append(rows, fmt.Sprintf("  %-12s %s", name, v))
			name = ""
		}
	}
	rows = append(rows, "clawsup: are these changes to be kept?")
	fact("changes", "%s", t.change.ID)
	fact("made by", "%s", t.change.Command)
	fact("workspace", "%s", visible.Text(string(t.change.Workspace)))
	for _, r := range t.because {
		fact("because", "%s", r.Text(nil))
	}
	for _, r := range summary.Rows(lines, t.width) {
		text := r.Text
		if r.First && r.Sort == summary.Item && summary.Covers(t.refused, lines[r.Line].Path) && t.refused != nil {
			text = " x" + text[2:]
		}
		rows = append(rows, text)
	}
	fact("in all", "%s", summary.Total(t.change.Count))
	if t.refused != nil {
		fact("refused", "%d of them, behind an x", t.refusals())
	}
	whole, err := t.pages(rows)
	t.read = t.read || whole
	return err
}

// refusals counts what is refused.
func (t *changesTalk) refusals() int {
	n := 0
	for i := range t.entries {
		if t.refused != nil && summary.Covers(t.refused, t.entries[i].Path) {
			n++
		}
	}
	return n
}

// commits says whether yes means something now, and if not why.
func (t *changesTalk) commits() bool {
	switch {
	case !t.read:
		_ = t.page([]string{"Not yet: it was not read to its end. show goes through it again."})
		return false
	case t.refusals() == len(t.entries):
		_ = t.page([]string{"All of it is refused: no throws it away."})
		return false
	}
	return true
}

// refuse takes numbers of what is to stay as it is.
func (t *changesTalk) refuse(numbers string) error {
	if numbers == "none" {
		t.refused = nil
		return t.page([]string{"Nothing is refused."})
	}
	paths, err := t.summary.Numbers(numbers)
	if err != nil {
		return t.page([]string{visible.Line(err.Error())})
	}
	t.refused = append(t.refused, paths...)
	rows := []string{"These stay as they are:"}
	for _, l := range t.summary.Folded() {
		if summary.Covers(t.refused, l.Path) {
			rows = append(rows, t.wrapped("  x "+l.Name())...)
			continue
		}
		for n := l.First; n <= l.Last && l.First < l.Last; n++ { // in a directory that is folded
			if e := t.summary.Entry(n); summary.Covers(t.refused, e.Path) {
				rows = append(rows, t.wrapped("  x "+visible.Text(string(e.Path)))...)
			}
		}
	}
	rows = append(rows, fmt.Sprintf("That is %d of %d. yes keeps the others, refuse none refuses nothing after all.", t.refusals(), len(t.entries)))
	return t.page(rows)
}

func (t *changesTalk) wrapped(text string) []string { return visible.Wrap(text, t.width) }

// differ shows how a file differs.
func (t *changesTalk) differ(number string) error {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > t.summary.Len() {
		return t.page([]string{fmt.Sprintf("diff takes one number from 1 to %d; list has those in directories", t.summary.Len())})
	}
	lines, cut, err := t.diff(t.ctx, t.summary.Entry(n).Path)
	if err != nil {
		if t.ctx.Err() != nil {
			return errInterrupted
		}
		return t.page([]string{"That can't be shown: " + visible.Line(err.Error())})
	}
	var rows []string
	for _, l := range lines {
		rows = append(rows, summary.Fold(visible.Line(l), t.width)...)
	}
	if cut {
		rows = append(rows, "@not all of it is shown")
	}
	return t.page(rows)
}

// page shows rows, whether all of them are wanted or not.
func (t *changesTalk) page(rows []string) error {
	_, err := t.pages(rows)
	return err
}

// pages shows rows a screen at a time. whole: all of them were.
func (t *changesTalk) pages(rows []string) (whole bool, err error) {
	room := max(t.height-1, 5)
	for len(rows) > room {
		if _, err := t.tty.WriteString(strings.Join(rows[:room], "\n") + "\n"); err != nil {
			return false, fmt.Errorf("the question could not be put: %w", err)
		}
		rows = rows[room:]
		typed, err := t.ask(fmt.Sprintf("-- %d rows more: Enter goes on, q leaves it ", len(rows)))
		if err != nil || typed != "" {
			return false, err
		}
	}
	if _, err := t.tty.WriteString(strings.Join(rows, "\n") + "\n"); err != nil {
		return false, fmt.Errorf("the question could not be put: %w", err)
	}
	return true, nil
}

var errInterrupted = errors.New("interrupted before there was an answer")

// ask reads a line that is typed after the prompt was there.
func (t *changesTalk) ask(prompt string) (string, error) {
	// What was typed before it could be read is no answer to it.
	if err := dropInput(t.tty); err != nil {
		return "", fmt.Errorf("the terminal's input could not be emptied: %w", err)
	}
	if _, err := t.tty.WriteString(prompt); err != nil {
		return "", fmt.Errorf("the question could not be put: %w", err)
	}
	type line struct {
		text string
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		b := make([]byte, 4096) // a terminal gives a line at a time, and of no more than this (termios(3))
		n, err := t.tty.Read(b)
		typed <- line{string(b[:n]), err}
	}()
	select {
	case <-t.ctx.Done():
		fmt.Fprintln(t.tty) // what follows begins a line of its own
		return "", errInterrupted
	case l := <-typed:
		text, whole := strings.CutSuffix(l.text, "\n")
		if l.err != nil || !whole {
			fmt.Fprintln(t.tty)
			return "", errors.New("the terminal's input ended without an answer")
		}
		return text, nil
	}
}
