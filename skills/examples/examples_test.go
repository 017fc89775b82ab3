// SPDX-License-Identifier: Apache-2.0

// Package examples holds skills that people use, each a folder with a SKILL.md.
// They are written for a box: the skill at /skill, the workspace at /workspace,
// no network, nothing writable but /tmp. The tests here run their scripts without
// one, on real input.
package examples

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/skills/frontmatter"
)

// script runs a script as Skill.Command would and returns what it printed.
func script(t *testing.T, stdin string, path string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, args...)
	c.Env = []string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "LANG=C.UTF-8"}
	c.Dir = t.TempDir()
	c.Stdin = strings.NewReader(stdin)
	var out, bad bytes.Buffer
	c.Stdout, c.Stderr = &out, &bad
	err = c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), bad.String()
}

func TestAreSkills(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		n++
		t.Run(e.Name(), func(t *testing.T) {
			dir, err := skills.Find("./"+e.Name(), nil)
			if err != nil {
				t.Fatal(err)
			}
			k, err := skills.Store{Dir: filepath.Join(t.TempDir(), "skills")}.Add(dir)
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(filepath.Join(k.Dir, "SKILL.md"))
			if err != nil {
				t.Fatal(err)
			}
			m, err := frontmatter.Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Validate(k.Name); err != nil {
				t.Error(err)
			}
			if len(m.Warnings) > 0 {
				t.Errorf("warnings: %q", m.Warnings)
			}
			c, err := k.Command(m, nil)
			if err != nil || len(k.Scripts) != 1 || c.Script != k.Scripts[0] || len(c.Needs) == 0 {
				t.Errorf("command %+v of %q, %v", c, k.Scripts, err)
			}
		})
	}
	if n != 4 {
		t.Errorf("%d example skills, want 4", n)
	}
}

const summary = "csv-summary/scripts/summary.py"

type column struct {
	Name, Type     string
	Count, Missing int
	Distinct       *int
	Min, Max       any
	Mean, Median   *float64
	Top            []struct {
		Value string
		Count int
	}
}

type csvSummary struct {
	Delimiter string
	Rows      int
	BadRows   int   `json:"bad_rows"`
	BadLines  []int `json:"bad_lines"`
	Columns   []column
}

// shown is a column in one line.
func (c column) String() string {
	s := fmt.Sprintf("%s %s %d/%d", c.Name, c.Type, c.Count, c.Missing)
	if c.Distinct != nil {
		s += fmt.Sprintf(" =%d", *c.Distinct)
	}
	if c.Min != nil {
		s += fmt.Sprintf(" %v..%v", c.Min, c.Max)
	}
	if c.Mean != nil {
		s += fmt.Sprintf(" mean %.4g", *c.Mean)
	}
	if c.Median != nil {
		s += fmt.Sprintf(" median %.4g", *c.Median)
	}
	if len(c.Top) > 0 {
		s += fmt.Sprintf(" top %q (%d)", c.Top[0].Value, c.Top[0].Count)
	}
	return s
}

func TestCSVSummary(t *testing.T) {
	orders, err := os.ReadFile("csv-summary/testdata/orders.csv")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		csv   string
		args  []string
		rows  int
		bad   []int
		delim string
		want  []string
	}{
		"orders": {string(orders), nil, 6, []int{6, 7}, ",", []string{
			`order integer 6/0 =6 1001..1006 mean 1004 median 1004 top "1001" (1)`,
			`date date 6/0 =5 2026-01-04..2026-03-01 top "2026-01-04" (2)`,
			`customer text 6/0 =4 top "Müller, Anna" (2)`,
			`country text 6/0 =4 top "DE" (2)`,
			`amount number 5/1 =4 -40.25..240.5 mean 72.03 median 15 top "15" (2)`,
			`paid boolean 6/0 =2 top "yes" (4)`,
			`note text 3/3 =3 top "late" (1)`,
		}},
		"semicolons":     {"a;b\n1;2,5\n", nil, 1, nil, ";", []string{`a integer 1/0 =1 1..1 mean 1 median 1 top "1" (1)`, `b text 1/0 =1 top "2,5" (1)`}},
		"tabs, no head":  {"1\t2\n3\t4\n", []string{"--no-header"}, 2, nil, "\t", []string{`column 1 integer 2/0 =2 1..3 mean 2 median 2 top "1" (1)`, `column 2 integer 2/0 =2 2..4 mean 3 median 3 top "2" (1)`}},
		"chosen columns": {"a,b,c\n1,2,3\n", []string{"--columns", "c"}, 1, nil, ",", []string{`c integer 1/0 =1 3..3 mean 3 median 3 top "3" (1)`}},
		"leading zeros":  {"zip\n01234\n", nil, 1, nil, ",", []string{`zip text 1/0 =1 top "01234" (1)`}},
		"same name":      {"a,a,\n1,2,3\n", []string{"--top", "0"}, 1, nil, ",", []string{`a integer 1/0 =1 1..1 mean 1 median 1`, `a (2) integer 1/0 =1 2..2 mean 2 median 2`, `column 3 integer 1/0 =1 3..3 mean 3 median 3`}},
		"only a header":  {"a,b\n", nil, 0, nil, ",", []string{`a empty 0/0 =0`, `b empty 0/0 =0`}},
		"not finite":     {"a\ninf\n1\n", nil, 2, nil, ",", []string{`a text 2/0 =2 top "1" (1)`}},
		"old line ends":  {"a,b\r1,2\r3,4\r", []string{"--top", "0"}, 2, nil, ",", []string{`a integer 2/0 =2 1..3 mean 2 median 2`, `b integer 2/0 =2 2..4 mean 3 median 3`}},
		"many values":    {"a\n" + numbers(100_001), nil, 100_001, nil, ",", []string{`a integer 100001/0 0..100000 mean 5e+04`}},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, bad := script(t, tt.csv, summary, append(tt.args, "--json", "-")...)
			if status != 0 || bad != "" {
				t.Fatalf("status %d: %s", status, bad)
			}
			var s csvSummary
			if err := json.Unmarshal([]byte(out), &s); err != nil {
				t.Fatal(err)
			}
			if s.Rows != tt.rows || s.Delimiter != tt.delim || fmt.Sprint(s.BadLines) != fmt.Sprint(tt.bad) || s.BadRows != len(tt.bad) {
				t.Errorf("got %d rows, delimiter %q, bad %v; want %d, %q, %v", s.Rows, s.Delimiter, s.BadLines, tt.rows, tt.delim, tt.bad)
			}
			var got []string
			for _, c := range s.Columns {
				got = append(got, c.String())
			}
			if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func TestCSVSummaryTable(t *testing.T) {
	_, out, bad := script(t, "na\x1b[2Jme,b\n\u202ex,1\n", summary, "-")
	if strings.ContainsAny(out, "\x1b\u202e") || !strings.Contains(out, `na\x1b[2Jme`) || bad != "" {
		t.Errorf("printed %q, %q", out, bad)
	}
	if !strings.Contains(out, "1 rows, 2 columns, delimiter ','") {
		t.Errorf("no last line in %q", out)
	}
}

func TestCSVSummaryRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		csv    string
		args   []string
		status int
		want   string
	}{
		"empty":          {"", []string{"-"}, 1, "the file is empty"},
		"not UTF-8":      {"a\n\xff\n", []string{"-"}, 1, "it is not utf-8 at byte 2; try --encoding latin-1"},
		"binary":         {"\x7fELF\x00\x00", []string{"-"}, 1, "there is a NUL byte in it"},
		"one huge line":  {strings.Repeat("x", 9<<20), []string{"-"}, 1, "a line is longer than"},
		"lost quote":     {"a,b\n\"" + strings.Repeat("x\n", 1<<20), []string{"-"}, 1, "field larger than field limit"},
		"no file":        {"", []string{"/gone.csv"}, 1, "/gone.csv: No such file"},
		"a folder":       {"", []string{"/"}, 1, "Is a directory"},
		"no such column": {"a\n1\n", []string{"--columns", "b", "-"}, 1, "there is no column 'b'; there are 'a'"},
		"no encoding":    {"a\n", []string{"--encoding", "klingon", "-"}, 1, "unknown encoding: klingon"},
		"long delimiter": {"a\n", []string{"--delimiter", "ab", "-"}, 2, "one character"},
		"no argument":    {"", nil, 2, "usage:"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, bad := script(t, tt.csv, summary, tt.args...)
			if status != tt.status || out != "" || !strings.Contains(bad, tt.want) || strings.Contains(bad, "Traceback") {
				t.Errorf("status %d, %q, %q; want %d and %q", status, out, bad, tt.status, tt.want)
			}
		})
	}
}

const changelog = "git-changelog/scripts/changelog.py"

// repository makes one with a history of its own, by another user, and says
// where a canary would appear if anything in its configuration ran.
func repository(t *testing.T) (dir, canary string) {
	t.Helper()
	dir = t.TempDir()
	canary = filepath.Join(t.TempDir(), "canary")
	day := 0
	git := func(args ...string) {
		t.Helper()
		day++
		c := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Ada", "-c", "user.email=ada@example.org"}, args...)...)
		date := fmt.Sprintf("2026-01-%02dT12:00:00Z", day)
		c.Env = []string{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_DATE=" + date, "GIT_COMMITTER_DATE=" + date}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	commit := func(message string) {
		t.Helper()
		file := fmt.Sprintf("file-%d", day)
		if err := os.WriteFile(filepath.Join(dir, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		git("add", file)
		day-- // an add has no date
		git("commit", "-q", "-m", message)
	}
	git("init", "-q", "-b", "main") // 1st of January
	commit("first")
	git("tag", "v1")
	commit("feat(parser): read tabs")
	commit("fix: don't crash on <empty> *files*")
	commit("runtime/seccomp: kill foreign architectures")
	commit("docs: say how")
	commit("feat!: drop the old format")
	commit("Add a thing")
	git("revert", "--no-edit", "HEAD")
	commit("chore: tidy\n\nBREAKING CHANGE: needs Go 2") // 10th
	git("tag", "v2")
	commit("perf: twice as \x1b[31mfast")
	hostile := "#!/bin/sh\ntouch " + canary + "\n"
	hook := filepath.Join(dir, "run")
	if err := os.WriteFile(hook, []byte(hostile), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"core.fsmonitor", "core.pager", "gpg.program", "diff.external", "core.sshCommand", "pager.log"} {
		git("config", key, hook)
	}
	git("config", "log.showSignature", "true")
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(p, 1000, 1000))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir, canary
}

func TestGitChangelog(t *testing.T) {
	repo, canary := repository(t)
	for name, tt := range map[string]struct {
		args []string
		want []string // lines that must be there, in this order
		not  string
	}{
		"since the last tag": {nil, []string{"# Changes from v2 to HEAD", "## Performance", `- twice as \\x1b\[31mfast (`, "1 commits by Ada."}, "tidy"},
		"between tags": {[]string{"--from", "v1", "--to", "v2"}, []string{
			"# Changes from v1 to v2",
			"## Breaking changes", "- tidy (", "- drop the old format (",
			"## Features", "- **parser**: read tabs (",
			"## Fixes", `- don't crash on \<empty\> \*files\* (`,
			"## Documentation", "- say how (",
			"## Other changes", "- **runtime/seccomp**: kill foreign architectures (",
			"6 commits by Ada.",
		}, "Add a thing"},
		"before a tag":   {[]string{"--to", "v2"}, []string{"# Changes from v1 to v2"}, "fast"},
		"by date":        {[]string{"--since", "2026-01-04", "--until", "2026-01-05"}, []string{"# Changes 2026-01-04 to 2026-01-05", "read tabs", "2 commits by Ada."}, "architectures"},
		"nothing":        {[]string{"--from", "HEAD"}, []string{"No changes."}, "##"},
		"from the start": {[]string{"--to", "v1"}, []string{"# Changes up to v1", "- first ("}, "tabs"},
		"title":          {[]string{"--title", "Our *release*"}, []string{`# Our \*release\*`}, "Changes"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, bad := script(t, "", changelog, append(tt.args, "--repo", repo)...)
			if status != 0 || bad != "" {
				t.Fatalf("status %d: %s", status, bad)
			}
			rest := out
			for _, w := range tt.want {
				_, after, found := strings.Cut(rest, w)
				if !found {
					t.Fatalf("no %q, in this order, in\n%s", w, out)
				}
				rest = after
			}
			if strings.Contains(out, tt.not) || strings.Contains(out, "\x1b") {
				t.Errorf("%q or an escape is in\n%s", tt.not, out)
			}
		})
	}
	status, out, _ := script(t, "", changelog, "--json", "--from", "v1", "--repo", repo)
	var v struct {
		Commits, Reverted int
		Groups            map[string][]struct{ Hash, Subject string }
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != 0 || v.Commits != 7 || v.Reverted != 2 || len(v.Groups["breaking"]) != 2 {
		t.Errorf("status %d, %v, %s", status, err, out)
	}
	if _, err := os.Stat(canary); !os.IsNotExist(err) {
		t.Error("the repository's configuration ran a program")
	}
}

func TestGitChangelogRefuses(t *testing.T) {
	repo, _ := repository(t)
	for name, tt := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"no repository":   {[]string{"--repo", t.TempDir()}, 1, "not a git repository"},
		"no folder":       {[]string{"--repo", "/gone"}, 1, "/gone is not a folder"},
		"no revision":     {[]string{"--repo", repo, "--from", "v9"}, 1, "there is no revision 'v9'"},
		"an option":       {[]string{"--repo", repo, "--to=--output=/tmp/x"}, 1, "there is no revision '--output=/tmp/x'"},
		"no date":         {[]string{"--repo", repo, "--since", "yesterday"}, 2, "takes a date"},
		"dates and a tag": {[]string{"--repo", repo, "--since", "2026-01-01", "--from", "v1"}, 2, "don't go together"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, bad := script(t, "", changelog, tt.args...)
			if status != tt.status || out != "" || !strings.Contains(bad, tt.want) || strings.Contains(bad, "Traceback") {
				t.Errorf("status %d, %q, %q; want %d and %q", status, out, bad, tt.status, tt.want)
			}
		})
	}
}

const convert = "doc-convert/scripts/convert.sh"

// needsPandoc skips in the virtual machine, whose guest is kept small.
func needsPandoc(t *testing.T) {
	t.Helper()
	if os.Getenv("CLAWSUP_VM") != "" {
		t.Skip("the guest has no pandoc")
	}
}

func TestDocConvert(t *testing.T) {
	needsPandoc(t)
	// The picture that the document names isn't there: pandoc fails when it tries to
	// read it.
	dir := t.TempDir()
	picture := filepath.Join(dir, "picture.png")
	text, err := os.ReadFile("doc-convert/testdata/minutes.md")
	if err != nil {
		t.Fatal(err)
	}
	minutes := filepath.Join(dir, "minutes.md")
	if err := os.WriteFile(minutes, bytes.ReplaceAll(text, []byte("pictures/shed.png"), []byte(picture)), 0o644); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		"html":  "<strong>boat shed</strong>",
		"plain": "three bids",
		"latex": `\textbf{boat shed}`,
		"rst":   "**boat shed**",
	} {
		status, out, bad := script(t, "", convert, "--to", to, minutes)
		if status != 0 || bad != "" || !strings.Contains(out, want) {
			t.Errorf("%s: status %d, %q, %q", to, status, out, bad)
		}
	}
	for _, to := range []string{"docx", "odt", "epub"} {
		file := filepath.Join(dir, "out."+to)
		status, out, bad := script(t, "", convert, "--to", to, "--output", file, minutes)
		if status != 0 || out != "" || bad != "" {
			t.Errorf("%s: status %d, %q, %q", to, status, out, bad)
			continue
		}
		// And back.
		status, out, bad = script(t, "", convert, "--to", "plain", file)
		if status != 0 || bad != "" || !strings.Contains(out, "the treasurer") || !strings.Contains(out, "Jonas") {
			t.Errorf("%s to plain: status %d, %q, %q", to, status, out, bad)
		}
	}
}

func TestDocConvertRefuses(t *testing.T) {
	needsPandoc(t)
	minutes, err := filepath.Abs("doc-convert/testdata/minutes.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	there := filepath.Join(dir, "there.html")
	broken := filepath.Join(dir, "broken.docx")
	evil := filepath.Join(dir, "evil.lua")
	canary := filepath.Join(dir, "canary")
	for p, content := range map[string]string{there: "canary", broken: "no zip", evil: "io.open('" + canary + "','w')"} {
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"nothing":           {nil, 2, "usage:"},
		"no target":         {[]string{minutes}, 2, "what to convert"},
		"unknown format":    {[]string{"--to", "wordperfect", minutes}, 2, "wordperfect is not one of the output formats"},
		"a program":         {[]string{"--to", evil, minutes}, 2, "is not the name of a format"},
		"a program, hidden": {[]string{"--to", "html+../evil.lua", minutes}, 2, "is not the name of a format"},
		"pdf":               {[]string{"--to", "pdf", minutes}, 2, "pdf needs a TeX installation"},
		"an option":         {[]string{"--lua-filter=" + evil, "--to", "html", minutes}, 2, "is not an option"},
		"no file":           {[]string{"--to", "html", "/gone.md"}, 1, "there is no such file"},
		"a folder":          {[]string{"--to", "html", dir}, 1, "not a file that can be read"},
		"no extension":      {[]string{"--to", "html", "/etc/hostname"}, 2, "give --from"},
		"exists":            {[]string{"--to", "html", "--output", there, minutes}, 1, "it exists already"},
		"broken to a file":  {[]string{"--to", "html", "--output", filepath.Join(dir, "new.html"), broken}, 1, "it was not converted"},
		"broken":            {[]string{"--to", "odt", broken}, 1, "it was not converted"},
		"two files":         {[]string{"--to", "html", minutes, minutes}, 2, "one document at a time"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, bad := script(t, "", convert, tt.args...)
			if status != tt.status || out != "" || !strings.Contains(bad, tt.want) {
				t.Errorf("status %d, %q, %q; want %d and %q", status, out, bad, tt.status, tt.want)
			}
		})
	}
	if b, err := os.ReadFile(there); err != nil || string(b) != "canary" {
		t.Errorf("the file that existed is %q, %v", b, err)
	}
	for _, p := range []string{canary, filepath.Join(dir, "new.html")} {
		if _, err := os.Stat(p); !os.IsNotExist(err) {
			t.Errorf("%s is there", p)
		}
	}
}
