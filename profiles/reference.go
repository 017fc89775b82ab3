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
added to the parent's. A profile gets at most what its parent has; the column "inheritance" says
what that means for each key. A file that root owns, and that nobody else can write, in a
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
	for _, section := range []func(*bytes.Buffer) error{referBuiltins, referContradictions, referPaths, referEnvironment} {
		if err := section(&b); err != nil {
			return err
		}
	}
	_, err = w.Write(b.Bytes())
	return err
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
		"agent is for the agent that clawsupd starts, whose box stays. cpu_time, wall_time, stdout, stderr\n" +
		"and the limits of a scratch workspace don't bound an agent, under any profile: its section in\n" +
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
