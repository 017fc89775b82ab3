// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestRules(t *testing.T) {
	for _, c := range []struct {
		text string
		want NetworkRule
	}{
		{"host = 'a.example'\ndecision = 'ask'", NetworkRule{Host: "a.example", Ports: []uint16{443}, Scheme: "https", Through: ThroughHTTP, Decision: Ask}},
		{"host = '*.a.example'\nports = [80]\ndecision = 'allow'", NetworkRule{Host: "*.a.example", Ports: []uint16{80}, Scheme: "http", Through: ThroughHTTP, Decision: Allow}},
		{"host = 'a.example'\nports = [443, 80]\ndecision = 'allow'", NetworkRule{Host: "a.example", Ports: []uint16{80, 443}, Scheme: "https", Through: ThroughHTTP, Decision: Allow}},
		{"host = '10.1.2.3'\nscheme = 'http'\ndecision = 'allow'", NetworkRule{Host: "10.1.2.3", Ports: []uint16{80}, Scheme: "http", Through: ThroughHTTP, Decision: Allow}},
		{"host = 'a.example'\nthrough = 'tls'\ndecision = 'allow'", NetworkRule{Host: "a.example", Ports: []uint16{443}, Through: ThroughTLS, Decision: Allow}},
		{"host = '2001:db8::1'\nthrough = 'tcp'\nports = [22]\ndecision = 'allow'", NetworkRule{Host: "2001:db8::1", Ports: []uint16{22}, Through: ThroughTCP, Decision: Allow}},
		{"host = 'a.example'\ndecision = 'deny'", NetworkRule{Host: "a.example", Decision: Deny}},
		{"host = 'a.example'\ndecision = 'deny'\nmethods = ['PUT', 'GET']", NetworkRule{Host: "a.example", Through: ThroughHTTP, Methods: []string{"GET", "PUT"}, Decision: Deny}},
		{
			"host = 'a.example'\nmethods = ['WEBSOCKET']\npaths = ['/v1/**', '/%2A;x']\nfields = { chat_id = ['2', '1'] }\naddresses = ['fd00::/8', '10.1.2.0/24']\ndecision = 'allow'",
			NetworkRule{
				Host: "a.example", Ports: []uint16{443}, Scheme: "https", Through: ThroughHTTP, Decision: Allow,
				Methods: []string{WebSocket}, Paths: []string{"/%2A;x", "/v1/**"}, Fields: map[string][]string{"chat_id": {"1", "2"}},
				Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("fd00::/8")},
			},
		},
	} {
		l, err := parsed("extends = 'web'\n\n[[network.rule]]\n" + c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		c.want.Origin = "test.toml:3"
		if got := l.Profile.Network.Levels[0].Rules[0]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.text, got, c.want)
		}
	}
}

func TestRuleFaults(t *testing.T) {
	for _, c := range []struct {
		name, text string
		line       int
		want       string
	}{
		{"no host", "decision = 'ask'", 3, `write host = "api.example.com"`},
		{"no decision", "host = 'a.example'", 3, "write decision"},
		{"decision", "host = 'a.example'\ndecision = 'yes'", 5, `wants "allow" or "ask" or "deny"`},
		{"key", "host = 'a.example'\ndecision = 'ask'\nport = [80]", 6, "did you mean ports?"},
		{"hostile key", "\"a\\u001b\" = 1", 3, `\x1b`},
		{"host", "host = 'A.example'\ndecision = 'ask'", 4, "lower case"},
		{"every host", "host = '*'\ndecision = 'ask'", 4, "lower case"},
		{"star inside", "host = 'a.*.example'\ndecision = 'ask'", 4, "lower case"},
		{"stars", "host = '*.*.example'\ndecision = 'ask'", 4, "lower case"},
		{"dot at the end", "host = 'a.example.'\ndecision = 'ask'", 4, "lower case"},
		{"port in the host", "host = 'a.example:443'\ndecision = 'ask'", 4, "lower case"},
		{"brackets", "host = '[::1]'\ndecision = 'ask'", 4, "lower case"},
		{"mapped address", "host = '::ffff:10.0.0.1'\ndecision = 'ask'", 4, "an IPv4 one as such"},
		{"decimal address", "host = '2130706433'\ndecision = 'ask'", 4, "whole address"},
		{"names below an address", "host = '*.10.0.0.1'\ndecision = 'ask'", 4, "no pattern of addresses"},
		{"port 0", "host = 'a.example'\nports = [0]\ndecision = 'ask'", 5, "ports from 1 to 65535, not the number 0"},
		{"port as text", "host = 'a.example'\nports = ['443']\ndecision = 'ask'", 5, "ports from 1 to 65535"},
		{"a port twice", "host = 'a.example'\nports = [443, 443]\ndecision = 'ask'", 5, "write it once"},
		{"no port", "host = 'a.example'\nports = []\ndecision = 'ask'", 5, "is empty"},
		{"no method", "host = 'a.example'\nmethods = []\ndecision = 'ask'", 5, "is empty"},
		{"method", "host = 'a.example'\nmethods = ['get']\ndecision = 'ask'", 5, `write "GET"`},
		{"no word", "host = 'a.example'\nmethods = ['G T']\ndecision = 'ask'", 5, "no method"},
		{"connect", "host = 'a.example'\nmethods = ['CONNECT']\ndecision = 'ask'", 5, "through"},
		{"path", "host = 'a.example'\npaths = ['v1']\ndecision = 'ask'", 5, `begins with "/"`},
		{"dots", "host = 'a.example'\npaths = ['/a/../b']\ndecision = 'ask'", 5, "write where it leads"},
		{"encoded dots", "host = 'a.example'\npaths = ['/a/%2e%2e/b']\ndecision = 'ask'", 5, "write where it leads"},
		{"encoded slash and dots", "host = 'a.example'\npaths = ['/a%5C..%5Cb/**']\ndecision = 'ask'", 5, "write where it leads"},
		{"another spelling", "host = 'a.example'\npaths = ['/%61 b/**']\ndecision = 'ask'", 5, `write "/a%20b/**"`},
		{"stars", "host = 'a.example'\npaths = ['/a**']\ndecision = 'ask'", 5, "behind a slash"},
		{"a star", "host = 'a.example'\npaths = ['/a/*']\ndecision = 'ask'", 5, "stars stand at the end alone"},
		{"a query", "host = 'a.example'\npaths = ['/a?b']\ndecision = 'ask'", 5, "question mark"},
		{"no fields", "host = 'a.example'\nfields = {}\ndecision = 'ask'", 5, "has 0 fields"},
		{"a field's text", "host = 'a.example'\nfields = { a = 'b' }\ndecision = 'ask'", 5, "fields: a: wants a list of texts"},
		{"a field of nothing", "host = 'a.example'\nfields = { a = [] }\ndecision = 'ask'", 5, "fields: a: is empty"},
		{"a field of numbers", "host = 'a.example'\nfields.a = [1]\ndecision = 'ask'", 5, "fields: a: wants a text"},
		{"network", "host = 'a.example'\naddresses = ['10.1.2.3']\ndecision = 'ask'", 5, "10.1.2.3/32"},
		{"network with more", "host = 'a.example'\naddresses = ['10.1.2.3/24']\ndecision = 'ask'", 5, `write "10.1.2.0/24"`},
		{"every network", "host = 'a.example'\naddresses = ['0.0.0.0/0']\ndecision = 'ask'", 5, "larger than any private network"},
		{"every network, mapped", "host = 'a.example'\naddresses = ['::ffff:0.0.0.0/96']\ndecision = 'ask'", 5, "no network"},
		{"methods of bytes", "host = 'a.example'\nports = [1]\nthrough = 'tcp'\nmethods = ['GET']\ndecision = 'ask'", 7, "leave out methods or through"},
		{"paths unopened", "host = 'a.example'\nthrough = 'tls'\npaths = ['/a']\ndecision = 'ask'", 6, "leave out paths or through"},
		{"fields unopened", "host = 'a.example'\nthrough = 'tls'\nfields = { a = ['b'] }\ndecision = 'ask'", 6, "leave out fields or through"},
		{"scheme of bytes", "host = 'a.example'\nports = [1]\nthrough = 'tcp'\nscheme = 'http'\ndecision = 'ask'", 7, "leave out scheme or through"},
		{"bytes to no port", "host = 'a.example'\nthrough = 'tcp'\ndecision = 'ask'", 5, "write ports"},
		{"denied addresses", "host = 'a.example'\naddresses = ['10.0.0.0/8']\ndecision = 'deny'", 5, "leads to no address"},
		{"an address's addresses", "host = '10.1.2.3'\naddresses = ['10.0.0.0/8']\ndecision = 'ask'", 5, "leads to no other"},
		{"the second", "host = 'a.example'\ndecision = 'ask'\n[[network.rule]] # more\nhost = 'b.example'\ndecision = 'no'", 8, "decision: wants"},
	} {
		_, err := parsed("extends = 'web'\n\n[[network.rule]]\n" + c.text)
		if err == nil {
			t.Errorf("%s: it is taken", c.name)
			continue
		}
		mustFail(t, err, fmt.Sprintf("test.toml:%d: network.rule: ", c.line), c.want)
	}
	for text, want := range map[string]string{
		"[network]\nrule = 3":                                "test.toml:2: network.rule: wants a list of tables; write [[network.rule]]",
		"[network]\nrule = [3]":                              "test.toml:2: network.rule: wants a list of tables; write [[network.rule]]",
		"[network.rule]\nhost = 'a'\ndecision = 'ask'":       "test.toml:1: network.rule: wants a list of tables",
		"network.rule = [ { host = 'a', decision = 'no' } ]": "test.toml:1: network.rule: decision: wants",
		"extends = 'web'\n" + strings.Repeat("[[network.rule]]\nhost = 'a'\ndecision = 'ask'\n", maxRules+1): "has 257 rules; write at most 256",
		"[network]\nmode = 'none'\ndefault = 'deny'":                                                         `test.toml:3: rules about destinations contradict network.mode = "none"`,
		"[[network.rule]]\nhost = 'a'\ndecision = 'ask'":                                                     `test.toml:1: rules about destinations contradict network.mode = "none": nothing would come to them; write mode = "egress"`,
		"[secrets]\nA = 'a'":                                           `test.toml:1: secrets contradict network.mode = "none"`,
		"extends = 'web'\n[secrets]\nLANG = 'a'":                       "test.toml:2: the variable LANG is a secret's and one of the environment too",
		"extends = 'web'\nenvironment.pass = ['TZ']\nsecrets.TZ = 'a'": "test.toml:3: the variable TZ is a secret's",
		"extends = 'web'\n[secrets]\nA = 'a b'":                        "test.toml:3: secrets.A: \"a b\" is no name of a secret",
		"extends = 'web'\n[secrets]\nA = 3":                            "test.toml:3: secrets.A: wants a text",
		"extends = 'web'\n[secrets]\nLD_PRELOAD = 'a'":                 "dynamic linker",
		"extends = 'web'\n[secrets]\nPATH = 'a'":                       "absolute path",
		"secrets = 'a'":                                                "secrets is a table",
	} {
		_, err := parsed(text)
		mustFail(t, err, want)
	}
}

// TestManyRules: as many as there may be, each with everything.
func TestManyRules(t *testing.T) {
	var b strings.Builder
	b.WriteString("extends = 'web'\n")
	for i := range maxRules {
		fmt.Fprintf(&b, "[[network.rule]] # %d\nhost = 'a%d.example'\nports = [443, 8443]\nscheme = 'https'\nthrough = 'http'\nmethods = ['GET', 'HEAD'] # to read\n"+
			"paths = ['/a', \"/b/**\"]\nfields = { id = ['1'] }\naddresses = ['10.0.0.0/8']\ndecision = 'allow'\n", i, i)
	}
	l, err := parsed(b.String())
	if err != nil {
		t.Fatal(err)
	}
	if rules := l.Profile.Network.Levels[0].Rules; len(rules) != maxRules || rules[maxRules-1].Origin != fmt.Sprintf("test.toml:%d", 2+10*(maxRules-1)) {
		t.Errorf("%d rules", len(rules))
	}
}

// chain makes files of which each extends the one before, the first the
// built-in web; those with a ~ before their text are nobody's.
func chain(t *testing.T, files ...string) (*Loaded, error) {
	t.Helper()
	dir := profileDir(t, nil)
	last, path := "web", ""
	for i, text := range files {
		text, theirs := strings.CutPrefix(text, "~")
		name := fmt.Sprintf("p%d", i)
		path = write(t, filepath.Join(dir, name+".toml"), fmt.Sprintf("extends = %q\n%s", last, text))
		if theirs {
			disown(t, path)
		}
		last = name
	}
	return Load(path, []string{dir})
}

func TestLevels(t *testing.T) {
	const rule = "[[network.rule]]\nhost = 'a.example'\ndecision = 'allow'\n"
	for _, c := range []struct {
		name   string
		files  []string
		levels string // defaults with numbers of rules
		rest   Decision
	}{
		{"nothing said", []string{""}, "ask 0", Ask},
		{"root's rules alone", []string{rule}, "ask 1", Ask},
		{"root's default", []string{"network.default = 'deny'"}, "deny 0", Deny},
		{"another's default", []string{"~network.default = 'deny'"}, "ask 0, deny 0", Deny},
		{"another's default, as it was", []string{"~network.default = 'ask'"}, "ask 0, ask 0", Ask},
		{"another's rules are held to asking", []string{"~" + rule}, "ask 0,  1", Ask},
		{"another's rules under root's", []string{rule, "~" + rule}, "ask 1,  1", Ask},
		{"a stricter default", []string{rule, "~network.default = 'deny'\n" + rule}, "ask 1, deny 1", Deny},
		{"three", []string{rule, "", "~" + rule, "network.default = 'ask'\n" + rule}, "ask 1,  1, ask 1", Ask},
		{"out of use", []string{rule, "~network.mode = 'none'"}, "ask 1", Ask},
	} {
		l, err := chain(t, c.files...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, level := range l.Profile.Network.Levels {
			got = append(got, fmt.Sprintf("%s %d", level.Default, len(level.Rules)))
			if level.Origin == "" {
				t.Errorf("%s: a level of nobody's", c.name)
			}
		}
		if strings.Join(got, ", ") != c.levels || l.Profile.Network.Default != c.rest || l.Origin["network.default"] == "" {
			t.Errorf("%s: %q and %s, want %q and %s", c.name, got, l.Profile.Network.Default, c.levels, c.rest)
		}
	}
	_, err := chain(t, "network.default = 'deny'", "network.default = 'ask'")
	mustFail(t, err, "p1.toml:2: network.default", "the strictest counts")
	_, err = chain(t, "network.mode = 'none'", rule)
	mustFail(t, err, "p1.toml:2: rules about destinations contradict")
	_, err = chain(t, "network.mode = 'none'", "~network.mode = 'egress'")
	mustFail(t, err, "p1.toml:2: network.mode", "is wider")
}

// A child leaves secrets out, and adds or changes none unless root wrote it.
func TestSecrets(t *testing.T) {
	const two = "[secrets]\nA = 'a'\nB = 'b'\n"
	for _, c := range []struct {
		files []string
		want  map[string]string
		fault string
	}{
		{[]string{two}, map[string]string{"A": "a", "B": "b"}, ""},
		{[]string{two, "~"}, map[string]string{"A": "a", "B": "b"}, ""},
		{[]string{two, "~[secrets]\nB = 'b'"}, map[string]string{"B": "b"}, ""},
		{[]string{two, "~secrets.B = 'b'"}, map[string]string{"B": "b"}, ""},
		{[]string{two, "~[secrets]"}, nil, ""},
		{[]string{two, "~secrets = {}\nnetwork.mode = 'none'"}, nil, ""},
		{[]string{two, "[secrets]\nA = 'c'\nC = 'c'"}, map[string]string{"A": "c", "C": "c"}, ""},
		{[]string{two, "~[secrets]\nB = 'b'\nA = 'b'"}, nil, `p1.toml:4: secrets.A = "b" is wider than its parent's, "a"`},
		{[]string{two, "~[secrets]\nC = 'a'"}, nil, `p1.toml:3: secrets.C = "a" is wider than its parent's, nothing`},
		{[]string{two, "~network.mode = 'none'"}, nil, "[secrets] with nothing in it"},
	} {
		l, err := chain(t, c.files...)
		if c.fault != "" {
			mustFail(t, err, c.fault)
			continue
		}
		if err != nil || !reflect.DeepEqual(l.Profile.Secrets, c.want) {
			t.Errorf("%q: %+v, %v", c.files, l, err)
			continue
		}
		named := 0
		for name := range l.Origin {
			if variable, ok := strings.CutPrefix(name, "secrets"); ok {
				named++
				if _, there := c.want[strings.TrimPrefix(variable, ".")]; !there {
					t.Errorf("%q: %s has an origin", c.files, name)
				}
			}
		}
		if named != len(c.want) {
			t.Errorf("%q: origins %v", c.files, l.Origin)
		}
	}
}

func TestShowRules(t *testing.T) {
	const rule = "[[network.rule]]\nhost = 'a.example'\nfields = { id = ['1', '2'] }\naddresses = ['10.0.0.0/8']\ndecision = 'allow'\n[[network.rule]]\nhost = 'b.example'\ndecision = 'deny'\n[secrets]\nT = 'token'\n"
	one, err := chain(t, "network.default = 'deny'\n"+rule)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := Show(&out, one); err != nil {
		t.Fatal(err)
	}
	again, err := parsed(out.String())
	if err != nil || again.Digest != one.Digest {
		t.Errorf("shown and read again: %v\n%s", err, out.String())
	}
	two, err := chain(t, rule, "~network.default = 'deny'\n"+rule)
	if err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if err := Show(&out, two); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# level 1 of 2, by ", `p0.toml: the rest is "ask". The strictest`, "p1.toml: the rest is \"deny\"", "[[network.rule]] # ", "p1.toml:3\n", "\nfields = { \"id\" = [\"1\", \"2\"] }\n", "\n[secrets]\nT = \"token\"  # "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	// What any level says is in the digest, the order of rules is not.
	other, err := chain(t, rule, "~network.default = 'deny'\n[[network.rule]]\nhost = 'b.example'\ndecision = 'deny'\n"+rule[:strings.Index(rule, "[[network.rule]]\nhost = 'b")])
	if err != nil || other.Digest != two.Digest || two.Digest == one.Digest {
		t.Errorf("%v, %v, %v, %v", other, two.Digest, one.Digest, err)
	}
	less, err := chain(t, rule, "~network.default = 'deny'\n[[network.rule]]\nhost = 'b.example'\ndecision = 'deny'\n")
	if err != nil || less.Digest == two.Digest {
		t.Errorf("%v, %v", less, err)
	}
}

func TestNormalPath(t *testing.T) {
	for _, c := range []struct{ path, normal, other string }{
		{"/", "/", ""}, {"/a/b", "/a/b", ""}, {"/a/", "/a/", ""}, {"/.well-known/x", "/.well-known/x", ""}, {"/...", "/...", ""},
		{"/%61%7e", "/a~", ""}, {"/a b|ä", "/a%20b%7C%C3%A4", ""}, {"/%2a*", "/%2A%2A", ""}, {"/a%3ab", "/a:b", ""},
		{"//a//b/", "//a//b/", "/a/b/"}, {"/a%2fb", "/a%2Fb", "/a/b"}, {"/a\\b", "/a%5Cb", "/a/b"}, {"/a%255cb", "/a%255cb", "/a/b"},
		{"/a;v=1/b;w", "/a;v=1/b;w", "/a/b"}, {"/a%3bv", "/a%3Bv", "/a"}, {"/@scope%2fname", "/@scope%2Fname", "/@scope/name"},
		{"/%2525", "/%2525", "/%25"}, {"//", "//", "/"}, {"/;a", "/;a", "/"},
	} {
		if normal, other, err := NormalPath(c.path); normal != c.normal || other != c.other || err != nil {
			t.Errorf("%q: %q, %q, %v, want %q, %q", c.path, normal, other, err, c.normal, c.other)
		}
	}
	for _, path := range []string{
		"", "a", "*", "/..", "/.", "/a/./b", "/a/../b", "/%2e%2e", "/%2E./a", "/a%2f..", "/a%2F%2e%2e%2fb", "/a\\..\\b", "/a%5c..", "/..;x", "/;/..;a=b/",
		"/%252e%252e/", "/%25252e%25252e/", "/a%00", "/a\x00", "/a%2500", "/%", "/%4", "/%zz", "/%+1", "/a?b", "/a#b",
		"/%2525252525", "/" + strings.Repeat("a", MaxPath), "/" + strings.Repeat("ä", MaxPath/4),
	} {
		if normal, other, err := NormalPath(path); err == nil {
			t.Errorf("%q: %q, %q", path, normal, other)
		}
	}
}
