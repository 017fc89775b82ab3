// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// folder makes a skill called name from paths to contents. A path that ends in a
// slash is a directory; "!" before a path sets the execute bit; "@" makes a link.
func folder(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for p, content := range files {
		link, exec := p[0] == '@', p[0] == '!'
		p = strings.TrimLeft(p, "!@")
		full := filepath.Join(dir, p)
		parent := filepath.Dir(full)
		if strings.HasSuffix(p, "/") {
			parent = full
		}
		err := os.MkdirAll(parent, 0o755)
		switch {
		case err != nil || strings.HasSuffix(p, "/"):
		case link:
			err = os.Symlink(content, full)
		case exec:
			err = os.WriteFile(full, []byte(content), 0o755)
		default:
			err = os.WriteFile(full, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const skillMD = "---\nname: demo\ndescription: A demo.\n---\n"

func demo() map[string]string {
	return map[string]string{
		"SKILL.md":              skillMD,
		"!scripts/run.py":       "#!/usr/bin/env python3\nprint(1)\n",
		"scripts/plain.sh":      "echo hi\n",
		"scripts/data.json":     "{}",
		"!scripts/sub/deep":     "\x7fELF....",
		"!scripts/a/b/too-deep": "#!/bin/sh\n",
		"references/guide.md":   "text\n",
		"empty/":                "",
		"@latest":               "references/guide.md",
		"@scripts/up":           "../references/../SKILL.md",
		"@dangling":             "not-there",
	}
}

func newStore(t *testing.T) Store {
	t.Helper()
	return Store{Dir: filepath.Join(t.TempDir(), "state", "skills")}
}

// listing is everything below dir: path, mode, link target, content.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(&b, "%s %v", rel, info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			fmt.Fprintf(&b, " -> %s", target)
		case info.Mode().IsRegular() && info.Size() < 1<<20:
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", content)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// stored counts the sealed and the unfinished entries.
func stored(t *testing.T, s Store) (sealed, unfinished int) {
	t.Helper()
	a, errA := os.ReadDir(filepath.Join(s.Dir, sealedDir))
	b, errB := os.ReadDir(filepath.Join(s.Dir, tempDir))
	for _, err := range []error{errA, errB} {
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	return len(a), len(b)
}

func TestAdd(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	s, src := newStore(t), folder(t, "demo", demo())
	if err := os.Chmod(filepath.Join(src, "scripts/run.py"), 0o711|fs.ModeSetuid|fs.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(src, "scripts/plain.sh"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	before := listing(t, src)
	k, err := s.Add(src)
	if err != nil {
		t.Fatal(err)
	}
	if got := listing(t, src); got != before {
		t.Errorf("the source changed:\n%s\nwas\n%s", got, before)
	}
	if k.Name != "demo" || k.Source != src || k.Dir != filepath.Join(s.Dir, "sha256", strings.TrimPrefix(k.Digest, "sha256:")) {
		t.Errorf("got %+v", k)
	}
	if want := []string{"scripts/plain.sh", "scripts/run.py", "scripts/sub/deep"}; !slices.Equal(k.Scripts, want) {
		t.Errorf("scripts %q, want %q", k.Scripts, want)
	}
	want := `. drwxr-xr-x
SKILL.md -rw-r--r-- "---\nname: demo\ndescription: A demo.\n---\n"
dangling Lrwxrwxrwx -> not-there
empty drwxr-xr-x
latest Lrwxrwxrwx -> references/guide.md
references drwxr-xr-x
references/guide.md -rw-r--r-- "text\n"
scripts drwxr-xr-x
scripts/a drwxr-xr-x
scripts/a/b drwxr-xr-x
scripts/a/b/too-deep -rwxr-xr-x "#!/bin/sh\n"
scripts/data.json -rw-r--r-- "{}"
scripts/plain.sh -rw-r--r-- "echo hi\n"
scripts/run.py -rwxr-xr-x "#!/usr/bin/env python3\nprint(1)\n"
scripts/sub drwxr-xr-x
scripts/sub/deep -rwxr-xr-x "\x7fELF...."
scripts/up Lrwxrwxrwx -> ../references/../SKILL.md
`
	if got := listing(t, k.Dir); got != want {
		t.Errorf("stored\n%s\nwant\n%s", got, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(k.Dir, "scripts/plain.sh"), &st); err != nil || st.Uid != uint32(os.Geteuid()) {
		t.Errorf("owner %d, %v", st.Uid, err)
	}
	for _, d := range []string{s.Dir, filepath.Join(s.Dir, sealedDir), filepath.Dir(s.Dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", d, info.Mode(), err)
		}
	}
	if err := s.Verify(k.Digest); err != nil {
		t.Error(err)
	}
	if sealed, unfinished := stored(t, s); sealed != 1 || unfinished != 0 {
		t.Errorf("%d sealed, %d unfinished", sealed, unfinished)
	}
	c, err := k.Command(Manifest{}, []string{"run"})
	if err != nil || !slices.Equal(c.Argv, []string{"/skill/scripts/run.py"}) {
		t.Errorf("command %q, %v", c.Argv, err)
	}
	c, err = k.Command(Manifest{}, []string{"plain"})
	if err != nil || !slices.Equal(c.Argv, []string{"sh", "/skill/scripts/plain.sh"}) {
		t.Errorf("command %q, %v", c.Argv, err)
	}
}

// The manifest is written out here by hand from the package comment.
func TestDigest(t *testing.T) {
	src := folder(t, "demo", map[string]string{"SKILL.md": skillMD, "!scripts/run": "#!/bin/sh\n", "@z": "SKILL.md"})
	k, err := newStore(t).Add(src)
	if err != nil {
		t.Fatal(err)
	}
	manifest := "clawsup-skill 1\n" +
		fmt.Sprintf("f\x00-\x00%d\x00%x\x00SKILL.md\n", len(skillMD), sha256.Sum256([]byte(skillMD))) +
		"d\x00scripts\n" +
		fmt.Sprintf("f\x00x\x0010\x00%x\x00scripts/run\n", sha256.Sum256([]byte("#!/bin/sh\n"))) +
		"l\x00SKILL.md\x00z\n"
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest))); k.Digest != want {
		t.Errorf("digest %s, want %s", k.Digest, want)
	}
}

func TestDigestDependsOn(t *testing.T) {
	s := newStore(t)
	base, err := s.Add(folder(t, "demo", demo()))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(dir string) error
		same   bool
	}{
		"nothing":     {func(dir string) error { return nil }, true},
		"time":        {func(dir string) error { return os.Chtimes(filepath.Join(dir, "SKILL.md"), unixEpoch, unixEpoch) }, true},
		"owner":       {func(dir string) error { return os.Chown(filepath.Join(dir, "SKILL.md"), 12, 34) }, true},
		"other modes": {func(dir string) error { return os.Chmod(filepath.Join(dir, "SKILL.md"), 0o600) }, true},
		"folder name": {func(dir string) error { return os.Rename(dir, dir+"-2") }, true},
		"content": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "scripts/data.json"), []byte("[]"), 0o644)
		}, false},
		"execute bit":  {func(dir string) error { return os.Chmod(filepath.Join(dir, "scripts/plain.sh"), 0o755) }, false},
		"a new file":   {func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o644) }, false},
		"a directory":  {func(dir string) error { return os.Mkdir(filepath.Join(dir, "new"), 0o755) }, false},
		"a file's way": {func(dir string) error { return os.Rename(filepath.Join(dir, "references"), filepath.Join(dir, "refs")) }, false},
		"link target": {func(dir string) error {
			os.Remove(filepath.Join(dir, "latest"))
			return os.Symlink("SKILL.md", filepath.Join(dir, "latest"))
		}, false},
		"link or file": {func(dir string) error {
			os.Remove(filepath.Join(dir, "latest"))
			return os.WriteFile(filepath.Join(dir, "latest"), []byte("text\n"), 0o644)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, "demo", demo())
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(dir); err != nil {
				dir += "-2"
			}
			k, err := s.Add(dir)
			if err != nil {
				t.Fatal(err)
			}
			if (k.Digest == base.Digest) != tt.same {
				t.Errorf("same digest: %v, want %v", !tt.same, tt.same)
			}
			if err := s.Verify(k.Digest); err != nil {
				t.Error(err)
			}
		})
	}
	if sealed, _ := stored(t, s); sealed != 8 {
		t.Errorf("%d entries stored, want 8: equal ones once", sealed)
	}
}

func TestAddRefuses(t *testing.T) {
	with := func(path, content string) func(t *testing.T) string {
		return func(t *testing.T) string {
			f := demo()
			f[path] = content
			return folder(t, "demo", f)
		}
	}
	node := func(mode uint32, dev int) func(t *testing.T) string {
		return func(t *testing.T) string {
			dir := folder(t, "demo", demo())
			if err := unix.Mknod(filepath.Join(dir, "scripts/thing"), mode|0o644, dev); err != nil {
				t.Fatal(err)
			}
			return dir
		}
	}
	many := func(t *testing.T, dir string, n int) {
		for i := range n {
			if err := os.WriteFile(fmt.Sprintf("%s/f%d", dir, i), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	sparse := func(size int64, names ...string) func(t *testing.T) string {
		return func(t *testing.T) string {
			dir := folder(t, "demo", demo())
			for _, n := range names {
				if err := os.WriteFile(filepath.Join(dir, n), nil, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(filepath.Join(dir, n), size); err != nil {
					t.Fatal(err)
				}
			}
			return dir
		}
	}
	for name, tt := range map[string]struct {
		make func(t *testing.T) string
		want string
	}{
		"missing":              {func(t *testing.T) string { return filepath.Join(t.TempDir(), "gone") }, "no such file"},
		"relative":             {func(*testing.T) string { return "demo" }, "not absolute"},
		"a file":               {func(t *testing.T) string { return filepath.Join(folder(t, "demo", demo()), "SKILL.md") }, "not a folder"},
		"no SKILL.md":          {func(t *testing.T) string { return folder(t, "demo", map[string]string{"README.md": "x"}) }, "it is not a skill: it has no SKILL.md"},
		"SKILL.md is a folder": {func(t *testing.T) string { return folder(t, "demo", map[string]string{"SKILL.md/": ""}) }, "not a regular file"},
		"SKILL.md is a link": {func(t *testing.T) string {
			return folder(t, "demo", map[string]string{"@SKILL.md": "x.md", "x.md": skillMD})
		}, "not a regular file"},
		"SKILL.md of 50 MB":   {sparse(50_000_000, "SKILL.md"), "SKILL.md has 50000000 bytes, at most 1048576"},
		"one big file":        {sparse(MaxFileBytes+1, "big"), `"big" has 33554433 bytes, one file may have 33554432`},
		"much together":       {sparse(MaxFileBytes, "a", "b", "c"), "more than 67108864 bytes together"},
		"absolute link":       {with("@scripts/x.py", "/etc/passwd"), `"scripts/x.py" is a symbolic link to the absolute path "/etc/passwd"`},
		"link out":            {with("@scripts/x.py", "../../canary"), `"scripts/x.py" is a symbolic link out of the skill, to "../../canary"`},
		"link to the parent":  {with("@x", ".."), `"x" is a symbolic link out of the skill`},
		"link out and back":   {with("@x", "../demo/SKILL.md"), `"x" is a symbolic link out of the skill`},
		"FIFO":                {node(unix.S_IFIFO, 0), `"scripts/thing" is a FIFO`},
		"socket":              {node(unix.S_IFSOCK, 0), `"scripts/thing" is a socket`},
		"character device":    {node(unix.S_IFCHR, int(unix.Mkdev(1, 3))), `"scripts/thing" is a character device`},
		"block device":        {node(unix.S_IFBLK, int(unix.Mkdev(7, 200))), `"scripts/thing" is a block device`},
		"newline in a name":   {with("scripts/a\nb.py", ""), `"scripts/a\nb.py" has a control or invisible character`},
		"escape in a name":    {with("a\x1b[2J", ""), `"a\x1b[2J" has a control`},
		"bidi in a name":      {with("a\u202egpj.exe", ""), `"a\u202egpj.exe" has a control`},
		"name is not UTF-8":   {with("a\xff", ""), `"a\xff" has a control or invisible character, or is not UTF-8`},
		"newline in a target": {with("@x", "a\nb"), `"x" is a symbolic link to "a\nb"`},
		"too deep":            {with(strings.Repeat("d/", MaxDepth+1), ""), "deeper than 32 directories"},
		"too long a path":     {with(strings.Repeat(strings.Repeat("d", 200)+"/", 6), ""), "longer than 1024 bytes"},
		"too many files":      {func(t *testing.T) string { d := folder(t, "demo", demo()); many(t, d, MaxFiles); return d }, "more than 4096 files"},
		"too many in all": {func(t *testing.T) string {
			d := folder(t, "demo", demo())
			many(t, filepath.Join(d, "references"), 2100)
			many(t, filepath.Join(d, "scripts"), 2100)
			return d
		}, "more than 4096 files"},
		"a chain of links out": {func(t *testing.T) string {
			// Each of the two stays inside by its text.
			return folder(t, "demo", map[string]string{"SKILL.md": skillMD, "@a/b/up": "../..", "@a/b/out": "up/../x"})
		}, "out of the skill by way of another link"},
		"links in a circle": {func(t *testing.T) string {
			return folder(t, "demo", map[string]string{"SKILL.md": skillMD, "@a": "b", "@b": "a"})
		}, "round in circles"},
		"below a link": {func(t *testing.T) string {
			d := folder(t, "demo", demo())
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(filepath.Dir(d), link); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(link, "demo")
		}, "a part of the path is a symbolic link"},
		"a mount inside": {func(t *testing.T) string {
			d := folder(t, "demo", demo())
			at := filepath.Join(d, "empty")
			if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=4k"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
			return d
		}, `"empty": another file system is mounted on it`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			src := tt.make(t)
			k, err := s.Add(src)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %+v, %v; want %q in the error", k, err, tt.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b\n\u202e") || strings.Contains(err.Error(), "\xff") {
				t.Errorf("raw in the error: %q", err)
			}
			if sealed, unfinished := stored(t, s); sealed != 0 || unfinished != 0 {
				t.Errorf("%d sealed and %d unfinished entries stay behind", sealed, unfinished)
			}
		})
	}
}

// A file that grows, shrinks and changes all the time, and a directory that is a
// link every other moment: what comes out is sealed under its own digest or
// refused, and the canary outside never gets in.
func TestAddWhileSourceChanges(t *testing.T) {
	s := newStore(t)
	src := folder(t, "demo", demo())
	canary := filepath.Join(filepath.Dir(src), "canary")
	if err := os.Mkdir(canary, 0o755); err != nil {
		t.Fatal(err)
	}
	const secret = "the canary sings"
	if err := os.WriteFile(filepath.Join(canary, "guide.md"), []byte(secret), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		dir, aside := filepath.Join(src, "references"), filepath.Join(filepath.Dir(src), "aside")
		link := filepath.Join(filepath.Dir(src), "link")
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			os.WriteFile(filepath.Join(src, "scripts/data.json"), bytes.Repeat([]byte{byte('a' + i%26)}, i%5000), 0o644)
			os.Symlink(canary, link)
			os.Rename(dir, aside)
			os.Rename(link, dir)
			os.Remove(dir)
			os.Rename(aside, dir)
		}
	}()
	added := 0
	for range 150 {
		k, err := s.Add(src)
		if err != nil {
			continue
		}
		added++
		if err := s.Verify(k.Digest); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	if added == 0 {
		t.Error("nothing could be added at all")
	}
	if strings.Contains(listing(t, s.Dir), secret) {
		t.Error("the canary is in the store")
	}
	if _, unfinished := stored(t, s); unfinished != 0 {
		t.Errorf("%d unfinished entries stay behind", unfinished)
	}
}

func TestVerify(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"content": {func(d string) error { return os.WriteFile(filepath.Join(d, "SKILL.md"), []byte("x"), 0o644) }, "has changed"},
		"a file":  {func(d string) error { return os.WriteFile(filepath.Join(d, "new"), nil, 0o644) }, "has changed"},
		"setuid":  {func(d string) error { return os.Chmod(filepath.Join(d, "scripts/run.py"), 0o755|fs.ModeSetuid) }, "others could change it"},
		"owner":   {func(d string) error { return os.Chown(filepath.Join(d, "SKILL.md"), 1000, 1000) }, "owner 1000"},
		"gone":    {os.RemoveAll, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			k, err := s.Add(folder(t, "demo", demo()))
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.change(k.Dir); err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(k.Digest); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
	for _, digest := range []string{"", "sha256:", "sha256:../../etc", "md5:00", "sha256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("0", 63)} {
		if err := newStore(t).Verify(digest); err == nil || !strings.Contains(err.Error(), "is not a digest") {
			t.Errorf("%q: got %v", digest, err)
		}
	}
}

func TestStoreDir(t *testing.T) {
	src := folder(t, "demo", demo())
	for name, tt := range map[string]struct {
		change func(dir string) error
		want   string
	}{
		"writable by others": {func(d string) error { return os.Chmod(d, 0o777) }, "others could change"},
		"writable by group":  {func(d string) error { return os.Chmod(d, 0o775) }, "others could change"},
		"parent writable":    {func(d string) error { return os.Chmod(filepath.Dir(d), 0o777) }, "others could change"},
		"someone else's":     {func(d string) error { return os.Chown(d, 1000, 1000) }, "belongs to user 1000"},
		"a link": {func(d string) error {
			if err := os.Rename(d, d+"2"); err != nil {
				return err
			}
			return os.Symlink(d+"2", d)
		}, "is a symbolic link"},
		"a file": {func(d string) error {
			if err := os.Remove(d); err != nil {
				return err
			}
			return os.WriteFile(d, nil, 0o644)
		}, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := filepath.Join(t.TempDir(), "lib")
			dir := filepath.Join(parent, "skills")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			if k, err := (Store{dir}).Add(src); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v; want %q", k, err, tt.want)
			}
		})
	}
	if _, err := (Store{"skills"}).Add(src); err == nil || !strings.Contains(err.Error(), "not absolute") {
		t.Errorf("relative: got %v", err)
	}
}

func TestAddAtOnce(t *testing.T) {
	s := newStore(t)
	var srcs []string
	for i := range 4 {
		f := demo()
		f["n"] = fmt.Sprint(i)
		srcs = append(srcs, folder(t, "demo", f))
	}
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			k, err := s.Add(srcs[i%len(srcs)])
			if err == nil {
				err = s.Verify(k.Digest)
			}
			if err == nil {
				_, err = s.Sweep()
			}
			if err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	if sealed, unfinished := stored(t, s); sealed != len(srcs) || unfinished != 0 {
		t.Errorf("%d sealed and %d unfinished, want %d and 0", sealed, unfinished, len(srcs))
	}
}

func TestSweepWaitsForAdd(t *testing.T) {
	s := newStore(t)
	if n, err := s.Sweep(); n != 0 || err != nil {
		t.Fatalf("a new store: %d, %v", n, err)
	}
	lock, err := s.open(unix.LOCK_SH) // as an Add under way holds it
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(s.Dir, tempDir, "add-1", "scripts")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Sweep(); n != 0 || err != nil {
		t.Errorf("during an Add: swept %d, %v", n, err)
	}
	lock.Close()
	if n, err := s.Sweep(); n != 1 || err != nil {
		t.Errorf("after it: swept %d, %v", n, err)
	}
	if _, unfinished := stored(t, s); unfinished != 0 {
		t.Errorf("%d unfinished entries stay behind", unfinished)
	}
}

// childStore makes the test binary add skills to a store until it is killed.
const childStore = "CLAWSUP_TEST_ADD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childStore); args != "" {
		store, src, _ := strings.Cut(args, ":")
		for i := 0; ; i++ {
			os.WriteFile(filepath.Join(src, "n"), fmt.Append(nil, os.Getpid(), i), 0o644)
			if _, err := (Store{store}).Add(src); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println("added")
		}
	}
	os.Exit(m.Run())
}

// Whatever moment a kill -9 finds, every sealed entry is whole and one Sweep
// leaves nothing unfinished.
func TestKill(t *testing.T) {
	s := newStore(t)
	f := demo()
	for i := range 60 {
		f[fmt.Sprintf("references/%d.md", i)] = strings.Repeat("x", 10000)
	}
	src := folder(t, "demo", f)
	for round := range 15 {
		c := exec.Command("/proc/self/exe")
		c.Env = []string{childStore + "=" + s.Dir + ":" + src}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		// A line says that one is sealed and the next one under way; how far
		// it gets until the signal arrives is left to chance.
		if _, err := io.ReadFull(out, make([]byte, len("added\n")*(1+round%3))); err != nil {
			t.Errorf("the child said too little: %v", err)
		}
		c.Process.Kill()
		c.Wait()
	}
	_, unfinished := stored(t, s)
	n, err := s.Sweep()
	if err != nil || n != unfinished {
		t.Errorf("swept %d of %d, %v", n, unfinished, err)
	}
	sealed, err := os.ReadDir(filepath.Join(s.Dir, sealedDir))
	if err != nil || len(sealed) == 0 {
		t.Fatalf("%d sealed, %v", len(sealed), err)
	}
	for _, e := range sealed {
		if err := s.Verify("sha256:" + e.Name()); err != nil {
			t.Error(err)
		}
	}
	t.Logf("15 kills left %d unfinished and %d sealed entries", unfinished, len(sealed))
}

// A skill that is stored already costs one reading of the folder: this is on the
// path of every call.
func BenchmarkAdd(b *testing.B) {
	src, err := filepath.Abs("examples/csv-summary")
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	b.Run("stored", func(b *testing.B) {
		for b.Loop() {
			if _, err := (Store{dir}).Add(src); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			if _, err := (Store{dir}).Add(src); err != nil {
				b.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, sealedDir)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
