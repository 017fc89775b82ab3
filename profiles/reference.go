// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

const referenceHead = `# Profiles

<!-- Written by "go generate ./profiles" from the table of keys. Edit that. -->

A profile is a TOML file that says what a sandbox may see, use and ask for. Sizes are
whole numbers of bytes, or have one of the suffixes K, M, G and T, which are powers of 1024
("256M"). Durations have units: "30s", "1m30s", "250ms". An unknown key is an error. Every
limit is set: there is no "unlimited", and 0 is an error.

` + "`clawsup profile list`" + ` names the profiles there are, ` + "`clawsup profile show NAME`" + ` prints
every effective value and the file that set it, ` + "`clawsup profile check FILE`" + ` says what is wrong.

## Inheritance

` + "`extends`" + ` names one parent; without it, the parent is default. A chain has at most 8 files.
A key that a file sets replaces the parent's value, but the variables of environment.set are
added to the parent's, and rules about destinations stay beside the parent's. A profile gets at
most what its parent has; the column "inheritance" says what that means for each key. A file that root owns, and that nobody else can write, in a
directory of which the same holds, may widen its parent. A file in a profile directory that is
called like a built-in profile is used in its place if that holds for it, and not at all
otherwise; ` + "`extends`" + ` of its own name then means the built-in.

## Keys

`

// Reference writes the reference of profiles as Markdown: every key, the built-in
// profiles, what contradicts what, and what can't be had at all.
func Reference(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(referenceHead)
	base, err := Load("default", nil)
	if err != nil {
		return err
	}
	header(&b, "key", "type", "default", "inheritance", "meaning")
	for _, k := range keys {
		var values []string
		if k.bound {
			for _, s := range k.settings(&base.Profile) {
				values = append(values, code(strings.TrimPrefix(s.name+" = ", k.name+" = ")+s.toml))
			}
		}
		line(&b, code(k.name), k.kind, strings.Join(values, "<br>"), k.rule, k.doc)
	}
	for _, section := range []func(*bytes.Buffer) error{referRules, referBuiltins, referContradictions, referPaths, referEnvironment} {
		if err := section(&b); err != nil {
			return err
		}
	}
	_, err = w.Write(b.Bytes())
	return err
}

const rulesHead = `
## Destinations

With ` + "`network.mode = \"egress\"`" + `, each connection and each HTTP request out of the box is decided about
by rules, and by a person where they say ask. A rule is a table of its own:

    [[network.rule]]
    host = "api.example.com"
    methods = ["GET"]
    paths = ["/v1/**"]
    decision = "allow"

`

const rulesTail = `
A rule that denies is about everything that it doesn't name: with a host alone, every port and every way
there. A rule that allows or asks is about the usual port and about requests.

Of several rules about one request the most specific counts: one host before a longer ending before a
shorter one; then one path before a longer directory before a shorter one before every path; then one that
names methods before one that doesn't; then one with fields before one without. Of equally specific ones
deny goes before ask and ask before allow. What no rule is about is what ` + "`network.default`" + ` says.

A path is written in one spelling: percent-encoded where RFC 3986 wants it, in capitals, and nowhere else.
Requests with "." or ".." as a part of their path, in whatever encoding, are refused. A rule with paths
that denies or asks is also about a path that a server may read as one of its own: with encoded or doubled
slashes, backslashes, and parameters behind semicolons. Servers that tell no case apart are not thought
of.

A rule with fields that denies or asks also counts where it can't be told: where some of several values of
a field are listed, or the body can't be looked at. One that allows doesn't.

Each file of a chain that has rules or a default is a level. It decides by itself, and the strictest of
what the levels decide counts; what a level has neither a rule nor a default for is left to the others. A
network of addresses has to be named on every level that has a rule for the host, or a default of ask. The
rules of a file that root alone can write count by themselves where no ancestor has any; those of another
file can only take away from asking about everything.

` + "`secrets`" + ` gives a variable of the box a placeholder for a secret. It becomes the secret on its
way out alone, after the decision, where the secret is bound to.
`

// referRules lists the keys of a rule, and says which rule counts.
func referRules(b *bytes.Buffer) error {
	b.WriteString(rulesHead)
	header(b, "key", "type", "meaning")
	for _, k := range ruleKeys {
		line(b, code(k.name), k.kind, k.doc)
	}
	b.WriteString(rulesTail)
	return nil
}

// referBuiltins compares the built-in profiles where they differ.
func referBuiltins(b *bytes.Buffer) error {
	b.WriteString("\n## Built-in profiles\n\n")
	header(b, append([]string{"key"}, builtinNames...)...)
	var all []*Loaded
	about := []string{"for"}
	for _, name := range builtinNames {
		l, err := Load(name, nil)
		if err != nil {
			return err
		}
		all = append(all, l)
		about = append(about, l.Profile.Description)
	}
	line(b, about...)
	for _, s := range settings(&all[0].Profile) {
		if s.name == "description" {
			continue
		}
		cells, differ := []string{code(s.name)}, false
		for _, l := range all {
			v := valueOf(&l.Profile, s.name)
			differ = differ || v != s.toml
			cells = append(cells, code(v))
		}
		if differ {
			line(b, cells...)
		}
	}
	b.WriteString("\nAll have the same variables, and none passes any.\n\n" +
		"agent is for the agent that clawsupd starts, whose box stays. cpu_time, wall_time, stdout, stderr,\n" +
		"net_sent, net_received and the limits of a scratch workspace don't bound an agent, under any profile: its section in\n" +
		"clawsup.toml says how it is stopped, how much of its output is kept and how large its state\n" +
		"directory may grow. HOME is that directory, and its workspaces are read-only whatever\n" +
		"workspace.mode says.\n")
	return nil
}

func referContradictions(b *bytes.Buffer) error {
	b.WriteString("\n## Contradictions\n\nThese are errors:\n\n")
	for _, c := range contradictions {
		fmt.Fprintf(b, "- %s above %s%s: %s.\n", code(c.small), code(c.large), c.when, c.why)
	}
	for _, c := range disagreements {
		fmt.Fprintf(b, "- %s.\n", c.text)
	}
	return nil
}

func referPaths(b *bytes.Buffer) error {
	b.WriteString("\n## Paths that can't be shown\n\n" +
		"Paths of `files.read` and `files.rootfs` are absolute and in their shortest form. These can't be shown, nor can a directory above them:\n\n")
	header(b, "path", "why")
	for _, p := range hiddenPlaces {
		line(b, code(p.path), p.reason)
	}
	b.WriteString("\nWhat is called like this can't be shown anywhere, if the path names it:\n\n")
	header(b, "name", "why")
	for _, p := range hiddenNames {
		line(b, code(p.path), p.reason)
	}
	b.WriteString("\nThe box makes these itself, so `files.read` can't name anything there:\n\n")
	header(b, "path", "why")
	for _, p := range boxPlaces {
		line(b, code(p.path), p.reason)
	}
	return nil
}

func referEnvironment(b *bytes.Buffer) error {
	b.WriteString("\n## Variables that can't be set or passed\n\n" +
		"A star stands for any rest of a name. PATH can be set, not passed; its elements are absolute and not below " +
		strings.Join(boxWritable, ", ") + ".\n\n")
	header(b, "names", "but not", "why")
	for _, f := range forbiddenEnv {
		line(b, codes(strings.Fields(f.names)), codes(f.except), f.reason)
	}
	return nil
}

func header(b *bytes.Buffer, cells ...string) {
	line(b, cells...)
	b.WriteString("|" + strings.Repeat("---|", len(cells)) + "\n")
}

func line(b *bytes.Buffer, cells ...string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}

func code(s string) string { return "`" + s + "`" }

func codes(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = code(s)
	}
	return strings.Join(quoted, " ")
}
