// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/wire"
)

// nobody runs clawsup without root.
func (b *bench) nobody(args ...string) said {
	c := b.command(args...)
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	return b.finish(c)
}

// profile writes one and gives its name.
func (b *bench) profile(name, text string) string {
	b.write("profiles/"+name+".toml", text)
	return name
}

func TestExitStatus(t *testing.T) {
	b := newBench(t, "")
	b.profile("small", "[limits]\nmemory = \"32M\"\ntmp = \"16M\"\npids = 24\nstdout = \"1K\"\nstderr = \"1K\"\ncpu = 1.0\ncpu_time = \"1s\"\nshm = \"1M\"\nstack = \"8M\"\n")
	b.profile("tight", "[limits]\nmemory = \"32M\"\ntmp = \"16M\"\n")
	b.profile("never", "[effects]\nexec = \"deny\"\n")
	b.profile("asking", "[effects]\nexec = \"ask\"\n")
	examples, err := filepath.Abs("../../testdata/skills")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		args   []string
		status int
		says   string // on standard error; empty: nothing at all
	}{
		{"plain", []string{"run", "--", "true"}, 0, ""},
		{"own status", []string{"run", "--", "sh", "-c", "exit 7"}, 7, ""},
		{"own 125", []string{"run", "--", "sh", "-c", "exit 125"}, 125, ""},
		{"SIGSEGV", []string{"run", "--", "sh", "-c", "kill -SEGV $$"}, 139, "clawsup: signalled: the tool was ended by SIGSEGV\n"},
		{"SIGKILL", []string{"run", "--", "sh", "-c", "kill -KILL $$"}, 137, "clawsup: signalled: the tool was ended by SIGKILL\n"},
		{"wall time", []string{"run", "--timeout", "300ms", "--", "sleep", "60"}, 124, "clawsup: timed-out: wall_time of 300ms is over (set by --timeout)\n"},
		{"cpu time", []string{"run", "--profile", "small", "--", "sh", "-c", "while :; do :; done"}, 124, `(limits.cpu_time = 1s, set in ` + b.dir + "/profiles/small.toml)\n"},
		{"memory", []string{"run", "--profile", "tight", "--", "python3", "-c", "x = bytearray(200 << 20)"}, 137, "clawsup: out-of-memory: the box reached its memory limit (limits.memory = 32M, "},
		{"stdout", []string{"run", "--profile", "small", "--", "sh", "-c", "yes"}, 122, "(limits.stdout = 1K, "},
		{"stderr", []string{"run", "--profile", "small", "--", "sh", "-c", "yes >&2"}, 122, "(limits.stderr = 1K, "},
		{"processes", []string{"run", "--profile", "small", "--", "sh", "-c", "for i in $(seq 100); do sleep 60 & done; wait"}, 123, "clawsup: pids-limit: "},
		{"denied", []string{"run", "--profile", "never", "--", "true"}, 126, `effects.exec = "deny"`},
		{"nobody to ask", []string{"run", "--profile", "asking", "--", "true"}, 126, "there is no terminal to ask on"},
		{"no such command", []string{"run", "--", "no-such-command"}, 127, `clawsup: sandbox-error: lookup: "no-such-command": file does not exist in PATH of the box`},
		{"no such file", []string{"run", "--", "/no/such/command"}, 127, "hint: "},
		{"no such profile", []string{"run", "--profile", "nope", "--", "true"}, 125, "clawsup: sandbox-error: there is no profile"},
		{"no such skill", []string{"run-skill", "nope"}, 125, "no skill"},
		{"closed workspace", []string{"run", "--workspace", "/etc", "--", "true"}, 125, "belongs to the system"},
		{"own state", []string{"run", "--workspace", b.dir, "--", "true"}, 125, "belongs to clawsup itself"},
		{"no stdin", []string{"run", "--stdin", "/no/such/file", "--", "true"}, 125, "no such file"},
		{"stdin a directory", []string{"run", "--stdin", "/", "--", "true"}, 125, "is a directory"},
		{"stdin a device", []string{"run", "--stdin", "/dev/zero", "--", "true"}, 125, "neither a regular file nor a FIFO"},
		{"skill needs a program", []string{"run-skill", examples + "/missing-bin"}, 127, "hint: install it"},
		{"skill without SKILL.md", []string{"run-skill", examples + "/no-skill-md"}, 125, "it has no SKILL.md"},
		{"skill with a bomb", []string{"run-skill", examples + "/yaml-bomb"}, 125, "SKILL.md line "},
		{"skill of another name", []string{"run-skill", examples + "/other-name"}, 125, "must be the same"},
		{"skill with escapes", []string{"run-skill", examples + "/escape-name"}, 125, `\x1b`},
		{"skill with a link out", []string{"run-skill", examples + "/link-out"}, 125, "symbolic link"},
		{"script without interpreter", []string{"run-skill", examples + "/missing-interpreter"}, 125, "interpreter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := b.command(c.args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal, whoever runs the test
			got := b.finish(cmd)
			if got.status != c.status || !strings.Contains(got.err, c.says) || c.says == "" && got.err != "" {
				t.Errorf("status %d, %q; want %d, %q", got.status, got.err, c.status, c.says)
			}
			if strings.ContainsRune(got.err, '\x1b') {
				t.Errorf("an escape got to the terminal: %q", got.err)
			}
		})
	}
}

func TestNotRoot(t *testing.T) {
	b := newBench(t, "")
	for _, args := range [][]string{{"run", "--", "true"}, {"run-skill", "x"}} {
		if got := b.nobody(args...); got.status != exitUsage || !strings.Contains(got.err, "sudo clawsup "+args[0]) || strings.Count(got.err, "\n") != 1 {
			t.Errorf("%v: %+v", args, got)
		}
	}
	for _, args := range [][]string{{"profile", "list"}, {"profile", "show", "strict"}, {"profile", "show", "default", "--seccomp"}, {"profile", "schema"}} {
		if got := b.nobody(args...); got.status != 0 || got.out == "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if got := b.nobody("doctor"); got.status != 1 || !strings.Contains(got.out, "needs root") {
		t.Errorf("doctor: %+v", got)
	}
}

// TestJSON: one object, strictly of the shape that is promised, on standard
// output, and nothing of the tool's.
func TestJSON(t *testing.T) {
	b := newBench(t, "")
	b.profile("never", "[effects]\nexec = \"deny\"\n")
	type layer struct{ Layer, State, Detail string }
	type named struct{ Name, Digest, Source string }
	type shape struct {
		Status   string           `json:"status"`
		ExitCode int              `json:"exit_code"`
		Signal   string           `json:"signal"`
		Step     string           `json:"step"`
		Message  string           `json:"message"`
		Usage    map[string]int64 `json:"usage"`
		Layers   []layer          `json:"layers"`
		Profile  *named           `json:"profile"`
		Skill    *named           `json:"skill"`
		Plan     string           `json:"plan"`
	}
	read := func(got said) shape {
		t.Helper()
		d := json.NewDecoder(strings.NewReader(got.out))
		d.DisallowUnknownFields()
		var s shape
		if err := d.Decode(&s); err != nil {
			t.Fatalf("%v in %q", err, got.out)
		}
		if _, err := d.Token(); err != io.EOF {
			t.Errorf("more than one object: %q", got.out)
		}
		return s
	}
	got := b.run("", "run", "--json", "--", "sh", "-c", `echo '{"status":"forged"}'; echo err >&2; exit 3`)
	s := read(got)
	if s.Status != "exited" || s.ExitCode != 3 || got.status != 3 || s.Message != "" || s.Profile.Name != "default" || s.Skill != nil {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(got.err, "{\"status\":\"forged\"}\n") || !strings.Contains(got.err, "err\n") {
		t.Errorf("standard error: %q", got.err)
	}
	if s.Usage["stdout_bytes"] != 20 || s.Usage["stderr_bytes"] != 4 || s.Usage["wall_ns"] <= 0 || s.Usage["memory_peak_bytes"] <= 0 {
		t.Errorf("usage: %v", s.Usage)
	}
	if len(s.Layers) < 20 || len(s.Plan) != 71 || len(s.Profile.Digest) != 71 {
		t.Errorf("%+v", s)
	}
	again := read(b.run("", "run", "--json", "--", "sh", "-c", `echo '{"status":"forged"}'; echo err >&2; exit 3`))
	if again.Plan != s.Plan {
		t.Errorf("one plan, two digests: %s, %s", s.Plan, again.Plan)
	}

	if s := read(b.run("", "run", "--json", "--", "sh", "-c", "kill $$")); s.Status != "signalled" || s.Signal != "SIGTERM" || s.ExitCode != -1 {
		t.Errorf("%+v", s)
	}
	if s := read(b.run("", "run", "--json", "--profile", "never", "--", "true")); s.Status != "denied" || s.Profile.Name != "never" || s.Plan == "" || s.Message == "" {
		t.Errorf("%+v", s)
	}
	if s := read(b.run("", "run", "--json", "--profile", "nope", "--", "true")); s.Status != "sandbox-error" || s.Step != "spec" || s.Profile != nil || s.Layers == nil {
		t.Errorf("%+v", s)
	}
	if s := read(b.run("", "run", "--json", "--", "nope")); s.Status != "sandbox-error" || s.Step != "lookup" {
		t.Errorf("%+v", s)
	}
}

// example copies an example skill to where skills are found by name.
func (b *bench) example(name string) {
	b.t.Helper()
	if out, err := exec.Command("cp", "-R", "../../skills/examples/"+name, b.dir+"/skills/").CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
}

func TestRunSkill(t *testing.T) {
	b := newBench(t, "")
	b.example("csv-summary")
	table := "name,price\na,1\nb,2.5\n"
	for _, args := range [][]string{
		{"run-skill", "csv-summary", "--", "summary", "-"},
		{"run-skill", b.dir + "/skills/csv-summary", "--", "scripts/summary.py", "-"},
		{"run-skill", "csv-summary", "--", "python3", "{baseDir}/scripts/summary.py", "-"},
		{"--log-level", "error", "run-skill", "--stdin", b.write("work/t.csv", table), "csv-summary", "--", "summary", "-"},
	} {
		if got := b.run(table, args...); got.status != 0 || !strings.Contains(got.out, "price") || got.err != "" {
			t.Errorf("%q: %+v", args, got)
		}
	}
	got := b.run("", "run-skill", "csv-summary", "--", "sh", "-c", `echo "$CLAWSUP_SKILL $CLAWSUP_SKILL_DIR {baseDir}"; touch /skill/x`)
	if got.out != "csv-summary /skill /skill\n" || !strings.Contains(got.err, "Read-only file system") {
		t.Errorf("%+v", got)
	}
}

func TestWorkspace(t *testing.T) {
	b := newBench(t, "")
	b.profile("writing", "[workspace]\nmode = \"rw\"\n")
	b.profile("scratch", "[workspace]\nmode = \"scratch\"\n")
	work := filepath.Join(b.dir, "work")
	if err := os.Chown(work, 4321, 4322); err != nil {
		t.Fatal(err)
	}
	if got := b.run("", "run", "--profile", "writing", "--workspace", work, "--", "sh", "-c", "pwd; id -u; stat -c %u .; echo new > file"); got.status != 0 || got.out != "/workspace\n1000\n1000\n" {
		t.Errorf("%+v", got)
	}
	var st unix.Stat_t
	if err := unix.Stat(work+"/file", &st); err != nil || st.Uid != 4321 || st.Gid != 4322 {
		t.Errorf("the new file belongs to %d:%d, %v; want the owner's 4321:4322", st.Uid, st.Gid, err)
	}
	if got := b.run("", "run", "--profile", "readonly", "--workspace", "work", "--", "sh", "-c", "cat file; echo x > file"); got.out != "new\n" || !strings.Contains(got.err, "Read-only file system") {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "run", "--profile", "scratch", "--", "sh", "-c", "pwd; ls; touch a; ls"); got.out != "/workspace\na\n" {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "run", "--", "pwd"); got.out != "/tmp\n" {
		t.Errorf("without a workspace: %+v", got)
	}
	if got := b.run("", "run", "--profile", "scratch", "--workspace", work, "--", "true"); got.status != 125 || !strings.Contains(got.err, `workspace.mode = "scratch"`) {
		t.Errorf("%+v", got)
	}
}

// TestLargeInput: what does not fit is refused whole, with what to do.
func TestLargeInput(t *testing.T) {
	b := newBench(t, "")
	args := []string{"run", "--", "echo"}
	for range 15 {
		args = append(args, strings.Repeat("x", 100<<10))
	}
	if got := b.run("", args...); got.status != 125 || !strings.Contains(got.err, "argv and environment are") {
		t.Errorf("status %d, %.300q", got.status, got.err)
	}
	for len(args) < 25 {
		args = append(args, strings.Repeat("x", 50<<10))
	}
	c := b.command(args...)
	if err := c.Start(); err == nil {
		_ = c.Wait()
	} else if !strings.Contains(err.Error(), "too long") { // two million bytes are more than execve(2) takes
		t.Error(err)
	}
	c = b.command("run", "--", "env")
	c.Env = append(os.Environ(), "SECRET=canary")
	for i := range 10_000 {
		c.Env = append(c.Env, "VAR_"+string(rune('A'+i%26))+strings.Repeat("Y", i/26%40)+"=canary")
	}
	if got := b.finish(c); got.status != 0 || strings.Contains(got.out, "canary") || strings.Count(got.out, "\n") > 20 {
		t.Errorf("%+v", got)
	}
}

func TestStreams(t *testing.T) {
	b := newBench(t, "")
	shell := func(script string) said {
		c := exec.Command("sh", "-c", script)
		c.Env = append(os.Environ(), "RUN="+programs+"/clawsup --config "+b.config+" run --")
		return b.finish(c)
	}
	lost := "clawsup: sandbox-error: output: standard output can't be written: no space left on device\n" +
		"hint: " + hints[wire.StepOutput] + "\n"
	for _, c := range []struct {
		script string
		want   said
	}{
		{`$RUN cat <&-; echo $?`, said{out: "0\n"}},
		{`$RUN cat </dev/null; echo $?`, said{out: "0\n"}},
		{`$RUN echo lost >&-; echo $?`, said{out: "0\n"}},
		{`$RUN sh -c 'echo lost >&2' 2>&-; echo $?`, said{out: "0\n"}},
		{`$RUN sh -c 'cat; echo end >&2' <&- >&- 2>&-; echo $?`, said{out: "0\n"}},
		{`echo in | $RUN cat | cat`, said{out: "in\n"}},
		{`$RUN yes | head -n 2`, said{out: "y\ny\n", err: "clawsup: signalled: the tool was ended by SIGPIPE\n"}},
		{`$RUN yes >/dev/full; echo $?`, said{out: "125\n", err: lost}},
		{`$RUN echo short >/dev/full; echo $?`, said{out: "125\n", err: lost}},
		{`$RUN true >/dev/full; echo $?`, said{out: "0\n"}},
		{programs + `/clawsup version >/dev/full; echo $?`, said{out: "1\n", err: "clawsup: write /dev/stdout: no space left on device\n"}},
		{programs + `/clawsup help >/dev/full; echo $?`, said{out: "1\n", err: "clawsup: write /dev/stdout: no space left on device\n"}},
		{"${RUN% --} --json -- true >/dev/full; echo $?", said{out: "125\n", err: "clawsup: the report of a call that ended exited is lost: write /dev/stdout: no space left on device\n"}},
		{`cd ` + b.dir + `; echo a > f; $RUN echo b >> f; cat f`, said{out: "a\nb\n"}},
		{`cd ` + b.dir + `; $RUN sh -c 'echo o; echo e >&2' > g 2>&1; sort g`, said{out: "e\no\n"}},
		{`cd ` + b.dir + `; mkfifo p; echo fifo > p & ` + programs + `/clawsup --config ` + b.config + ` run --stdin p -- cat`, said{out: "fifo\n"}},
	} {
		if got := shell(c.script); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.script, got, c.want)
		}
	}
}

// TestStreamsAreLive: a line is there before the tool ends.
func TestStreamsAreLive(t *testing.T) {
	b := newBench(t, "")
	c := b.command("run", "--", "sh", "-c", "echo what; read answer; echo so: $answer")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, out, "what\n")
	if _, err := io.WriteString(in, "that\n"); err != nil {
		t.Fatal(err)
	}
	until(t, out, "so: that\n")
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}

// TestTerminal: what a tool sends to a person's terminal is text and colours.
func TestTerminal(t *testing.T) {
	b := newBench(t, "")
	script := `printf '\033[31mred\033[m \033]0;title\007 \033[2J\342\200\256 end\n'; test -t 1 || echo no terminal here`
	for _, c := range []struct {
		flag, want string
	}{
		{"--raw=false", "\x1b[31mred\x1b[m \\x1b]0;title\\a \\x1b[2J\\u202e end\r\nno terminal here\r\n"},
		{"--raw", "\x1b[31mred\x1b[m \x1b]0;title\a \x1b[2J\u202e end\r\nno terminal here\r\n"},
	} {
		screen, tty := terminal(t)
		cmd := b.on(tty, "run", c.flag, "--", "sh", "-c", script)
		if got := rest(screen); got != c.want {
			t.Errorf("%s: %q, want %q", c.flag, got, c.want)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestAsking(t *testing.T) {
	b := newBench(t, "")
	b.profile("asking", "[workspace]\nmode = \"rw\"\n[effects]\nexec = \"ask\"\n")
	for _, c := range []struct {
		answer string
		status int
		canary bool
	}{
		{"yes\n", 0, true},
		{"no\n", 126, false},
		{"\n", 126, false},
		{"\x04", 126, false},
		{"\x03", 126, false}, // Ctrl-C
	} {
		canary := filepath.Join(b.dir, "work", "canary")
		_ = os.Remove(canary)
		screen, tty := terminal(t)
		cmd := b.on(tty, "run", "--profile", "asking", "--workspace", "work", "--", "touch", "canary")
		until(t, screen, "Anything else is a no: ")
		if _, err := io.WriteString(screen, c.answer); err != nil {
			t.Fatal(err)
		}
		seen := rest(screen)
		_ = cmd.Wait()
		if got := status(cmd); got != c.status {
			t.Errorf("%q: status %d, want %d: %q", c.answer, got, c.status, seen)
		}
		if _, err := os.Stat(canary); (err == nil) != c.canary {
			t.Errorf("%q: the command ran: %v", c.answer, err == nil)
		}
	}
}

// TestChangedWhileAsked: another workspace is not what a person agreed to.
func TestChangedWhileAsked(t *testing.T) {
	b := newBench(t, "")
	b.profile("asking", "[effects]\nexec = \"ask\"\n")
	screen, tty := terminal(t)
	cmd := b.on(tty, "run", "--profile", "asking", "--workspace", "work", "--", "echo", "EVIL")
	until(t, screen, "Anything else is a no: ")
	if err := os.Rename(filepath.Join(b.dir, "work"), filepath.Join(b.dir, "old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.dir, "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(screen, "yes\n"); err != nil {
		t.Fatal(err)
	}
	seen := rest(screen)
	_ = cmd.Wait()
	if got := status(cmd); got == 0 || strings.Contains(seen, "EVIL") {
		t.Errorf("status %d, %q", got, seen)
	}
}

func TestSignals(t *testing.T) {
	b := newBench(t, "")
	for _, c := range []struct {
		name   string
		script string
		send   []syscall.Signal
		status int
	}{
		{"SIGINT to a tool that dies of it", "echo ready; exec sleep 60", []syscall.Signal{unix.SIGINT}, 130},
		{"SIGTERM", "echo ready; exec sleep 60", []syscall.Signal{unix.SIGTERM}, 143},
		{"SIGHUP", "echo ready; exec sleep 60", []syscall.Signal{unix.SIGHUP}, 129},
		{"SIGQUIT", "echo ready; exec sleep 60", []syscall.Signal{unix.SIGQUIT}, 131},
		{"a tool that takes it", "trap 'echo ready; exit 9' INT; echo ready; while :; do sleep 0.01; done", []syscall.Signal{unix.SIGINT}, 9},
		{"a tool that doesn't", "trap 'echo ready' INT; echo ready; while :; do sleep 0.01; done", []syscall.Signal{unix.SIGINT, unix.SIGINT}, 130},
		{"a tool that ignores all", "trap 'echo ready' HUP; trap '' TERM; echo ready; while :; do sleep 0.01; done", []syscall.Signal{unix.SIGHUP, unix.SIGTERM}, 143},
		{"resize", "echo ready; sleep 0.2; exit 4", []syscall.Signal{unix.SIGWINCH}, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := b.command("run", "--", "sh", "-c", c.script)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for _, s := range c.send {
				until(t, out, "ready\n")
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait()
			if got := status(cmd); got != c.status {
				t.Errorf("status %d, want %d", got, c.status)
			}
			b.clean()
		})
	}
}

// TestWaitingForWriter: a FIFO without a writer can be given up.
func TestWaitingForWriter(t *testing.T) {
	b := newBench(t, "")
	if err := unix.Mkfifo(filepath.Join(b.dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := b.command("run", "--stdin", "fifo", "--", "cat")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A signal that comes before clawsup looks at signals ends it just as well.
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := status(cmd); got != 130 {
		t.Errorf("status %d", got)
	}
	// One that comes while it waits: it has the FIFO's name open by then.
	cmd = b.command("run", "--stdin", "fifo", "--", "cat")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for waits := false; !waits; {
		open, _ := filepath.Glob("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/fd/*")
		for _, fd := range open {
			to, _ := os.Readlink(fd)
			waits = waits || to == filepath.Join(b.dir, "fifo")
		}
	}
	if err := cmd.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := status(cmd); got != 130 {
		t.Errorf("status %d", got)
	}
}

// TestEndedAtAnyMoment: interrupted or killed, nothing stays behind once the
// next run is over.
func TestEndedAtAnyMoment(t *testing.T) {
	b := newBench(t, "")
	b.example("csv-summary")
	step := 7 * time.Millisecond
	if testing.Short() {
		step = 50 * time.Millisecond
	}
	for _, s := range []syscall.Signal{unix.SIGINT, unix.SIGKILL} {
		for delay := time.Duration(0); delay < 150*time.Millisecond; delay += step {
			cmd := b.command("run-skill", "csv-summary", "--", "sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(delay, func() { _ = cmd.Process.Signal(s) })
			_ = cmd.Wait()
			timer.Stop()
			if got := status(cmd); got != 128+int(s) {
				t.Errorf("%v after %v: status %d", s, delay, got)
			}
			if s == unix.SIGINT {
				continue // it cleans up after itself, or had not begun
			}
			if got := b.run("", "run", "--", "true"); got.status != 0 {
				t.Fatalf("after %v at %v: %+v", s, delay, got)
			}
			b.clean()
		}
		if got := b.run("", "run-skill", "csv-summary", "--", "true"); got.status != 0 {
			t.Fatalf("after %v: %+v", s, got)
		}
		b.clean()
	}
}

// TestSideBySide: commands that begin and end at the same time don't disturb
// each other.
func TestSideBySide(t *testing.T) {
	b := newBench(t, "")
	b.example("csv-summary")
	var all sync.WaitGroup
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for range 4 {
		all.Go(func() {
			for range rounds {
				var out bytes.Buffer
				c := b.command("run-skill", "csv-summary", "--", "echo", "here")
				c.Stdout, c.Stderr = &out, &out
				if err := c.Run(); err != nil || out.String() != "here\n" {
					t.Errorf("%v: %s", err, out.String())
				}
			}
		})
	}
	all.Wait()
}

// TestAnotherEndsWhileAsked: the group above the boxes is there for as long as
// somebody may need it, whoever made it.
func TestAnotherEndsWhileAsked(t *testing.T) {
	b := newBench(t, "")
	b.profile("asking", "[effects]\nexec = \"ask\"\n")
	maker := b.command("run", "--", "sh", "-c", "echo ready; read line")
	in, err := maker.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, out, "ready\n")
	screen, tty := terminal(t)
	asked := b.on(tty, "run", "--profile", "asking", "--", "echo", "here")
	until(t, screen, "Anything else is a no: ")
	_ = in.Close()
	_ = maker.Wait()
	if _, err := io.WriteString(screen, "yes\n"); err != nil {
		t.Fatal(err)
	}
	seen := rest(screen)
	_ = asked.Wait()
	if got := status(asked); got != 0 || !strings.Contains(seen, "here") {
		t.Errorf("status %d: %q", got, seen)
	}
}
