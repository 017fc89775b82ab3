// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// askedChanges is a question with a few entries.
func askedChanges() *changesQuestion {
	regular := changeset.State{Type: changeset.Regular, Mode: 0o644, Size: 1000}
	directory := changeset.State{Type: changeset.Directory, Mode: 0o755}
	q := &changesQuestion{change: testChange(), entries: []changeset.Entry{
		{Kind: changeset.Modified, Path: "b\x1b[2J", Before: regular, After: regular, Notes: changeset.Conflict},
		{Kind: changeset.Created, Path: "c", After: directory},
		{Kind: changeset.Created, Path: "c/1", After: regular},
		{Kind: changeset.Created, Path: "c/2", After: regular},
		{Kind: changeset.Deleted, Path: "d", Before: regular},
	}}
	q.change.Count = changeset.Count{Created: 3, Modified: 1, Deleted: 1, Conflicts: 1}
	q.because = []changes.Reason{{Why: "deletes what was there before", Count: 3, Paths: []raw.String{"d"}}}
	q.diff = func(_ context.Context, path raw.String) ([]string, bool, error) {
		if path == "d" {
			return nil, false, errors.New("no box\x1b")
		}
		return []string{"@" + string(path), "-old", "+" + strings.Repeat("long ", 20) + "-end\u202e"}, true, nil
	}
	return q
}

const changesPrompt = "yes, no, refuse N, diff N, list or help: "

// talk asks on a terminal of its own and types each line when the prompt is there.
func talk(t *testing.T, ctx context.Context, q *changesQuestion, rows int, lines ...string) (changesAnswer, string, error) {
	t.Helper()
	screen, tty := terminal(t)
	conn, err := tty.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	err = conn.Control(func(fd uintptr) {
		inner = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: 80})
	})
	if err := errors.Join(err, inner); err != nil {
		t.Fatal(err)
	}
	type end struct {
		answer changesAnswer
		err    error
	}
	ended := make(chan end, 1)
	go func() {
		a, err := q.on(ctx, tty)
		ended <- end{a, err}
		_ = tty.Close()
	}()
	seen := ""
	for _, l := range lines {
		wait := changesPrompt
		if strings.HasPrefix(l, "page:") {
			l, wait = l[len("page:"):], "q leaves it "
		}
		seen += until(t, screen, wait)
		if _, err := io.WriteString(screen, l); err != nil {
			t.Fatal(err)
		}
	}
	e := <-ended
	return e.answer, strings.ReplaceAll(seen+rest(screen), "\r\n", "\n"), e.err
}

func TestAskChanges(t *testing.T) {
	for _, c := range []struct {
		name   string
		lines  []string
		answer string // empty: held
		says   string // on the screen, or in the error
	}{
		{"yes", []string{"yes\n"}, "commit []", "clawsup: are these changes to be kept?"},
		{"no", []string{"no\n"}, "discard ", `  made by      "tidy"`},
		{"no with a reason", []string{"no: not \x1fnow\n"}, `discard not \x1fnow`, "because      deletes what was there before: \"d\" and 2 more"},
		{"y is no answer", []string{"y\n", "\n", "Yes\n", "yes \n", "no:\n", "yes\n"}, "commit []", "Nothing else is an answer"},
		{"refuse", []string{"refuse 1, 4\n", "yes\n"}, `commit ["d" "c/1"]`, "These stay as they are:\n  x d\n  x c/1\nThat is 2 of 5. yes keeps the others"},
		{"refuse a directory", []string{"refuse 3\n", "show\n", "yes\n"}, `commit ["c"]`, " x 3-5  c/  2 files"},
		{"refuse and think again", []string{"refuse 1\n", "refuse none\n", "yes\n"}, "commit []", "Nothing is refused."},
		{"refuse all", []string{"refuse 1-5\n", "yes\n", "no\n"}, "discard ", "All of it is refused: no throws it away."},
		{"refuse nonsense", []string{"refuse 6\n", "no\n"}, "discard ", "the numbers are from 1 to 5"},
		{"diff", []string{"diff 2\n", "no\n"}, "discard ", "@b\\x1b[2J\n-old\n+" + strings.Repeat("long ", 15) + "lon\n>g long long long long -end\\u202e\n@not all of it is shown\n"},
		{"diff that fails", []string{"diff 1\n", "diff 1-2\n", "no\n"}, "discard ", "That can't be shown: no box\\x1b\n"},
		{"list", []string{"list\n", "no\n"}, "discard ", "   4  c/1  1000B\n   5  c/2  1000B\n"},
		{"the end of the input", []string{"\x04"}, "", "the terminal's input ended without an answer"},
		{"an answer that is cut off", []string{"yes\x04\x04"}, "", "the terminal's input ended without an answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, seen, err := talk(t, t.Context(), askedChanges(), 40, c.lines...)
			got := ""
			switch {
			case err != nil:
				seen += err.Error()
			case a.commit:
				got = fmt.Sprintf("commit %q", a.refuse)
			default:
				got = "discard " + a.reason
			}
			if got != c.answer || !strings.Contains(seen, c.says) {
				t.Errorf("%q, want %q and %q\n%s", got, c.answer, c.says, seen)
			}
			for _, text := range []string{"deleted: 1 path", `"b\x1b[2J"`, "CONFLICT: ", "5 paths: 1 deleted, 1 modified, 3 created; 1 in conflict"} {
				if !strings.Contains(seen, text) {
					t.Errorf("no %q in\n%s", text, seen)
				}
			}
			if strings.ContainsAny(seen, "\x1b\u202e") {
				t.Errorf("a control character: %q", seen)
			}
		})
	}
}

// TestAskChangesInPages: what was not shown to its end can't be answered.
func TestAskChangesInPages(t *testing.T) {
	q := askedChanges()
	for i := range 50 {
		q.entries = append(q.entries, changeset.Entry{Kind: changeset.Modified, Path: raw.String(fmt.Sprintf("m%02d", i))})
	}
	a, seen, err := talk(t, t.Context(), q, 25, "page:q\n", "yes\n", "show\n", "page:\n", "page:\n", "yes\n")
	if err != nil || !a.commit || !strings.Contains(seen, "Not yet: it was not read to its end") || strings.Count(seen, "m49") != 1 {
		t.Errorf("%+v, %v\n%s", a, err, seen)
	}
}

// TestAskChangesTypedAhead: what is typed before the prompt answers nothing.
func TestAskChangesTypedAhead(t *testing.T) {
	screen, tty := terminal(t)
	if _, err := io.WriteString(screen, "yes\nyes\n"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := askedChanges().on(t.Context(), tty)
		ended <- err
		_ = tty.Close()
	}()
	until(t, screen, changesPrompt)
	if _, err := io.WriteString(screen, "\x04"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "without an answer") {
		t.Error(err)
	}
	_ = rest(screen)
}

func TestAskChangesInterrupted(t *testing.T) {
	screen, tty := terminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := askedChanges().on(ctx, tty)
		ended <- err
	}()
	until(t, screen, changesPrompt)
	cancel()
	if err := <-ended; !errors.Is(err, errInterrupted) {
		t.Error(err)
	}
	_ = tty.Close()
}

// TestAskChangesWithoutTerminal: then nobody is asked, which is no answer.
func TestAskChangesWithoutTerminal(t *testing.T) {
	if f, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0); err == nil {
		_ = f.Close()
		t.Skip("there is one")
	}
	if a, err := askChanges(t.Context(), askedChanges()); err == nil {
		t.Errorf("%+v", a)
	}
}
