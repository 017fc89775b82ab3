// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
)

const (
	isolatedEnv = "CLAWSUP_TEST_ISOLATED" // set where nothing that a test mounts shows on the host
	victimEnv   = "CLAWSUP_TEST_VICTIM"   // set in a process that opens a layer and is killed
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		os.Exit(victim(dir))
	}
	if os.Getenv(isolatedEnv) != "" {
		os.Exit(m.Run())
	}
	if os.Geteuid() != 0 {
		fmt.Println("layers are made by root: run these tests as root")
		os.Exit(1)
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Env = append(os.Environ(), isolatedEnv+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	signal.Ignore(os.Interrupt) // the child gets it too, and ends first
	if err := c.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	// What go test sends when the time is up, for the goroutines to be seen.
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, syscall.SIGQUIT, syscall.SIGTERM)
	go func() {
		for s := range quit {
			_ = c.Process.Signal(s)
		}
	}()
	_ = c.Wait()
	os.Exit(c.ProcessState.ExitCode())
}
