// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/secrets"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// newSecret is a request for a secret.
func newSecret(one *secrets.Secret, value []byte) api.NewSecret {
	return api.NewSecret{
		Name: one.Name, Value: value, Shape: one.Shape, Hosts: one.Hosts, Places: one.Places, Cookies: one.Cookies,
		Captures: one.Captures, Ask: one.Ask, Public: !one.Private,
	}
}

func (p *program) secretSet(f *secretFlags, words []string) error {
	name, err := onlyName(words)
	if err != nil {
		return err
	}
	one, err := f.metadata(name)
	if err != nil {
		return err
	}
	// What is wrong is said before somebody goes and gets the value.
	list, err := ask[[]secrets.Secret](p, api.SecretList, api.Nothing{})
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.Name == name {
			return fmt.Errorf("there is a secret %s already; 'clawsup secret rotate %s' gives it another value; to bind it to something else, remove it and set it again", name, name)
		}
	}
	value, err := p.readValue(name)
	if err != nil {
		return err
	}
	defer clear(value)
	if one, err = ask[secrets.Secret](p, api.SecretSet, newSecret(&one, value)); err != nil {
		return err
	}
	if f.json {
		return p.printJSON(one)
	}
	return errors.Join(
		p.line("secret %s is stored; it goes to %s, as %s", one.Name, strings.Join(one.Hosts, ", "), placesText(&one)),
		p.line("to give a box its placeholder: a line in [secrets] of its profile, or 'clawsup skill bind'"))
}

func (p *program) secretRotate(f *secretFlags, words []string) error {
	name, err := onlyName(words)
	if err != nil {
		return err
	}
	if _, err := ask[secrets.Secret](p, api.SecretShow, api.SecretRef{Secret: name}); err != nil {
		return err
	}
	value, err := p.readValue(name)
	if err != nil {
		return err
	}
	defer clear(value)
	one, err := ask[secrets.Secret](p, api.SecretRotate, api.SecretValue{Secret: name, Value: value})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(one)
	}
	return p.line("secret %s has its new value; boxes that are alive use it from their next request on", one.Name)
}

func (p *program) secretRemove(f *secretFlags, words []string) error {
	name := words[0]
	one, err := ask[secrets.Secret](p, api.SecretShow, api.SecretRef{Secret: name})
	if err != nil {
		return err
	}
	if !f.yes {
		if err := agreed(fmt.Sprintf("Secret %s goes to %s; its value is nowhere else here.", one.Name, strings.Join(one.Hosts, ", ")), "remove it for good"); err != nil {
			return err
		}
	}
	removed, err := ask[api.SecretRemoved](p, api.SecretRemove, api.SecretRef{Secret: name})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(removed)
	}
	for _, skill := range removed.Skills {
		fmt.Fprintf(p.stderr, "clawsup: a variable of skill %s is still bound to it: see 'clawsup skill bindings'\n", visible.Text(skill))
	}
	return p.line("secret %s is removed", removed.Secret)
}

// agreed asks for the word yes on the controlling terminal.
func agreed(about, to string) error {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return errors.New("there is no terminal to ask on; add --yes")
	}
	defer tty.Close()
	return typedYes(tty, fmt.Sprintf("%s\nType yes, the whole word, to %s: ", visible.Line(about), to), "nothing was changed")
}

func placesText(s *secrets.Secret) string {
	var places []string
	for _, place := range s.Places {
		places = append(places, secrets.PlaceText(place))
	}
	return strings.Join(places, ", ")
}

// ago is how long it is since a moment, for people.
func ago(at, now time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return desk.Span(now.Sub(at)) + " ago"
}

// secretNote is what should be looked at.
func secretNote(s *secrets.Secret, now time.Time) string {
	var notes []string
	add := func(is bool, format string, args ...any) {
		if is {
			notes = append(notes, fmt.Sprintf(format, args...))
		}
	}
	add(s.Wrong != "", "CAN'T BE USED")
	add(s.Stale(now), "%d DAYS OLD", int(now.Sub(s.Rotated).Hours()/24))
	add(s.Ask, "asks")
	add(!s.Private, "public")
	add(s.From != "", "from %s", s.From)
	return strings.Join(notes, ", ")
}

func (p *program) secretList(f *secretFlags, _ []string) error {
	list, err := ask[[]secrets.Secret](p, api.SecretList, api.Nothing{})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(orEmpty(list))
	case len(list) == 0:
		return p.line("there are no secrets; 'clawsup help secret' says how to store one")
	}
	now := time.Now()
	var stale, wrong []string
	t := newTable(p.stdout, "SECRET", "GOES TO", "AS", "VALUE SET", "LAST USED", "NOTE")
	for i := range list {
		s := &list[i]
		if s.Stale(now) {
			stale = append(stale, s.Name)
		}
		if s.Wrong != "" {
			wrong = append(wrong, s.Wrong)
		}
		t.row(s.Name, clipped(strings.Join(s.Hosts, ", ")), clipped(placesText(s)), ago(s.Rotated, now), ago(s.LastUsed, now), secretNote(s, now))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if len(stale) > 0 {
		fmt.Fprintf(p.stderr, "clawsup: older than 90 days, get a new value and 'clawsup secret rotate' it: %s\n", strings.Join(stale, ", "))
	}
	for _, text := range wrong {
		fmt.Fprintf(p.stderr, "clawsup: %s\n", visible.Line(text))
	}
	return nil
}

func (p *program) secretShow(f *secretFlags, words []string) error {
	s, err := ask[secrets.Secret](p, api.SecretShow, api.SecretRef{Secret: words[0]})
	switch {
	case err != nil:
		return err
	case f.json:
		return p.printJSON(s)
	}
	now := time.Now()
	out := sheet{p.stdout}
	out.add("secret", "%s", s.Name)
	out.add("wrong", "%s", s.Wrong)
	out.add("goes to", "%s", strings.Join(s.Hosts, ", "))
	out.add("as", "%s", placesText(&s))
	if s.Cookies {
		out.add("beside it", "a Cookie passes")
	}
	for _, c := range s.Captures {
		out.add("captures", "%s of what %s answers, as %s.%s", c.Field, c.Path, s.Name, c.Field)
	}
	out.add("captured", "%s", s.From)
	out.add("shape", "%s", s.Shape)
	out.add("asks", "%s", map[bool]string{true: "a person, for each use"}[s.Ask])
	out.add("private", "%s", map[bool]string{true: "yes: what is read with it is", false: "no"}[s.Private])
	out.add("owner", "%s", s.Owner)
	out.add("made", "%s", stamp(s.Created))
	value := stamp(s.Rotated)
	if s.Stale(now) {
		value += fmt.Sprintf(", %d days ago: get a new one, and 'clawsup secret rotate %s'", int(now.Sub(s.Rotated).Hours()/24), s.Name)
	}
	out.add("value set", "%s", value)
	out.add("last used", "%s", ago(s.LastUsed, now))
	return nil
}
