// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Decide applies the profile's decision about running at all. ask puts the
// plan to a person; its nil means yes. The error says by which rule it is a no.
func (p *Plan) Decide(ctx context.Context, ask func(context.Context, *Plan) error) error {
	rule := fmt.Sprintf("profile %s has effects.exec = %q (set in %s)",
		p.Profile.Profile.Name, p.Profile.Profile.Effects.Exec, p.Profile.Origin["effects.exec"])
	switch p.Profile.Profile.Effects.Exec {
	case profiles.Allow:
		return nil
	case profiles.Ask:
		if n := p.Profile.Profile.Effects.Quorum; n > 1 {
			return fmt.Errorf("this takes a yes of %d people, and here is one terminal: let clawsupd ask them; %s", n, rule)
		}
		if err := ask(ctx, p); err != nil {
			return fmt.Errorf("%w; %s", err, rule)
		}
		return nil
	}
	return errors.New(rule) // deny, and whatever is not known
}

// maxQuestion bounds, in bytes, what is put on a terminal. A question that
// can't be read whole can't be answered.
const maxQuestion = 16 << 10

// AskTerminal asks on the process's controlling terminal. Only the word yes,
// typed after the question was there, is a yes.
func AskTerminal(ctx context.Context, p *Plan) error {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return errors.New("a person must be asked, and there is no terminal to ask on")
	}
	defer tty.Close()
	return askOn(ctx, p, tty)
}

func askOn(ctx context.Context, p *Plan, tty *os.File) error {
	question := p.question()
	if len(question) > maxQuestion {
		return fmt.Errorf("the question is %d bytes long, more than the %d that can be put on a terminal whole: pass long input through stdin or a file", len(question), maxQuestion)
	}
	if _, err := tty.Write(question); err != nil {
		return fmt.Errorf("the question could not be put: %w", err)
	}
	// What was typed before it could be read is no answer to it.
	if err := flushInput(tty); err != nil {
		return fmt.Errorf("the terminal's input could not be emptied: %w", err)
	}
	if _, err := tty.WriteString(prompt); err != nil {
		return fmt.Errorf("the question could not be put: %w", err)
	}
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	go func() {
		text, err := bufio.NewReader(io.LimitReader(tty, 4096)).ReadBytes('\n')
		typed <- line{text, err}
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(tty) // what follows begins a line of its own
		return errors.New("interrupted before there was an answer")
	case l := <-typed:
		switch {
		case l.err != nil:
			fmt.Fprintln(tty)
			return errors.New("the terminal's input ended without an answer")
		case string(l.text) != "yes\n":
			return errors.New("the answer was not yes")
		}
		return nil
	}
}

const prompt = "Type yes, the whole word, to let it run. Anything else is a no: "

// question is the plan as it is shown, without the prompt.
func (p *Plan) question() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, "clawsup: may this run?")
	WriteFacts(&b, p)
	return b.Bytes()
}

// WriteFacts writes the plan's facts and its digest as a list that fits a
// narrow terminal. Only clawsup's own words stand at the left: where a value
// goes on beneath, it stands in the column of values behind "| ", or behind
// "+ " where it was broken and had no space. A digest is longer than what the
// column leaves, and stands left of it.
func WriteFacts(w io.Writer, p *Plan) {
	for _, f := range append(p.Facts(), Fact{"plan", "all of this together is", p.Digest}) {
		name := f.Name
		for _, line := range visible.Wrap(f.Value, valueWidth) {
			fmt.Fprintf(w, "  %-12s %s\n", name, line)
			name = ""
		}
		if f.Digest != "" {
			fmt.Fprintf(w, "    %s\n", f.Digest)
		}
	}
}

// valueWidth is what a terminal of 80 columns leaves for a value. The last
// column stays empty: some terminals go on to the next line when it is used.
const valueWidth = 80 - 2 - 12 - 1 - 1

// flushInput throws away what is typed and not read (tcflush(3)).
func flushInput(tty *os.File) error {
	raw, err := tty.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) {
		inner = unix.IoctlSetInt(int(fd), unix.TCFLSH, unix.TCIFLUSH)
	}), inner)
}
