// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime/seccomp/load"
	"golang.org/x/sys/unix"
)

// A filter can't be taken off again, so everything under one happens in a
// child: this test binary, told by its environment what to be.
const (
	childEnv  = "CLAWSUP_SECCOMP_CHILD"
	groupsEnv = "CLAWSUP_SECCOMP_GROUPS" // separated by commas; "-" means no filter
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "exec":
		confine()
		os.Unsetenv(childEnv)
		path, err := exec.LookPath(os.Args[1])
		if err == nil {
			err = unix.Exec(path, os.Args[1:], os.Environ())
		}
		fmt.Fprintf(os.Stderr, "execute %s: %v\n", os.Args[1], err)
		os.Exit(120)
	case "attempt":
		attempt(os.Args[1])
	case "kill":
		confine()
		kills[os.Args[1]]()
		fmt.Println("survived")
	}
}

// confine puts the calling thread under the filter the parent asked for.
func confine() {
	runtime.LockOSThread()
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		fatal(err)
	}
	groups := os.Getenv(groupsEnv)
	if groups == "-" {
		return
	}
	f, err := Compile(strings.FieldsFunc(groups, func(r rune) bool { return r == ',' }))
	if err != nil {
		fatal(err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fatal(err)
	}
	if err := load.Load(f.Bytes()); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(121)
}

// child prepares this test binary to be what says, under the filter of groups.
func child(t testing.TB, what, groups string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	// The race detector waits a second at the end of each child otherwise.
	cmd.Env = append(os.Environ(), childEnv+"="+what, groupsEnv+"="+groups, "GORACE=atexit_sleep_ms=0")
	cmd.Dir = t.TempDir()
	cmd.WaitDelay = 10 * time.Second // for descendants that hold its output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// outcome is what an attempt reports to the parent.
type outcome struct {
	Errno  unix.Errno
	Canary string // what was touched; empty if nothing
}

func attempt(name string) {
	for _, a := range attempts() {
		if a.name == name {
			if a.before != nil {
				a.before()
			}
			confine()
			errno := a.do()
			var o outcome
			o.Errno = errno
			if a.canary != nil {
				o.Canary = a.canary()
			}
			if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
				fatal(err)
			}
			return
		}
	}
	fatal(fmt.Errorf("no attempt %q", name))
}

func runAttempt(t *testing.T, name, groups string) outcome {
	t.Helper()
	cmd := child(t, "attempt", groups, name)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.Bytes())
	}
	var o outcome
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	return o
}
