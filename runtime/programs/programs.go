// SPDX-License-Identifier: Apache-2.0

// Package programs builds clawsup's programs from this tree, for tests that
// run them. In a guest without a toolchain (CLAWSUP_VM is set) those that lie
// in PATH are taken: they were built from the same tree.
package programs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Version is what built programs say they are.
const Version = "v0.0.0-test"

// cgo are the programs that need it.
var cgo = map[string]bool{"clawsup": true, "clawsupd": true}

// template is the one that is C.
const template = "clawsup-template"

// Box are the programs without which there is no box.
var Box = []string{"clawsup-init", template}

// Build puts programs into a directory.
func Build(dir string, names ...string) error {
	for _, name := range names {
		c, err := command(filepath.Join(dir, name), name)
		if err != nil {
			return err
		}
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return nil
}

func command(target, name string) (*exec.Cmd, error) {
	if os.Getenv("CLAWSUP_VM") != "" {
		file, err := exec.LookPath(name)
		return exec.Command("cp", file, target), err
	}
	_, here, _, _ := runtime.Caller(0)
	source := filepath.Join(filepath.Dir(here), "..", "..", "cmd", name)
	if name == template {
		return exec.Command(filepath.Join(source, "build"), target), nil
	}
	flag := "CGO_ENABLED=0"
	if cgo[name] {
		flag = "CGO_ENABLED=1"
	}
	c := exec.Command("go", "build", "-ldflags", "-X github.com/clawsup/clawsup/supervisor/version.stamp="+Version, "-o", target, "github.com/clawsup/clawsup/cmd/"+name)
	c.Env = append(os.Environ(), flag)
	return c, nil
}

// Directory makes one that everybody can look into and puts programs there. The
// caller removes it.
func Directory(names ...string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "clawsup-programs-"); err != nil {
		return "", err
	}
	if err = os.Chmod(dir, 0o755); err == nil {
		err = Build(dir, names...)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}
