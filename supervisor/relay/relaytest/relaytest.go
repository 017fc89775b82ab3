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
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
)

// programs are those that run in boxes, with the variables that name a built one.
var programs = []struct{ name, variable string }{
	{"clawsup-init", "CLAWSUP_INIT"}, {"clawsup-egress", "CLAWSUP_EGRESS"},
}

// Programs builds the programs into dir, unless the environment names them or,
// in a guest without a toolchain, they are installed. It gives their paths.
func Programs(dir string) (map[string]string, error) {
	paths := map[string]string{}
	for _, p := range programs {
		file := os.Getenv(p.variable)
		if file == "" && os.Getenv("CLAWSUP_VM") != "" {
			var err error
			if file, err = exec.LookPath(p.name); err != nil {
				return nil, err
			}
		}
		if file == "" {
			file = filepath.Join(dir, p.name)
			build := exec.Command("go", "build", "-o", file, "github.com/clawsup/clawsup/cmd/"+p.name)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("build %s: %v\n%s", p.name, err, out)
			}
		}
		paths[p.name] = file
	}
	return paths, nil
}

// Supervisor opens one with directories below dir and a group of its own.
func Supervisor(t testing.TB, dir string, paths map[string]string) *supervisor.Supervisor {
	t.Helper()
	config := supervisor.DefaultsFor("")
	config.StateDir, config.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	config.CgroupParent = fmt.Sprintf("/clawsup-test-%d.slice", os.Getpid())
	config.Slots = 64
	config.Init, config.Egress = paths["clawsup-init"], paths["clawsup-egress"]
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

// Main runs the tests of a package with the programs that it builds.
func Main(m *testing.M, paths *map[string]string) int {
	runtime.Reexec()
	dir, err := os.MkdirTemp("", "clawsup-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	_ = os.Chmod(dir, 0o755)
	if *paths, err = Programs(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
