// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/cmd/clawsup/internal/summary"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// maxQuestion bounds, in bytes, what is put on a terminal at once. A question
// that can't be read whole can't be answered.
const maxQuestion = 16 << 10

// confirm shows a ticket, and of what it is about if that isn't nil, on the
// controlling terminal and asks for the word yes, typed after it was shown. Its
// nil means yes.
func confirm(t *approval.Ticket, of *api.ChangesEntries, question string) error {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return fmt.Errorf("there is no terminal to ask on; read 'clawsup approval show %s', then add --yes --revision N", t.ID)
	}
	defer tty.Close()
	text := strings.Join(ticketText(t, of, terminalWidth(tty)-1), "\n") + "\n"
	if len(text) > maxQuestion {
		return fmt.Errorf("ticket %s has %d bytes, more than the %d that are shown at once: read and answer it in 'clawsup approvals --watch'", t.ID, len(text), maxQuestion)
	}
	if _, err := io.WriteString(tty, text); err != nil {
		return err
	}
	return typedYes(tty, fmt.Sprintf("Type yes, the whole word, to %s. Anything else changes nothing: ", visible.Line(question)), "nothing was answered")
}

// typedYes asks for the word yes, typed after it was asked for. Its nil means
// yes; any other error says what came of it.
func typedYes(tty *os.File, prompt, otherwise string) error {
	// What was typed before it could be read is no answer to it.
	if err := dropInput(tty); err != nil {
		return fmt.Errorf("the terminal's input could not be emptied: %w", err)
	}
	if _, err := io.WriteString(tty, prompt); err != nil {
		return err
	}
	typed, err := bufio.NewReader(io.LimitReader(tty, 4096)).ReadString('\n')
	switch {
	case err != nil:
		fmt.Fprintln(tty)
		return fmt.Errorf("the terminal's input ended without an answer; %s", otherwise)
	case typed != "yes\n":
		return fmt.Errorf("the answer was not yes; %s", otherwise)
	}
	return nil
}

// ticketText is a ticket, and what changed where it is about that.
func ticketText(t *approval.Ticket, of *api.ChangesEntries, width int) []string {
	text := desk.Text(t, width, time.Now())
	if of == nil {
		return text
	}
	for _, r := range summary.Rows(summary.Of(of.Entries).Folded(), width) {
		text = append(text, r.Text)
	}
	return append(text, visible.Wrap(visible.Line(summary.Total(of.Change.Count)), width)...)
}

// dropInput throws away what is typed and not read (tcflush(3)).
func dropInput(tty *os.File) error {
	conn, err := tty.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(conn.Control(func(fd uintptr) { inner = unix.IoctlSetInt(int(fd), unix.TCFLSH, unix.TCIFLUSH) }), inner)
}

// terminalSize is in columns and rows; 80 by 24 of what is no terminal, or
// doesn't say.
func terminalSize(f *os.File) (width, height int) {
	width, height = 80, 24
	if conn, err := f.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) {
			if size, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ); err == nil {
				width, height = cmp.Or(int(size.Col), width), cmp.Or(int(size.Row), height)
			}
		})
	}
	return width, height
}

func terminalWidth(f *os.File) int {
	width, _ := terminalSize(f)
	return width
}
