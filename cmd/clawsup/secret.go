// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/redact"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
)

const secretManual = `usage: clawsup secret set [flags] NAME
       clawsup secret list [--json]
       clawsup secret show-metadata [--json] NAME
       clawsup secret rotate [--json] NAME
       clawsup secret remove [--yes] [--json] NAME
       clawsup secret import [flags] [FILE]
       clawsup secret exec-provider [--socket PATH]

A secret is a value that no box sees. A box has a placeholder in its place, another
for each call, and on its way out clawsup-egress puts the value in: at the hosts and
in the places that the secret is bound to, nowhere else. Root alone asks for these.

  set            stores a new one. The value is typed on the terminal, twice and
                 unseen, or read from standard input without the newline at its end;
                 it is never an argument, which everybody on the host can read
  list           all of them; those older than 90 days should be rotated
  show-metadata  one, without its value, which nothing shows
  rotate         gives it another value; where it may go stays
  remove         removes it for good; what names it doesn't run any more
  import         takes secrets from lines KEY=VALUE of FILE or standard input; says
                 which it took. A key that a provider below is known by is bound to
                 that, any other to what the flags say, or it isn't taken
  exec-provider  for an agent in its box: gives OpenClaw placeholders, as below

  --provider P       bind it to a well-known service: hosts, places and shape
  --host HOST:PORT   where it may go; *.SUFFIX:PORT is every name below; without a
                     port, 443. Again for more; in place of the provider's
  --place PLACE      where in a request it may stand; default header:Authorization.
                     Again for more; in place of the provider's
  --shape S          how its placeholders look, for programs that check that
  --cookies          a Cookie passes beside it; without this no other credential
                     passes at its hosts
  --capture PATH:FIELD  keep FIELD of what PATH answers as the secret NAME.FIELD,
                     and give the box a placeholder for it: for token endpoints
  --ask              a person is asked for each use
  --public           what is read with it is not private
  --yes              remove without asking
  --json             objects instead of text

`

const secretManualEnd = `
A value has 8 to 8192 bytes of UTF-8 without control characters: a key in PEM is
none. What is longer than 4095 bytes can't be typed on a terminal.

A box gets a placeholder where its profile says so, or where 'clawsup skill bind' does:
    [secrets]
    OPENAI_API_KEY = "openai"

exec-provider answers as OpenClaw's exec provider of secrets on standard input and
output, with placeholders of the asking agent's own box; an id is a secret's name:
    secrets: {providers: {clawsup: {source: "exec",
      command: "/usr/local/bin/clawsup", args: ["secret", "exec-provider"]}}}
    apiKey: {source: "exec", provider: "clawsup", id: "openai"}
The command must be a regular file, not a link. If yours is one, or takes no args,
make it a script of root's that is executable and readable in the box:
    #!/bin/sh
    exec /usr/local/bin/clawsup secret exec-provider

Exit status: 0; 1 if the daemon refuses, or nothing was imported; 2 for a wrong
command line; 3 if there is no daemon.
`

// secretUsage is the manual, with the tables as they are.
func secretUsage() string {
	var b strings.Builder
	b.WriteString(secretManual)
	line := "Places:"
	for _, p := range secrets.Places() {
		line = fill(&b, line, p)
	}
	fmt.Fprintf(&b, "%s\n", line)
	line = "Providers:"
	for _, p := range secrets.Providers() {
		line = fill(&b, line, p)
	}
	fmt.Fprintf(&b, "%s\n\nShapes:\n", line)
	for _, s := range secrets.Shapes() {
		fmt.Fprintf(&b, "  %-12s %s\n", s.Name, s.Looks)
	}
	fmt.Fprintf(&b, "  %-12s TEXT and 40 letters and digits\n", secrets.Prefix+"TEXT")
	return b.String() + secretManualEnd
}

// fill adds a word to a line; what doesn't fit goes to the next.
func fill(b *strings.Builder, line, word string) string {
	if !strings.HasSuffix(line, ":") {
		line += ","
	}
	if len(line)+len(word) > 84 {
		fmt.Fprintf(b, "%s\n", line)
		return "   " + word
	}
	return line + " " + word
}

func secretCommand() *command {
	return &command{name: "secret", subject: "secrets", synopsis: "keep values that no box sees, and say where they go", usage: secretUsage(), execute: executeSecret}
}

type secretFlags struct {
	json, yes            bool
	provider, shape      string
	hosts                []string
	places               []packet.Place
	captures             []packet.Capture
	cookies, ask, public bool
	socket               string
}

var bindingFlags = []string{"provider", "host", "place", "shape", "cookies", "capture", "ask", "public"}

var secretVerbs = []verb[secretFlags]{
	{name: "set", least: 1, most: -1, needs: "a name", flags: append([]string{"json"}, bindingFlags...), execute: (*program).secretSet},
	{name: "list", flags: []string{"json"}, execute: (*program).secretList},
	{name: "show-metadata", least: 1, most: 1, needs: "a secret", flags: []string{"json"}, execute: (*program).secretShow},
	{name: "rotate", least: 1, most: -1, needs: "a secret", flags: []string{"json"}, execute: (*program).secretRotate},
	{name: "remove", least: 1, most: 1, needs: "a secret", flags: []string{"yes", "json"}, execute: (*program).secretRemove},
	{name: "import", most: 1, flags: append([]string{"json"}, bindingFlags...), execute: (*program).secretImport},
	{name: "exec-provider", flags: []string{"socket"}, execute: (*program).secretProvide},
}

func executeSecret(p *program, args []string) int {
	f := secretFlags{socket: agentSocket}
	s := p.flags("secret")
	s.BoolVar(&f.json, "json", false, "")
	s.BoolVar(&f.yes, "yes", false, "")
	s.BoolVar(&f.cookies, "cookies", false, "")
	s.BoolVar(&f.ask, "ask", false, "")
	s.BoolVar(&f.public, "public", false, "")
	s.StringVar(&f.provider, "provider", "", "")
	s.StringVar(&f.shape, "shape", "", "")
	s.StringVar(&f.socket, "socket", f.socket, "")
	s.Func("host", "", func(v string) error {
		if !strings.Contains(v, ":") {
			v += ":443"
		}
		f.hosts = append(f.hosts, v)
		return nil
	})
	s.Func("place", "", func(v string) error {
		place, err := secrets.ParsePlace(v)
		f.places = append(f.places, place)
		return err
	})
	s.Func("capture", "", func(v string) error {
		i := strings.LastIndexByte(v, ':')
		if i < 0 {
			return usagef("want PATH:FIELD, such as /oauth/token:access_token")
		}
		f.captures = append(f.captures, packet.Capture{Path: v[:i], Field: v[i+1:]})
		return nil
	})
	return choose(p, secretCommand(), secretVerbs, &f, s, args)
}

// onlyName gives the one word that is a secret's name. A value among them is
// refused and not repeated: it would be in the terminal's history as well.
func onlyName(words []string) (string, error) {
	name := words[0]
	switch {
	case len(words) > 1, strings.Contains(name, "="), redact.Text(name) != name:
		return "", usagef("a value is never an argument, which ps and the shell's history show: give the name alone, and if this was a value, get another")
	case secrets.CheckName(name) != nil:
		return "", usagef("a name has 1 to 128 letters, digits, dots, hyphens and underscores")
	}
	return name, nil
}

// metadata is what the flags say of a secret.
func (f *secretFlags) metadata(name string) (secrets.Secret, error) {
	one := secrets.Secret{Name: name, Shape: secrets.Plain, Private: !f.public, Ask: f.ask}
	if f.provider != "" {
		p, err := secrets.FindProvider(f.provider)
		if err != nil {
			return one, usagef("%v", err)
		}
		one.Shape, one.Binding = p.Shape, p.Binding
	}
	if f.hosts != nil {
		one.Hosts = f.hosts
	}
	if f.places != nil {
		one.Places = f.places
	}
	if f.shape != "" {
		one.Shape = f.shape
	}
	one.Cookies, one.Captures = f.cookies, f.captures
	if len(one.Hosts) == 0 {
		hint := ""
		if near, ok := spell.Nearest(name, secrets.Providers()); ok || slices.Contains(secrets.Providers(), name) {
			if !ok {
				near = name
			}
			hint = "; for that service: --provider " + near
		}
		return one, usagef("say where %s may go: --host api.example.com:443, or --provider%s", name, hint)
	}
	if one.Places == nil {
		one.Places = []packet.Place{{Kind: packet.Header, Name: "Authorization"}}
	}
	if err := one.Check(); err != nil {
		return one, usagef("%v", err)
	}
	return one, nil
}
