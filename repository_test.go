// SPDX-License-Identifier: Apache-2.0

// Package clawsup_test holds the rules about the repository itself: what every
// file and package has, who may import whom, what must never be linked into
// what, and that a promise made to users names the test that keeps it.
package clawsup_test

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor"
)

const module = "github.com/clawsup/clawsup"

// files lists the repository's regular files, with slashes, but what is built.
func files(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{".git", "bin", "out"}, name) {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			all = append(all, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("found %d files only: this isn't the repository", len(all))
	}
	return all
}

// sources parses all Go files outside testdata folders: folder, file name, syntax.
func sources(t *testing.T, mode parser.Mode) map[string]map[string]*ast.File {
	t.Helper()
	all := make(map[string]map[string]*ast.File)
	set := token.NewFileSet()
	for _, name := range files(t) {
		if path.Ext(name) != ".go" || slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		syntax, err := parser.ParseFile(set, name, nil, mode)
		if err != nil {
			t.Error(err)
			continue
		}
		dir := path.Dir(name)
		if all[dir] == nil {
			all[dir] = make(map[string]*ast.File)
		}
		all[dir][path.Base(name)] = syntax
	}
	return all
}

func TestEveryPackageHasAManual(t *testing.T) {
	for dir, pkg := range sources(t, parser.ParseComments|parser.PackageClauseOnly) {
		manual, code := "", false
		for name, syntax := range pkg {
			if !strings.HasSuffix(name, "_test.go") {
				code = true
				manual += syntax.Doc.Text()
			}
		}
		if code && strings.Count(manual, "\n") < 2 {
			t.Errorf("%s: the package comment is a line or none; it should say what the package is for, in which order it is used, and its limits", dir)
		}
	}
}

func TestEveryFileNamesItsLicence(t *testing.T) {
	for _, name := range files(t) {
		if path.Ext(name) != ".go" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(text, []byte("// SPDX-License-Identifier: Apache-2.0\n")) {
			t.Errorf("%s: the first line is not // SPDX-License-Identifier: Apache-2.0", name)
		}
	}
}

// strays are texts that belong to one machine, one mirror or papers that aren't
// here, with what to do instead.
var strays = []struct {
	text    *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(^|[^\w.~-])/work/`), "name files from the repository's root"},
	{regexp.MustCompile(`/(root|home/[a-z]+)/go/`), "let Go say where its folders are"},
	{regexp.MustCompile(`(deb|ftp|security|snapshot)\.debian\.org`), "take the mirror from apt"},
	{regexp.MustCompile(`(proxy|sum)\.golang\.org|goproxy\.`), "leave the module proxy to Go"},
	{regexp.MustCompile(`registry\.npmjs|pypi\.org|crates\.io|docker\.io|ghcr\.io|quay\.io`), "leave registries to their clients"},
	{regexp.MustCompile(`\b(THREATS|(DESIGN|STYLE|PERFORMANCE|OPENCLAW|VM|DAEMON|COMMON)\.md)\b|\b[Ii]ssues? #?[0-9]`), "say what it says: a reader doesn't have it"},
}

func TestNothingBelongsToOneMachine(t *testing.T) {
	for _, name := range files(t) {
		if name == "repository_test.go" || name == "go.sum" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range bytes.Split(text, []byte("\n")) {
			for _, s := range strays {
				if found := s.text.Find(line); found != nil {
					t.Errorf("%s:%d: %q: %s", name, n+1, found, s.instead)
				}
			}
		}
	}
}

// floors are the layers of the repository, the highest first. A package may
// import its own floor and those below, tests too.
var floors = [][]string{
	{"cmd"},
	{"supervisor"},
	{"runtime"},
	{"profiles", "skills"},
}

// floor gives the floor of a folder or import path below the module, or -1.
func floor(dir string) int {
	top, _, _ := strings.Cut(dir, "/")
	return slices.IndexFunc(floors, func(tops []string) bool { return slices.Contains(tops, top) })
}

func TestDependenciesPointDown(t *testing.T) {
	all := sources(t, parser.ImportsOnly)
	delete(all, ".") // this file stands above them
	for dir, pkg := range all {
		for name, syntax := range pkg {
			for _, spec := range syntax.Imports {
				imported, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module+"/")
				if !ours {
					continue
				}
				from, to := floor(dir), floor(imported)
				// a program's own packages are below it
				own := from == 0 && strings.HasPrefix(imported, path.Join("cmd", strings.Split(dir+"/", "/")[1], "internal")+"/")
				if from < 0 || to < 0 || to < from || strings.HasPrefix(imported, "cmd/") && !own {
					t.Errorf("%s/%s imports %s: dependencies point from cmd to supervisor, runtime, and then profiles and skills", dir, name, imported)
				}
			}
		}
	}
}

// What a sandbox's first process, its tool's last stage, and root's own code must not
// be made of. never holds whole import paths, or prefixes that end in a slash.
var links = []struct {
	packages []string
	cgo      bool // may link it
	never    []string
	because  string
}{
	{
		[]string{"./runtime/boot", "./runtime/wire", "./runtime/seccomp/load", "./cmd/clawsup-init"}, false,
		[]string{"net", "os/user", "github.com/seccomp/", "github.com/opencontainers/", "github.com/containerd/", "github.com/sirupsen/"},
		"it runs in every sandbox before the tool and is kept tiny",
	},
	{
		[]string{"./cmd/clawsup-inspect"}, false,
		[]string{"net", "net/http", "os/exec", "github.com/seccomp/", "github.com/opencontainers/"},
		"it reads hostile bytes and needs nothing else",
	},
	{
		[]string{"./cmd/clawsup-egress"}, false,
		[]string{"os/exec", "os/user", "plugin", "github.com/seccomp/", "github.com/opencontainers/", "github.com/containerd/", "github.com/sirupsen/", "github.com/google/nftables", "github.com/vishvananda/"},
		"it reads the bytes of the network: it starts nothing, and sets nothing up",
	},
	{
		[]string{"./cmd/clawsupd"}, true,
		[]string{"charm.land/", "github.com/charmbracelet/", "github.com/modelcontextprotocol/", "go.etcd.io/", "modernc.org/", "encoding/xml", "html/template", "text/template", "archive/zip", "archive/tar"},
		"it is root, parses nothing but bounded frames and root's own files, and shows nothing to anybody",
	},
	{
		[]string{"./runtime", "./skills", "./profiles", "./supervisor/...", "./cmd/clawsup", "./cmd/clawsupd"}, true,
		[]string{"net/http", "crypto/tls", "database/sql", "plugin", "encoding/gob", "net/rpc", "github.com/goccy/"},
		"it runs as root, and root parses almost nothing that others wrote",
	},
}

func TestLinks(t *testing.T) {
	for _, rule := range links {
		for _, pattern := range rule.packages {
			list := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}}", pattern)
			list.Env = append(os.Environ(), "CGO_ENABLED=0")
			if rule.cgo {
				list.Env = append(os.Environ(), "CGO_ENABLED=1")
			}
			// without cgo a dependency that is made of it has no files, an error
			var stderr bytes.Buffer
			list.Stderr = &stderr
			out, err := list.Output()
			if err != nil {
				t.Errorf("%s: %v: %s", pattern, err, &stderr)
				continue
			}
			for _, dep := range strings.Fields(string(out)) {
				for _, never := range rule.never {
					if dep == never || strings.HasSuffix(never, "/") && strings.HasPrefix(dep, never) {
						t.Errorf("%s links %s: %s", pattern, dep, rule.because)
					}
				}
			}
		}
	}
}

// reference is how docs/SPECIFICATION.md names what keeps a promise.
var reference = regexp.MustCompile("`(?:make ([a-z-]+)|([a-z/-]+)\\.((?:Test|Benchmark|Fuzz)\\w+))`")

func TestEveryPromiseIsTested(t *testing.T) {
	exists := make(map[string]bool)
	for dir, pkg := range sources(t, 0) {
		for name, syntax := range pkg {
			if !strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, d := range syntax.Decls {
				if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
					exists[dir+"."+f.Name.Name] = true
				}
			}
		}
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.Open("docs/SPECIFICATION.md")
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	promises := 0
	for n, lines := 1, bufio.NewScanner(text); lines.Scan(); n++ {
		line := lines.Text()
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| promise |") {
			continue
		}
		promises++
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) != 2 {
			t.Errorf("docs/SPECIFICATION.md:%d: want two cells, a promise and where it is tested: %s", n, line)
			continue
		}
		found := reference.FindAllStringSubmatch(cells[1], -1)
		if len(found) == 0 {
			t.Errorf("docs/SPECIFICATION.md:%d: names no test: %s", n, line)
		}
		for _, f := range found {
			if target := f[1]; target != "" {
				if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
					t.Errorf("docs/SPECIFICATION.md:%d: the Makefile has no target %s", n, target)
				}
			} else if !exists[f[2]+"."+f[3]] {
				t.Errorf("docs/SPECIFICATION.md:%d: %s has no %s", n, f[2], f[3])
			}
		}
		// nothing in the cell that looks like a name and isn't read as one
		if left := reference.ReplaceAllString(cells[1], ""); strings.Contains(left, "`") {
			t.Errorf("docs/SPECIFICATION.md:%d: this names no test or target: %s", n, strings.TrimSpace(left))
		}
	}
	if promises == 0 {
		t.Error("docs/SPECIFICATION.md promises nothing")
	}
}

// What packaging/clawsup.toml shows are the keys that there are, and the
// defaults that they have. An agent's command, user and the like have none.
func TestExampleConfigurationShowsTheDefaults(t *testing.T) {
	text, err := os.ReadFile("packaging/clawsup.toml")
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^#(\w+ = |\[)`).ReplaceAll(text, []byte("$1"))
	text = bytes.Replace(text, []byte(`user = "openclaw"`), []byte(`user = "daemon"`), 1) // which every host has
	got := loadConfig(t, string(text))
	shown := make(map[string]string) // as the file would have it, by key
	for _, s := range got.Settings() {
		if s.Origin == "" {
			t.Errorf("the example does not show %s", s.Key)
		}
		shown[s.Key] = s.Literal()
	}
	// an agent and a workspace of which no more is said than what has no default
	defaults := loadConfig(t, `
[[workspace]]
name = "project"
path = "/srv/project"
[agent]
name = "openclaw"
command = ["/usr/bin/openclaw", "gateway", "run"]
user = "daemon"
state_dir = "/var/lib/openclaw"
publish = ["127.0.0.1:18789"]
ready.http = "http://127.0.0.1:18789/readyz"
`)
	for _, s := range defaults.Settings() {
		switch s.Key {
		case "init", "inspect", "egress": // depends on what is installed
		case "agent.openclaw.environment", "network.hosts": // the default is an empty table, which shows nothing
		default:
			if shown[s.Key] != s.Literal() {
				t.Errorf("the example shows %s as %s, and it is %s", s.Key, shown[s.Key], s.Literal())
			}
		}
	}
}

// What docs/reference.md says of the configuration are the keys that there are.
func TestReferenceHasEveryKey(t *testing.T) {
	text, err := os.ReadFile("docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool) // "slots", "calls.rate", "agent.user"
	section := ""
	_, chapter, _ := strings.Cut(string(text), "\n## Configuration\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	for line := range strings.Lines(chapter) {
		if header, ok := strings.CutPrefix(line, "### `"); ok {
			section = strings.Trim(header, "[]`\n") + "."
		}
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, name := range regexp.MustCompile("`([a-z_.]+)`").FindAllStringSubmatch(cells[1], -1) {
				documented[section+name[1]] = true
			}
		}
	}
	c := loadConfig(t, `
[[workspace]]
name = "x"
path = "/srv/x"
[agent]
name = "x"
command = ["/bin/true"]
user = "daemon"
state_dir = "/var/lib/x"
`)
	for _, s := range c.Settings() {
		key := strings.Replace(s.Key, ".x.", ".", 1)
		if !documented[key] {
			t.Errorf("docs/reference.md does not explain %s", key)
		}
		delete(documented, key)
	}
	for key := range documented {
		t.Errorf("docs/reference.md explains %s, which is no key", key)
	}
}

// The units are what systemd understands, and as closed as docs/reference.md says.
func TestUnits(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("needs systemd's tools")
	}
	root := t.TempDir()
	units := filepath.Join(root, "usr/lib/systemd/system")
	for _, tree := range []string{"/usr/lib/systemd/system", "packaging/systemd"} {
		if err := os.CopyFS(units, os.DirFS(tree)); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{"usr/local/lib/clawsup/clawsupd", "bin/kill"} {
		file := filepath.Join(root, program)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	verify := exec.Command(analyze, "verify", "--root="+root)
	verify.Args = append(verify.Args, "clawsupd.service", "clawsupd-approval.socket", "clawsupd-admin.socket", "clawsup.slice")
	out, err := verify.CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.Command(analyze, "security", "--offline=true", "--threshold=66", "packaging/systemd/clawsupd.service").CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// loadConfig reads a configuration of this text.
func loadConfig(t *testing.T, text string) supervisor.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clawsup.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := supervisor.LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
