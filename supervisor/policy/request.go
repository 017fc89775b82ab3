// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Endpoint gives the target of net.connect: HOST:PORT. host is a name or an
// address without brackets, as [profiles.CheckHost] wants it.
func Endpoint(host string, port uint16) (string, error) {
	target := endpoint(host, port)
	return target, checkTarget(NetConnect, target)
}

// endpoint writes brackets around an IPv6 address.
func endpoint(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

// Request gives the target of net.request: METHOD SCHEME://HOST:PORT/PATH. host
// is as in [Endpoint], method is profiles.WebSocket for an upgrade to that, and
// path is as it is sent, without the query; empty is "/". A path with dot segments in any
// reading, and whatever else [profiles.NormalPath] refuses, is an error.
func Request(method, scheme, host string, port uint16, path string) (string, error) {
	if path == "" {
		path = "/"
	}
	normal, _, err := profiles.NormalPath(path)
	if err != nil {
		return "", fmt.Errorf("%s is no path of a request: %w", visible.Quote(clip(path)), err)
	}
	target := method + " " + scheme + "://" + endpoint(host, port) + normal
	return target, checkTarget(NetRequest, target)
}

// request is the target of net.request in its parts, or a pattern of some.
type request struct {
	method   string // "*" of a pattern: every one
	scheme   string
	endpoint string // HOST:PORT or *.SUFFIX:PORT
	path     string // DIR/** of a pattern: all that begin with DIR/
}

// parseRequest takes a target or a pattern apart; it checks no part.
func parseRequest(target string) (r request, ok bool) {
	var rest string
	if r.method, rest, ok = strings.Cut(target, " "); !ok {
		return r, false
	}
	if r.scheme, rest, ok = strings.Cut(rest, "://"); !ok {
		return r, false
	}
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return r, false
	}
	r.endpoint, r.path = rest[:i], rest[i:]
	return r, true
}

// matches reports whether a pattern has a target.
func (r *request) matches(t *request) bool {
	if r.method != "*" && r.method != t.method || r.scheme != t.scheme {
		return false
	}
	if r.endpoint != t.endpoint && !Match(NetConnect, r.endpoint, t.endpoint) {
		return false
	}
	return matchPath(r.path, t.path) > 0
}

// matchPath gives how specific a pattern is that has a path: 0 if it has not,
// most for the path itself.
func matchPath(pattern, path string) int {
	if dir, open := strings.CutSuffix(pattern, "**"); open {
		if !strings.HasPrefix(path, dir) {
			return 0
		}
		return len(dir)
	}
	if pattern == path {
		return most
	}
	return 0
}

func checkRequest(target string) error {
	r, ok := parseRequest(target)
	if !ok {
		return errors.New("want METHOD SCHEME://HOST:PORT/PATH")
	}
	if err := profiles.CheckMethod(r.method); err != nil {
		return err
	}
	return r.check()
}

// check judges what is not the method.
func (r *request) check() error {
	if r.scheme != "http" && r.scheme != "https" {
		return errors.New("want a scheme of http or https")
	}
	if _, _, err := cutEndpoint(r.endpoint); err != nil {
		return err
	}
	normal, _, err := profiles.NormalPath(r.path)
	if err == nil && normal != r.path {
		err = fmt.Errorf("the path is not in its one spelling, which is %s", visible.Quote(clip(normal)))
	}
	return err
}

// checkRequestPattern judges a pattern of requests, of a grant more strictly.
func checkRequestPattern(pattern string, grant bool) error {
	fault := func(err error) error {
		return fmt.Errorf("%s is no pattern of %s: %w", visible.Quote(clip(pattern)), NetRequest, err)
	}
	r, ok := parseRequest(pattern)
	if !ok {
		return fault(errors.New("want METHOD SCHEME://HOST:PORT/PATH"))
	}
	if r.method != "*" {
		if err := profiles.CheckMethod(r.method); err != nil {
			return fault(err)
		}
	} else if grant && r.path != "/**" {
		return fault(errors.New("a grant for every method is one for every path: write /** as the path, or one method"))
	}
	if name, wild := strings.CutPrefix(r.endpoint, "*."); wild {
		r.endpoint = "x." + name
		if host, _, _ := strings.Cut(name, ":"); grant {
			if err := checkSuffix(host); err != nil {
				return err
			}
		}
	}
	r.path = strings.TrimSuffix(r.path, "**")
	if err := r.check(); err != nil {
		return fault(err)
	}
	if strings.HasSuffix(pattern, "**") && !strings.HasSuffix(r.path, "/") {
		return fault(errors.New("stars stand behind a slash, as in /v1/**"))
	}
	return nil
}

// cutEndpoint takes HOST:PORT apart and judges both. The host comes without
// brackets.
func cutEndpoint(target string) (string, uint16, error) {
	i := strings.LastIndexByte(target, ':')
	if i < 0 {
		return "", 0, errors.New("want HOST:PORT")
	}
	host, digits := target[:i], target[i+1:]
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || strconv.FormatUint(port, 10) != digits {
		return "", 0, errors.New("want a port from 1 to 65535 behind the last colon")
	}
	inner, bracket := strings.CutPrefix(host, "[")
	if bracket {
		inner, bracket = strings.CutSuffix(inner, "]")
		if a, err := netip.ParseAddr(inner); !bracket || err != nil || !a.Is6() || profiles.CheckHost(inner) != nil {
			return "", 0, errors.New("want an IPv6 address in its shortest form between the brackets")
		}
		return inner, uint16(port), nil
	}
	if strings.Contains(host, ":") {
		return "", 0, errors.New("want an IPv6 address between brackets")
	}
	return host, uint16(port), profiles.CheckHost(host)
}

// Widen gives what a grant may be for that comes of a question about a target:
// the target itself, and then what is wider, each once. Of a request these are
// the directory that it is in, the first directory of its path, every path, and
// every method; of anything else there is nothing wider. A target of exec, which
// is empty, has none at all. target is one that passes [Subject.Check].
func Widen(e Effect, target string) []string {
	if target == "" {
		return nil
	}
	list := []string{target}
	r, ok := parseRequest(target)
	if e != NetRequest || !ok {
		return list
	}
	site := r.scheme + "://" + r.endpoint
	add := func(method, path string) {
		if p := method + " " + site + path; !slices.Contains(list, p) && checkPattern(e, p, true) == nil {
			list = append(list, p)
		}
	}
	last := strings.LastIndexByte(r.path, '/')
	add(r.method, r.path[:last+1]+"**")
	if first := strings.IndexByte(r.path[1:], '/'); first > 0 {
		add(r.method, r.path[:first+2]+"**")
	}
	add(r.method, "/**")
	add("*", "/**")
	return list
}
