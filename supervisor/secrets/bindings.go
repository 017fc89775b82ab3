// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Bound is which variables of a skill stand for which secrets. A person said so
// about the bytes that the skill had then, and it counts for these alone.
type Bound struct {
	Skill     string            `json:"skill"`     // name
	Digest    string            `json:"digest"`    // of the skill that a person had before them
	Variables map[string]string `json:"variables"` // name of the secret, by name of the variable
	By        string            `json:"by"`        // who bound the last of them
	At        time.Time         `json:"at"`        // when
}

// Bounds of bindings.
const (
	MaxBound     = 256 // skills
	MaxVariables = 32  // of one
)

// ErrChanged says that a skill has other bytes than those that it was bound with.
var ErrChanged = errors.New("the skill has changed since its secrets were bound")

// Bindings are those of a host's skills, in one file. Any goroutine may use them.
type Bindings struct {
	file string
	mu   sync.Mutex
	all  map[string]Bound // mu; by skill
}

// written is the file.
type written struct {
	Format int     `json:"format"`
	Skills []Bound `json:"skills"`
}

// OpenBindings reads the file, if it is there. A file that isn't understood is an
// error: skills would run without what they were given.
func OpenBindings(file string) (*Bindings, error) {
	b := &Bindings{file: file, all: map[string]Bound{}}
	var w written
	switch err := record.Read(file, &w); {
	case errors.Is(err, fs.ErrNotExist):
		return b, nil
	case err != nil:
		return nil, err
	case w.Format != format:
		return nil, fmt.Errorf("%s: format %d is not %d", file, w.Format, format)
	}
	for _, one := range w.Skills {
		if _, twice := b.all[one.Skill]; twice {
			return nil, fmt.Errorf("%s: skill %s is there twice", file, visible.Quote(one.Skill))
		}
		if err := one.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		b.all[one.Skill] = one
	}
	return b, nil
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

func (b *Bound) check() error {
	if b.Skill == "" || b.Digest == "" {
		return invalidf("a binding is of a skill and its digest")
	}
	if n := len(b.Variables); n == 0 || n > MaxVariables {
		return invalidf("skill %s has 1 to %d variables bound, not %d", visible.Quote(b.Skill), MaxVariables, n)
	}
	for name, secret := range b.Variables {
		if !variable.MatchString(name) {
			return invalidf("%s is no name of a variable", visible.Quote(name))
		}
		if err := CheckName(secret); err != nil {
			return err
		}
	}
	return nil
}

// List gives all of them by skill.
func (b *Bindings) List() []Bound {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]Bound, 0, len(b.all))
	for _, one := range b.all {
		one.Variables = maps.Clone(one.Variables)
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Bound) int { return cmp.Compare(a.Skill, b.Skill) })
	return list
}

// For gives the secrets of a skill's variables, nil if it has none. If they were
// bound with other bytes than digest says, it is ErrChanged.
func (b *Bindings) For(skill, digest string) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	one, ok := b.all[skill]
	switch {
	case !ok:
		return nil, nil
	case one.Digest != digest:
		return nil, fmt.Errorf("%w: it was %s, it is %s; look at the skill, then bind them again with 'clawsup skill bind'", ErrChanged, one.Digest, digest)
	}
	return maps.Clone(one.Variables), nil
}

// Bind adds variables to a skill's. Those that were bound with another digest
// are forgotten: nobody has looked at them with the bytes that it has now.
func (b *Bindings) Bind(add Bound) (Bound, error) {
	if err := add.check(); err != nil {
		return Bound{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	variables := map[string]string{}
	if old, ok := b.all[add.Skill]; ok && old.Digest == add.Digest {
		maps.Copy(variables, old.Variables)
	}
	maps.Copy(variables, add.Variables)
	add.Variables = variables
	if err := add.check(); err != nil {
		return Bound{}, err
	}
	if _, there := b.all[add.Skill]; !there && len(b.all) >= MaxBound {
		return Bound{}, invalidf("secrets of %d skills are bound already", MaxBound)
	}
	return add, b.change(func(all map[string]Bound) { all[add.Skill] = add })
}

// Unbind forgets variables of a skill, all of them if none is named. It is
// ErrUnknown if one isn't bound.
func (b *Bindings) Unbind(skill string, variables ...string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	one, ok := b.all[skill]
	if !ok {
		return &problem{ErrUnknown, "no secret is bound to skill " + visible.Quote(skill)}
	}
	one.Variables = maps.Clone(one.Variables)
	for _, name := range variables {
		if _, ok := one.Variables[name]; !ok {
			return &problem{ErrUnknown, fmt.Sprintf("no secret is bound to variable %s of skill %s", visible.Quote(name), visible.Quote(skill))}
		}
		delete(one.Variables, name)
	}
	return b.change(func(all map[string]Bound) {
		if len(variables) == 0 || len(one.Variables) == 0 {
			delete(all, skill)
			return
		}
		all[skill] = one
	})
}

// change writes what it would be, and then is it. mu is held.
func (b *Bindings) change(f func(map[string]Bound)) error {
	all := maps.Clone(b.all)
	f(all)
	w := written{Format: format, Skills: []Bound{}}
	for _, skill := range slices.Sorted(maps.Keys(all)) {
		w.Skills = append(w.Skills, all[skill])
	}
	if err := record.Write(b.file, w); err != nil {
		return err
	}
	b.all = all
	return nil
}
