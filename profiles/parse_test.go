// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"fmt"
	"strings"
	"testing"
)

// TestFaults is the table of what a file can have wrong in itself.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name, text string
		line       int
		want       string
	}{
		// Unknown keys, at every level and in every way of writing them.
		{"top", "x = 1", 1, "unknown key x"},
		{"top, near", "descripton = 'a'", 1, "did you mean description?"},
		{"table", "\n[limts]\nmemory = '1G'", 2, "unknown key limts; did you mean limits?"},
		{"in a table", "[limits]\npids = 64\nmemroy = '1G'", 3, "unknown key limits.memroy; did you mean limits.memory?"},
		{"dotted", "limits.memroy = '1G'", 1, "did you mean limits.memory?"},
		{"inline", "limits = { memroy = '1G' }", 1, "did you mean limits.memory?"},
		{"wrong table", "[files]\nmemory = '1G'", 2, "did you mean limits.memory?"},
		{"no table", "wall_time = '1s'", 1, "did you mean limits.wall_time?"},
		{"below a key", "[limits.memory]\nmax = '1G'", 1, "limits.memory: wants a size"},
		{"below a variable", "[environment.set.A]\nB = 'x'", 1, "environment.set.A: wants a text, not a table"},
		{"case", "[limits]\nMemory = '1G'", 2, "did you mean limits.memory?"},
		{"name", "name = 'x'", 1, "unknown key name"},
		{"quoted dot", "'limits.memory' = '1G'", 1, "without quotes"},
		{"empty", "'' = 1", 1, "unknown key"},
		{"hostile", "\"a\\u001b[2Jb\\u202e\" = 1", 1, `\u001b`},
		{"last line", "# " + strings.Repeat("x\n# ", 40) + "\nfoo = 1", 42, "unknown key foo"},

		// TOML itself.
		{"syntax", "[limits]\nmemory =\n", 2, "not valid TOML"},
		{"duplicate", "[limits]\npids = 64\npids = 64", 3, "already"},
		{"duplicate table", "[limits]\n[limits]", 2, "already"},
		{"duplicate variable", "[environment.set]\nA = 'a'\nA = 'b'", 3, "already"},
		{"duplicate by dots", "limits.pids = 64\n[limits]\npids = 64", 0, "already"},
		{"array of tables", "[[limits]]\npids = 64", 1, "limits is a table; write [limits]"},
		{"value for a table", "limits = 3", 1, "limits is a table; write [limits]"},
		{"UTF-8", "description = 'a'\nextends = '\xff'", 2, "not valid UTF-8"},
		{"overlong UTF-8", "description = '\xc0\xaf'", 1, "not valid UTF-8"},
		{"UTF-16", "\xff\xfed\x00", 1, "not valid UTF-8"},
		{"NUL", "description = 'a\x00'", 1, "control character"},
		{"raw escape", "description = '\x1b'", 1, "control character"},

		// Bounds of a file.
		{"long line", "description = '" + strings.Repeat("a", maxLine) + "'", 1, "break it up"},
		{"many dots", strings.Repeat("a.", maxDots+1) + "b = 1", 1, "dots"},
		{"deep", "x = " + strings.Repeat("[\n", maxOpen+1), maxOpen + 1, "brackets"},
		{"deep, hidden in strings", "x = " + strings.Repeat("{\na = [\"\"\"x\"]\n\"\"\", ", maxOpen), maxOpen + 1, "brackets"},
		{"many keys", manyVariables(maxKeys + 1), 0, "at most 512"},

		// Wrong types.
		{"size by float", "limits.memory = 1.5", 1, `wants a size such as "256M", not the number 1.5`},
		{"size by bool", "limits.memory = true", 1, "not true"},
		{"size by list", "limits.memory = ['256M']", 1, "not a list"},
		{"size by date", "limits.memory = 2026-01-01", 1, "not a date"},
		{"size spelled", "limits.memory = '256MB'", 1, `write "256M"`},
		{"span by number", "limits.wall_time = 60", 1, `wants a span of time such as "30s", not the number 60`},
		{"span without unit", "limits.wall_time = '60'", 1, `write "1m" for seconds`},
		{"count by text", "limits.pids = '64'", 1, `a whole number from 16 to 4194304, not the text "64"`},
		{"count by float", "limits.pids = 64.0", 1, "not the number 64"},
		{"cores by text", "limits.cpu = '0.25'", 1, "a number of cores such as 0.25"},
		{"cores nan", "limits.cpu = nan", 1, "not the number NaN"},
		{"cores inf", "limits.cpu = inf", 1, "not the number +Inf"},
		{"flag by text", "network.loopback = 'no'", 1, "wants true or false"},
		{"flag by number", "network.loopback = 0", 1, "wants true or false"},
		{"choice", "workspace.mode = 'RW'", 1, `wants "none" or "scratch" or "ro" or "overlay" or "rw", not the text "RW"`},
		{"choice by number", "files.proc = 1", 1, `wants "masked" or "pids"`},
		{"network", "network.mode = 'host'", 1, `wants "none" or "egress"`},
		{"what reaches nothing", "network.default = 'allow'", 1, `wants "ask" or "deny"`},
		{"decision", "effects.exec = ''", 1, `wants "allow" or "ask" or "deny"`},
		{"nobody's yes", "effects.quorum = 0", 1, "wants a whole number of people from 1 to 3, not the number 0"},
		{"nobody's yes, negative", "effects.quorum = -1", 1, "from 1 to 3"},
		{"a crowd's yes", "effects.quorum = 4", 1, "from 1 to 3"},
		{"half a yes", "effects.quorum = 1.5", 1, "from 1 to 3"},
		{"a yes in words", "effects.quorum = '2'", 1, "from 1 to 3"},
		{"list by text", "files.read = '/opt'", 1, "wants a list of paths"},
		{"list of numbers", "files.read = [1]", 1, "not the number 1"},
		{"list of lists", "files.read = [['/opt']]", 1, "not a list"},
		{"list of tables", "[[files.read]]\na = 1", 1, "wants a list of paths"},
		{"twice in a list", "files.read = ['/opt', '/opt']", 1, `"/opt" is there twice`},
		{"long list", "files.read = [" + manyPaths(maxEntries+1) + "]", 1, "at most 256"},
		{"line of a list", "\n\nfiles.read = [\n'/opt',\n'opt']", 3, "not an absolute path"},
		{"variable by number", "environment.set.A = 1", 1, "wants a text, not the number 1"},
		{"variables by list", "environment.set = ['A=1']", 1, "environment.set is a table"},
		{"text by number", "description = 1", 1, "wants a line of text"},

		// Text that lies on a screen.
		{"two lines", "description = 'a'\nextends = \"a\\nb\"", 2, `a\nb`},
		{"escape", `description = "a\u001b[31m"`, 1, `\x1b[31m`},
		{"bidi", `description = "a\u202eb"`, 1, `\u202e`},
		{"zero width", `files.read = ["/opt\u200b"]`, 1, `\u200b`},
		{"newline in a path", `files.read = ["/opt\n"]`, 1, `"/opt\n"`},
		{"NUL in a path", `files.read = ["/opt\u0000"]`, 1, `"/opt\x00"`},
		{"NUL in a variable", `environment.set.A = "a\u0000"`, 1, "NUL"},
		{"newline in a variable", `environment.set.A = "a\nb"`, 1, `"a\nb"`},
		{"newline in a name", "environment.set.\"A\\n\" = 'a'", 1, `"A\n"`},
		{"equals in a name", "environment.set.'A=B' = 'a'", 1, `"A=B"`},
		{"dot in a name", "environment.set.'a.b' = 'a'", 1, `"a.b"`},
		{"long text", "description = \"\"\"" + strings.Repeat("a\\\n", maxText+1) + "\"\"\"", maxText + 2, "longer than"},

		// Names.
		{"parent's path", "extends = './x.toml'", 1, "not a name"},
		{"parent's case", "extends = 'Default'", 1, "not a name"},
		{"parent's dash", "extends = '-x'", 1, "not a name"},
		{"parent's length", "extends = '" + strings.Repeat("a", 65) + "'", 1, "not a name"},
		{"no parent's name", "extends = ''", 1, "not a name"},
		{"no parent", "\nextends = 'nosuch'", 2, `there is no profile "nosuch"`},
		{"group", "seccomp.groups = ['io uring']", 1, "not a name"},

		// What may not be shown, set or passed at all; the tables are tested elsewhere.
		{"place", "files.read = ['/etc/shadow']", 1, "password hashes"},
		{"root", "files.rootfs = '/'", 1, "the whole host"},
		{"variable", "[environment.set]\nLANG = 'C'\nLD_PRELOAD = '/x'", 3, "dynamic linker"},
		{"passed", "environment.pass = ['BASH_ENV']", 1, "bash runs"},
		{"search path", "environment.set.PATH = '/bin:.'", 1, "absolute"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parsed(c.text)
			where := "test.toml: "
			if c.line > 0 {
				where = fmt.Sprintf("test.toml:%d: ", c.line)
			}
			if c.line == 0 && err != nil && strings.HasPrefix(err.Error(), "test.toml:") {
				where = "test.toml:" // the decoder may or may not know the line
			}
			mustFail(t, err, where, c.want)
		})
	}
}

func manyVariables(n int) string {
	var b strings.Builder
	b.WriteString("[environment.set]\n")
	for i := range n {
		fmt.Fprintf(&b, "V%d = 'x'\n", i)
	}
	return b.String()
}

func manyPaths(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("'/opt/%d'", i))
	}
	return strings.Join(list, ",")
}

// TestAmounts holds every limit to its least and most, and to the hints.
func TestAmounts(t *testing.T) {
	for _, k := range keys {
		name, limit := strings.CutPrefix(k.name, "limits.")
		if !limit {
			continue
		}
		zero, negative, huge := "0", "-1", "9223372036854775807"
		if k.kind == "duration" {
			zero, negative, huge = "'0s'", "'-1s'", "'100000h'"
		}
		t.Run(name, func(t *testing.T) {
			_, err := parsed("[limits]\n" + name + " = " + zero)
			mustFail(t, err, "test.toml:2: limits."+name, "0 does not mean unlimited", "write at least")
			_, err = parsed("[limits]\n" + name + " = " + negative)
			if k.kind == "duration" {
				mustFail(t, err, "test.toml:2: limits."+name, "not a span of time")
			} else {
				mustFail(t, err, "test.toml:2: limits."+name, "is negative", "write at least")
			}
			_, err = parsed("[limits]\n" + name + " = " + huge)
			mustFail(t, err, "test.toml:2: limits."+name, "more than there can be", "write at most")
			_, err = parsed("[limits]\n" + name + " = 99999999999999999999")
			mustFail(t, err, "test.toml:2: ", "out of range")
		})
	}
}

func TestTooLittle(t *testing.T) {
	for _, text := range []string{"memory = '1M'", "pids = 2", "cpu = 0.001", "open_files = 3", "stack = '4K'", "wall_time = '1ms'", "tmp = 1"} {
		_, err := parsed("[limits]\n" + text)
		mustFail(t, err, "test.toml:2: ", "too little to run anything; write at least")
	}
}

func TestContradictions(t *testing.T) {
	for _, c := range []struct {
		text string
		line int
		want []string // nil if nothing contradicts
	}{
		{"tmp = '512M'", 2, []string{"limits.tmp", `"512M" (test.toml)`, "limits.memory", `"256M" (built in: default)`, `write limits.tmp = "256M"`}},
		{"shm = '512M'", 2, []string{"limits.shm", `write limits.shm = "256M"`}},
		{"scratch = '512M'", 0, nil},
		{"scratch = '512M'\nmemory = '300M'\nworkspace.mode = 'scratch'", 2, []string{"limits.scratch", `write limits.scratch = "300M"`}},
		{"stack = '512M'", 2, []string{"limits.stack", `write limits.stack = "256M"`}},
		{"pids = 32\nmemory = '32M'", 3, []string{"limits.tmp", `"64M" (built in: default)`, `"32M" (test.toml)`}},
		{"tmp = '256M'", 0, nil},
		{"cpu_time = '61s'", 2, []string{"limits.cpu_time", `"1m1s"`, "limits.wall_time", `"1m"`, `write limits.cpu_time = "1m"`}},
		{"cpu_time = '60s'", 0, nil},
		{"wall_time = '10s'", 2, []string{"limits.cpu_time", `write limits.cpu_time = "10s"`}},
		{"wall_time = '15s'", 0, nil},
		{"cpu = 1.5\ncpu_time = '2m'", 0, nil},
		{"cpu = 1.5\ncpu_time = '121s'", 3, []string{`write limits.cpu_time = "2m"`}},
		{"cpu = 8192\nwall_time = '720h'\ncpu_time = '720h'", 0, nil},
	} {
		text := strings.ReplaceAll("[limits]\n"+c.text, "\nworkspace.", "\n[workspace]\n")
		_, err := parsed(text)
		if c.want == nil {
			if err != nil {
				t.Errorf("%q: %v", c.text, err)
			}
			continue
		}
		mustFail(t, err, append(c.want, fmt.Sprintf("test.toml:%d: ", c.line))...)
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"memory", "memory", 0},
		{"memroy", "memory", 1}, {"memry", "memory", 1}, {"memorry", "memory", 1},
		{"memery", "memory", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// FuzzParse holds the parser to three promises: it never panics, its errors
// show, and what it accepts can be written out and means the same again.
func FuzzParse(f *testing.F) {
	for _, name := range Builtins() {
		text, err := builtinFiles.ReadFile(name + ".toml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, s := range []string{
		"", "extends = 'build'", "[environment]\nset.A = 'b'\npass = ['TERM', 'TZ']",
		"files.read = ['/opt', \"/srv/\\u00e4\"]", "limits = { cpu = 1, pids = 0x40 }",
		"a.b.c.d = [[[[1]]]]", "[[files]]\n[[files.read]]", "'' = ''", "limits.cpu = nan",
		"extends = 'web'\n[[network.rule]]\nhost = '*.example.com'\nports = [443, 8443]\nmethods = ['GET', 'WEBSOCKET']\npaths = ['/', '/v1/**']\nfields = { id = ['1'] }\naddresses = ['10.0.0.0/8']\ndecision = 'allow'\n[secrets]\nTOKEN = 'token'",
		"extends = 'web'\nnetwork.default = 'deny'\n[[network.rule]]\nhost = '10.1.2.3'\nthrough = 'tcp'\nports = [22]\ndecision = 'ask'\n[[network.rule]]\nhost = 'a.b'\ndecision = 'deny'\n[network.rule.fields]\nx = ['y']",
		"network = { rule = [ { host = 'a' }, 3 ] }",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parsed(string(data))
		if err != nil {
			if !printable(err.Error()) {
				t.Errorf("the error %q does not show", err)
			}
			return
		}
		again, err := parsed(encode(&l.Profile))
		if err != nil {
			t.Fatalf("%v in what was written:\n%s", err, encode(&l.Profile))
		}
		if again.Digest != l.Digest {
			t.Errorf("digest %s, written and read again %s:\n%s", l.Digest, again.Digest, encode(&l.Profile))
		}
	})
}

// encode writes what bounds the box as a profile file; rules of one level alone.
func encode(p *Profile) string {
	var b, rules strings.Builder
	for _, k := range keys {
		if !k.bound {
			continue
		}
		for _, s := range k.settings(p) {
			if s.level == 0 {
				fmt.Fprintf(&b, "%s = %s\n", s.name, s.toml)
			}
		}
	}
	if p.Network.Mode == NetworkEgress {
		for _, r := range p.Network.Levels[0].Rules {
			fmt.Fprintln(&rules, "[[network.rule]]")
			for _, s := range r.settings() {
				fmt.Fprintf(&rules, "%s = %s\n", s.name, s.toml)
			}
		}
	}
	return b.String() + rules.String()
}
