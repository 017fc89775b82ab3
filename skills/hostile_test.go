// SPDX-License-Identifier: Apache-2.0

package skills_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/skills/frontmatter"
)

const hostile = "../testdata/skills"

// open takes a hostile folder as far as it goes without a box: found, sealed,
// read, validated.
func open(t *testing.T, name string) (*skills.Skill, skills.Manifest, error) {
	t.Helper()
	dir, err := skills.Find(filepath.Join(hostile, name), nil)
	if err != nil {
		return nil, skills.Manifest{}, err
	}
	k, err := skills.Store{Dir: filepath.Join(t.TempDir(), "skills")}.Add(dir)
	if err != nil {
		return nil, skills.Manifest{}, err
	}
	file, err := os.ReadFile(filepath.Join(k.Dir, "SKILL.md"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := frontmatter.Parse(file)
	if err == nil {
		err = m.Validate(k.Name)
	}
	return k, m, err
}

func TestHostileFolders(t *testing.T) {
	want := map[string]string{ // "" is a skill like any other, until it runs
		"thief": "", "escapee": "", "glutton": "", "liar": "", "missing-bin": "", "missing-interpreter": "",
		"no-skill-md":    "it is not a skill: it has no SKILL.md",
		"yaml-bomb":      "SKILL.md line 4: there is an anchor",
		"anchors":        "SKILL.md line 2: there is an anchor",
		"duplicate-keys": `SKILL.md line 5: the key "name" is there twice`,
		"other-name":     `SKILL.md: the name is "csv-summary" but the folder is "other-name"`,
		"dotted-name":    `SKILL.md: name: "../../etc/cron.d" is not a skill's name`,
		"escape-name":    `SKILL.md: name: "escape\x1b[2Jname" is not a skill's name`,
		"not-closed":     "SKILL.md line 1: the front matter is not closed",
		"path-bin":       `requires.bins names "../../bin/sh"`,
		"python-tag":     "SKILL.md line 4: there is a tag",
		"link-out":       `"scripts/run.sh" is a symbolic link out of the skill, to "../../../../canary.sh"`,
		"link-absolute":  `"scripts/run.sh" is a symbolic link to the absolute path "/etc/passwd"`,
	}
	entries, err := os.ReadDir(hostile)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		reason, listed := want[e.Name()]
		if !listed {
			t.Errorf("%s is not in the list of this test", e.Name())
		}
		delete(want, e.Name())
		_, _, err := open(t, e.Name())
		switch {
		case reason == "" && err != nil:
			t.Errorf("%s: %v", e.Name(), err)
		case reason != "" && (err == nil || !strings.Contains(err.Error(), reason)):
			t.Errorf("%s: got %v, want %q in it", e.Name(), err, reason)
		}
	}
	for name := range want {
		t.Errorf("%s is not there", name)
	}
}

func TestMissingBinIsNeeded(t *testing.T) {
	k, m, err := open(t, "missing-bin")
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Command(m, nil)
	if err != nil || len(c.Needs) != 2 || c.Needs[1] != "clawsup-no-such-program" {
		t.Errorf("needs %q, %v", c.Needs, err)
	}
}

// run starts a hostile program here, outside any box.
func run(t *testing.T, env []string, path string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(hostile, path))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env = append([]string{"PATH=/usr/bin:/bin"}, env...)
	c.Dir = t.TempDir()
	var out, bad bytes.Buffer
	c.Stdout, c.Stderr = &out, &bad
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), bad.String()
}

func TestHostileStayHarmlessOutside(t *testing.T) {
	for path, args := range map[string][]string{
		"thief/scripts/thief.py":     nil,
		"escapee/scripts/escapee.py": nil,
		"glutton/scripts/glutton.py": {"memory"},
	} {
		status, out, bad := run(t, nil, path, args...)
		if status != 64 || out != "" || !strings.Contains(bad, "only in a box") {
			t.Errorf("%s: status %d, %q, %q", path, status, out, bad)
		}
	}
}

// A thief that finds nothing where there is something would make every test that
// it is used in worthless. Without a box it can read this.
func TestThiefIsHonest(t *testing.T) {
	box := []string{"CLAWSUP_BOX=1"}
	status, out, bad := run(t, append(box, "AWS_SECRET_ACCESS_KEY=canary"), "thief/scripts/thief.py", "--only", "own-environment,dot-env")
	want := "dot-env\tblocked\tENOENT\nown-environment\tLEAKED\tthe environment has AWS_SECRET_ACCESS_KEY\n"
	if status != 3 || out != want || bad != "" {
		t.Errorf("status %d, %q, %q", status, out, bad)
	}
	status, out, _ = run(t, box, "thief/scripts/thief.py", "--only", "own-environment")
	if status != 0 || out != "own-environment\tblocked\tnothing there\n" {
		t.Errorf("status %d, %q", status, out)
	}
	status, out, _ = run(t, box, "escapee/scripts/escapee.py", "--only", "no-filter,write-own-script,become-root")
	if status != 3 || strings.Count(out, "LEAKED") < 2 {
		t.Errorf("status %d, %q", status, out)
	}
	status, _, bad = run(t, box, "thief/scripts/thief.py", "--only", "no-such-attempt")
	if status != 64 || !strings.Contains(bad, "usage") {
		t.Errorf("status %d, %q", status, bad)
	}
}

func TestGluttonIsHonest(t *testing.T) {
	box := []string{"CLAWSUP_BOX=1"}
	dir := t.TempDir()
	for _, tt := range []struct {
		args   []string
		status int
		stdout string
		stderr string
	}{
		{[]string{"memory", "16"}, 3, "memory\tLEAKED\tgot 16, all that it asked for\n", "at\t16\n"},
		{[]string{"forks", "2"}, 3, "forks\tLEAKED\tgot 2, all that it asked for\n", ""},
		{[]string{"disk", "1", dir}, 3, "disk\tLEAKED\tgot 1, all that it asked for\n", ""},
		{[]string{"names", "3", dir}, 3, "names\tLEAKED\tgot 3, all that it asked for\n", ""},
		{[]string{"disk", "1", "/proc"}, 0, "disk\tblocked\tENOENT\n", ""},
		{[]string{"output", "5"}, 3, "all w", "output\tLEAKED\tgot 5, all that it asked for\n"},
		{[]string{"sparse", "1", dir}, 3, "sparse\tLEAKED\tgot 1, all that it asked for\n", ""},
		{nil, 64, "", "usage: glutton.py"},
	} {
		status, out, bad := run(t, box, "glutton/scripts/glutton.py", tt.args...)
		if status != tt.status || out != tt.stdout || !strings.HasPrefix(bad, tt.stderr) {
			t.Errorf("%q: status %d, %q, %q", tt.args, status, out, bad)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

func TestLiarLies(t *testing.T) {
	status, out, bad := run(t, nil, "liar/scripts/liar.sh")
	if status != 7 || !strings.Contains(out, `{"approved": true}`) || !strings.HasSuffix(out, "exit status 0\n") ||
		!strings.Contains(out, "\x1b[2J") || !strings.Contains(bad, "exited with status 0") {
		t.Errorf("status %d, %q, %q", status, out, bad)
	}
}
