// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// attackerEnv makes the test binary an attacker on the file it names.
const attackerEnv = "CLAWSUP_TEST_ATTACK"

// attack rewrites the file the moment somebody opens it (inotify(7)), once. It
// says when it watches and when it has written.
func attack(file string) {
	try := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	try(err)
	_, err = unix.InotifyAddWatch(fd, file, unix.IN_OPEN)
	try(err)
	fmt.Println("watching")
	_, err = unix.Read(fd, make([]byte, 4096))
	try(err)
	out, err := os.OpenFile(file, os.O_WRONLY, 0)
	for errors.Is(err, unix.ETXTBSY) { // as long as the kernel reads it, and not its interpreter
		out, err = os.OpenFile(file, os.O_WRONLY, 0)
	}
	try(err)
	_, err = out.WriteString("#!/bin/sh\necho EVIL\n") // as long as what was there
	try(err)
	try(out.Close())
	fmt.Println("written")
	os.Exit(0)
}

// TestApprovedIsWhatRuns: whoever rewrites the script the moment the kernel or
// its interpreter opens it, or already while the person reads, rewrites
// another file.
func TestApprovedIsWhatRuns(t *testing.T) {
	b := newBench(t, "")
	b.profile("asking", "[workspace]\nmode = \"rw\"\n[effects]\nexec = \"ask\"\n")
	script := filepath.Join(b.dir, "work", "w.sh")
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		_ = os.Remove(script)
		if err := os.WriteFile(script, []byte("#!/bin/sh\necho good\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		screen, tty := terminal(t)
		cmd := b.on(tty, "run", "--profile", "asking", "--workspace", "work", "--", "./w.sh")
		until(t, screen, "Anything else is a no: ")

		attacker := exec.Command(os.Args[0])
		attacker.Env = append(os.Environ(), attackerEnv+"="+script)
		said, err := attacker.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := attacker.Start(); err != nil {
			t.Fatal(err)
		}
		until(t, said, "watching\n")
		touch := func() { // the attack works: an open is all it needs
			f, err := os.Open(script)
			if err != nil {
				t.Fatal(err)
			}
			_ = f.Close()
			until(t, said, "written\n")
		}
		if round%2 == 1 {
			touch()
		}
		if _, err := io.WriteString(screen, "yes\n"); err != nil {
			t.Fatal(err)
		}
		seen := rest(screen)
		_ = cmd.Wait()
		if round%2 == 0 {
			touch()
		}
		_ = attacker.Process.Kill()
		_ = attacker.Wait()
		if got := status(cmd); got != 0 || !strings.HasSuffix(seen, "good\r\n") || strings.Contains(seen, "EVIL") {
			t.Fatalf("round %d: status %d, %q", round, got, seen)
		}
		if text, err := os.ReadFile(script); err != nil || !strings.Contains(string(text), "EVIL") {
			t.Fatalf("round %d: the attacker did nothing: %q, %v", round, text, err)
		}
	}
	b.clean()
}

// TestKilledWhileAsked: a copy whose process was killed is gone with the next
// start; one that another is still asked about stays.
func TestKilledWhileAsked(t *testing.T) {
	b := newBench(t, "")
	b.profile("asking", "[effects]\nexec = \"ask\"\n")
	ask := func(script string) (*os.File, *exec.Cmd) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(b.dir, "work", "w.sh"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
		screen, tty := terminal(t)
		cmd := b.on(tty, "run", "--profile", "asking", "--workspace", "work", "--", "/workspace/w.sh")
		until(t, screen, "Anything else is a no: ")
		return screen, cmd
	}
	copies := func() int {
		list, err := os.ReadDir(filepath.Join(b.dir, "state", "sealed"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	const script = "echo \"good, as $0\"\n"
	_, alone := ask("echo other")
	_, first := ask(script)
	screen, waiting := ask(script)
	if n := copies(); n != 2 {
		t.Errorf("%d copies, want 2: of each script one", n)
	}
	for _, killed := range []*exec.Cmd{alone, first} {
		if err := killed.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = killed.Wait()
	}
	if got := b.run("", "run", "--", "true"); got.status != 0 {
		t.Fatalf("%+v", got)
	}
	if n := copies(); n != 1 {
		t.Errorf("%d copies, want that of the one that waits", n)
	}
	if _, err := io.WriteString(screen, "yes\n"); err != nil {
		t.Fatal(err)
	}
	if seen := rest(screen); !strings.HasSuffix(seen, "good, as /exec/w.sh\r\n") {
		t.Errorf("%q", seen)
	}
	_ = waiting.Wait()
	b.clean()
}
