// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		effect          Effect
		pattern, target string
		want            bool
	}{
		{FSModify, "a/b", "a/b", true},
		{FSModify, "a/b", "a/b/c", false},
		{FSModify, "a/b", "A/b", false},
		{FSModify, "a/**", "a/b", true},
		{FSModify, "a/**", "a/b/c", true},
		{FSModify, "a/**", "a", false},
		{FSModify, "a/**", "ab/c", false},
		{FSModify, "a/**", "b/a/c", false},
		{FSModify, "a*/**", "ab/c", false},
		{FSModify, "a*/**", "a*/c", true},
		{FSModify, "*", "a", false},
		{FSModify, "*.txt", "a.txt", false}, // a host's pattern is none of files
		{FSModify, "*.txt", "*.txt", true},
		{FSModify, "a?", "ab", false},
		{FSModify, ".*", "ab", false},
		{FSModify, "", "a", false},
		{FSModify, "a", "", false},
		{NetConnect, "x.example.com:443", "x.example.com:443", true},
		{NetConnect, "x.example.com:443", "x.example.com:80", false},
		{NetConnect, "*.example.com:443", "x.example.com:443", true},
		{NetConnect, "*.example.com:443", "y.x.example.com:443", true},
		{NetConnect, "*.example.com:443", "example.com:443", false},
		{NetConnect, "*.example.com:443", "xexample.com:443", false},
		{NetConnect, "*.example.com:443", "x.example.com:80", false},
		{NetConnect, "*.example.com:443", "x.example.com.evil.org:443", false},
		{NetConnect, "*", "x.example.com:443", false},
		{NetConnect, "example.com/**", "example.com/x", false},
		{NetRequest, "*.example.com:443", "x.example.com:443", true},
		{SecretUse, "key", "key", true},
		{SecretUse, "*.key", "a.key", false},
		{SecretUse, "key/**", "key/a", false},
		{Exec, "", "", false}, // an empty pattern has nothing
	} {
		if got := Match(c.effect, c.pattern, c.target); got != c.want {
			t.Errorf("%s %q has %q: %v", c.effect, c.pattern, c.target, got)
		}
	}
}

func TestSubjectCheck(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, c := range []struct {
		effect Effect
		target string
		want   bool
	}{
		{Exec, "", true}, {Exec, "git", false},
		{FSCreate, "a", true}, {FSCreate, "a/b.c", true}, {FSCreate, ".", true}, {FSCreate, "...", true}, {FSCreate, "a b\n", true},
		{FSCreate, "ä/**x", true}, {FSCreate, "", false}, {FSCreate, "/a", false}, {FSCreate, "a/", false}, {FSCreate, "a//b", false},
		{FSCreate, "..", false}, {FSCreate, "../a", false}, {FSCreate, "a/../b", false}, {FSCreate, "./a", false}, {FSCreate, "a/.", false},
		{FSCreate, "a\x00", false}, {FSCreate, "a\xff", false}, {FSCreate, "**", false}, {FSCreate, "a/**", false},
		{FSCreate, strings.Repeat("a/", 2048), false},
		{NetConnect, "example.com:443", true}, {NetConnect, "localhost:1", true}, {NetConnect, "_dns.x-y.example:65535", true},
		{NetConnect, "xn--bcher-kva.example:443", true}, {NetConnect, "10.0.0.1:80", true}, {NetConnect, "[::1]:80", true}, {NetConnect, "[2001:db8::1]:443", true},
		{NetConnect, "", false}, {NetConnect, "example.com", false}, {NetConnect, ":443", false}, {NetConnect, "example.com:", false},
		{NetConnect, "example.com:0", false}, {NetConnect, "example.com:65536", false}, {NetConnect, "example.com:0443", false}, {NetConnect, "example.com:+443", false},
		{NetConnect, "Example.com:443", false}, {NetConnect, "example.com.:443", false}, {NetConnect, "example..com:443", false}, {NetConnect, "-a.example:1", false},
		{NetConnect, "bücher.example:443", false}, {NetConnect, "*.example.com:443", false}, {NetConnect, "a b:443", false}, {NetConnect, "a@b.example:443", false},
		{NetConnect, "127.1:80", false}, {NetConnect, "2130706433:80", false}, {NetConnect, "0177.0.0.1:80", false}, {NetConnect, "0x7f000001:80", false}, {NetConnect, "127.0.0.0x1:80", false},
		{NetConnect, "::1:80", false}, {NetConnect, "[::1]", false}, {NetConnect, "[::1:80", false}, {NetConnect, "[0::1]:80", false}, {NetConnect, "[::FFFF]:80", false},
		{NetConnect, "[::ffff:127.0.0.1]:80", false}, {NetConnect, "[fe80::1%eth0]:80", false}, {NetConnect, "[10.0.0.1]:80", false},
		{NetConnect, long + ".example:1", false}, {NetConnect, strings.Repeat("a.", 130) + "b:1", false},
		{SecretUse, "openai.key_1-b", true}, {SecretUse, "", false}, {SecretUse, "*", false}, {SecretUse, "a/b", false}, {SecretUse, "-a", false}, {SecretUse, strings.Repeat("a", 129), false},
	} {
		if err := (Subject{Effect: c.effect, Target: c.target}).Check(); (err == nil) != c.want {
			t.Errorf("%s %q: %v", c.effect, c.target, err)
		}
	}
}

// A target that passes has one spelling, and no pattern is taken for one.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"a/b", "a/**", "*.example.com:443", "[::1]:80", "10.0.0.1:80", "..", "key"} {
		f.Add(s, "a/**")
	}
	f.Fuzz(func(t *testing.T, target, pattern string) {
		for _, e := range Effects() {
			if (Subject{Effect: e, Target: target}).Check() != nil {
				continue
			}
			if _, _, kind := split(e, target); kind != exact {
				t.Errorf("%s %q passes and is a pattern", e, target)
			}
			if e.file() && path.Clean(target) != target {
				t.Errorf("%q passes", target)
			}
			if e.net() && strings.ToLower(target) != target {
				t.Errorf("%q passes", target)
			}
			if e != Exec && !Match(e, target, target) {
				t.Errorf("%s %q has not itself", e, target)
			}
			if CheckPattern(e, pattern) == nil && Match(e, pattern, target) && specificity(e, pattern) > specificity(e, target) {
				t.Errorf("%s %q is more specific than %q", e, pattern, target)
			}
		}
	})
}
