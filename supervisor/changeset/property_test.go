// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// node is a file in a model of a tree: what a commit has to bring.
type node struct {
	kind   Type
	mode   uint32
	digest string
	target string
	xattrs string
}

// model is a tree, by path.
type model map[string]node

func flat(list []Xattr) string {
	var b strings.Builder
	for _, x := range list {
		fmt.Fprintf(&b, "%q=%q ", x.Name, x.Value)
	}
	return b.String()
}

// snapshot reads a tree with other means than Walk's.
func snapshot(t *testing.T, dir string) model {
	t.Helper()
	m := model{}
	must(t, filepath.WalkDir(dir+"/.", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if name == "." {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		n := node{mode: st.Mode & 0o7777}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			n.kind = Regular
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n.digest = sum(string(text))
		case unix.S_IFDIR:
			n.kind = Directory
		case unix.S_IFLNK:
			n.kind = Symlink
			if n.target, err = os.Readlink(path); err != nil {
				return err
			}
			n.digest = sum(n.target)
		default:
			n.kind = Special
		}
		if n.kind == Regular || n.kind == Directory {
			value := make([]byte, 100)
			if size, err := unix.Lgetxattr(path, "user.p", value); err == nil {
				n.xattrs = flat([]Xattr{{"user.p", value[:size]}})
			} else if !errors.Is(err, unix.ENODATA) {
				return err
			}
		}
		m[name] = n
		return nil
	}))
	return m
}

func modelled(s *State, target string) node {
	return node{kind: s.Type, mode: s.Mode, digest: s.Digest, target: target, xattrs: flat(s.Xattrs)}
}

// apply does to a model what a set says, and fails where it says what can't be.
func apply(before model, s *Set) (model, error) {
	m := maps.Clone(before)
	var problems []error
	problem := func(e *Entry, text string) { problems = append(problems, fmt.Errorf("%s: %s", short(e), text)) }
	moves := map[string]string{}
	for i := range s.Entries {
		e := &s.Entries[i]
		if e.Kind != Created && !e.Before.zero() {
			if n, ok := before[e.Was()]; !ok {
				problem(e, "there was nothing")
			} else if n.target = ""; n != modelled(&e.Before, "") {
				problem(e, fmt.Sprintf("it was %v", n))
			}
		}
		switch e.Kind {
		case Deleted:
			delete(m, string(e.Path))
		case Renamed:
			moves[string(e.From)] = string(e.Path)
		}
	}
	moved := model{}
	for path, n := range m {
		to := path
		for dir, rest := path, ""; dir != "."; dir = filepath.Dir(dir) {
			if place, ok := moves[dir]; ok {
				to = place + rest
				break
			}
			rest = "/" + filepath.Base(dir) + rest
		}
		if _, ok := moved[to]; ok {
			problems = append(problems, fmt.Errorf("two are moved to %q", to))
		}
		moved[to] = n
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		_, there := moved[string(e.Path)]
		switch e.Kind {
		case Created:
			if there {
				problem(e, "it is there already")
			}
			if e.Link != "" && moved[string(e.Link)] != modelled(&e.After, string(e.Target)) {
				problem(e, "it is not the same file")
			}
		case Modified, Changed, Renamed:
			if !there {
				problem(e, "it is not there")
			}
		default:
			continue
		}
		moved[string(e.Path)] = modelled(&e.After, string(e.Target))
	}
	return moved, errors.Join(problems...)
}

// chance is a random writer in a tree.
type chance struct {
	*rand.Rand
	dir string
	log []string
}

// pick gives a path that is there, usually.
func (c *chance) pick() string {
	var paths []string
	_ = filepath.WalkDir(c.dir+"/.", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != c.dir+"/." {
			paths = append(paths, path)
		}
		return nil
	})
	if len(paths) == 0 || c.IntN(10) == 0 {
		return c.fresh()
	}
	return paths[c.IntN(len(paths))]
}

// fresh gives a path in a directory that is there. Names are few, so that they
// are used again.
func (c *chance) fresh() string {
	var dirs []string
	_ = filepath.WalkDir(c.dir+"/.", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Count(path, "/") < strings.Count(c.dir, "/")+5 {
			dirs = append(dirs, path)
		}
		return nil
	})
	names := []string{"a", "b", "c", "d", "é", "\xff", "a!", "x\ny", "-"}
	return filepath.Join(dirs[c.IntN(len(dirs))], names[c.IntN(len(names))])
}

// step does one thing; that some can't be done is part of it.
func (c *chance) step() {
	operations := []struct {
		name string
		do   func(a, b string) error
	}{
		{"write", func(a, b string) error { return os.WriteFile(b, []byte(c.text()), 0o644) }},
		{"write", func(a, b string) error { return os.WriteFile(b, []byte(c.text()), 0o600) }},
		{"overwrite", func(a, b string) error { return os.WriteFile(a, []byte(c.text()), 0o644) }},
		{"append", func(a, b string) error {
			f, err := os.OpenFile(a, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteString(c.text())
			return err
		}},
		{"truncate", func(a, b string) error { return os.Truncate(a, int64(c.IntN(9000))) }},
		{"chmod", func(a, b string) error {
			if st, err := os.Lstat(a); err != nil || st.Mode().Type() == fs.ModeSymlink {
				return err
			}
			return unix.Chmod(a, []uint32{0o700, 0o644, 0o755, 0o1777}[c.IntN(4)])
		}},
		{"rename", os.Rename},
		{"rename", os.Rename},
		{"rename", os.Rename},
		{"rename", func(a, b string) error { return os.Rename(a, c.pick()) }},
		{"exchange", func(a, b string) error {
			return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, c.pick(), unix.RENAME_EXCHANGE)
		}},
		{"unlink", func(a, b string) error { return os.Remove(a) }},
		{"remove", func(a, b string) error { return os.RemoveAll(a) }},
		{"mkdir", func(a, b string) error { return os.Mkdir(b, 0o755) }},
		{"mkdir", func(a, b string) error { return os.MkdirAll(filepath.Join(b, "d"), 0o755) }},
		{"again", func(a, b string) error {
			st, err := os.Lstat(a)
			if err != nil {
				return err
			}
			if err := os.RemoveAll(a); err != nil || st.IsDir() == (c.IntN(3) == 0) {
				return errors.Join(err, os.WriteFile(a, []byte(c.text()), 0o644))
			}
			return os.Mkdir(a, 0o755)
		}},
		{"symlink", func(a, b string) error { return os.Symlink([]string{"a", "../b", "/c"}[c.IntN(3)], b) }},
		{"link", os.Link},
		{"fifo", func(a, b string) error { return unix.Mkfifo(b, 0o600) }},
		{"attribute", func(a, b string) error { return unix.Lsetxattr(a, "user.p", []byte(c.text()[:1]), 0) }},
		{"no attribute", func(a, b string) error { return unix.Lremovexattr(a, "user.p") }},
	}
	o, a, b := operations[c.IntN(len(operations))], c.pick(), c.fresh()
	if st, err := os.Lstat(a); err == nil && !st.Mode().IsRegular() && strings.Contains("overwrite append truncate", o.name) {
		return // a FIFO would never open
	}
	if st, err := os.Lstat(b); err == nil && !st.Mode().IsRegular() && o.name == "write" {
		return
	}
	err := o.do(a, b)
	c.log = append(c.log, fmt.Sprintf("%s %q %q: %v", o.name, strings.TrimPrefix(a, c.dir), strings.TrimPrefix(b, c.dir), err))
}

// text is one of few, so that content comes again.
func (c *chance) text() string {
	return strings.Repeat(string(rune('0'+c.IntN(4))), 1+c.IntN(3)*3000)
}

func without(m model, kind Type) model {
	maps.DeleteFunc(m, func(_ string, n node) bool { return n.kind == kind })
	return m
}

// Random work in the overlay: what the set says, done to the workspace as it
// was, gives what the call saw.
func TestProperty(t *testing.T) {
	seeds, rounds := 100, 12
	if testing.Short() {
		seeds = 6
	}
	var kinds [Dropped + 1]int
	for seed := range seeds {
		s := prepare(t, "")
		c := &chance{Rand: rand.New(rand.NewPCG(uint64(seed), 5)), dir: s.lower}
		for range 60 {
			c.step()
		}
		before := snapshot(t, s.lower)
		s.begin = tick(t, s.lower)
		c.dir, c.log = strings.TrimSuffix(s.merged, "/"), nil
		for round := range rounds {
			for range 1 + c.IntN(15) {
				c.step()
			}
			set := s.walk()
			for _, e := range set.Entries {
				kinds[e.Kind]++
			}
			got, err := apply(before, set)
			after := snapshot(t, c.dir)
			// What is Dropped stays as it was, or is not there.
			if got, after := without(got, Special), without(after, Special); !maps.Equal(got, after) || err != nil || set.Count().Conflicts > 0 {
				t.Errorf("seed %d, round %d: %v\n%s\n\t%s", seed, round, err, differences(got, after), strings.Join(shorts(set), "\n\t"))
				t.Fatalf("after\n\t%s", strings.Join(c.log, "\n\t"))
			}
			if lines, n := set.Lines(), 0; len(lines) > 0 {
				for _, l := range lines {
					n += l.Entries
				}
				if n != len(set.Entries) || n != set.Count().Entries() {
					t.Errorf("seed %d: the lines have %d entries of %d", seed, n, len(set.Entries))
				}
			}
		}
		if again := snapshot(t, s.lower); !maps.Equal(again, before) {
			t.Fatalf("seed %d: the workspace was touched", seed)
		}
	}
	t.Logf("seeds 0 to %d, %d rounds each; entries by kind: %v", seeds-1, rounds, kinds[Created:])
	for _, k := range Kinds() {
		if kinds[k] == 0 {
			t.Errorf("nothing was %s", k)
		}
	}
}

func differences(got, want model) string {
	var b bytes.Buffer
	paths := slices.Concat(slices.Collect(maps.Keys(got)), slices.Collect(maps.Keys(want)))
	slices.Sort(paths)
	for _, p := range slices.Compact(paths) {
		if got[p] != want[p] {
			fmt.Fprintf(&b, "\t%q: the set makes %v of it, and the call %v\n", p, got[p], want[p])
		}
	}
	return b.String()
}
