// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Match reports whether a pattern has a target. A pattern of a file or
// directory, of a host, of a request or of a secret is one of
//
//	docs/plan.md          this and nothing else
//	docs/**               everything below docs, at every depth, but not docs
//	api.example.com:443   this and nothing else
//	*.example.com:443     every name below example.com, at every depth, but not example.com
//
//	GET https://api.example.com:443/v1/list   this and nothing else
//	GET https://api.example.com:443/v1/**     paths that begin with /v1/
//	GET https://api.example.com:443/**        every path
//	* https://api.example.com:443/**          every method too
//	GET https://*.example.com:443/**          the same on every name below example.com
//
// A star anywhere else stands for itself. There is no pattern of ports, of
// addresses or of secrets. Case counts: see [Subject.Check]. An empty pattern
// has nothing.
func Match(e Effect, pattern, target string) bool {
	if pattern == "" || target == "" {
		return false
	}
	if e == NetRequest {
		p, ok := parseRequest(pattern)
		t, ok2 := parseRequest(target)
		return ok && ok2 && p.matches(&t)
	}
	switch before, after, kind := split(e, pattern); kind {
	case below:
		return len(target) > len(before) && strings.HasPrefix(target, before)
	case ending:
		return len(target) > len(after) && strings.HasSuffix(target, after) && target[0] != '['
	}
	return pattern == target
}

// pattern kinds.
type patternKind int

const (
	exact  patternKind = iota
	below              // DIR/**
	ending             // *.NAME:PORT
)

// split gives what stands before a pattern's stars, with the slash, or after
// its star, with the dot. Patterns of requests have several parts: see parseRequest.
func split(e Effect, pattern string) (before, after string, kind patternKind) {
	switch {
	case e.file() && strings.HasSuffix(pattern, "/**"):
		return strings.TrimSuffix(pattern, "**"), "", below
	case e == NetConnect && strings.HasPrefix(pattern, "*."):
		return "", pattern[1:], ending
	}
	return "", "", exact
}

// Check refuses a subject whose target is not spelled in the one way:
//
//   - of exec: empty
//   - of fs: a relative path without ".", "..", double or trailing slashes, in
//     UTF-8, of at most 4095 bytes, whose last part is not "**", which would be
//     taken for a pattern; "." is the workspace itself
//   - of net.connect: HOST:PORT with a name in lower case of letters, digits and
//     hyphens, without a dot at its end, or an address as net/netip writes it,
//     with brackets if it is of IPv6; see [Endpoint]
//   - of net.request: METHOD SCHEME://HOST:PORT/PATH with the host in the same
//     way, a scheme of http or https, and a path as [profiles.NormalPath] spells
//     it, without a query; see [Request]
//   - of secret: 1 to 128 letters, digits, dots, hyphens and underscores
func (s Subject) Check() error {
	if !s.Effect.known() {
		return fmt.Errorf("%s is none that there is", s.Effect)
	}
	if err := checkThrough(s.Effect, s.Through); err != nil {
		return err
	}
	return checkTarget(s.Effect, s.Target)
}

// checkThrough refuses a way that an effect does not go.
func checkThrough(e Effect, t profiles.Through) error {
	switch {
	case t == "", e == NetConnect && (t == profiles.ThroughTLS || t == profiles.ThroughTCP), e == NetRequest && t == profiles.ThroughHTTP:
		return nil
	}
	return fmt.Errorf("%s does not go through %s", e, visible.Quote(clip(string(t))))
}

func checkTarget(e Effect, target string) error {
	var err error
	switch {
	case e == Exec:
		if target != "" {
			err = errors.New("it has none")
		}
	case e.file():
		err = checkPath(target)
	case e == NetConnect:
		_, _, err = cutEndpoint(target)
	case e == NetRequest:
		err = checkRequest(target)
	default:
		err = profiles.CheckSecret(target)
	}
	if err != nil {
		return fmt.Errorf("%s is no target of %s: %w", visible.Quote(clip(target)), e, err)
	}
	return nil
}

// CheckPattern refuses a rule's pattern that could never have a target.
func CheckPattern(e Effect, pattern string) error { return checkPattern(e, pattern, false) }

// checkPattern also refuses, of a grant, what is nearly everything.
func checkPattern(e Effect, pattern string, grant bool) error {
	if !e.known() {
		return fmt.Errorf("%s is none that there is", e)
	}
	if e == NetRequest {
		return checkRequestPattern(pattern, grant)
	}
	before, after, kind := split(e, pattern)
	switch kind {
	case below:
		pattern = strings.TrimSuffix(before, "/")
		if pattern == "." {
			return errors.New(`"./**" is no pattern: name the directory, or every file one by one`)
		}
	case ending:
		pattern = "x" + after
		if name, _, _ := strings.Cut(after[1:], ":"); grant {
			if err := checkSuffix(name); err != nil {
				return err
			}
		}
	}
	return checkTarget(e, pattern)
}

// checkSuffix refuses, of a grant, the names below a name of one part.
func checkSuffix(name string) error {
	if !strings.Contains(name, ".") {
		return fmt.Errorf("a grant for every name below %s would be one for strangers: name at least example.com in *.example.com:443", visible.Quote(clip(name)))
	}
	return nil
}

func checkPath(p string) error {
	switch {
	case len(p) > 4095:
		return errors.New("a path has at most 4095 bytes")
	case p == "" || path.IsAbs(p) || path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../"):
		return errors.New(`want a path below the workspace, such as "docs/plan.md"`)
	case path.Base(p) == "**":
		return errors.New("a file of this name would be taken for a pattern")
	case strings.ContainsRune(p, 0) || !utf8.ValidString(p):
		return errors.New("a path that is not UTF-8 can't be shown, and so not be decided about")
	}
	return nil
}

// clip bounds what a message repeats of its input.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}
