// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLookup(t *testing.T) {
	first := profileDir(t, map[string]string{"mine.toml": "limits.pids = 20"})
	second := profileDir(t, map[string]string{
		"mine.toml":   "limits.pids = 21",
		"other.toml":  "extends = 'mine'",
		"python.toml": "extends = 'python'\nlimits.pids = 22",
	})
	dirs := []string{filepath.Join(first, "missing"), first, second}
	for _, c := range []struct {
		name string
		pids int64
		from string
	}{
		{"mine", 20, filepath.Join(first, "mine.toml")},
		{"other", 20, filepath.Join(second, "other.toml")},
		{"python", 22, filepath.Join(second, "python.toml")}, // over the built-in of its own name
		{filepath.Join(second, "mine.toml"), 21, filepath.Join(second, "mine.toml")},
		{"default", 64, "built in: default"},
	} {
		l, err := Load(c.name, dirs)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if l.Profile.Limits.Pids != c.pids || l.Source != c.from {
			t.Errorf("%s has pids %d from %s, want %d from %s", c.name, l.Profile.Limits.Pids, l.Source, c.pids, c.from)
		}
	}
	if l, err := Load("python", dirs); err != nil || l.Profile.Limits.Memory != 512<<20 || l.Profile.Extends != "python" {
		t.Errorf("a file over a built-in of its name does not start from it: %+v, %v", l, err)
	}
	t.Chdir(first)
	if l, err := Load("mine.toml", []string{second}); err != nil || l.Profile.Limits.Pids != 20 {
		t.Errorf("mine.toml is not the file in the current directory: %+v, %v", l, err)
	}
}

// TestOperatorsDefault: a profile without a parent starts from the operator's
// default, a built-in from the built-in one.
func TestOperatorsDefault(t *testing.T) {
	dir := profileDir(t, map[string]string{"default.toml": "limits.pids = 50", "x.toml": ""})
	for name, want := range map[string]int64{"default": 50, "x": 50, "readonly": 64} {
		if l, err := Load(name, []string{dir}); err != nil || l.Profile.Limits.Pids != want {
			t.Errorf("%s: %+v, %v; want pids %d", name, l, err, want)
		}
	}
}

func TestNoSuchProfile(t *testing.T) {
	for _, name := range []string{"nosuch", "./nosuch", "/nosuch/x.toml", "nosuch.toml"} {
		if _, err := Load(name, []string{t.TempDir()}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Load("nosuch", nil)
	mustFail(t, err, `"nosuch"`, "built in are default, readonly, python, node, build, web, strict, agent")
	for _, name := range []string{"", "-", "A", "a b", "a\n", "a\x1b[2J", "a\u202e", "ä", "..", ".", strings.Repeat("a", 65), "a\x00.toml", "a\x00/b"} {
		_, err := Load(name, []string{t.TempDir()})
		mustFail(t, err)
	}
}

// TestOwnership is who may widen default and who may stand in for a built-in,
// by owner and mode of the file and of its directory.
func TestOwnership(t *testing.T) {
	for _, c := range []struct {
		name    string
		spoil   func(t *testing.T, dir, file string)
		trusted bool
	}{
		{"root's", func(*testing.T, string, string) {}, true},
		{"another's file", func(t *testing.T, _, file string) { disown(t, file) }, false},
		{"another's directory", func(t *testing.T, dir, _ string) { disown(t, dir) }, false},
		{"group may write the file", chmodFile(0o664), false},
		{"all may write the file", chmodFile(0o646), false},
		{"group may write the directory", chmodDir(0o775), false},
		{"all may write the directory", chmodDir(0o757), false},
		{"sticky does not help", chmodDir(0o777 | os.ModeSticky), false},
		{"all may read", chmodFile(0o444), true},
		{"root alone may read", chmodFile(0o600), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("the files of this test must be root's")
			}
			dir := profileDir(t, map[string]string{"strict.toml": "extends = 'default'\nlimits.pids = 99"})
			file := filepath.Join(dir, "strict.toml")
			c.spoil(t, dir, file)

			want := "built in: strict"
			if c.trusted {
				want = file
			}
			l, err := Load("strict", []string{dir})
			if err != nil || l.Source != want {
				t.Errorf("strict is %+v, %v; want it from %s", l, err, want)
			}
			l, err = Load(file, nil)
			switch {
			case !c.trusted:
				mustFail(t, err, file+":2: limits.pids", "wider")
			case err != nil:
				t.Error(err)
			case l.Profile.Limits.Pids != 99:
				t.Errorf("pids %d", l.Profile.Limits.Pids)
			}
		})
	}
}

func chmodFile(mode os.FileMode) func(*testing.T, string, string) {
	return func(t *testing.T, _, file string) { chmod(t, file, mode) }
}

func chmodDir(mode os.FileMode) func(*testing.T, string, string) {
	return func(t *testing.T, dir, _ string) { chmod(t, dir, mode) }
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// TestTrustedChildOfAnother: root may widen what somebody else's file tightened,
// and what it doesn't set stays as tight as that file has it.
func TestTrustedChildOfAnother(t *testing.T) {
	dir := profileDir(t, map[string]string{
		"theirs.toml": "limits.pids = 20\nlimits.open_files = 20",
		"root.toml":   "extends = 'theirs'\nlimits.pids = 100",
		"again.toml":  "extends = 'root'\nlimits.pids = 101",
	})
	disown(t, filepath.Join(dir, "theirs.toml"))
	disown(t, filepath.Join(dir, "again.toml"))
	l, err := Load("root", []string{dir})
	if err != nil || l.Profile.Limits.Pids != 100 || l.Profile.Limits.OpenFiles != 20 {
		t.Errorf("%+v, %v", l, err)
	}
	_, err = Load("again", []string{dir})
	mustFail(t, err, "limits.pids = 101 is wider than its parent's, 100")
}

// TestStrangeFiles asks for profiles that are no plain files. None may hang, and
// none may be followed.
func TestStrangeFiles(t *testing.T) {
	dir := profileDir(t, map[string]string{
		"target.toml": "description = 'canary'",
		"huge.toml":   "# " + strings.Repeat(strings.Repeat("x", 1000)+"\n# ", 262),
		"full.toml":   strings.Repeat("#"+strings.Repeat("x", 1022)+"\n", 256),
		"Name.toml":   "",
		"a b.toml":    "",
		"a\x1b.toml":  "",
		"conf.txt":    "",
	})
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		unix.Mkfifo(in("fifo.toml"), 0o644),
		os.Symlink("target.toml", in("link.toml")),
		os.Symlink("nowhere", in("dangling.toml")),
		os.Symlink("/dev/zero", in("zero.toml")),
		os.Mkdir(in("dir.toml"), 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	if err := unix.Bind(listener, &unix.SockaddrUnix{Name: in("socket.toml")}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		in("fifo.toml"):     "not a regular file",
		in("dir.toml"):      "not a regular file",
		in("socket.toml"):   "not a regular file",
		in("link.toml"):     "is a symbolic link",
		in("dangling.toml"): "is a symbolic link",
		in("zero.toml"):     "is a symbolic link",
		in("huge.toml"):     "larger than 256 KiB",
		in("Name.toml"):     `"Name" is not a name`,
		in("a b.toml"):      `"a b" is not a name`,
		in("a\x1b.toml"):    `a\x1b`,
		in("conf.txt"):      "is called NAME.toml",
		"/dev/null":         "", // its name would do
		"/dev/zero":         "not a regular file",
		"/proc/self/mem":    "can't be read", // it says that it is regular
		"/":                 "",
		dir + "/":           "",
	} {
		_, err := Load(path, nil)
		mustFail(t, err, want)
	}
	if _, err := Load(in("full.toml"), nil); err != nil {
		t.Errorf("a file of exactly 256 KiB: %v", err)
	}
	for _, name := range []string{"fifo", "link", "zero", "dir", "huge"} {
		_, err := Load(name, []string{dir})
		mustFail(t, err, in(name+".toml"))
	}
}

// TestErrorIsTyped: a caller can ask where the fault is.
func TestErrorIsTyped(t *testing.T) {
	path := write(t, filepath.Join(profileDir(t, nil), "x.toml"), "\n\nfoo = 1")
	var e *Error
	if _, err := loadPath(path, nil); !errors.As(err, &e) || e.File != path || e.Line != 3 {
		t.Errorf("%#v", err)
	}
}

func TestList(t *testing.T) {
	first := profileDir(t, map[string]string{
		"mine.toml":   "description = 'first'",
		"broken.toml": "foo = 1",
		"strict.toml": "extends = 'strict'\ndescription = 'stands aside'",
		"Bad.toml":    "",
		"notes.txt":   "",
	})
	second := profileDir(t, map[string]string{
		"mine.toml":   "description = 'second'",
		"python.toml": "extends = 'python'\ndescription = 'stands in'",
	})
	disown(t, filepath.Join(first, "strict.toml"))
	list, err := List([]string{first, filepath.Join(first, "missing"), second})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range list {
		line := l.Name + " " + l.Source
		if l.Err != nil {
			line += " ERROR"
		} else if l.Description == "" {
			t.Errorf("%s has no description", l.Name)
		}
		got = append(got, line)
	}
	want := []string{
		"Bad " + first + "/Bad.toml ERROR",
		"agent built in: agent",
		"broken " + first + "/broken.toml ERROR",
		"build built in: build",
		"default built in: default",
		"mine " + first + "/mine.toml",
		"node built in: node",
		"python " + second + "/python.toml",
		"readonly built in: readonly",
		"strict " + first + "/strict.toml ERROR",
		"strict built in: strict",
		"web built in: web",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	_, err = List([]string{filepath.Join(first, "mine.toml")})
	mustFail(t, err, "mine.toml", "can't be opened")
	for i := range maxListed {
		write(t, filepath.Join(second, fmt.Sprintf("n%d", i)), "")
	}
	_, err = List([]string{second})
	mustFail(t, err, second, "more than 1024 entries")
}
