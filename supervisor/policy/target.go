// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// Match reports whether a pattern has a target. A pattern of a file or
// directory, of a host or of a secret is one of
//
//	docs/plan.md          this and nothing else
//	docs/**               everything below docs, at every depth, but not docs
//	api.example.com:443   this and nothing else
//	*.example.com:443     every name below example.com, at every depth, but not example.com
//
// A star anywhere else stands for itself. There is no pattern of ports, of
// addresses or of secrets. Case counts: see [Subject.Check]. An empty pattern
// has nothing.
func Match(e Effect, pattern, target string) bool {
	if pattern == "" || target == "" {
		return false
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
// its star, with the dot.
func split(e Effect, pattern string) (before, after string, kind patternKind) {
	switch {
	case e.file() && strings.HasSuffix(pattern, "/**"):
		return strings.TrimSuffix(pattern, "**"), "", below
	case e.net() && strings.HasPrefix(pattern, "*."):
		return "", pattern[1:], ending
	}
	return "", "", exact
}

// specificity orders patterns that have the same target: the most specific is
// the highest.
func specificity(e Effect, pattern string) int {
	if pattern == "" {
		return 0
	}
	if _, _, kind := split(e, pattern); kind != exact {
		return len(pattern)
	}
	return math.MaxInt
}

// Check refuses a subject whose target is not spelled in the one way:
//
//   - of exec: empty
//   - of fs: a relative path without ".", "..", double or trailing slashes, in
//     UTF-8, of at most 4095 bytes, whose last part is not "**", which would be
//     taken for a pattern; "." is the workspace itself
//   - of net: HOST:PORT with a name in lower case of letters, digits and
//     hyphens, without a dot at its end, or an address as net/netip writes it,
//     with brackets if it is of IPv6
//   - of secret: 1 to 128 letters, digits, dots, hyphens and underscores
func (s Subject) Check() error {
	if !s.Effect.known() {
		return fmt.Errorf("%s is none that there is", s.Effect)
	}
	return checkTarget(s.Effect, s.Target)
}

var secretName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`) })

func checkTarget(e Effect, target string) error {
	var err error
	switch {
	case e == Exec:
		if target != "" {
			err = errors.New("it has none")
		}
	case e.file():
		err = checkPath(target)
	case e.net():
		err = checkHostPort(target)
	case !secretName().MatchString(target):
		err = errors.New("want 1 to 128 letters, digits, dots, hyphens and underscores")
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
	before, after, kind := split(e, pattern)
	switch kind {
	case below:
		pattern = strings.TrimSuffix(before, "/")
		if pattern == "." {
			return errors.New(`"./**" is no pattern: name the directory, or every file one by one`)
		}
	case ending:
		pattern = "x" + after
		if name, _, _ := strings.Cut(after[1:], ":"); grant && !strings.Contains(name, ".") {
			return fmt.Errorf("a grant for every name below %s would be one for strangers: name at least example.com in *.example.com:443", visible.Quote(clip(name)))
		}
	}
	return checkTarget(e, pattern)
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

var hostName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
})

func checkHostPort(target string) error {
	i := strings.LastIndexByte(target, ':')
	if i < 0 {
		return errors.New("want HOST:PORT")
	}
	host, port := target[:i], target[i+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
		return errors.New("want a port from 1 to 65535 behind the last colon")
	}
	inner, bracket := strings.CutPrefix(host, "[")
	if bracket {
		inner, bracket = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		if !bracket || err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "" || a.String() != inner {
			return errors.New("want an IPv6 address in its shortest form between the brackets")
		}
		return nil
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if !a.Is4() || a.String() != host {
			return errors.New("want an IPv6 address between brackets")
		}
		return nil
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if len(host) > 253 || !hostName().MatchString(host) || !strings.ContainsAny(last, "abcdefghijklmnopqrstuvwxyz") || strings.HasPrefix(last, "0x") {
		return errors.New("want a name in lower case such as api.example.com, or a whole address")
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
