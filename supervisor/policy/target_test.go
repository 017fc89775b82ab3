// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/profiles"
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
		{NetRequest, "*.example.com:443", "x.example.com:443", false}, // a pattern of net.connect
		{NetRequest, "GET https://a.example:443/v1/x", "GET https://a.example:443/v1/x", true},
		{NetRequest, "GET https://a.example:443/v1/x", "GET https://a.example:443/v1/x/", false},
		{NetRequest, "GET https://a.example:443/v1/x", "POST https://a.example:443/v1/x", false},
		{NetRequest, "GET https://a.example:443/v1/x", "GET http://a.example:443/v1/x", false},
		{NetRequest, "GET https://a.example:443/v1/x", "GET https://a.example:444/v1/x", false},
		{NetRequest, "GET https://a.example:443/v1/**", "GET https://a.example:443/v1/x/y", true},
		{NetRequest, "GET https://a.example:443/v1/**", "GET https://a.example:443/v1/", true},
		{NetRequest, "GET https://a.example:443/v1/**", "GET https://a.example:443/v1", false},
		{NetRequest, "GET https://a.example:443/v1/**", "GET https://a.example:443/v10/x", false},
		{NetRequest, "GET https://a.example:443/**", "GET https://a.example:443/", true},
		{NetRequest, "* https://a.example:443/**", "WEBSOCKET https://a.example:443/x", true},
		{NetRequest, "* https://a.example:443/**", "GET https://b.example:443/x", false},
		{NetRequest, "GET https://*.b.example:443/**", "GET https://a.b.example:443/x", true},
		{NetRequest, "GET https://*.b.example:443/**", "GET https://b.example:443/x", false},
		{NetRequest, "GET https://*.b.example:443/**", "GET https://ab.example:443/x", false},
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
		{NetRequest, "GET https://example.com:443/", true}, {NetRequest, "WEBSOCKET http://[::1]:80/a/b;c=d", true}, {NetRequest, "M-SEARCH https://10.0.0.1:443/a%20b%2Fc", true},
		{NetRequest, "", false}, {NetRequest, "example.com:443", false}, {NetRequest, "GET https://example.com:443", false}, {NetRequest, "GET https://example.com/", false},
		{NetRequest, "get https://example.com:443/", false}, {NetRequest, "* https://example.com:443/", false}, {NetRequest, " https://example.com:443/", false}, {NetRequest, "CONNECT https://example.com:443/", false},
		{NetRequest, "GET  https://example.com:443/", false}, {NetRequest, "GET ftp://example.com:443/", false}, {NetRequest, "GET HTTPS://example.com:443/", false}, {NetRequest, "GET https://*.example.com:443/", false},
		{NetRequest, "GET https://u@example.com:443/", false}, {NetRequest, "GET https://example.com:443/a?b", false}, {NetRequest, "GET https://example.com:443/a#b", false}, {NetRequest, "GET https://example.com:443/**", false},
		{NetRequest, "GET https://example.com:443/a/../b", false}, {NetRequest, "GET https://example.com:443/%2e%2E/b", false}, {NetRequest, "GET https://example.com:443/a%2F..%2Fb", false}, {NetRequest, "GET https://example.com:443/a%5C..%5Cb", false},
		{NetRequest, "GET https://example.com:443/..;/b", false}, {NetRequest, "GET https://example.com:443/%252e%252e/b", false}, {NetRequest, "GET https://example.com:443/%61", false}, {NetRequest, "GET https://example.com:443/%2f", false},
		{NetRequest, "GET https://example.com:443/a b", false}, {NetRequest, "GET https://example.com:443/ä", false}, {NetRequest, "GET https://example.com:443/%", false}, {NetRequest, "GET https://example.com:443/%00", false},
		{NetRequest, "GET https://example.com:443/" + strings.Repeat("a", 8192), false}, {NetRequest, "GET https://example.com:443/" + strings.Repeat("a", 8191), true},
		{SecretUse, "openai.key_1-b", true}, {SecretUse, "", false}, {SecretUse, "*", false}, {SecretUse, "a/b", false}, {SecretUse, "-a", false}, {SecretUse, strings.Repeat("a", 129), false},
	} {
		if err := (Subject{Effect: c.effect, Target: c.target}).Check(); (err == nil) != c.want {
			t.Errorf("%s %q: %v", c.effect, c.target, err)
		}
	}
}

// A target that passes has one spelling, and no pattern is taken for one.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"a/b", "a/**", "*.example.com:443", "[::1]:80", "10.0.0.1:80", "..", "key", "GET https://a.example:443/v1/x", "* https://*.a.example:443/**"} {
		f.Add(s, "a/**")
	}
	f.Fuzz(func(t *testing.T, target, pattern string) {
		for _, e := range Effects() {
			if (Subject{Effect: e, Target: target}).Check() != nil {
				continue
			}
			if _, _, kind := split(e, target); kind != exact || strings.Contains(target, "*") && e != FSCreate && e != FSModify && e != FSDelete {
				t.Errorf("%s %q passes and is a pattern", e, target)
			}
			if e.file() && path.Clean(target) != target {
				t.Errorf("%q passes", target)
			}
			if e == NetConnect && strings.ToLower(target) != target {
				t.Errorf("%q passes", target)
			}
			if e != Exec && !Match(e, target, target) {
				t.Errorf("%s %q has not itself", e, target)
			}
			s := Subject{Effect: e, Target: target}
			q := newQuestion(&s)
			wide, fit := q.fits(&Rule{Effect: e, Target: pattern}, q.path)
			narrow, self := q.fits(&Rule{Effect: e, Target: target}, q.path)
			if e == Exec || pattern == "" {
				continue
			}
			if self != yes || (fit == yes) != Match(e, pattern, target) {
				t.Errorf("%s %q: a rule and Match disagree about %q", e, pattern, target)
			}
			if CheckPattern(e, pattern) == nil && fit == yes && wide.compare(narrow) < 0 {
				t.Errorf("%s %q is more specific than %q", e, pattern, target)
			}
			for i, w := range Widen(e, target) {
				if !Match(e, w, target) || i == 0 && w != target {
					t.Errorf("%s %q is no wider than %q", e, w, target)
				}
				if i > 0 && checkPattern(e, w, true) != nil {
					t.Errorf("%s %q can't be granted", e, w)
				}
			}
		}
	})
}

// What a hostile program sends as a path has one name or none, and that name no
// second one; and nobody who reads it in another way is led up.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "/a%2F..%5C", "/..;/", "/%252e", "//a//b/", "/a;b=c/d", "/*", "/%zz", "/\xff\x00", "/@scope%2fname"} {
		f.Add("GET", "https", "example.com", uint16(443), s)
	}
	f.Fuzz(func(t *testing.T, method, scheme, host string, port uint16, sent string) {
		target, err := Request(method, scheme, host, port, sent)
		if err != nil {
			return
		}
		s := Subject{Effect: NetRequest, Target: target}
		if err := s.Check(); err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		q := newQuestion(&s)
		if again, err := Request(q.method, q.scheme, q.host, q.port, q.path); err != nil || again != target {
			t.Errorf("%q has another name, %q, %v", target, again, err)
		}
		if q.method != method || q.scheme != scheme || q.host != host || q.port != port {
			t.Errorf("%q is not what was asked for", target)
		}
		for _, p := range []string{q.path, q.other} {
			if p != "" && (path.Clean(p) != p && path.Clean(p)+"/" != p && !strings.Contains(q.path, "//") || strings.ContainsAny(p, "*?# \\")) {
				t.Errorf("%q reads as %q", target, p)
			}
		}
		if q.other != "" {
			if normal, again, err := profiles.NormalPath(q.other); err != nil || normal != q.other || again != "" {
				t.Errorf("%q: the other reading %q has another, %q, %q, %v", target, q.other, normal, again, err)
			}
		}
	})
}
