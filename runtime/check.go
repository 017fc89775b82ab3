// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/clawsup/clawsup/runtime/wire"
)

// check refuses a call that contradicts itself or that execve(2) would.
func (c *Call) check() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return errors.New("there is no command to run")
	}
	total := 0
	for what, list := range map[string][]string{"argument": c.Argv, "variable": c.Env} {
		for i, s := range list {
			if strings.ContainsRune(s, 0) {
				return fmt.Errorf("%s %d holds a NUL byte", what, i)
			}
			if len(s) >= wire.MaxString {
				return fmt.Errorf("%s %d is %d bytes; the limit is %d", what, i, len(s), wire.MaxString-1)
			}
			total += len(s) + 1
		}
	}
	if total > wire.MaxStrings {
		return fmt.Errorf("argv and environment are %d bytes; the limit is %d: pass large input through stdin or a file", total, wire.MaxStrings)
	}
	if !path.IsAbs(c.Dir) {
		return fmt.Errorf("working directory %q is not absolute", c.Dir)
	}
	for _, l := range []struct {
		name  string
		value int64
	}{
		{"wall_time", int64(c.WallTime)}, {"cpu_time", int64(c.CPUTime)},
		{"file_size", c.FileSize}, {"open_files", c.OpenFiles}, {"stack", c.Stack},
	} {
		if l.value <= 0 {
			return fmt.Errorf("%s is not set", l.name)
		}
	}
	if c.StdoutMax < 0 || c.StderrMax < 0 {
		return errors.New("an output cap is negative")
	}
	return nil
}
