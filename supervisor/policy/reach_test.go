// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/profiles"
)

// loaded makes a profile of files, each of which extends the one before, the
// first the built-in web; those with a ~ before their text are nobody's.
func loaded(t testing.TB, files ...string) *profiles.Loaded {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	last, path := "web", ""
	for i, text := range files {
		text, theirs := strings.CutPrefix(text, "~")
		name := fmt.Sprintf("p%d", i)
		path = filepath.Join(dir, name+".toml")
		if err := os.WriteFile(path, []byte(fmt.Sprintf("extends = %q\n%s", last, text)), 0o644); err != nil {
			t.Fatal(err)
		}
		if theirs {
			if err := os.Chown(path, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
		last = name
	}
	l, err := profiles.Load(path, []string{dir})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ruleText is one rule of a file: a decision, a host, and more.
func ruleText(decision, host string, more ...string) string {
	return fmt.Sprintf("[[network.rule]]\nhost = %q\ndecision = %q\n%s\n", host, decision, strings.Join(more, "\n"))
}

func TestDestinations(t *testing.T) {
	const a, b = "a.example", "b.a.example"
	get := func(host, path string) Subject {
		return Subject{Effect: NetRequest, Target: "GET https://" + host + ":443" + path}
	}
	send := func(method string, s Subject) Subject {
		s.Target = method + strings.TrimPrefix(s.Target, "GET")
		return s
	}
	with := func(s Subject, pairs ...string) Subject {
		for i := 0; i < len(pairs); i += 2 {
			s.Fields = append(s.Fields, Field{pairs[i], pairs[i+1]})
		}
		return s
	}
	unread := func(s Subject) Subject { s.Unread = true; return s }
	through := func(way profiles.Through, target string) Subject {
		return Subject{Effect: NetConnect, Target: target, Through: way}
	}
	chat := "fields = { chat = ['1', '2'] }"
	for _, c := range []struct {
		name  string
		files []string
		s     Subject
		want  profiles.Decision
	}{
		{"nothing said", []string{""}, get(a, "/"), profiles.Ask},
		{"nothing said of bytes", []string{""}, through("", a+":22"), profiles.Ask},
		{"the rest", []string{"network.default = 'deny'\n" + ruleText("allow", a)}, get(b, "/"), profiles.Deny},
		{"all of a host", []string{ruleText("allow", a)}, get(a, "/x"), profiles.Allow},
		{"its WebSocket", []string{ruleText("allow", a)}, send("WEBSOCKET", get(a, "/x")), profiles.Allow},
		{"another port", []string{ruleText("allow", a)}, Subject{Effect: NetRequest, Target: "GET https://a.example:444/"}, profiles.Ask},
		{"another scheme", []string{ruleText("allow", a, "ports = [443, 80]")}, Subject{Effect: NetRequest, Target: "GET http://a.example:80/"}, profiles.Ask},
		{"plain", []string{ruleText("allow", a, "ports = [80]")}, Subject{Effect: NetRequest, Target: "GET http://a.example:80/"}, profiles.Allow},
		{"an allowed request is no connection", []string{ruleText("allow", a)}, through(profiles.ThroughTLS, a+":443"), profiles.Ask},
		{"tls", []string{ruleText("allow", a, "through = 'tls'")}, through(profiles.ThroughTLS, a+":443"), profiles.Allow},
		{"tls is no tcp", []string{ruleText("allow", a, "through = 'tls'")}, through(profiles.ThroughTCP, a+":443"), profiles.Ask},
		{"unsaid is tcp", []string{ruleText("allow", a, "through = 'tls'")}, through("", a+":443"), profiles.Ask},
		{"tcp is no tls", []string{ruleText("allow", a, "through = 'tcp'", "ports = [443]")}, through(profiles.ThroughTLS, a+":443"), profiles.Ask},
		{"a connection is no request", []string{ruleText("allow", a, "through = 'tls'")}, get(a, "/"), profiles.Ask},
		{"a denied host", []string{ruleText("deny", a)}, get(a, "/"), profiles.Deny},
		{"a denied host, elsewhere", []string{ruleText("deny", a)}, through("", a+":22"), profiles.Deny},
		{"a denied port", []string{ruleText("deny", a, "ports = [22]")}, through("", a+":22"), profiles.Deny},
		{"another than the denied", []string{ruleText("deny", a, "ports = [22]")}, get(a, "/"), profiles.Ask},
		{"an address", []string{ruleText("allow", "10.1.2.3")}, get("10.1.2.3", "/"), profiles.Allow},
		{"no suffix of addresses", []string{ruleText("allow", "*.example")}, get("10.1.2.3", "/"), profiles.Ask},

		// What is more specific.
		{"one host before a suffix", []string{ruleText("deny", "*.example") + ruleText("allow", a)}, get(a, "/"), profiles.Allow},
		{"a longer suffix", []string{ruleText("deny", "*.example") + ruleText("allow", "*.a.example")}, get(b, "/"), profiles.Allow},
		{"not itself", []string{ruleText("deny", "*.example") + ruleText("allow", "*.a.example")}, get(a, "/"), profiles.Deny},
		{"a host before a path", []string{ruleText("allow", "*.example", "paths = ['/x']") + ruleText("deny", a)}, get(a, "/x"), profiles.Deny},
		{"a path before a directory", []string{ruleText("deny", a, "paths = ['/x/**']") + ruleText("allow", a, "paths = ['/x/y']")}, get(a, "/x/y"), profiles.Allow},
		{"a longer directory", []string{ruleText("deny", a, "paths = ['/x/y/**', '/z']") + ruleText("allow", a, "paths = ['/x/**']")}, get(a, "/x/y/z"), profiles.Deny},
		{"a path before a method", []string{ruleText("allow", a, "methods = ['GET']") + ruleText("deny", a, "paths = ['/x/**']")}, get(a, "/x/y"), profiles.Deny},
		{"a method", []string{ruleText("deny", a) + ruleText("allow", a, "methods = ['GET']")}, get(a, "/x/y"), profiles.Allow},
		{"another method", []string{ruleText("deny", a) + ruleText("allow", a, "methods = ['GET']")}, send("POST", get(a, "/x/y")), profiles.Deny},
		{"as specific", []string{ruleText("allow", a, "methods = ['GET']") + ruleText("deny", a, "methods = ['GET', 'PUT']")}, get(a, "/"), profiles.Deny},

		// Other readings of a path.
		{"an encoded slash", []string{ruleText("allow", a) + ruleText("deny", a, "paths = ['/admin/**']")}, get(a, "/x%2F"), profiles.Allow},
		{"an encoded slash, denied", []string{ruleText("allow", a) + ruleText("deny", a, "paths = ['/admin/**']")}, get(a, "/%2Fadmin%2Fx"), profiles.Deny},
		{"doubled slashes, asked", []string{ruleText("allow", a) + ruleText("ask", a, "paths = ['/admin/**']")}, get(a, "//admin//x"), profiles.Ask},
		{"a backslash", []string{ruleText("allow", a) + ruleText("deny", a, "paths = ['/admin/**']")}, get(a, "/admin%5Cx"), profiles.Deny},
		{"a parameter", []string{ruleText("allow", a) + ruleText("deny", a, "paths = ['/admin']")}, get(a, "/admin;x=y"), profiles.Deny},
		{"written so", []string{"network.default = 'deny'\n" + ruleText("allow", a, "paths = ['/g%2Fp/**']")}, get(a, "/g%2Fp/x"), profiles.Allow},
		{"read so", []string{"network.default = 'deny'\n" + ruleText("allow", a, "paths = ['/g/**']")}, get(a, "/%2Fg%2Fx"), profiles.Deny},

		// Fields.
		{"a field", []string{ruleText("allow", a, chat)}, with(get(a, "/"), "chat", "1"), profiles.Allow},
		{"beside others", []string{ruleText("allow", a, chat)}, with(get(a, "/"), "text", "x", "chat", "2"), profiles.Allow},
		{"twice", []string{ruleText("allow", a, chat)}, with(get(a, "/"), "chat", "1", "chat", "2"), profiles.Allow},
		{"none", []string{ruleText("allow", a, chat)}, get(a, "/"), profiles.Ask},
		{"another", []string{ruleText("allow", a, chat)}, with(get(a, "/"), "chat", "3"), profiles.Ask},
		{"a foreign one too", []string{ruleText("allow", a, chat)}, with(get(a, "/"), "chat", "1", "chat", "3"), profiles.Ask},
		{"unread", []string{ruleText("allow", a, chat)}, unread(with(get(a, "/"), "chat", "1")), profiles.Ask},
		{"two fields, one there", []string{ruleText("allow", a, "fields = { chat = ['1'], kind = ['x'] }")}, with(get(a, "/"), "chat", "1"), profiles.Ask},
		{"two fields", []string{ruleText("allow", a, "fields = { chat = ['1'], kind = ['x'] }")}, with(get(a, "/"), "chat", "1", "kind", "x"), profiles.Allow},
		{"denied", []string{ruleText("allow", a) + ruleText("deny", a, chat)}, with(get(a, "/"), "chat", "1"), profiles.Deny},
		{"denied among others", []string{ruleText("allow", a) + ruleText("deny", a, chat)}, with(get(a, "/"), "chat", "1", "chat", "3"), profiles.Deny},
		{"not denied", []string{ruleText("allow", a) + ruleText("deny", a, chat)}, with(get(a, "/"), "chat", "3"), profiles.Allow},
		{"perhaps denied", []string{ruleText("allow", a) + ruleText("deny", a, chat)}, unread(get(a, "/")), profiles.Deny},
		{"perhaps asked, surely denied", []string{ruleText("deny", a) + ruleText("ask", a, chat)}, unread(get(a, "/")), profiles.Deny},
		{"asked", []string{ruleText("deny", a) + ruleText("ask", a, chat)}, with(get(a, "/"), "chat", "1"), profiles.Ask},

		// Levels.
		{"a child can't widen", []string{ruleText("ask", a), "~" + ruleText("allow", a)}, get(a, "/"), profiles.Ask},
		{"nor without a level before it", []string{"~" + ruleText("allow", a)}, get(a, "/"), profiles.Ask},
		{"a child takes away", []string{ruleText("allow", a), "~" + ruleText("deny", a, "methods = ['GET']")}, get(a, "/"), profiles.Deny},
		{"and leaves the rest", []string{ruleText("allow", a), "~" + ruleText("deny", a, "methods = ['PUT']")}, get(a, "/"), profiles.Allow},
		{"but for its default", []string{ruleText("allow", a), "~network.default = 'deny'"}, get(a, "/"), profiles.Deny},
		{"both allow", []string{ruleText("allow", a), "~network.default = 'deny'\n" + ruleText("allow", "*.example")}, get(a, "/"), profiles.Allow},
		{"out of use", []string{ruleText("allow", a), "~network.mode = 'none'"}, get(a, "/"), profiles.Deny},

		// Secrets.
		{"a profile's", []string{"[secrets]\nX = 'key'"}, Subject{Effect: SecretUse, Target: "key"}, profiles.Allow},
		{"a skill's", []string{""}, Subject{Effect: SecretUse, Target: "bound"}, profiles.Allow},
		{"another", []string{"[secrets]\nX = 'key'"}, Subject{Effect: SecretUse, Target: "other"}, profiles.Deny},
		{"left out", []string{"[secrets]\nX = 'key'", "~[secrets]"}, Subject{Effect: SecretUse, Target: "key"}, profiles.Deny},
		{"out of reach", []string{"", "~network.mode = 'none'"}, Subject{Effect: SecretUse, Target: "bound"}, profiles.Deny},
	} {
		rules := FromProfile(loaded(t, c.files...), "bound")
		v := Decide(c.s, rules, nil, noon)
		if v.Decision != c.want || !strings.Contains(v.Rule, "set in ") && c.s.Target != "bound" {
			t.Errorf("%s: %+v, want %s", c.name, v, c.want)
		}
		again, lines := Explain(c.s, rules, nil, noon)
		counts := slices.ContainsFunc(lines, func(l string) bool {
			return strings.HasSuffix(l, ": counts") && strings.Contains(l, ", for "+string(v.Decision)+":")
		})
		if again != v || !counts {
			t.Errorf("%s: explained as %+v\n%s", c.name, again, strings.Join(lines, "\n"))
		}
	}
}

func TestCould(t *testing.T) {
	const a = "a.example"
	for _, c := range []struct {
		name         string
		files        []string
		could, named bool
	}{
		{"anything may be asked for", []string{""}, true, false},
		{"named", []string{ruleText("ask", a)}, true, true},
		{"named by its suffix", []string{ruleText("allow", "*.example")}, true, false},
		{"denied", []string{ruleText("deny", a)}, false, false},
		{"denied by its suffix", []string{ruleText("deny", "*.example")}, false, false},
		{"denied in part", []string{ruleText("deny", a, "ports = [443]")}, true, false},
		{"denied as a request", []string{ruleText("deny", a, "through = 'http'")}, true, false},
		{"denied but for a path", []string{ruleText("deny", a) + ruleText("ask", a, "paths = ['/x']")}, true, true},
		{"denied and allowed", []string{ruleText("deny", a) + ruleText("allow", a)}, false, false},
		{"the rest is denied", []string{"network.default = 'deny'\n" + ruleText("allow", "b.example")}, false, false},
		{"the rest is denied, not this", []string{"network.default = 'deny'\n" + ruleText("allow", a, "ports = [22]", "through = 'tcp'")}, true, true},
		{"a suffix is denied, not this", []string{ruleText("deny", "*.example") + ruleText("allow", a)}, true, true},
		{"denied further down", []string{ruleText("allow", a), "~" + ruleText("deny", "*.example")}, false, false},
		{"denied further down, in part", []string{ruleText("allow", a), "~" + ruleText("deny", a, "methods = ['PUT']")}, true, true},
		{"named further down", []string{"", "~" + ruleText("ask", a)}, true, true},
		{"not reached at all", []string{"network.mode = 'none'"}, false, false},
	} {
		rules := FromProfile(loaded(t, c.files...))
		if could, named := Could(rules, a); could != c.could || named != c.named {
			t.Errorf("%s: %v, %v", c.name, could, named)
		}
	}
	rules := FromProfile(loaded(t, ""))
	for _, host := range []string{"", "A.example", "a.example.", "*.example", "a b", "127.1"} {
		if could, named := Could(rules, host); could || named {
			t.Errorf("%q could be reached", host)
		}
	}
}

func TestNetworks(t *testing.T) {
	const ten, part, other = "addresses = ['10.0.0.0/8']", "addresses = ['10.1.0.0/16', '192.168.0.0/16']", "addresses = ['192.168.1.0/24']"
	for _, c := range []struct {
		files []string
		host  string
		want  string
	}{
		{[]string{""}, "a.example", "[]"},
		{[]string{ruleText("ask", "a.example", ten)}, "a.example", "[10.0.0.0/8]"},
		{[]string{ruleText("ask", "a.example", ten, "ports = [80]")}, "a.example", "[]"},
		{[]string{ruleText("ask", "a.example", ten)}, "b.example", "[]"},
		{[]string{ruleText("ask", "a.example", ten) + ruleText("allow", "*.example", other)}, "a.example", "[10.0.0.0/8 192.168.1.0/24]"},
		{[]string{ruleText("ask", "a.example", part), "~" + ruleText("allow", "*.example", ten)}, "a.example", "[10.1.0.0/16]"},
		{[]string{ruleText("ask", "a.example", part), "~" + ruleText("deny", "a.example", "methods = ['PUT']")}, "a.example", "[10.1.0.0/16 192.168.0.0/16]"},
		{[]string{"~" + ruleText("allow", "a.example", ten)}, "a.example", "[]"},
		{[]string{ruleText("allow", "a.example"), "~" + ruleText("allow", "a.example", ten)}, "a.example", "[]"},
		{[]string{ruleText("allow", "10.1.2.3")}, "10.1.2.3", "[10.1.2.3/32]"},
		{[]string{"~" + ruleText("allow", "10.1.2.3")}, "10.1.2.3", "[]"},
		{[]string{ruleText("deny", "10.1.2.3")}, "10.1.2.3", "[]"},
	} {
		rules := FromProfile(loaded(t, c.files...))
		if got := fmt.Sprint(Networks(rules, c.host, 443)); got != c.want {
			t.Errorf("%q: %s, want %s", c.files, got, c.want)
		}
	}
}

func TestLiterals(t *testing.T) {
	for _, c := range []struct {
		files []string
		want  string
		other bool
	}{
		{[]string{""}, "[]", true},
		{[]string{"network.default = 'deny'"}, "[]", false},
		{[]string{"", "~network.default = 'deny'"}, "[]", false},
		{[]string{ruleText("allow", "10.1.2.3") + ruleText("ask", "9.9.9.9") + ruleText("deny", "8.8.8.8") + ruleText("allow", "2001:db8::1") + ruleText("ask", "a.example")}, "[9.9.9.9/32 10.1.2.3/32]", true},
		{[]string{"network.default = 'deny'\n" + ruleText("allow", "10.1.2.3"), "~" + ruleText("allow", "10.1.2.4")}, "[10.1.2.3/32]", false},
		{[]string{"network.mode = 'none'"}, "[]", false},
	} {
		got, other := Literals(FromProfile(loaded(t, c.files...)))
		if fmt.Sprint(got) != c.want || other != c.other {
			t.Errorf("%q: %v, %v", c.files, got, other)
		}
	}
}

// destination makes up a question about destinations with rules of levels.
func destination(r *rand.Rand) (Subject, []Rule) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	some := func(list ...string) (chosen []string) {
		if r.IntN(2) == 0 {
			return nil
		}
		for _, e := range list {
			if r.IntN(2) == 0 {
				chosen = append(chosen, e)
			}
		}
		return chosen
	}
	var s Subject
	if r.IntN(4) == 0 {
		s = Subject{Effect: NetConnect, Target: pick("x.a.example:443", "a.example:22"), Through: profiles.Through(pick("", "tls", "tcp"))}
	} else {
		s = Subject{Effect: NetRequest, Unread: r.IntN(6) == 0, Target: pick("GET", "PUT", "WEBSOCKET") + pick(" https://x.a.example:443", " http://a.example:80") + pick("/", "/a/b", "/%2Fa%2Fb", "/a;x")}
		for range r.IntN(3) {
			s.Fields = append(s.Fields, Field{pick("f", "g"), pick("1", "2")})
		}
	}
	s.Labels = Labels{Untrusted: r.IntN(2) == 0, Private: r.IntN(2) == 0}
	rules := []Rule{{Effect: s.Effect, Decision: profiles.Decision(pick("ask", "ask", "deny")), Name: "default"}}
	for range r.IntN(8) {
		n := &profiles.NetworkRule{Host: pick("x.a.example", "a.example", "*.a.example", "*.example"), Decision: profiles.Decision(pick("allow", "allow", "ask", "deny"))}
		n.Scheme = pick("", "", "https", "http")
		n.Through = profiles.Through(pick("", "http", "http", "tls", "tcp"))
		for _, p := range some("443", "80", "22") {
			n.Ports = append(n.Ports, map[string]uint16{"443": 443, "80": 80, "22": 22}[p])
		}
		n.Methods, n.Paths = some("GET", "WEBSOCKET"), some("/", "/**", "/a/**", "/a/b", "/a")
		if r.IntN(4) == 0 {
			n.Fields = map[string][]string{pick("f", "g"): {"1"}}
		}
		rules = append(rules, Rule{Effect: s.Effect, Network: n, Decision: n.Decision, Level: r.IntN(3), Quorum: r.IntN(4), Name: pick("n1", "n2")})
	}
	return s, rules
}

func checkDestination(t *testing.T, r *rand.Rand) Verdict {
	s, rules := destination(r)
	v := Decide(s, rules, nil, noon)
	complain := func(what string, w Verdict) {
		t.Helper()
		t.Fatalf("%s: %+v became %+v\n%+v\n%s", what, v, w, s, describe(rules))
	}
	shuffled := slices.Clone(rules)
	r.Shuffle(len(rules), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	if w := Decide(s, shuffled, nil, noon); w != v {
		complain("another order", w)
	}
	_, others := destination(r)
	for _, o := range others {
		o.Effect, o.Decision = s.Effect, profiles.Deny
		if w := Decide(s, append(slices.Clone(rules), o), nil, noon); strength(w) < strength(v) {
			complain(fmt.Sprintf("a further denial, %+v", o.Network), w)
		}
	}
	_, level := destination(r)
	child := slices.Clone(rules)
	for _, o := range level {
		o.Effect, o.Level = s.Effect, 7
		child = append(child, o)
	}
	if w := Decide(s, child, nil, noon); strength(w) < strength(v) {
		complain("a further level", w)
	}
	unread := s
	unread.Unread = true
	if w := Decide(unread, rules, nil, noon); strength(w) < strength(v) && s.Effect == NetRequest {
		complain("unread", w)
	}
	q := newQuestion(&s)
	if could, named := Could(rules, q.host); !could && v.Decision != profiles.Deny || named && !could {
		complain("it could not be", v)
	}
	if w, lines := Explain(s, rules, nil, noon); w != v || len(lines) != len(rules)+2 {
		complain("explained", w)
	}
	return v
}

func describe(rules []Rule) string {
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "%d %s %d %+v\n", r.Level, r.Decision, r.Quorum, r.Network)
	}
	return b.String()
}

func TestDestinationProperties(t *testing.T) {
	seen := map[profiles.Decision]int{}
	worlds := uint64(20000)
	if testing.Short() {
		worlds = 2000
	}
	for seed := range worlds {
		seen[checkDestination(t, rand.New(rand.NewPCG(seed, 2))).Decision]++
	}
	for _, d := range []profiles.Decision{profiles.Allow, profiles.Ask, profiles.Deny} {
		if uint64(seen[d]) < worlds/50 {
			t.Errorf("only %d worlds say %s", seen[d], d)
		}
	}
}

func FuzzDestinationProperties(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) { checkDestination(t, rand.New(rand.NewPCG(a, b))) })
}

func TestWiden(t *testing.T) {
	for _, c := range []struct {
		effect Effect
		target string
		want   []string
	}{
		{Exec, "", nil},
		{FSModify, "a/b", []string{"a/b"}},
		{SecretUse, "key", []string{"key"}},
		{NetConnect, "a.example:443", []string{"a.example:443"}},
		{NetRequest, "GET https://a.example:443/", []string{"GET https://a.example:443/", "GET https://a.example:443/**", "* https://a.example:443/**"}},
		{NetRequest, "GET https://[::1]:443/a", []string{"GET https://[::1]:443/a", "GET https://[::1]:443/**", "* https://[::1]:443/**"}},
		{
			NetRequest, "POST https://a.example:443/v1/x/y/z",
			[]string{"POST https://a.example:443/v1/x/y/z", "POST https://a.example:443/v1/x/y/**", "POST https://a.example:443/v1/**", "POST https://a.example:443/**", "* https://a.example:443/**"},
		},
		{
			NetRequest, "GET https://a.example:443/v1/x",
			[]string{"GET https://a.example:443/v1/x", "GET https://a.example:443/v1/**", "GET https://a.example:443/**", "* https://a.example:443/**"},
		},
	} {
		if got := Widen(c.effect, c.target); !slices.Equal(got, c.want) {
			t.Errorf("%s %q: %q", c.effect, c.target, got)
		}
	}
}

func BenchmarkDecideRequest(b *testing.B) {
	var text strings.Builder
	for i := range 200 {
		text.WriteString(ruleText("allow", fmt.Sprintf("*.h%d.example", i%20), "methods = ['GET', 'HEAD']", fmt.Sprintf("paths = ['/v%d/**', '/x']", i), "fields = { id = ['1'] }"))
	}
	rules := FromProfile(loaded(b, text.String()))
	s := Subject{
		Effect: NetRequest, Target: "GET https://api.h7.example:443/v7/some/where%2Felse", Fields: []Field{{"id", "1"}},
	}
	if err := s.Check(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		Decide(s, rules, nil, noon)
	}
}

func BenchmarkCould(b *testing.B) {
	var text strings.Builder
	for i := range 200 {
		text.WriteString(ruleText("allow", fmt.Sprintf("*.h%d.example", i%20)))
	}
	rules := FromProfile(loaded(b, text.String()))
	b.ReportAllocs()
	for b.Loop() {
		Could(rules, "api.h7.example")
	}
}
