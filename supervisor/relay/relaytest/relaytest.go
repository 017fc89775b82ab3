// SPDX-License-Identifier: Apache-2.0

// Package relaytest makes what tests with real boxes need: the programs that
// run in them, built from this tree, and a supervisor of the test's own.
//
// Main is what the TestMain of a test binary that uses it calls, and exits with.
package relaytest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/clawsup/clawsup/runtime"
	built "github.com/clawsup/clawsup/runtime/programs"
	"github.com/clawsup/clawsup/supervisor"
)

// Supervisor opens one with directories below dir and a group of its own.
func Supervisor(t testing.TB, dir, programs string) *supervisor.Supervisor {
	t.Helper()
	config := supervisor.DefaultsFor("")
	config.StateDir, config.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	config.CgroupParent = fmt.Sprintf("/clawsup-test-%d.slice", os.Getpid())
	config.Slots = 64
	config.Init, config.Egress = filepath.Join(programs, "clawsup-init"), filepath.Join(programs, "clawsup-egress")
	s, err := supervisor.Open(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Main runs the tests of a package with the programs that it builds, and says
// in which directory they are.
func Main(m *testing.M, programs *string) int {
	runtime.Reexec()
	dir, err := built.Directory("clawsup-init", "clawsup-template", "clawsup-egress")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	*programs = dir
	return m.Run()
}
