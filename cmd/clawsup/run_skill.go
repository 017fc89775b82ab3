// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/clawsup/clawsup/supervisor/visible"

const runSkillUsage = `usage: clawsup run-skill [flags] SKILL [-- SCRIPT|COMMAND [ARG...]]

Runs a skill in a fresh sandbox that is thrown away afterwards.

SKILL is a folder with a SKILL.md, given as a path with a slash in it, or the
name of one below the configured skill paths. A sealed copy of it is what is
shown, digested and run; in the box it is read-only at /skill, and {baseDir} in
an argument becomes that. What the skill requires must be in the box, or
nothing runs.

After -- comes a script of its scripts/ folder ("run.py", or "run"), or any
command that is in the box. A skill with one script needs no name.
` + callFlagsUsage + `
Examples:
  clawsup run-skill csv-summary -- summary - < sales.csv
  clawsup run-skill --workspace . git-changelog -- changelog
  clawsup run-skill --json ./csv-summary -- python3 {baseDir}/scripts/summary.py -
`

func runSkillCommand() *command {
	return &command{
		name:     "run-skill",
		synopsis: "run a skill in a sandbox",
		usage:    runSkillUsage,
		execute:  executeRunSkill,
	}
}

func executeRunSkill(p *program, args []string) int {
	c := runSkillCommand()
	var f callFlags
	words, rest, err := parse(f.set(p.flags("run-skill")), args)
	switch {
	case err != nil:
	case len(words) == 0:
		err = usagef("there is no skill to run; name one, or give its folder's path")
	case len(words) > 1:
		err = usagef("put -- before what the skill runs: clawsup run-skill [flags] %s -- %s ...", plainWord(words[0]), plainWord(words[1]))
	case words[0] == "":
		err = usagef("the skill's name is empty")
	default:
		err = f.check()
	}
	if err != nil {
		return p.mistaken(c, err)
	}
	if status, ok := p.needRoot(c); !ok {
		return status
	}
	f.request.Skill, f.request.Args = words[0], rest
	return p.call(&f)
}

// plainWord shows a word of the command line in a message, cut if it is long.
func plainWord(s string) string {
	if len(s) > 80 {
		return visible.Quote(s[:80]) + "..."
	}
	return visible.Text(s)
}
