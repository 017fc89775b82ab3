// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"slices"
	"strings"
	"testing"
)

func TestCommand(t *testing.T) {
	one := &Skill{Name: "one", Scripts: []string{"scripts/run.py"}, direct: map[string]bool{"scripts/run.py": true}}
	several := &Skill{Name: "several",
		Scripts: []string{"scripts/a.py", "scripts/b.js", "scripts/b.sh", "scripts/bare", "scripts/git.pl", "scripts/sub/c.sh", "scripts/tool"},
		direct:  map[string]bool{"scripts/tool": true}}
	none := &Skill{Name: "none"}
	bins := Manifest{OpenClaw: OpenClaw{Requires: Requires{Bins: []string{"git", "python3"}}}}

	for name, tt := range map[string]struct {
		k     *Skill
		m     Manifest
		args  []string
		argv  []string
		needs []string
		err   string
	}{
		"the only script":        {k: one, argv: []string{"/skill/scripts/run.py"}},
		"its requirements":       {k: one, m: bins, argv: []string{"/skill/scripts/run.py"}, needs: []string{"git", "python3"}},
		"by path":                {k: several, args: []string{"scripts/a.py", "x y", ""}, argv: []string{"python3", "/skill/scripts/a.py", "x y", ""}, needs: []string{"python3"}},
		"needed once":            {k: several, m: bins, args: []string{"a.py"}, argv: []string{"python3", "/skill/scripts/a.py"}, needs: []string{"git", "python3"}},
		"by base directory":      {k: several, args: []string{"{baseDir}/scripts/a.py"}, argv: []string{"python3", "/skill/scripts/a.py"}, needs: []string{"python3"}},
		"by dotted path":         {k: several, args: []string{"./scripts/a.py"}, argv: []string{"python3", "/skill/scripts/a.py"}, needs: []string{"python3"}},
		"by name":                {k: several, args: []string{"b.js"}, argv: []string{"node", "/skill/scripts/b.js"}, needs: []string{"node"}},
		"by stem":                {k: several, args: []string{"a"}, argv: []string{"python3", "/skill/scripts/a.py"}, needs: []string{"python3"}},
		"by stem in a folder":    {k: several, args: []string{"sub/c"}, argv: []string{"sh", "/skill/scripts/sub/c.sh"}, needs: []string{"sh"}},
		"started by the kernel":  {k: several, args: []string{"tool", "-v"}, argv: []string{"/skill/scripts/tool", "-v"}},
		"script before program":  {k: several, args: []string{"git"}, argv: []string{"perl", "/skill/scripts/git.pl"}, needs: []string{"perl"}},
		"program by path":        {k: several, args: []string{"/usr/bin/git"}, argv: []string{"/usr/bin/git"}},
		"command with baseDir":   {k: none, m: bins, args: []string{"python3", "{baseDir}/x.py", "--a={baseDir}"}, argv: []string{"python3", "/skill/x.py", "--a=/skill"}, needs: []string{"git", "python3"}},
		"baseDir for a script":   {k: one, args: []string{"run", "{baseDir}/data"}, argv: []string{"/skill/scripts/run.py", "/skill/data"}},
		"not the shell's":        {k: none, args: []string{"echo", "$HOME; rm -rf /", "`id`"}, argv: []string{"echo", "$HOME; rm -rf /", "`id`"}},
		"which of several":       {k: several, err: "has 7 scripts; name one after --"},
		"stem of two":            {k: several, args: []string{"b"}, err: `"b" may be any of "scripts/b.js", "scripts/b.sh"`},
		"no scripts":             {k: none, err: "give a command after --"},
		"empty command":          {k: one, args: []string{""}, err: "is empty"},
		"NUL":                    {k: one, args: []string{"run", "a\x00b"}, err: `argument 1 has a NUL byte in it: "a\x00b"`},
		"nothing says how":       {k: several, args: []string{"bare"}, err: "neither a #! line nor an extension"},
		"no way out by dots":     {k: one, args: []string{"scripts/../../etc/passwd"}, argv: []string{"scripts/../../etc/passwd"}},
		"a folder isn't a stem":  {k: several, args: []string{"sub"}, argv: []string{"sub"}},
		"name of another folder": {k: several, args: []string{"c.sh"}, argv: []string{"c.sh"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := slices.Clone(tt.args)
			c, err := tt.k.Command(tt.m, tt.args)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %q, %v; want an error with %q", c, err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(c.Argv, tt.argv) || !slices.Equal(c.Needs, tt.needs) {
				t.Errorf("got %q needing %q, want %q needing %q", c.Argv, c.Needs, tt.argv, tt.needs)
			}
			if !slices.Equal(args, tt.args) {
				t.Errorf("the caller's arguments were changed to %q", tt.args)
			}
		})
	}
	if got := bins.OpenClaw.Requires.Bins; !slices.Equal(got, []string{"git", "python3"}) {
		t.Errorf("the manifest was changed to %q", got)
	}
}

func FuzzCommand(f *testing.F) {
	f.Add("run.py\x01x", "scripts/run.py\x01scripts/b.sh")
	f.Add("{baseDir}/scripts/b\x01{baseDir}", "scripts/b.sh\x01scripts/b.js")
	f.Add("", "scripts/only")
	f.Fuzz(func(t *testing.T, args, scripts string) {
		k := &Skill{Name: "k", Scripts: strings.Split(scripts, "\x01")}
		var a []string
		if args != "" {
			a = strings.Split(args, "\x01")
		}
		c, err := k.Command(Manifest{}, a)
		if err != nil {
			return
		}
		if len(c.Argv) < len(a) || c.Argv[0] == "" {
			t.Fatalf("%q of %q became %q", a, k.Scripts, c.Argv)
		}
		if c.Script != "" && !slices.Contains(k.Scripts, c.Script) {
			t.Fatalf("%q is no script of %q", c.Script, k.Scripts)
		}
		for _, s := range c.Argv {
			if strings.ContainsRune(s, 0) && !strings.ContainsRune(scripts, 0) {
				t.Fatalf("NUL in %q", c.Argv)
			}
		}
	})
}
