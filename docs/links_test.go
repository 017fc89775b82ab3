// SPDX-License-Identifier: Apache-2.0

// Package docs_test holds the documents to what is there: a link between them
// resolves, and a test that they name exists.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are the pages that people read, from this folder.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, name := range append(pages, "../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(text)
	}
	if len(all) < 6 {
		t.Fatalf("found %d documents only", len(all))
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
	test    = regexp.MustCompile("`([a-z/-]+)\\.((?:Test|Fuzz|Benchmark)\\w+)`")
	punct   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are the names that a page's headings get where Markdown is shown:
// lower case, no punctuation, hyphens for spaces.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		name := punct.ReplaceAllString(strings.ToLower(h[1]), "")
		all[strings.ReplaceAll(name, " ", "-")] = true
	}
	return all
}

// broken says what is wrong with a link on a page, or "".
func broken(page, text, to string) string {
	if strings.Contains(to, "://") {
		return "it leads out of the repository, where nothing here can check it"
	}
	file, anchor, _ := strings.Cut(to, "#")
	if file != "" {
		file = filepath.Join(filepath.Dir(page), file)
		b, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		text = string(b)
	}
	if anchor != "" && !anchors(text)[anchor] {
		return "no heading is called so"
	}
	return ""
}

func TestLinksResolve(t *testing.T) {
	links := 0
	for page, text := range documents(t) {
		for n, line := range strings.Split(text, "\n") {
			for _, l := range link.FindAllStringSubmatch(line, -1) {
				links++
				if why := broken(page, text, l[1]); why != "" {
					t.Errorf("%s:%d: %s: %s", page, n+1, l[1], why)
				}
			}
		}
	}
	if links == 0 {
		t.Error("there is no link at all: they are not recognised")
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	const text = "# One thing\n## What /proc shows\n"
	for to, want := range map[string]bool{
		"#one-thing": false, "#what-proc-shows": false, "links_test.go": false,
		"#two": true, "missing.md": true, "profiles.md#missing": true, "https://example.com": true,
	} {
		if got := broken("page.md", text, to) != ""; got != want {
			t.Errorf("%s: broken is %v", to, got)
		}
	}
}

// TestNamedTestsExist: SPECIFICATION.md has a stricter rule of its own.
func TestNamedTestsExist(t *testing.T) {
	code := make(map[string]string) // all tests of a folder
	named := 0
	for page, text := range documents(t) {
		for n, line := range strings.Split(text, "\n") {
			for _, m := range test.FindAllStringSubmatch(line, -1) {
				named++
				if code[m[1]] == "" {
					files, _ := filepath.Glob(filepath.Join("..", m[1], "*_test.go"))
					for _, f := range files {
						b, err := os.ReadFile(f)
						if err != nil {
							t.Fatal(err)
						}
						code[m[1]] += string(b)
					}
				}
				if !strings.Contains(code[m[1]], "\nfunc "+m[2]+"(") {
					t.Errorf("%s:%d: %s has no %s", page, n+1, m[1], m[2])
				}
			}
		}
	}
	if named == 0 {
		t.Error("no test is named: they are not recognised")
	}
}
