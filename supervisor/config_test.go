// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
)

// writeConfig puts text into a file that root alone can write.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clawsup.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConfig(t *testing.T) {
	file := writeConfig(t, `
state_dir = "/srv/state"
slots = 16
lower = ["landlock", "cgroup.io"]

skill_paths = []
`)
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultsFor(mustExecutable(t))
	if c.StateDir != "/srv/state" || c.Slots != 16 || len(c.SkillPaths) != 0 {
		t.Errorf("what the file sets: %+v", c)
	}
	if c.Lower != layer.Of(layer.Landlock, layer.CgroupIO) {
		t.Errorf("lower = %b", c.Lower)
	}
	if c.RunDir != want.RunDir || c.UIDBase != want.UIDBase || !slices.Equal(c.ProfilePaths, want.ProfilePaths) {
		t.Errorf("what the file leaves alone: %+v", c)
	}
	for key, line := range map[string]string{"state_dir": ":2", "slots": ":3", "lower": ":4", "skill_paths": ":6"} {
		if c.Origin[key] != file+line {
			t.Errorf("origin of %s is %q, want %s", key, c.Origin[key], file+line)
		}
	}
}

func mustExecutable(t *testing.T) string {
	t.Helper()
	e, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestConfigFaults(t *testing.T) {
	for _, c := range []struct{ text, line, says string }{
		{"state_dri = \"/x\"", ":1", "did you mean state_dir?"},
		{"\n\nfrobnicate = 1", ":3", "the keys are state_dir, "},
		{"[limits]\nmemory = 1", ":1", "unknown key limits"},
		{"slots.x = 1", "", "unknown key slots.x"},
		{"slots = 0", ":1", "not between 1 and 65536"},
		{"slots = 99999999999", ":1", "not between"},
		{"slots = \"many\"", ":1", "write a whole number"},
		{"slots = 1.5", ":1", "write a whole number"},
		{"uid_base = -1", ":1", "not between"},
		{"uid_base = 4294967200", "", "ends beyond the last uid"},
		{"# c\nrun_dir = \"relative\"", ":2", "not a path from the root"},
		{"run_dir = \"/run/../etc\"", ":1", "not a path from the root"},
		{"run_dir = 7", ":1", "write a string in quotes"},
		{"skill_paths = \"/x\"", ":1", "write a list of strings"},
		{"skill_paths = [\"/x\", \"y\"]", ":1", `"y" is not a path`},
		{"lower = [\"landlok\"]", ":1", "did you mean landlock?"},
		{"lower = [\"identity\"]", ":1", "no layer that can be lowered"},
		{"slots = 1\nslots = 2", ":2", "already"},
		{"slots = ", ":1", "not valid TOML"},
		{"\"sl\\u001bots\" = 1", ":1", `\u001b`},
	} {
		file := writeConfig(t, c.text)
		_, err := LoadConfig(file)
		if err == nil {
			t.Errorf("%q: no error", c.text)
			continue
		}
		if !strings.HasPrefix(err.Error(), file+c.line+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v; want %s and %q", c.text, err, c.line, c.says)
		}
	}
}

func TestConfigFile(t *testing.T) {
	chmod := func(mode os.FileMode) func(string) error {
		return func(file string) error { return os.Chmod(file, mode) }
	}
	for _, c := range []struct {
		name string
		do   func(file string) error
		says string
	}{
		{"written by the group", chmod(0o664), "must belong to root"},
		{"written by others", chmod(0o646), "must belong to root"},
		{"somebody's", func(f string) error { return os.Chown(f, 1000, 1000) }, "must belong to root"},
		{"in an open directory", func(f string) error { return os.Chmod(filepath.Dir(f), 0o777) }, "its directory must"},
		{"missing", os.Remove, "no such file"},
		{"a link", func(f string) error {
			if err := os.Rename(f, f+"2"); err != nil {
				return err
			}
			return os.Symlink(f+"2", f)
		}, "symbolic link"},
		{"a directory", func(f string) error {
			if err := os.Remove(f); err != nil {
				return err
			}
			return os.Mkdir(f, 0o755)
		}, "not a regular file"},
		{"huge", func(f string) error { return os.Truncate(f, maxConfig+1) }, "larger than"},
	} {
		file := writeConfig(t, "slots = 5\n")
		if err := c.do(file); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(file); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %q", c.name, err, c.says)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("slots = 1\nlower = [\"landlock\"]\n")
	f.Add("[a.b]\nc = {d = 1}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := DefaultsFor("")
		if err := c.parse("f", []byte(text)); err != nil {
			return
		}
		if c.Slots < 1 || c.UIDBase < 100_000 || c.UIDBase+c.Slots*runtime.SlotIDs-1 > lastUID || checkPath(c.RunDir) != nil {
			t.Errorf("%q gives %+v", text, c)
		}
	})
}
