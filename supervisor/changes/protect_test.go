// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// planted makes files in a new directory: a name with a slash at its end is a
// directory, one with " -> " a link.
func planted(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	plant(t, dir, names...)
	return dir
}

func plant(t testing.TB, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		at := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(at), 0o755))
		if link, to, ok := strings.Cut(name, " -> "); ok {
			must(t, os.Symlink(to, filepath.Join(dir, link)))
			continue
		}
		if strings.HasSuffix(name, "/") {
			must(t, os.MkdirAll(at, 0o755))
			continue
		}
		must(t, os.WriteFile(at, []byte(name), 0o644))
	}
}

func created(paths ...string) *changeset.Set {
	set := &changeset.Set{}
	for _, p := range paths {
		kind := changeset.Regular
		if strings.HasSuffix(p, "/") {
			kind = changeset.Directory
		}
		set.Entries = append(set.Entries, changeset.Entry{Kind: changeset.Created, Path: raw.String(clean(p)), After: changeset.State{Type: kind}})
	}
	return set
}

func guardOf(t testing.TB, set *changeset.Set, dir string, more ...string) *guard {
	t.Helper()
	g, err := newGuard(set, openDir(t, dir), more)
	must(t, err)
	return g
}

// example is a path that a pattern means.
func example(pattern string) string {
	p := strings.TrimPrefix(pattern, "**/")
	if i := strings.LastIndexByte(p, '/') + 1; strings.HasPrefix(p[i:], "*") {
		return p[:i] + "some" + p[i+1:]
	}
	return p
}

// TestEveryRow: each pattern of the table protects what it names, at the top
// and below, in whatever case, and all beneath; and not what is named nearly so.
func TestEveryRow(t *testing.T) {
	empty := t.TempDir()
	seen := map[string]bool{}
	for _, k := range protected {
		if k.why == "" || len(k.patterns) == 0 {
			t.Errorf("%+v protects nothing, or for no reason", k)
		}
		for _, p := range k.patterns {
			if err := CheckPattern(p); err != nil || !strings.HasPrefix(p, "**/") {
				t.Errorf("%s: %v", p, err)
			}
			if seen[p] && k.beside == nil {
				t.Errorf("%s is there twice", p)
			}
			seen[p] = true
			at := example(p)
			for _, path := range []string{at, "a/b/" + at, strings.ToUpper(at), at + "/x/y", strings.Replace(at, "s", "\u017f", 1), at[:1] + "\u200d" + at[1:]} {
				var beside []string
				dir, _ := strings.CutSuffix(strings.TrimSuffix(path, "/x/y"), "/"+filepath.Base(at))
				if !strings.HasPrefix(path, "a/b/") {
					dir = ""
				}
				for _, b := range k.beside {
					beside = append(beside, filepath.Join(dir, b))
				}
				set := created(append(beside, path)...)
				if why := guardOf(t, set, empty).why(path, false); why == "" {
					t.Errorf("%s: %s is not protected", p, path)
				}
			}
			if k.beside == nil {
				for _, path := range []string{"x" + at + "x", "not/" + at + "x"} {
					if why := guardOf(t, created(path), empty).why(path, false); why != "" {
						t.Errorf("%s is protected: %s", path, why)
					}
				}
			} else if why := guardOf(t, created(at), empty).why("lonely/"+base(at)+"-", false); why != "" {
				t.Errorf("%s alone is protected: %s", at, why)
			}
		}
	}
}

func TestProtectedPaths(t *testing.T) {
	const skill, bare, git = "skill", "repository", "git"
	for _, c := range []struct {
		there []string // in the workspace
		set   []string // created
		path  string
		dir   bool
		why   string // a part; empty: not protected
	}{
		{nil, nil, "README.md", false, ""},
		{nil, nil, "src/main.go", false, ""},
		{nil, nil, ".git/index", false, ""},
		{nil, nil, ".git/objects/ab/cdef", false, ""},
		{nil, nil, ".git", true, ""},
		{nil, nil, ".git", false, git}, // a link or file that leads to another repository
		{nil, nil, ".GIT", false, git},
		{nil, nil, "x/.github", false, "agent"},
		{nil, nil, ".github", true, ""},
		{nil, nil, ".github/README.md", false, ""},
		{nil, nil, ".github/workflows/ci.yml", false, "server"},
		{nil, nil, "hooks/pre-commit", false, ""},
		{nil, nil, "HEAD", false, ""},
		{nil, nil, "config", false, ""},
		{[]string{"r/HEAD", "r/objects/", "r/refs/"}, nil, "r/hooks/post-update", false, bare},
		{[]string{"r/HEAD", "r/objects/", "r/refs/"}, nil, "r/config", false, bare},
		{[]string{"r/HEAD", "r/objects/", "r/refs/"}, nil, "r/description", false, ""},
		{[]string{"r/HEAD", "r/objects/"}, nil, "r/config", false, ""},
		{[]string{"r/config", "r/objects/"}, []string{"r/HEAD", "r/refs/"}, "r/HEAD", false, bare},
		{[]string{"HEAD", "objects/", "refs/"}, nil, "config", false, bare},
		{[]string{"r/commondir"}, []string{"r/HEAD"}, "r/HEAD", false, bare}, // objects, refs and configuration are where it says
		{nil, []string{"r/commondir", "r/HEAD"}, "r/commondir", false, bare},
		{nil, []string{"r/commondir"}, "r/commondir", false, ""},
		{[]string{"s/SKILL.md"}, nil, "s/scripts/run.sh", false, skill},
		{[]string{"s/SKILL.md"}, nil, "t/scripts/run.sh", false, ""},
		{nil, []string{"s/skill.md"}, "s/a", false, skill},
		{[]string{"SKILL.md"}, nil, "a", false, skill},
		{nil, nil, "Skill.MD", false, skill},
		{nil, nil, "\xff/.ssh/\xfe", false, "ssh"},
		{nil, nil, "\xff.ssh", false, ""},
	} {
		g := guardOf(t, created(c.set...), planted(t, c.there...))
		if why := g.why(c.path, c.dir); (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%q, with %v and %v: %q, want %q", c.path, c.there, c.set, why, c.why)
		}
	}
}

// TestMovedDirectories: where a directory was and comes to, and what is in it.
func TestMovedDirectories(t *testing.T) {
	dir := planted(t, "plain/a/b", "hooks/pre-commit", "wf/ci.yml", "deep/er/.bashrc", "s/SKILL.md", "s/x/y", "bare/HEAD", "bare/objects/", "bare/refs/", "bare/config", "g/.git/index", "link -> /etc", "down/in/link -> ../../README")
	big := make([]string, mostMoved+1)
	for i := range big {
		big[i] = fmt.Sprintf("%d", i)
	}
	must(t, os.Mkdir(filepath.Join(dir, "big"), 0o755))
	plant(t, filepath.Join(dir, "big"), big...)
	for _, c := range []struct{ from, to, why string }{
		{"plain", "other", ""},
		{"hooks", "other", ""},
		{"hooks", ".git/hooks", "hooks"},
		{"hooks", "x/.Git/Hooks", "hooks"},
		{"wf", ".github/workflows", "server"},
		{"deep", "other", "shell"},
		{"s", "other", "skill"},
		{"s/x", "other", "skill"},
		{"plain", "s/z", "skill"},
		{"bare", "other", "repository"},
		{"g", "other", ""},
		{"big", "other", "more than 20000 names"},
		{"missing", "other", "can be looked at"},
		{"link", "other", "can be looked at"},
		{"down", "other", ""},
		{"down/in", "over/there", ""},
		{"down/in", "in", "leaves the workspace"}, // by a link that led to a file of it before
	} {
		e := changeset.Entry{Kind: changeset.Renamed, Path: raw.String(c.to), From: raw.String(c.from),
			Before: changeset.State{Type: changeset.Directory}, After: changeset.State{Type: changeset.Directory}}
		g := guardOf(t, &changeset.Set{Entries: []changeset.Entry{e}}, dir)
		if why := g.entry(&e); (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%s to %s: %q, want %q", c.from, c.to, why, c.why)
		}
	}
}

// TestPatterns are those of the configuration.
func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"deploy/keys", []string{"deploy/keys", "Deploy/KEYS/a", "deploy"}, []string{"x/deploy/keys", "deploy/key", "deploy/keys2"}},
		{"secrets/**", []string{"secrets/a", "secrets/a/b", "secrets"}, []string{"x/secrets/a", "secret"}},
		{"**/*.pem", []string{"a.pem", "x/y.PEM", "x.pem/y", ".pem"}, []string{"a.pem2"}},
		{"**/a/b", []string{"a/b", "a/a/b", "x/a/b/c", "x/a"}, []string{"a/c", "ab"}},
		{"a*b", []string{"a*b"}, []string{"axb"}},
		{"**/straße", []string{"STRAßE", "stra\u1e9ee"}, []string{"strasse"}},
	} {
		g := guardOf(t, created(), t.TempDir(), c.pattern)
		for _, p := range c.yes {
			if g.why(p, false) == "" {
				t.Errorf("%s does not protect %s", c.pattern, p)
			}
		}
		for _, p := range c.no {
			if why := g.why(p, false); why != "" {
				t.Errorf("%s protects %s: %s", c.pattern, p, why)
			}
		}
	}
	for _, p := range []string{"", "/", "/etc", "a/../b", "..", ".", "a//b", "**", "**/**", "a/**/b", "\xff"} {
		if CheckPattern(p) == nil {
			t.Errorf("%q is taken for a pattern", p)
		}
		if _, err := newGuard(created(), openDir(t, t.TempDir()), []string{p}); err == nil {
			t.Errorf("%q protects", p)
		}
	}
}

func FuzzGuard(f *testing.F) {
	for _, s := range []string{"", "a/b", ".git/hooks/x", "\xff/\u200d", ".ſsh", "s/SKILL.md/.."} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, path string) {
		g := guardOf(t, created(path), dir)
		why := g.why(path, false)
		if upper := g.why(strings.ToUpper(path), false); strings.ToLower(strings.ToUpper(path)) == path && isASCII(path) && upper != why {
			t.Errorf("%q: %q, in capitals %q", path, why, upper)
		}
		if why != "" && g.why(path+"/x", false) == "" {
			// what is above a protected name may be free
			if g.why(path, true) != "" {
				t.Errorf("%q is protected, and what is beneath not", path)
			}
		}
	})
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// TestDeepPaths: what a directory decides is found once for all that is in it, and
// is what every level by itself decides. A tool makes thousands of files below
// hundreds of directories.
func TestDeepPaths(t *testing.T) {
	deep := strings.Repeat("d/", 500)
	g := guardOf(t, created("s/SKILL.md", deep+"x"), t.TempDir(), deep+"secret/**", "**/one/two/three/four/five")
	thorough := *g
	thorough.tables = nil
	for _, t := range g.tables {
		all := *t
		all.longest = 1 << 20
		thorough.tables = append(thorough.tables, &all)
	}
	for _, path := range []string{
		deep + "x", deep + ".git/hooks/x", deep + ".git", deep + "secret", deep + "secret/x", deep + "one/two/three/four/five/six", deep + "one/two/three/four",
		".git/hooks/" + deep + "x", "s/" + deep + "x", "t/" + deep + "Makefile", deep + "Makefile/x/y", "s", "s/x/y", ".git", ".git/config/" + deep + "x",
	} {
		for _, directory := range []bool{false, true} {
			if why, want := g.why(path, directory), thorough.whyHere(path, directory); (why == "") != (want == "") {
				t.Errorf("%.40q…%.20q, directory %v: %q, and by each level %q", path, path[max(0, len(path)-20):], directory, why, want)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { g.why(deep+"y", false) }); n > 100 {
		t.Errorf("one more file below 500 directories takes %v allocations: each directory is looked at again", n)
	}
}

func BenchmarkGuard(b *testing.B) {
	g := guardOf(b, created(), b.TempDir())
	for b.Loop() {
		if g.why("packages/application/src/components/button.tsx", false) != "" {
			b.Fatal("protected")
		}
	}
}
