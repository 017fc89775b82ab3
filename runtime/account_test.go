// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/seccomp"
)

// TestUnwaitedChildrenCount: what a child used is in the account also when
// its parent never waits for it.
func TestUnwaitedChildrenCount(t *testing.T) {
	h := testHost(t)
	burn := `import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if os.fork() == 0:
    while time.process_time() < 0.5: pass
    os._exit(0)
try: os.wait()
except ChildProcessError: pass`
	o := runCall(t, h, testSpec(t, h), testCall("python3", "-c", burn), "")
	if o.Status != Exited || o.ExitCode != 0 {
		t.Fatalf("%+v %s", o.Result, o.err)
	}
	if used := o.Usage.User + o.Usage.System; used < 450*time.Millisecond {
		t.Errorf("the account says %v", used)
	}
}

// TestLostOutputIsSaid: output that the caller's descriptor refuses is no success.
func TestLostOutputIsSaid(t *testing.T) {
	h := testHost(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer w.Close()
	box, err := h.Prepare(context.Background(), testSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	r := box.Run(context.Background(), testCall("head", "-c", "100000", "/dev/zero"), Stdio{In: in, Out: out, Err: w}, nil)
	if r.Status != SandboxError || r.Step != StepOutput || !strings.Contains(r.Message, "no space left") {
		t.Errorf("%+v", r)
	}
}

// TestReaderThatLeavesIsNoError: as with head(1), the tool meets SIGPIPE.
func TestReaderThatLeavesIsNoError(t *testing.T) {
	h := testHost(t)
	box, err := h.Prepare(context.Background(), testSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	in, e, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	_ = r.Close()
	result := box.Run(context.Background(), testCall("yes"), Stdio{In: in, Out: w, Err: e}, nil)
	_, _ = w.Close(), e.Close()
	if result.Status != Signalled || result.Signal != "SIGPIPE" {
		t.Errorf("%+v", result)
	}
}

// TestStandardStreamsCanBeNamed: scripts write to /dev/stderr.
func TestStandardStreamsCanBeNamed(t *testing.T) {
	h := testHost(t)
	o := runCall(t, h, testSpec(t, h), testCall("sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr; cat /dev/stdin; echo c | tee /dev/stderr"), "in\n")
	if o.out != "a\nin\nc\n" || o.err != "b\nc\n" {
		t.Errorf("%q %q %+v", o.out, o.err, o.Result)
	}
}

// TestBytesArriveAsTheyAre: arguments and variables that are no Unicode.
func TestBytesArriveAsTheyAre(t *testing.T) {
	h := testHost(t)
	call := testCall("sh", "-c", `printf '%s,%s,%s' "$1" "$2" "$V"`, "x", "a\xffb", "", "")
	call.Env = append(call.Env, "V=\xc3\x28\n")
	if o := runCall(t, h, testSpec(t, h), call, ""); o.out != "a\xffb,,\xc3\x28\n" {
		t.Errorf("%q %+v", o.out, o.Result)
	}
}

// starterEnv makes this program run one box and print what the tool sees of
// what it has from whoever started it.
const starterEnv = "CLAWSUP_TEST_STARTER"

func runStarter(dir string) int {
	t := &testing.T{}
	h, err := Open(context.Background(), victimConfig(dir))
	if err != nil {
		println(err.Error())
		return 1
	}
	o := runCall(t, h, testSpec(t, h), testCall("sh", "-c",
		"nice; cat /proc/self/personality 2>/dev/null; grep -E 'SigBlk|SigIgn' /proc/self/status; chrt -p $$ 2>/dev/null | head -1; ionice"), "")
	print(o.out)
	if err := h.Close(); err != nil {
		println(err.Error())
		return 1
	}
	return 0
}

// TestNothingComesFromTheStarter: priority, class, personality and signals
// of whoever starts a box are not the tool's.
func TestNothingComesFromTheStarter(t *testing.T) {
	dir := openDir(t)
	defer removeGroups(t, victimConfig(dir).Group)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// nohup's ignored SIGHUP, a raised priority, no address randomisation.
	cmd := exec.Command("sh", "-c", "trap '' HUP INT USR1; exec nice -n -5 ionice -c1 -n0 setarch -R "+self)
	cmd.Env = append(os.Environ(), starterEnv+"="+dir, "CLAWSUP_INIT="+initProgram)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := []string{"0", "00000000", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i, w := range want {
		if i >= len(got) || got[i] != w {
			t.Errorf("line %d is not %q in %q", i, w, got)
		}
	}
	if strings.Contains(string(out), "realtime") {
		t.Errorf("%s", out)
	}
}

// TestTracedChildIsNoEnd: PID 1 inherits who had itself traced. That the
// process stops for its tracer is not that it ended.
func TestTracedChildIsNoEnd(t *testing.T) {
	h := testHost(t)
	spec := testSpec(t, h)
	traced := `import ctypes, os, signal
ctypes.CDLL(None).ptrace(0, 0, 0, 0)
os.kill(os.getpid(), signal.SIGUSR1)`
	call := testCall("python3", "-c", traced)
	filter, err := seccomp.Compile([]string{"ptrace"})
	if err != nil {
		t.Fatal(err)
	}
	spec.Filter = filter.Bytes()
	o := runCall(t, h, spec, call, "")
	if o.Status != Signalled || o.Signal != "SIGKILL" {
		t.Errorf("%+v", o.Result)
	}
}

// TestStoppedToolCostsNothing: while the tool has stopped itself, PID 1 has
// nothing to do and does nothing.
func TestStoppedToolCostsNothing(t *testing.T) {
	h := testHost(t)
	call := testCall("sh", "-c", "kill -STOP $$")
	call.WallTime = 2 * time.Second
	o := runCall(t, h, testSpec(t, h), call, "")
	if o.Status != TimedOut {
		t.Errorf("%+v", o.Result)
	}
	if used := o.Usage.User + o.Usage.System; used > 300*time.Millisecond {
		t.Errorf("%v of CPU time in %v", used, o.Usage.Wall)
	}
}
