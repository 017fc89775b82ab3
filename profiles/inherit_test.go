// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

// ladders say for each key what a parent has, what is less and what is more.
// A key of which nothing is less, or nothing more, has no such value.
var ladders = map[string]struct {
	parent        string
	tight, loosen []string
}{
	"files.rootfs":           {"'/srv/a'", nil, []string{"'/srv/b'", "'/srv/a/b'", "''"}},
	"files.read":             {"['/opt/a', '/opt/b']", []string{"['/opt/b']", "[]", "['/opt/b', '/opt/a']"}, []string{"['/opt']", "['/opt/a/x']", "['/opt/a', '/opt/c']"}},
	"files.proc":             {"'pids'", nil, []string{"'masked'"}},
	"workspace.mode":         {"'scratch'", []string{"'none'"}, []string{"'ro'", "'overlay'", "'rw'"}},
	"limits.memory":          {"'200M'", []string{"'100M'"}, []string{"'209715201'", "'1G'"}},
	"limits.pids":            {"100", []string{"99", "16"}, []string{"101"}},
	"limits.cpu":             {"0.5", []string{"0.49"}, []string{"0.51", "1"}},
	"limits.cpu_time":        {"'10s'", []string{"'9s'"}, []string{"'10.001s'"}},
	"limits.wall_time":       {"'30s'", []string{"'29s'"}, []string{"'31s'"}},
	"limits.stdout":          {"1000", []string{"999", "1"}, []string{"1001"}},
	"limits.stderr":          {"1000", []string{"999", "1"}, []string{"1001"}},
	"limits.tmp":             {"'1M'", []string{"'1023K'"}, []string{"'1025K'"}},
	"limits.tmp_files":       {"100", []string{"99"}, []string{"101"}},
	"limits.shm":             {"'1M'", []string{"'1023K'"}, []string{"'1025K'"}},
	"limits.scratch":         {"'1M'", []string{"'1023K'"}, []string{"'1025K'"}},
	"limits.scratch_files":   {"100", []string{"99"}, []string{"101"}},
	"limits.file_size":       {"1000", []string{"999"}, []string{"1001"}},
	"limits.open_files":      {"100", []string{"99"}, []string{"101"}},
	"limits.stack":           {"'4M'", []string{"'3M'"}, []string{"'5M'"}},
	"limits.disk_read":       {"'1M'", []string{"'1023K'"}, []string{"'1025K'"}},
	"limits.disk_write":      {"'1M'", []string{"'1023K'"}, []string{"'1025K'"}},
	"limits.net_connections": {"10", []string{"9"}, []string{"11"}},
	"limits.net_sent":        {"1000", []string{"999"}, []string{"1001"}},
	"limits.net_received":    {"1000", []string{"999"}, []string{"1001"}},
	"network.mode":           {"'none'", nil, []string{"'egress'"}},
	"network.loopback":       {"false", nil, []string{"true"}},
	"environment.pass":       {"['TERM', 'TZ']", []string{"['TZ']", "[]"}, []string{"['TERM', 'LC_ALL']", "['COLUMNS']"}},
	"environment.set":        {"{ A = 'a', HOME = '/tmp' }", nil, []string{"{ A = 'b' }", "{ A = '' }", "{ B = 'a' }", "{ HOME = '/workspace' }"}},
	"seccomp.groups":         {"['a', 'b']", []string{"['a']", "[]"}, []string{"['a', 'c']"}},
	"effects.exec":           {"'ask'", []string{"'deny'"}, []string{"'allow'"}},
	"limits.layer":           {"'1M'", []string{"'1023K'"}, []string{"'2M'"}},
	"limits.layer_files":     {"100", []string{"99"}, []string{"101"}},
	"effects.fs_create":      {"'ask'", []string{"'deny'"}, []string{"'allow'"}},
	"effects.fs_modify":      {"'ask'", []string{"'deny'"}, []string{"'allow'"}},
	"effects.fs_delete":      {"'ask'", []string{"'deny'"}, []string{"'allow'"}},
	"effects.fs_many":        {"100", []string{"99"}, []string{"101"}},
	"effects.quorum":         {"2", []string{"3"}, []string{"1"}},
}

// TestEveryKeyTightens loads, for every key and value, a child that root owns
// and one that it doesn't.
func TestEveryKeyTightens(t *testing.T) {
	for _, k := range keys {
		ladder, ok := ladders[k.name]
		if !k.bound || k.level || k.replaces { // levels and secrets have tests of their own
			continue
		}
		if !ok {
			t.Errorf("%s has no ladder", k.name)
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			set := func(extends, value string) string {
				return fmt.Sprintf("extends = %q\n%s = %s\n", extends, k.name, value)
			}
			dir := profileDir(t, map[string]string{"parent.toml": set("default", ladder.parent)})
			root := filepath.Join(dir, "root.toml")
			theirs := write(t, filepath.Join(dir, "theirs.toml"), "")
			disown(t, theirs)
			for _, v := range append(ladder.tight, ladder.parent) {
				for _, path := range []string{write(t, root, set("parent", v)), write(t, theirs, set("parent", v))} {
					l, err := Load(path, []string{dir})
					if err != nil {
						t.Errorf("%s: %v", v, err)
					} else if got := valueOf(&l.Profile, k.name); k.name != "environment.set" && l.Origin[k.name] != path {
						t.Errorf("%s = %s is said to be set by %q", k.name, got, l.Origin[k.name])
					}
				}
			}
			for _, v := range ladder.loosen {
				if _, err := Load(write(t, root, set("parent", v)), []string{dir}); err != nil {
					t.Errorf("root may not write %s: %v", v, err)
				}
				_, err := Load(write(t, theirs, set("parent", v)), []string{dir})
				mustFail(t, err, theirs+":2: "+k.name, "is wider than its parent's", filepath.Join(dir, "parent.toml"), k.rule)
			}
		})
	}
}

// TestWiderNamesBothValues pins the whole sentence.
func TestWiderNamesBothValues(t *testing.T) {
	path := write(t, filepath.Join(profileDir(t, nil), "big.toml"), "# no extends: default\n[limits]\nmemory = '1G'\n")
	disown(t, path)
	_, err := loadPath(path, nil)
	want := path + `:3: limits.memory = "1G" is wider than its parent's, "256M" in built in: default (smaller is tighter); ` +
		"only a file that root alone can write, in a directory that root alone can write, may widen"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestVariablesAdd(t *testing.T) {
	dir := profileDir(t, map[string]string{
		"a.toml": "[environment.set]\nA = 'a'\nHOME = '/home'\n",
		"b.toml": "extends = 'a'\n[environment.set]\nB = 'b'\n",
	})
	l, err := Load("b", []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct{ value, origin string }{
		"A":    {"a", filepath.Join(dir, "a.toml")},
		"B":    {"b", filepath.Join(dir, "b.toml")},
		"HOME": {"/home", filepath.Join(dir, "a.toml")},
		"LANG": {"C.UTF-8", "built in: default"},
	} {
		if got := l.Profile.Environment.Set[name]; got != want.value {
			t.Errorf("%s is %q, want %q", name, got, want.value)
		}
		if got := l.Origin["environment.set."+name]; got != want.origin {
			t.Errorf("%s is said to be set by %q, want %q", name, got, want.origin)
		}
	}
	// What a child adds must not reach another profile of the same parent.
	if a, err := Load("a", []string{dir}); err != nil || a.Profile.Environment.Set["B"] != "" {
		t.Errorf("the child's variable is in its parent: %v, %v", a, err)
	}
}

// TestDescriptionIsNotInherited: what a parent is for says nothing of a child.
func TestDescriptionIsNotInherited(t *testing.T) {
	l, err := parsed("")
	if err != nil {
		t.Fatal(err)
	}
	if l.Profile.Description != "" || l.Profile.Extends != "default" || l.Profile.Name != "test" {
		t.Errorf("got name %q, description %q, extends %q", l.Profile.Name, l.Profile.Description, l.Profile.Extends)
	}
}

func TestCycles(t *testing.T) {
	dir := profileDir(t, map[string]string{
		"a.toml":    "extends = 'b'",
		"b.toml":    "\nextends = 'c'",
		"c.toml":    "extends = 'a'",
		"into.toml": "extends = 'a'",
		"self.toml": "extends = 'self'",
	})
	for name, want := range map[string][]string{
		"a":    {"c.toml:1: ", "a -> b -> c -> a"},
		"b":    {"a.toml:1: ", "b -> c -> a -> b"},
		"into": {"c.toml:1: ", "a -> b -> c -> a"},
		"self": {"self.toml:1: ", "self -> self"},
	} {
		_, err := Load(name, []string{dir})
		mustFail(t, err, append(want, "extends goes round in a circle")...)
	}
}

func TestDepth(t *testing.T) {
	files := map[string]string{"p1.toml": ""}
	for i := 2; i <= 8; i++ {
		files[fmt.Sprintf("p%d.toml", i)] = fmt.Sprintf("extends = 'p%d'", i-1)
	}
	dir := profileDir(t, files)
	// The built-in default is the first of the eight.
	if _, err := Load("p7", []string{dir}); err != nil {
		t.Error(err)
	}
	_, err := Load("p8", []string{dir})
	mustFail(t, err, "p1.toml: ", "a chain has at most 8")
}

// TestBrokenParent says whose fault it is.
func TestBrokenParent(t *testing.T) {
	dir := profileDir(t, map[string]string{
		"parent.toml": "[limits]\npids = 0",
		"child.toml":  "extends = 'parent'",
	})
	_, err := Load("child", []string{dir})
	mustFail(t, err, filepath.Join(dir, "child.toml"), filepath.Join(dir, "parent.toml")+":2: limits.pids")
}

// TestBuiltins holds the built-in profiles to the rules for everybody, and the
// ones without a parent to setting every key.
func TestBuiltins(t *testing.T) {
	var embedded []string
	files, err := builtinFiles.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		embedded = append(embedded, strings.TrimSuffix(f.Name(), ".toml"))
	}
	if got := slices.Sorted(slices.Values(Builtins())); !slices.Equal(got, embedded) {
		t.Errorf("built in are %q, embedded are %q", got, embedded)
	}
	for _, name := range Builtins() {
		l, err := Load(name, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		p := l.Profile
		if p.Name != name || l.Source != "built in: "+name || p.Description == "" {
			t.Errorf("%s: name %q, source %q, description %q", name, p.Name, l.Source, p.Description)
		}
		d, err := builtin(name)
		if err != nil || d.trusted {
			t.Fatalf("%s: %v, or it may widen its parent", name, err)
		}
		for _, k := range keys {
			if d.extends == "" && !k.level && k.name != "extends" && len(k.settings(&p)) > 0 && d.line(k.settings(&p)[0].name) == 0 {
				t.Errorf("%s has no parent and does not set %s", name, k.name)
			}
		}
		for _, s := range settings(&p) {
			if l.Origin[s.name] == "" && s.origin == "" {
				t.Errorf("%s: nobody set %s", name, s.name)
			}
		}
		groups := p.Seccomp.Groups
		if name == "agent" { // one for the host, not one for each call
			groups = slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return g == "inotify" })
		}
		if rules := p.Network.Levels[0]; len(p.Network.Levels) > 1 || rules.Rules != nil || rules.Default != Ask || p.Secrets != nil {
			t.Errorf("%s has rules or secrets of its own", name)
		}
		if p.Network.Mode != NetworkNone && name != "web" || len(p.Environment.Pass)+len(p.Files.Read)+len(groups) > 0 {
			t.Errorf("%s reaches, passes, shows or permits more than a built-in should", name)
		}
	}
}

// TestDefaultIsNoLooserThanDocker compares the numbers with the docker line that
// the default profile promises to stay within.
func TestDefaultIsNoLooserThanDocker(t *testing.T) {
	l, err := Load("default", nil)
	if err != nil {
		t.Fatal(err)
	}
	p := l.Profile
	if p.Limits.Memory > 256<<20 || p.Limits.CPU > 0.25 || p.Network.Mode != NetworkNone || p.Workspace.Mode == WorkspaceRW {
		t.Errorf("looser than docker run --read-only --memory=256m --cpus=0.25 --network none: %+v", p)
	}
}

// TestBuiltinsAreOrdered: strict is within readonly, readonly within default, and
// python, node and default within build.
func TestBuiltinsAreOrdered(t *testing.T) {
	for _, pair := range [][2]string{{"strict", "readonly"}, {"readonly", "default"}, {"default", "build"}, {"python", "build"}, {"node", "build"}} {
		small, err1 := Load(pair[0], nil)
		large, err2 := Load(pair[1], nil)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		for _, k := range keys {
			if k.wider(&small.Profile, &large.Profile) {
				t.Errorf("%s is wider than %s in %s", pair[0], pair[1], k.name)
			}
		}
	}
}

// TestBuiltinCanNotWiden runs the rule itself on a made-up built-in.
func TestBuiltinCanNotWiden(t *testing.T) {
	d := &document{name: "test", source: "built in: test"}
	if err := d.parse([]byte("extends = 'readonly'\n[limits]\ntmp = '2M'\n")); err != nil {
		t.Fatal(err)
	}
	_, err := d.resolve(nil)
	mustFail(t, err, "built in: test:3: limits.tmp", `"1M" in built in: readonly`)
}

// TestTableMatchesProfile: every field of Profile has one row, under the name of
// its tag, and the row writes what the field holds.
func TestTableMatchesProfile(t *testing.T) {
	l, err := Load("build", nil)
	if err != nil {
		t.Fatal(err)
	}
	var again Profile
	md, err := toml.Decode(encode(&l.Profile), &again)
	if err != nil {
		t.Fatal(err)
	}
	if left := md.Undecoded(); len(left) > 0 {
		t.Errorf("no fields for %v", left)
	}
	want := l.Profile
	want.Name, want.Description, want.Extends = "", "", ""
	want.Network.Default, want.Network.Levels = "", nil // of what reaches nothing there is none
	if !reflect.DeepEqual(again, want) {
		t.Errorf("written and decoded by tags:\n%+v\nwant\n%+v", again, want)
	}
	var tags []string
	for i := range reflect.TypeFor[Profile]().NumField() {
		f := reflect.TypeFor[Profile]().Field(i)
		if f.Type.Kind() != reflect.Struct {
			tags = append(tags, f.Tag.Get("toml"))
			continue
		}
		for j := range f.Type.NumField() {
			tag := f.Tag.Get("toml") + "." + f.Type.Field(j).Tag.Get("toml")
			if tag == "network.level" { // whose files write rules
				tag = "network.rule"
			}
			tags = append(tags, tag)
		}
	}
	for _, k := range keys {
		if !slices.Contains(tags, k.name) {
			t.Errorf("%s is no field of Profile", k.name)
		}
	}
	if len(tags)-1 != len(keys) { // Name has no key
		t.Errorf("%d fields and %d keys", len(tags)-1, len(keys))
	}
}

func TestDigest(t *testing.T) {
	base, err := parsed("[limits]\nmemory = '1G'\n[files]\nread = ['/opt', '/srv']")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(base.Digest, "sha256:") || len(base.Digest) != len("sha256:")+64 {
		t.Errorf("digest %q", base.Digest)
	}
	for _, same := range []string{
		"# a comment\nfiles = { read = [ '/srv', '/opt', ] }\nlimits.memory = 1073741824",
		"description = 'something'\nlimits.memory = '1024M'\nfiles.read = ['/srv', \"/o\\u0070t\"]",
		"extends = 'default'\nlimits.memory = '1G'\nlimits.pids = 64\nfiles.read = ['/srv', '/opt']",
	} {
		if l, err := parsed(same); err != nil || l.Digest != base.Digest {
			t.Errorf("%q means the same, digest %v, %v", same, l, err)
		}
	}
	seen := map[string]string{base.Digest: "base"}
	for name, ladder := range ladders {
		for _, v := range append(ladder.loosen, ladder.parent) {
			l, err := parsed(name + " = " + v)
			if err != nil {
				t.Errorf("%s = %s: %v", name, v, err)
				continue
			}
			what := encode(&l.Profile)
			if other, ok := seen[l.Digest]; ok && other != what {
				t.Errorf("%s = %s has the digest of\n%s", name, v, other)
			}
			seen[l.Digest] = what
		}
	}
}
