// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// guard tells what is protected, of one change set in its workspace.
type guard struct {
	tables []*table
	root   int               // descriptor of the workspace
	moves  map[string]string // of renamed directories: from their new paths
	comes  map[string]bool   // folded paths of the set that rows look for beside others
	there  map[string]bool   // what was looked for in the workspace already
	dirs   map[string]string // of directories above paths: why they are protected
}

// Bounds of what a guard remembers. Sets are in the order of their paths, so
// that little is looked for again.
const (
	mostDirs  = 4096
	mostThere = 256 // each has a path of its own
)

// table is a list of patterns, so that few have to be compared with a path.
type table struct {
	anywhere map[string][]mark // patterns at every depth, by their first name
	longest  int               // names of a pattern at every depth, and one
	endings  []mark            // those of one name that is an ending
	anchored []mark            // the others
}

// mark is a pattern with why it protects.
type mark struct {
	pattern
	why    string
	beside []string
}

func (t *table) add(m mark) {
	t.longest = max(t.longest, len(m.names)+1)
	switch first := m.names[0]; {
	case !m.deep:
		t.anchored = append(t.anchored, m)
	case m.ending && len(m.names) == 1:
		t.endings = append(t.endings, m)
	default:
		t.anywhere[first] = append(t.anywhere[first], m)
	}
}

// builtIn is what protected says.
var builtIn = sync.OnceValue(func() *table {
	t := &table{anywhere: map[string][]mark{}}
	for _, k := range protected {
		for _, p := range k.patterns {
			t.add(mark{compile(p), k.why, k.beside})
		}
	}
	return t
})

// neighbours are the names that rows look for beside others, folded.
var neighbours = sync.OnceValue(func() map[string]bool {
	m := map[string]bool{}
	for _, k := range protected {
		for _, name := range k.beside {
			m[fold(name)] = true
		}
	}
	return m
})

// newGuard makes one for a set. Patterns of the configuration that are none
// are an error: they would protect nothing.
func newGuard(set *changeset.Set, root int, more []string) (*guard, error) {
	configured := &table{anywhere: map[string][]mark{}}
	for _, p := range more {
		if err := CheckPattern(p); err != nil {
			return nil, err
		}
		configured.add(mark{pattern: compile(p), why: "the configuration protects it ([changes] protected)"})
	}
	g := &guard{
		tables: []*table{builtIn(), configured}, root: root,
		moves: map[string]string{}, comes: map[string]bool{}, there: map[string]bool{}, dirs: map[string]string{},
	}
	for i := range set.Entries {
		e := &set.Entries[i]
		if e.Kind == changeset.Renamed {
			g.moves[string(e.Path)] = string(e.From)
		}
		if neighbours()[fold(base(string(e.Path)))] {
			g.comes[foldPath(string(e.Path))] = true
		}
	}
	return g, nil
}

func foldPath(path string) string {
	names := strings.Split(path, "/")
	for i, n := range names {
		names[i] = fold(n)
	}
	return strings.Join(names, "/")
}

// why says why a path is protected; empty: it isn't. Of a directory it may be
// that only what is in it is. What is in a protected directory is protected as
// that is, which is found once for all that is in it: else a tool's hundred
// thousand files below hundreds of directories would be compared at each of them.
func (g *guard) why(path string, directory bool) string {
	if why := g.whyDir(above(path)); why != "" {
		return why
	}
	return g.whyHere(path, directory)
}

// whyDir says it of a directory above a path.
func (g *guard) whyDir(path string) string {
	if path == "" {
		return ""
	}
	why, known := g.dirs[path]
	if !known {
		why = cmp.Or(g.whyDir(above(path)), g.whyHere(path, true))
		if len(g.dirs) >= mostDirs {
			clear(g.dirs)
		}
		g.dirs[path] = why
	}
	return why
}

// whyHere says it of a path in a directory that isn't protected: by patterns
// that take its last name.
func (g *guard) whyHere(path string, directory bool) string {
	plain := strings.Split(path, "/")
	names := make([]string, len(plain))
	for i, n := range plain {
		names[i] = fold(n)
	}
	hit := func(m *mark, at int) bool {
		switch m.from(names[at:]) {
		case toward:
			return !directory && len(m.beside) == 0
		case within:
			return g.beside(plain[:at], m.beside)
		}
		return false
	}
	for _, t := range g.tables {
		if why := first(t.anchored, 0, hit); why != "" {
			return why
		}
		for at := max(0, len(names)-t.longest); at < len(names); at++ {
			if why := cmp.Or(first(t.anywhere[names[at]], at, hit), first(t.endings, at, hit)); why != "" {
				return why
			}
		}
	}
	return ""
}

// first gives why the first mark that hits does.
func first(marks []mark, at int, hit func(m *mark, at int) bool) string {
	for i := range marks {
		if hit(&marks[i], at) {
			return marks[i].why
		}
	}
	return ""
}

// beside says whether all of the names are in a directory, as it was or as it
// will be.
func (g *guard) beside(dir, names []string) bool {
	for _, name := range names {
		if !g.has(strings.Join(dir, "/"), name) {
			return false
		}
	}
	return true
}

func (g *guard) has(dir, name string) bool {
	path := strings.TrimPrefix(dir+"/"+name, "/")
	if g.comes[foldPath(path)] {
		return true
	}
	there, known := g.there[path]
	if !known {
		there = g.exists(path) || g.exists(g.before(path))
		if len(g.there) >= mostThere {
			clear(g.there)
		}
		g.there[path] = there
	}
	return there
}

// before is where a path was, if a directory above it was renamed.
func (g *guard) before(path string) string {
	for up := path; up != ""; up = above(up) {
		if from, ok := g.moves[up]; ok {
			return from + path[len(up):]
		}
	}
	return path
}

func (g *guard) exists(path string) bool {
	fd, err := openBeneath(g.root, path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// entry says why an entry is protected: by its path, by where it was, or by
// what is in a directory that it moves.
func (g *guard) entry(e *changeset.Entry) string {
	kind := e.After.Type
	if e.Kind == changeset.Deleted || kind == changeset.None {
		kind = e.Before.Type
	}
	if e.Kind != changeset.Renamed {
		return g.why(string(e.Path), kind == changeset.Directory)
	}
	for _, path := range []string{string(e.Path), string(e.From)} {
		if why := g.why(path, true); why != "" {
			return why
		}
	}
	return g.moved(string(e.From), string(e.Path))
}

// moved looks at all that is in a directory of the workspace which is to be
// moved. Of one that is too large nobody knows, so it is protected.
func (g *guard) moved(from, to string) (why string) {
	fd, err := openBeneath(g.root, from, unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(fd)
		err = roam(fd, func(dir int, below string, st *unix.Stat_t) error {
			directory := st.Mode&unix.S_IFMT == unix.S_IFDIR
			if why = cmp.Or(g.why(to+below, directory), g.why(from+below, directory)); why != "" {
				return errFound
			}
			if st.Mode&unix.S_IFMT != unix.S_IFLNK {
				return nil
			}
			target := make([]byte, unix.PathMax)
			n, err := unix.Readlinkat(dir, base(below), target)
			if err == nil && changeset.LeadsOut(to+below, string(target[:n])) {
				why = "a symbolic link in the directory leaves the workspace from there"
				return errFound
			}
			return err
		})
	}
	if err != nil && why == "" {
		return fmt.Sprintf("not all that is in the directory can be looked at (%s)", visible.Line(clip(err.Error())))
	}
	return why
}

var errFound = errors.New("found")
