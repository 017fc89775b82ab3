// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// BoxDir is where a skill is in the box; {baseDir} in an argument becomes it.
const BoxDir = "/skill"

const (
	baseDir    = "{baseDir}"
	scriptsDir = "scripts/"
)

// interpreters says by extension what runs a script that the kernel can't start
// by itself.
var interpreters = map[string]string{
	".bash": "bash",
	".cjs":  "node",
	".js":   "node",
	".lua":  "lua",
	".mjs":  "node",
	".php":  "php",
	".pl":   "perl",
	".py":   "python3",
	".rb":   "ruby",
	".sh":   "sh",
}

// isScript says whether an entry can be run by name.
func (e entry) isScript() bool {
	rest, below := strings.CutPrefix(e.path, scriptsDir)
	if e.kind != kindFile || !below || strings.Count(rest, "/") > 1 {
		return false
	}
	_, known := interpreters[path.Ext(e.path)]
	return e.exec || known
}

// Command is what runs in the box.
type Command struct {
	// Argv is the command line. A first element without a slash is looked up in
	// the box's PATH.
	Argv []string
	// Script is the script that runs, such as "scripts/run.py", or "" when Argv
	// is a command of the box.
	Script string
	// Needs are the programs that must be in the box's PATH for this to work:
	// requires.bins of the manifest, then the interpreter of the script.
	Needs []string
}

// Command says what running the skill with these arguments means:
//
//   - without arguments, its only script;
//   - with a first argument that names a script, that script with the rest as its
//     arguments: by path ("scripts/run.py", "{baseDir}/scripts/run.py"), by the
//     path below scripts/ ("run.py"), or by that without extension if one script
//     alone has it ("run");
//   - else the arguments as they are, a command of the box.
//
// In every argument {baseDir} becomes BoxDir. A script wins over a program of
// the same name; a path such as /usr/bin/git means the program.
func (k *Skill) Command(m Manifest, args []string) (Command, error) {
	c := Command{Needs: slices.Clone(m.OpenClaw.Requires.Bins)}
	for i, a := range args {
		if strings.IndexByte(a, 0) >= 0 {
			return Command{}, fmt.Errorf("argument %d has a NUL byte in it: %s", i, quote(a))
		}
	}
	if len(args) == 0 {
		switch len(k.Scripts) {
		case 0:
			return Command{}, fmt.Errorf("skill %s has no scripts; give a command after --", quote(k.Name))
		case 1:
			return c, c.run(k, k.Scripts[0], nil)
		}
		return Command{}, fmt.Errorf("skill %s has %d scripts; name one after --: %s", quote(k.Name), len(k.Scripts), list(k.Scripts))
	}
	if args[0] == "" {
		return Command{}, errors.New("the command after -- is empty")
	}
	script, err := k.script(args[0])
	if err != nil {
		return Command{}, err
	}
	if script != "" {
		return c, c.run(k, script, args[1:])
	}
	c.Argv = inBox(args)
	return c, nil
}

// script returns the script that name means, or "" if it means none.
func (k *Skill) script(name string) (string, error) {
	name = strings.TrimPrefix(name, baseDir+"/")
	name = strings.TrimPrefix(name, "./")
	var stems []string
	for _, s := range k.Scripts {
		below := strings.TrimPrefix(s, scriptsDir)
		if name == s || name == below {
			return s, nil
		}
		if name == strings.TrimSuffix(below, path.Ext(below)) {
			stems = append(stems, s)
		}
	}
	switch len(stems) {
	case 0:
		return "", nil
	case 1:
		return stems[0], nil
	}
	return "", fmt.Errorf("%s may be any of %s; give the whole name", quote(name), list(stems))
}

// run fills c so that it runs a script of k.
func (c *Command) run(k *Skill, script string, args []string) error {
	c.Script = script
	c.Argv = append([]string{BoxDir + "/" + script}, inBox(args)...)
	if k.direct[script] {
		return nil
	}
	interpreter, known := interpreters[path.Ext(script)]
	if !known {
		return fmt.Errorf("script %s has neither a #! line nor an extension that says what runs it; give the whole command after --, such as: sh %s/%s", quote(script), baseDir, script)
	}
	c.Argv = append([]string{interpreter}, c.Argv...)
	if !slices.Contains(c.Needs, interpreter) {
		c.Needs = append(c.Needs, interpreter)
	}
	return nil
}

func inBox(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = strings.ReplaceAll(a, baseDir, BoxDir)
	}
	return out
}

// list shows names for an error, the first of them if there are many.
func list(names []string) string {
	const most = 20
	var b strings.Builder
	for i, n := range names {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(quote(n))
	}
	return b.String()
}
