// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/runtime/spell"
)

// verb is a second word, of a command that has several. F holds the flags of
// all of them.
type verb[F any] struct {
	name        string
	least, most int    // words after it; most < 0: any number
	needs       string // what these are, as "a profile"; empty where there are none
	flags       []string
	execute     func(p *program, f *F, words []string) error
}

// choose reads a command line that begins with a verb, and carries it out.
func choose[F any](p *program, c *command, verbs []verb[F], f *F, set *flag.FlagSet, args []string) int {
	words, rest, err := parse(set, args)
	words = append(words, rest...)
	var v *verb[F]
	if err == nil {
		v, err = pick(c, verbs, words)
	}
	if err == nil {
		err = v.check(c, set, words[1:])
	}
	if err == nil {
		err = v.execute(p, f, words[1:])
	}
	return p.ended(c, err)
}

// pick finds the verb that the words begin with.
func pick[F any](c *command, verbs []verb[F], words []string) (*verb[F], error) {
	names := make([]string, len(verbs))
	for i, v := range verbs {
		names[i] = v.name
	}
	all := names[0]
	if last := len(names) - 1; last > 0 {
		all = strings.Join(names[:last], ", ") + " or " + names[last]
	}
	if len(words) == 0 {
		return nil, usagef("say what about %s: %s", c.subject, all)
	}
	if i := slices.Index(names, words[0]); i >= 0 {
		return &verbs[i], nil
	}
	if near, ok := spell.Nearest(words[0], names); ok {
		return nil, usagef("%s knows no %s; did you mean %s?", c.name, plainWord(words[0]), near)
	}
	return nil, usagef("%s knows no %s; it knows %s", c.name, plainWord(words[0]), all)
}

// check says what is wrong with the words and flags of a verb.
func (v *verb[F]) check(c *command, set *flag.FlagSet, words []string) error {
	switch {
	case len(words) < v.least:
		return usagef("%s %s needs %s", c.name, v.name, v.needs)
	case v.most >= 0 && len(words) > v.most:
		return usagef("%s %s takes nothing more: %s", c.name, v.name, plainWord(words[v.most]))
	}
	var err error
	set.Visit(func(g *flag.Flag) {
		if err == nil && g.Name != "config" && g.Name != "log-level" && !slices.Contains(v.flags, g.Name) {
			err = usagef("--%s does not belong to %s %s", g.Name, c.name, v.name)
		}
	})
	return err
}
