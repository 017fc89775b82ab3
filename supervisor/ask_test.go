// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// person is the other end of a terminal.
type person struct {
	t    *testing.T
	ptmx *os.File
	tty  *os.File
	seen bytes.Buffer
}

// newPerson opens a pseudo-terminal (pts(4)).
func newPerson(t *testing.T) *person {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ptmx.Close() })
	raw, err := ptmx.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var inner error
	err = raw.Control(func(fd uintptr) {
		if inner = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); inner == nil {
			n, inner = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(err, inner); err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return &person{t: t, ptmx: ptmx, tty: tty}
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := p.ptmx.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
}

// reads waits until text is on the screen.
func (p *person) reads(text string) {
	p.t.Helper()
	buf := make([]byte, 4096)
	for !strings.Contains(p.seen.String(), text) {
		n, err := p.ptmx.Read(buf)
		if err != nil {
			p.t.Fatalf("%v; on the screen: %q", err, p.seen.String())
		}
		p.seen.Write(buf[:n])
	}
}

// waits until n typed bytes can be read: a terminal takes them one by one
// from the line.
func (p *person) waits(n int) {
	p.t.Helper()
	for {
		have, err := unix.IoctlGetInt(int(p.tty.Fd()), unix.TIOCINQ)
		if err != nil {
			p.t.Fatal(err)
		}
		if have == n {
			return
		}
	}
}

func TestAskOnTerminal(t *testing.T) {
	for _, c := range []struct {
		name   string
		ahead  string
		answer string
		says   string // empty: yes
	}{
		{"yes", "", "yes\n", ""},
		{"no", "", "no\n", "not yes"},
		{"nothing", "", "\n", "not yes"},
		{"y", "", "y\n", "not yes"},
		{"Yes", "", "Yes\n", "not yes"},
		{"a space behind it", "", "yes \n", "not yes"},
		{"yes, twice", "", "yes yes\n", "not yes"},
		{"end of file", "", "\x04", "without an answer"},
		{"yes and end of file", "", "yes\x04\x04", "without an answer"},
		{"typed ahead, then no", "yes\n", "no\n", "not yes"},
		{"typed ahead, then yes", "no\n", "yes\n", ""},
		{"typed ahead, then end of file", "yes\nyes\n", "\x04", "without an answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPerson(t)
			if c.ahead != "" {
				p.types(c.ahead)
				p.waits(len(c.ahead))
			}
			answer := make(chan error, 1)
			go func() { answer <- askOn(context.Background(), makePlan(t, ingredients(t)), p.tty) }()
			p.reads(prompt)
			p.types(c.answer)
			got := <-answer
			if c.says == "" && got != nil || c.says != "" && (got == nil || !strings.Contains(got.Error(), c.says)) {
				t.Errorf("%v, want %q", got, c.says)
			}
		})
	}
}

func TestAskShowsThePlan(t *testing.T) {
	in := ingredients(t)
	in.Request.Args = []string{"/bin/true", "a b", "", "\x1b[2J\u202ecod.exe", "p\u0430y"}
	plan := makePlan(t, in)
	p := newPerson(t)
	answer := make(chan error, 1)
	go func() { answer <- askOn(context.Background(), plan, p.tty) }()
	p.reads(prompt)
	for _, want := range []string{`"/bin/true" "a b" "" "\x1b[2J\u202ecod.exe" "p\u0430y"`, plan.Digest, plan.Profile.Digest, "memory 256M"} {
		if !strings.Contains(p.seen.String(), want) {
			t.Errorf("%q is not shown in\n%s", want, p.seen.String())
		}
	}
	_ = p.ptmx.Close() // hung up
	if err := <-answer; err == nil {
		t.Error("a terminal that hung up said yes")
	}
}

func TestAskInterrupted(t *testing.T) {
	p := newPerson(t)
	ctx, cancel := context.WithCancel(context.Background())
	answer := make(chan error, 1)
	go func() { answer <- askOn(ctx, makePlan(t, ingredients(t)), p.tty) }()
	p.reads(prompt)
	cancel()
	if err := <-answer; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Error(err)
	}
}

// TestAskTooMuch: what can't be read whole can't be agreed to.
func TestAskTooMuch(t *testing.T) {
	in := ingredients(t)
	in.Request.Args = []string{"/bin/true", strings.Repeat("a", maxQuestion)}
	p := newPerson(t)
	if err := askOn(context.Background(), makePlan(t, in), p.tty); err == nil || !strings.Contains(err.Error(), "bytes long") {
		t.Error(err)
	}
}

func TestDecide(t *testing.T) {
	yes := func(context.Context, *Plan) error { return nil }
	no := func(context.Context, *Plan) error { return errors.New("no") }
	for _, c := range []struct {
		exec string
		ask  func(context.Context, *Plan) error
		says string
	}{
		{"allow", no, ""},
		{"ask", yes, ""},
		{"ask", no, `no; profile p has effects.exec = "ask"`},
		{"deny", yes, `effects.exec = "deny"`},
	} {
		in := ingredients(t)
		in.Profile = profileOf(t, "[effects]\nexec = \""+c.exec+"\"")
		err := makePlan(t, in).Decide(context.Background(), c.ask)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.exec, err, c.says)
		}
	}
	in := ingredients(t)
	p := makePlan(t, in)
	p.Profile.Profile.Effects.Exec = "whatever"
	if p.Decide(context.Background(), yes) == nil {
		t.Error("an unknown decision is no yes")
	}
}
