// SPDX-License-Identifier: Apache-2.0

package frontmatter

import (
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/skills"
)

// fenced is a SKILL.md with this front matter.
func fenced(block string) string { return "---\n" + block + "\n---\n# Body\n" }

func TestParse(t *testing.T) {
	full := skills.Manifest{
		Name:          "gh-issues",
		Description:   "Reads issues: all of them & more.",
		License:       "MIT",
		Compatibility: "Needs gh",
		AllowedTools:  []string{"Bash(git add:*)", "Read"},
		Metadata:      map[string]string{"author": "someone", "revision": "1.10"},
		OpenClaw: skills.OpenClaw{
			Requires:   skills.Requires{Bins: []string{"gh", "jq"}, AnyBins: []string{"uv", "pip"}, Env: []string{"GH_TOKEN"}, Config: []string{"gh.enabled"}},
			PrimaryEnv: "GH_TOKEN",
			EnvVars:    []skills.EnvVar{{Name: "GH_TOKEN", Required: true, Description: "token"}, {Name: "GH_HOST"}},
			OS:         []string{"linux"},
			Install:    []skills.Install{{ID: "brew", Kind: "brew", Label: "Install gh", Formula: "gh", Bins: []string{"gh"}, OS: []string{"darwin"}}},
		},
	}
	claw := `{"requires":{"bins":["gh","jq"],"anyBins":["uv","pip"],"env":["GH_TOKEN"],"config":["gh.enabled"]},` +
		`"primaryEnv":"GH_TOKEN","envVars":[{"name":"GH_TOKEN","description":"token"},{"name":"GH_HOST","required":false}],` +
		`"os":["linux"],"install":[{"id":"brew","kind":"brew","label":"Install gh","formula":"gh","bins":["gh"],"os":["darwin"]}]}`
	head := "name: gh-issues\ndescription: >\n  Reads issues: all of them\n  & more.\nlicense: MIT\ncompatibility: Needs gh\nallowed-tools: Bash(git add:*) Read\n"
	block := head + `metadata:
  author: someone
  revision: 1.10
  openclaw:
    requires:
      bins: [gh, jq]
      anyBins:
        - uv
        - pip
      env: GH_TOKEN
      config:
      - gh.enabled
    primaryEnv: GH_TOKEN
    envVars:
      - name: GH_TOKEN
        description: token
      - name: GH_HOST
        required: false
    os: ["linux"]
    install:
      - id: brew
        kind: brew
        label: Install gh
        formula: gh
        bins: [gh]
        os: [darwin]`
	for name, file := range map[string]string{
		"block style":        fenced(block),
		"CRLF and BOM":       "\xef\xbb\xbf" + strings.ReplaceAll(fenced(block), "\n", "\r\n"),
		"blanks after fence": "--- \n" + block + "\n---\t\nbody",
		"no newline at end":  "---\n" + block + "\n---",
		"flow mapping":       fenced(head + `metadata: {"author":"someone","revision":"1.10","openclaw":` + claw + `}`),
		"flow over lines":    fenced(head + "metadata:\n  {\n    \"author\": \"someone\", \"revision\": 1.10,\n    \"openclaw\": " + claw + ",\n  }"),
		"JSON in a text":     fenced(head + `metadata: '{"author":"someone","revision":1.10,"openclaw":` + claw + `}'`),
		"JSON in openclaw":   fenced(head + "metadata:\n  author: someone\n  revision: '1.10'\n  openclaw: |\n    " + claw),
		"clawdbot":           fenced(strings.Replace(block, "openclaw:", "clawdbot:", 1)),
		"clawdis":            fenced(strings.Replace(block, "openclaw:", "clawdis:", 1)),
		"body is not UTF-8":  fenced(block) + "\xff\xfe",
		"tools as a list":    fenced(strings.Replace(block, "Bash(git add:*) Read", "['Bash(git add:*)', Read]", 1)),
		"comments":           fenced("# one\n" + block + " # two"),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Parse([]byte(file))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m, full) {
				got, _ := json.Marshal(m)
				want, _ := json.Marshal(full)
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if err := m.Validate("gh-issues"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	ok := "name: a\ndescription: b\n"
	bomb := "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]"
	for _, tt := range []struct {
		name, file string
		line       int
		want       string
	}{
		{"empty", "", 1, "empty"},
		{"only a BOM", "\xef\xbb\xbf\n", 1, "empty"},
		{"no front matter", "# Title\n", 1, "no front matter"},
		{"not at the start", "\n---\nname: a\n---\n", 1, "no front matter"},
		{"only a fence", "---", 1, "not closed"},
		{"not closed", "---\n" + ok, 1, "not closed"},
		{"four dashes do not close", "---\n" + ok + "----\n", 1, "not closed"},
		{"many lines and not closed", "---\n" + strings.Repeat(ok, 10000), 1025, "more than 1024 lines"},
		{"long", fenced(strings.Repeat(strings.Repeat("x", 1000)+"\n", 100)), 67, "longer than 65536"},
		{"too long file", strings.Repeat("x", skills.MaxSkillMD+1), 0, "longer than 1048576"},
		{"long line", fenced(ok + "x: " + strings.Repeat("y", 20000)), 4, "longer than 16384"},
		{"not UTF-8", fenced("name: a\ndescription: \xff"), 3, "UTF-8"},
		{"NUL", fenced("name: a\x00"), 2, `'\x00'`},
		{"escape sequence", fenced(ok + "x: \x1b[2J"), 4, `'\x1b'`},
		{"C1 control", fenced(ok + "x: \u009b2J"), 4, `'\u009b'`},
		{"lone CR", fenced("name: a\rb"), 2, `'\r'`},
		{"bomb", fenced(ok + bomb), 4, "anchor"},
		{"anchor", fenced(ok + "x: &y 1"), 4, "anchor"},
		{"alias", fenced(ok + "x: *y"), 4, "alias"},
		{"merge key", fenced(ok + "<<: {a: b}"), 4, "merge key"},
		{"tag", fenced(ok + "x: !!python/object:os.system y"), 4, "tag"},
		{"directive", fenced("%YAML 1.1\n" + ok), 2, "directive"},
		{"second document", fenced(ok + "--- b"), 4, "second YAML document"},
		{"document end", fenced(ok + "...\nx: y"), 4, "document end"},
		{"duplicate key", fenced(ok + "name: b"), 4, `"name" is there twice`},
		{"duplicate in quotes", fenced(ok + "'name': b"), 4, `"name" is there twice`},
		{"duplicate in a flow mapping", fenced(ok + "metadata: {a: 1, a: 2}"), 4, `"a" is there twice`},
		{"duplicate in JSON", fenced(ok + `metadata: '{"a":1,"a":2}'`), 4, `"a" is there twice`},
		{"deep flow", fenced(ok + "x: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000)), 4, "deeper than 16"},
		{"deep block", fenced(ok + "x:\n  " + strings.Repeat("- ", 5000)), 5, "deeper than 16"},
		{"deep keys", fenced(ok + "x:\n  " + strings.Repeat("? ", 5000)), 5, "deeper than 16"},
		{"deep JSON", fenced(ok + "metadata: '{\"a\":" + strings.Repeat("[", 5000) + "'"), 4, "deeper than 16"},
		{"many nodes", fenced(ok + "x: [" + strings.Repeat("1,", 3000) + "]"), 4, "more than 2048"},
		{"many tokens", fenced(ok + "x: [" + strings.Repeat("1,", 6000) + "]"), 0, "more than 8192"},
		{"trailing JSON", fenced(ok + `metadata: '{} {}'`), 4, "follows the JSON"},
		{"broken JSON", fenced(ok + `metadata: '{"a"'`), 4, "not JSON"},
		{"unclosed quote", fenced(ok + `x: "y`), 4, "not YAML"},
		{"unclosed bracket", fenced(ok + `x: [y`), 4, "not YAML"},
		{"tab", fenced(ok + "\tx: y"), 4, "not YAML"},
		{"a list", fenced("- a"), 2, "is a list"},
		{"a text", fenced("hello"), 2, "is the text"},
		{"nothing", fenced(""), 2, "is empty"},
		{"no name", fenced("description: b"), 2, "no name"},
		{"empty name", fenced("name:\ndescription: b"), 2, "no name"},
		{"no description", fenced("name: a"), 2, "no description"},
		{"name is a list", fenced("name: [a]\ndescription: b"), 2, "name is a list"},
		{"key is a mapping", fenced(ok + "? {a: b}\n: c"), 0, "invalid key"},
		{"metadata is a list", fenced(ok + "metadata: [a]"), 4, "metadata is a list"},
		{"bins is a mapping", fenced(ok + "metadata: {openclaw: {requires: {bins: {a: b}}}}"), 4, "requires.bins is a mapping"},
		{"bin is a list", fenced(ok + "metadata: {openclaw: {requires: {bins: [[a]]}}}"), 4, "requires.bins is a list"},
		{"many bins", fenced(ok + "metadata: {openclaw: {requires: {bins: [" + strings.Repeat("a,", 100) + "]}}}"), 4, "at most 64"},
		{"required is not a bool", fenced(ok + "metadata: {openclaw: {envVars: [{name: A, required: maybe}]}}"), 4, "true or false"},
		{"envVar without name", fenced(ok + "metadata: {openclaw: {envVars: [{required: true}]}}"), 4, "no name"},
		{"install is a text", fenced(ok + "metadata: {openclaw: {install: curl}}"), 4, "must be a list"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Parse([]byte(tt.file))
			var ie *skills.InspectError
			if !errors.As(err, &ie) {
				t.Fatalf("got %v, %v; want an InspectError", m, err)
			}
			if !strings.Contains(ie.Message, tt.want) {
				t.Errorf("message %q lacks %q", ie.Message, tt.want)
			}
			if tt.line != 0 && ie.Line != tt.line {
				t.Errorf("line %d, want %d: %s", ie.Line, tt.line, ie.Message)
			}
			if len(ie.Message) > 1000 || strings.ContainsAny(ie.Message, "\x1b\n\x00") {
				t.Errorf("the message is long or raw: %q", ie.Message)
			}
		})
	}
}

func TestParseWarns(t *testing.T) {
	m, err := Parse([]byte(fenced("name: a\ndescription: b\nhomepage: c\npermissions: all\nmetadata:\n  clawdbot: {os: [a]}\n  openclaw: {os: [b], trust: me}\n  extra: [1]")))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`line 5: "permissions" means nothing to clawsup`,
		`line 8: metadata has more than one of openclaw, clawdbot, clawdis; the first in this order counts`,
		`line 9: "metadata.extra" is a list and means nothing to clawsup`,
		`line 8: "metadata.openclaw.trust" means nothing to clawsup`,
	}
	if !reflect.DeepEqual(m.Warnings, want) {
		t.Errorf("warnings %q, want %q", m.Warnings, want)
	}
	if !reflect.DeepEqual(m.OpenClaw.OS, []string{"b"}) {
		t.Errorf("os %q, want that of openclaw", m.OpenClaw.OS)
	}
	var many strings.Builder
	for r := 'a'; r <= 'z'; r++ {
		many.WriteString(string(r) + ": 1\n" + string(r) + string(r) + ": 1\n")
	}
	m, err = Parse([]byte(fenced("name: a\ndescription: b\n" + many.String())))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Warnings) != skills.MaxWarnings {
		t.Errorf("%d warnings, want %d", len(m.Warnings), skills.MaxWarnings)
	}
}

// hostile are front matter blocks that fill the bound with one construct.
func hostile() map[string]string {
	out := make(map[string]string)
	for name, unit := range map[string]string{
		"open flow":      "[",
		"open mapping":   "{",
		"open both":      "[{",
		"entries":        "- ",
		"keys":           "? ",
		"colons":         ": ",
		"nested keys":    "a: ",
		"quotes":         "'",
		"double quotes":  "\"",
		"escapes":        "\\",
		"anchors":        "&a ",
		"aliases":        "*a ",
		"tags":           "! ",
		"literals":       "|\n",
		"folded":         ">\n ",
		"comments":       "#\n",
		"blank lines":    "\n",
		"spaces":         " ",
		"tabs":           "\t",
		"commas":         ",",
		"short lines":    "a: b\n",
		"plain lines":    "a\n",
		"quoted lines":   "'a\n",
		"wide":           "é: ü\n",
		"dashes":         "-",
		"percent":        "%",
		"numbers":        "1",
		"underscores":    "0_",
		"hex":            "0x",
		"dots":           ".",
		"at":             "@",
		"backtick":       "`",
		"crlf":           "\r\n",
		"dashed lines":   "- a\n",
		"indented lines": " a:\n",
	} {
		for _, start := range []string{"", "a: [", "a: \"", "a: |\n  ", "a: >\n  "} {
			// Broken into lines, so that the bound on one line is not what stops it.
			line := strings.Repeat(unit, 8000/len(unit))
			body := start + line + strings.Repeat("\n"+line, 6) + "\n"
			out[start+" "+name] = "---\n" + body + "---\n"
			out[start+" "+name+", own lines"] = "---\n" + start + strings.Repeat(unit+"\n", 1000) + "---\n"
		}
	}
	var stairs strings.Builder
	for i := range 300 {
		stairs.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	out["stairs"] = "---\n" + stairs.String() + "---\n"
	return out
}

// Five seconds and 512 MiB allocated in all are far above what any of them
// takes, also with the race detector on a busy machine (0.2 s without), and far
// below what an unbounded reader takes.
func TestParseIsBounded(t *testing.T) {
	var worst time.Duration
	var worstName string
	var before, after runtime.MemStats
	for name, file := range hostile() {
		runtime.ReadMemStats(&before)
		start := time.Now()
		_, err := Parse([]byte(file))
		took := time.Since(start)
		runtime.ReadMemStats(&after)
		if took > worst {
			worst, worstName = took, name
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 512<<20 {
			t.Errorf("%q: allocated %d MiB in all: %v", name, got>>20, err)
		}
		if took > 5*time.Second {
			t.Errorf("%q: took %v: %v", name, took, err)
		}
	}
	t.Logf("slowest: %q, %v", worstName, worst)
}

func FuzzFrontMatter(f *testing.F) {
	f.Add([]byte(fenced("name: a\ndescription: b\nmetadata: {openclaw: {requires: {bins: [git]}}}")))
	f.Add([]byte(fenced("name: a\ndescription: |\n  b\n  c\nallowed-tools: Bash(git:*) Read")))
	f.Add([]byte(fenced(`metadata: '{"openclaw":{"envVars":[{"name":"A","required":false}]}}'`)))
	f.Add([]byte("---\r\n- a\r\n? b\r\n---"))
	f.Add([]byte(fenced("x: &a [*a]\n<<: *a\n!t y: z")))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Parse(file)
		if err != nil {
			var ie *skills.InspectError
			if !errors.As(err, &ie) {
				t.Fatalf("%v is not an InspectError", err)
			}
			if strings.Contains(ie.Message, "the YAML reader failed") {
				t.Skip("the library panicked; Parse made an error of it")
			}
			return
		}
		if m.Name == "" || m.Description == "" {
			t.Fatalf("accepted without name or description: %+v", m)
		}
		if len(m.Warnings) > skills.MaxWarnings || len(m.Metadata) > skills.MaxItems {
			t.Fatalf("out of bounds: %+v", m)
		}
	})
}
