// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/secrets"
	"github.com/clawsup/clawsup/supervisor/stdio"
)

// readValue reads a secret's value: from the terminal, twice and without echo, if
// that is what standard input is, else standard input to its end. A newline at its
// end is none of it.
func (p *program) readValue(name string) ([]byte, error) {
	if err := keepUnseen(); err != nil {
		return nil, err
	}
	value, err := p.typedOrPiped(name)
	if err == nil {
		err = secrets.CheckValue(value)
	}
	if err != nil {
		clear(value)
		return nil, err
	}
	return value, nil
}

// keepUnseen is for a process that is about to hold values: nobody else looks
// into it then, and no fault leaves a dump.
func keepUnseen() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	return nil
}

func (p *program) typedOrPiped(name string) ([]byte, error) {
	if !stdio.IsTerminal(p.stdin) {
		value, err := io.ReadAll(io.LimitReader(p.stdin, secrets.MaxValue+3))
		return withoutNewline(value), err
	}
	restore, err := p.silence()
	if err != nil {
		return nil, err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP)
	defer signal.Stop(signals)
	first, err := p.typed("Value of "+name+": ", signals)
	var again []byte
	if err == nil {
		again, err = p.typed("Once more: ", signals)
	}
	defer clear(again)
	if err == nil && !bytes.Equal(first, again) {
		err = errors.New("these were two different values; nothing was changed")
	}
	if err = errors.Join(err, restore()); err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}

// silence has the terminal not show what is typed, from before it is asked for,
// until restore.
func (p *program) silence() (restore func() error, err error) {
	fd := int(p.stdin.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("the terminal: %w", err)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	silent.Iflag |= unix.ICRNL
	// What was typed before it was asked for is no part of it.
	if err := unix.IoctlSetTermios(fd, unix.TCSETSF, &silent); err != nil {
		return nil, fmt.Errorf("the terminal: %w", err)
	}
	return func() error { return unix.IoctlSetTermios(fd, unix.TCSETS, before) }, nil
}

func withoutNewline(value []byte) []byte {
	value, _ = bytes.CutSuffix(value, []byte("\n"))
	value, _ = bytes.CutSuffix(value, []byte("\r"))
	return value
}

// typed reads a line, and gives up at a signal: the terminal must be restored.
func (p *program) typed(prompt string, signals <-chan os.Signal) ([]byte, error) {
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	fmt.Fprint(p.stderr, prompt)
	go func() {
		text, err := p.unseen()
		read <- line{text, err}
	}()
	defer fmt.Fprintln(p.stderr)
	select {
	case l := <-read:
		return l.text, l.err
	case s := <-signals:
		return nil, fmt.Errorf("%v; nothing was changed", s)
	}
}

// longestLine is how much of a line a terminal keeps, with its end; what is more
// is dropped without a word (termios(3), canonical mode).
const longestLine = 4096

// unseen reads a line of the terminal, which the kernel gives whole.
func (p *program) unseen() ([]byte, error) {
	text := make([]byte, secrets.MaxValue+3)
	for n := 0; ; {
		got, err := unix.Read(int(p.stdin.Fd()), text[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && got == 0 {
			err = errors.New("the terminal's input ended; nothing was changed")
		}
		if err != nil {
			clear(text)
			return nil, err
		}
		n += got
		if n >= longestLine {
			clear(text)
			return nil, fmt.Errorf("a terminal takes %d bytes of a line and no more: give a value this long on standard input", longestLine-1)
		}
		if text[n-1] == '\n' {
			return withoutNewline(text[:n]), nil
		}
	}
}
