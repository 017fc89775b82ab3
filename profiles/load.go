// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// maxChain is how many files a profile and its ancestors are at most.
const maxChain = 8

// Loaded is a profile with every value effective, and where each came from.
type Loaded struct {
	Profile Profile
	// Origin says which file set each value: a path or "built in: NAME" by key,
	// as in "limits.memory". Each variable has a key of its own, as in
	// "environment.set.HOME".
	Origin map[string]string
	// Digest identifies what the box may do: "sha256:" and 64 hexadecimal digits.
	Digest string
	// Source is the file that was asked for: a path or "built in: NAME".
	Source string
}

var profileName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func checkName(name string) error {
	if !profileName.MatchString(name) {
		return fmt.Errorf("%q is not a name; write 1 to 64 of a to z, 0 to 9 and -, not beginning with -", clip(name))
	}
	return nil
}

// Load reads the profile called name, with its ancestors. With a slash in it or
// .toml at its end, name is a path; otherwise it is looked up as NAME.toml in
// dirs, the first that has it, and then among the built-in profiles. A file that
// is called like a built-in counts only if root owns it and its directory and
// nobody else can write them. An error about a file is an [*Error]; no such
// profile is fs.ErrNotExist.
func Load(name string, dirs []string) (*Loaded, error) {
	if strings.Contains(name, "/") || strings.HasSuffix(name, ".toml") {
		return loadPath(name, dirs)
	}
	if err := checkName(name); err != nil {
		return nil, fmt.Errorf("profile %w", err)
	}
	d, err := find(name, dirs)
	if err != nil {
		return nil, err
	}
	return d.resolve(dirs)
}

func loadPath(path string, dirs []string) (*Loaded, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := f.document()
	if err != nil {
		return nil, err
	}
	return d.resolve(dirs)
}

// document parses the file.
func (f *file) document() (*document, error) {
	name := strings.TrimSuffix(filepath.Base(f.path), ".toml")
	if err := checkName(name); err != nil {
		return nil, &Error{File: f.path, Text: "a profile's file is called NAME.toml, and " + err.Error()}
	}
	data, err := f.read()
	if err != nil {
		return nil, err
	}
	d := &document{name: name, source: f.path, id: f.id(), trusted: f.trusted}
	return d, d.parse(data)
}

// find parses the profile that a name stands for.
func find(name string, dirs []string) (*document, error) {
	for _, dir := range dirs {
		d, err := findIn(dir, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return d, err
		}
	}
	if isBuiltin(name) {
		return builtin(name)
	}
	return nil, fmt.Errorf("there is no profile %q: %w; built in are %s", name, fs.ErrNotExist, strings.Join(Builtins(), ", "))
}

// findIn is find in one directory.
func findIn(dir, name string) (*document, error) {
	f, err := open(filepath.Join(dir, name+".toml"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if isBuiltin(name) && !f.trusted {
		return nil, fs.ErrNotExist
	}
	return f.document()
}

// parent parses the profile that d extends; nil if it has none.
func (d *document) parent(dirs []string) (*document, error) {
	if d.isBuiltin() {
		if d.extends == "" {
			return nil, nil
		}
		return builtin(d.extends)
	}
	name := cmp.Or(d.extends, "default")
	p, err := find(name, dirs)
	if err == nil && p.is(d) && isBuiltin(name) {
		return builtin(name)
	}
	return p, err
}

func (d *document) isBuiltin() bool { return d.id == fileID{} }

// is reports whether two documents are of one file.
func (d *document) is(e *document) bool {
	return d.id == e.id && (!d.isBuiltin() || d.name == e.name)
}

// line gives the line of a key, 0 if d doesn't set it.
func (d *document) line(name string) int {
	for _, a := range d.assignments {
		if a.name == name {
			return a.line()
		}
	}
	return 0
}

// ancestry gives d and its ancestors, youngest first.
func (d *document) ancestry(dirs []string) ([]*document, error) {
	chain := []*document{d}
	for {
		last := chain[len(chain)-1]
		parent, err := last.parent(dirs)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil, last.fault(last.line("extends"), "extends %v", err)
			}
			return nil, fmt.Errorf("%s extends it: %w", visible(last.source), err)
		}
		if parent == nil {
			return chain, nil
		}
		if i := slices.IndexFunc(chain, parent.is); i >= 0 {
			var cycle []string
			for _, c := range append(chain[i:], parent) {
				cycle = append(cycle, c.name)
			}
			return nil, last.fault(last.line("extends"), "extends goes round in a circle: %s; let one of them extend default", strings.Join(cycle, " -> "))
		}
		if len(chain) == maxChain {
			return nil, last.fault(last.line("extends"), "extends a %dth profile; a chain has at most %d", maxChain+1, maxChain)
		}
		chain = append(chain, parent)
	}
}

// resolve lays d over its ancestors.
func (d *document) resolve(dirs []string) (*Loaded, error) {
	chain, err := d.ancestry(dirs)
	if err != nil {
		return nil, err
	}
	l := &Loaded{Origin: map[string]string{}, Source: d.source}
	for i, layer := range slices.Backward(chain) {
		var parent *document
		if i+1 < len(chain) {
			parent = chain[i+1]
		}
		if err := layer.over(parent, l); err != nil {
			return nil, err
		}
	}
	if n := &l.Profile.Network; len(n.Levels) == 0 {
		origin := l.Origin["network.mode"]
		n.Default, n.Levels = Ask, []NetworkLevel{{Default: Ask, Origin: origin}}
		l.Origin[networkDefault.name] = origin
	}
	l.Digest = l.Profile.digest()
	return l, nil
}

// over lays d over what its parent made, nil being the empty profile.
func (d *document) over(parent *document, l *Loaded) error {
	before := l.Profile
	p := &l.Profile
	p.Name, p.Description, p.Extends = d.name, "", ""
	d.addLevel(parent, p)
	for _, a := range d.assignments {
		a.apply(p)
		if a.key.table && a.name == a.key.name { // which has values by variable
			continue
		}
		l.Origin[a.name] = d.source
	}
	if err := d.closeLevel(p, &before, l.Origin); err != nil {
		return err
	}
	for name := range l.Origin { // of variables that the parent had
		if variable, ok := strings.CutPrefix(name, "secrets."); ok && p.Secrets[variable] == "" {
			delete(l.Origin, name)
		}
	}
	l.Origin["description"], l.Origin["extends"] = d.source, d.source
	if parent != nil {
		before.Network.Default = cmp.Or(before.Network.Default, Ask)
		p.Extends = parent.name
		if err := d.checkTighter(parent, p, &before); err != nil {
			return err
		}
	}
	return d.checkContradictions(p, l.Origin)
}

// addsLevel reports whether d says anything of destinations.
func (d *document) addsLevel() bool {
	return slices.ContainsFunc(d.assignments, func(a assignment) bool { return a.key.level })
}

// addLevel makes room for what d says of destinations, if it says anything.
func (d *document) addLevel(parent *document, p *Profile) {
	if !d.addsLevel() {
		return
	}
	levels := slices.Clone(p.Network.Levels)
	if len(levels) == 0 && parent != nil && !d.trusted {
		// A parent without any lets everything be asked for, and nothing more.
		levels = append(levels, NetworkLevel{Default: Ask, Origin: parent.source})
	}
	p.Network.Levels = append(levels, NetworkLevel{Origin: d.source})
}

// closeLevel completes the level that d has made, if it has.
func (d *document) closeLevel(p, before *Profile, origin map[string]string) error {
	n := &p.Network
	if len(n.Levels) == len(before.Network.Levels) {
		return nil
	}
	last := n.last()
	if last.Default == Ask && before.Network.Default == Deny {
		return d.fault(d.line(networkDefault.name), `network.default = "ask" changes nothing, as it is "deny" in an ancestor and the strictest counts; leave it out, or extend another profile`)
	}
	if len(n.Levels) == 1 {
		last.Default = cmp.Or(last.Default, Ask)
	}
	if n.Default == "" {
		n.Default, origin[networkDefault.name] = n.Levels[0].Default, n.Levels[0].Origin
	}
	return nil
}

// checkTighter holds p, which d made of its parent's values, to the rule that a
// child gets at most what its parent has.
func (d *document) checkTighter(parent *document, p, before *Profile) error {
	if d.trusted {
		return nil
	}
	for _, a := range d.assignments {
		if !a.key.wider(p, before) {
			continue
		}
		mine, theirs := valueOf(p, a.name), valueOf(before, a.name)
		if mine == theirs {
			continue // another variable is the wider one
		}
		return d.fault(a.line(), "%s = %s is wider than its parent's, %s in %s (%s); only a file that root alone can write, in a directory that root alone can write, may widen",
			a.name, mine, theirs, visible(parent.source), a.key.rule)
	}
	return nil
}

// digest hashes the effective values that bound the box, in their one spelling.
func (p *Profile) digest() string {
	h := sha256.New()
	fmt.Fprintln(h, "clawsup profile 1")
	for _, k := range keys {
		if !k.bound {
			continue
		}
		var lines []string
		for _, s := range k.settings(p) {
			if s.level > 0 {
				s.name += fmt.Sprintf(" %d", s.level)
			}
			lines = append(lines, s.name+" = "+s.toml+"\n")
		}
		slices.Sort(lines) // the order of rules means nothing
		io.WriteString(h, strings.Join(lines, ""))
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}
