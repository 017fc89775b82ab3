// SPDX-License-Identifier: Apache-2.0

package main

const runUsage = `usage: clawsup run [flags] -- COMMAND [ARG...]

Runs a command in a fresh sandbox that is thrown away afterwards. The box has
the host's programs read-only, a private /tmp, no network and no secrets; the
profile says the rest. Everything after -- is the command, byte for byte.
` + callFlagsUsage + `
Examples:
  clawsup run -- python3 -c 'print(2**64)'
  clawsup run --workspace . -- grep -rn TODO .
  clawsup run --profile build --workspace . --timeout 5m -- make
`

func runCommand() *command {
	return &command{
		name:     "run",
		synopsis: "run a command in a sandbox",
		usage:    runUsage,
		execute:  executeRun,
	}
}

func executeRun(p *program, args []string) int {
	c := runCommand()
	var f callFlags
	words, rest, err := parse(f.set(p.flags("run")), args)
	switch {
	case err != nil:
	case len(words) > 0:
		err = usagef("put -- before the command: clawsup run [flags] -- %s ...", plainWord(words[0]))
	case len(rest) == 0:
		err = usagef("there is no command to run; it comes after --")
	default:
		err = f.check()
	}
	if err != nil {
		return p.mistaken(c, err)
	}
	if status, ok := p.needRoot(c); !ok {
		return status
	}
	f.request.Args = rest
	return p.call(&f)
}
