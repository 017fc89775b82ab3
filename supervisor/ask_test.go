// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/supervisor/visible"
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

// TestForgedFacts: what an argument says never stands where clawsup's own
// words do.
func TestForgedFacts(t *testing.T) {
	names := []string{"command", "argument", "profile", "workspace", "/proc", "network", "system calls",
		"stdin", "limits", "files", "space", "environment", "asked by", "layers", "plan"}
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", valueWidth-1)
	for _, forged := range []string{
		long + " program      /usr/bin/true",
		long + "  program      /usr/bin/true",
		strings.Repeat("x", 2*valueWidth) + "program /usr/bin/true",
		long + " | program /usr/bin/true",
		strings.Repeat("\uac00", valueWidth) + " program /usr/bin/true",
		long + "\n  program      /usr/bin/true",
		long + "\u3000\u00a0\u2003program /usr/bin/true",
		long + " sha256:" + strings.Repeat("0", 64),
	} {
		in := ingredients(t)
		in.Request.Args = []string{"/bin/sh", "-c", forged, "last"}
		for line := range strings.SplitSeq(strings.TrimSpace(string(makePlan(t, in).question())), "\n") {
			if visible.Columns(line) > 79 {
				t.Errorf("%d columns: %q", visible.Columns(line), line)
			}
			switch {
			case strings.HasPrefix(line, "    sha256:") && len(line) == 4+71 && !strings.HasSuffix(line, strings.Repeat("0", 64)):
			case strings.HasPrefix(line, strings.Repeat(" ", 15)+"| "), strings.HasPrefix(line, strings.Repeat(" ", 15)+"+ "):
			case strings.HasPrefix(line, "  ") && slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(line[2:], n) }):
			case line == "", line == "  program      "+sh, line == "clawsup: may this run?":
			default:
				t.Errorf("%q passes for a fact in %q", line, forged)
			}
		}
	}
}

// FuzzWrapped: the lines give back the text, and none is too wide.
func FuzzWrapped(f *testing.F) {
	f.Add("a b  c", uint8(10))
	f.Add(strings.Repeat("x ", 50)+"| + ", uint8(7))
	f.Fuzz(func(t *testing.T, text string, width uint8) {
		most := 4 + int(width)
		lines := visible.Wrap(text, most)
		back := lines[0]
		for i, l := range lines {
			if visible.Columns(l) > most {
				t.Errorf("%d columns, not %d: %q", visible.Columns(l), most, l)
			}
			if i == 0 {
				continue
			}
			switch mark, rest := l[:2], l[2:]; mark {
			case "| ":
				back += " " + rest
			case "+ ":
				back += rest
			default:
				t.Errorf("no mark: %q", l)
			}
		}
		if back != text {
			t.Errorf("%q gives %q back", text, back)
		}
	})
}

// TestFactsAreWhole: what decides what the box may do is in the question.
func TestFactsAreWhole(t *testing.T) {
	in := ingredients(t)
	in.Profile = profileOf(t, `
[files]
rootfs = "/srv/root"
read = ["/srv/data"]
proc = "pids"
[workspace]
mode = "scratch"
[seccomp]
groups = ["ptrace"]
`)
	in.Skill = &skills.Skill{Name: "s", Digest: "sha256:1", Dir: "/nonexistent/s", Source: "/src/s"}
	in.Manifest.OpenClaw.Requires.Bins = []string{"git", "a\u202eb"}
	in.Manifest.OpenClaw.Requires.AnyBins = []string{"curl", "wget"}
	in.Request.Skill = "s"
	question := string(makePlan(t, in).question())
	for _, want := range []string{"/srv/root, in place of", "/srv/data\n", "/proc        own processes\n", "base, ptrace", "loopback",
		"git, \"a\\u202eb\"\n", "curl, wget\n", "s, from /src/s\n", "workspace 128M, 16384", "256 open", "stack 8M", "disk 64M/s in,", "16M/s out", "4096 files"} {
		if !strings.Contains(question, want) {
			t.Errorf("%q is not in\n%s", want, question)
		}
	}
	for _, f := range makePlan(t, in).Facts() {
		if f.Name == "" || f.Value == "" {
			t.Errorf("a fact without name or value: %+v", f)
		}
	}
}
