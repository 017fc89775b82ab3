// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// MaxPath bounds the path of a request, in bytes, in its one spelling.
const MaxPath = 8 << 10

var hostName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)

// CheckHost refuses a host that is not spelled in the one way: a name in lower
// case of letters, digits, hyphens and underscores, without a dot at its end
// and not readable as a number, or a whole address as net/netip writes it,
// without brackets.
func CheckHost(host string) error {
	if a, err := netip.ParseAddr(host); err == nil {
		if a.Is4In6() || a.Zone() != "" || a.String() != host {
			return errors.New("an address is written in its shortest form, without a zone, and an IPv4 one as such")
		}
		return nil
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if len(host) > 253 || !hostName.MatchString(host) || !strings.ContainsAny(last, "abcdefghijklmnopqrstuvwxyz") || strings.HasPrefix(last, "0x") {
		return errors.New("want a name in lower case such as api.example.com, or a whole address")
	}
	return nil
}

// checkHostPattern judges the host of a rule: one host, or *.NAME.
func checkHostPattern(pattern string) error {
	name, wild := strings.CutPrefix(pattern, "*.")
	err := CheckHost(name)
	if _, address := netip.ParseAddr(name); err == nil && wild && address == nil {
		err = errors.New("there is no pattern of addresses; write one rule for each")
	}
	if err != nil {
		return fmt.Errorf("%q: %w", clip(pattern), err)
	}
	return nil
}

var methodName = regexp.MustCompile(`^[A-Z]+(-[A-Z]+)*$`)

// CheckMethod refuses what is no method of a request that could pass: methods
// have capital letters and hyphens, at most 32, and CONNECT is none of requests.
func CheckMethod(method string) error {
	switch {
	case method == "CONNECT":
		return errors.New(`CONNECT is no request to a host: write a rule with through = "tls" or "tcp"`)
	case len(method) > 32 || !methodName.MatchString(method):
		if up := strings.ToUpper(method); up != method && CheckMethod(up) == nil {
			return fmt.Errorf("a method has capital letters: write %q", up)
		}
		return fmt.Errorf("%q is no method: it has capital letters and hyphens, at most 32", clip(method))
	}
	return nil
}

var secretName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// CheckSecret refuses what is no name of a secret.
func CheckSecret(name string) error {
	if !secretName.MatchString(name) {
		return fmt.Errorf("%q is no name of a secret: want 1 to 128 letters, digits, dots, hyphens and underscores", clip(name))
	}
	return nil
}

// NormalPath gives the one spelling of a request's path: what RFC 3986 (section
// 2.3 and 3.3) lets stand for itself does, but for stars, so that no path is
// taken for a pattern; everything else is percent-encoded in capitals. What is
// encoded and would mean something else as it is, such as a slash, stays
// encoded.
//
// other is what a server may make of it that decodes first and asks later: with
// encoded slashes, backslashes and doubled slashes as one slash, and without
// parameters behind semicolons. It is empty where that is the same path.
//
// A path that doesn't begin with a slash, that has dot segments in either
// reading, a broken percent sign, a NUL, or that is encoded more than three
// times over is an error.
func NormalPath(path string) (normal, other string, err error) {
	if !strings.HasPrefix(path, "/") {
		return "", "", errors.New(`a path begins with "/"`)
	}
	if len(path) > MaxPath {
		return "", "", fmt.Errorf("a path has at most %d bytes", MaxPath)
	}
	if normal, err = spellPath(path); err != nil {
		return "", "", err
	}
	if len(normal) > MaxPath {
		return "", "", fmt.Errorf("a path has at most %d bytes when it is percent-encoded", MaxPath)
	}
	if !strings.ContainsAny(normal, "%;") && !strings.Contains(normal, "//") && !strings.Contains(normal, "/.") {
		return normal, "", nil
	}
	if other, err = readPath(normal); err != nil {
		return "", "", err
	}
	if other == normal {
		other = ""
	}
	return normal, other, nil
}

const unencoded = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()+,=:@"

// plain are the bytes that stand for themselves in a path.
var plain = func() (set [256]bool) {
	for _, c := range []byte(unencoded) {
		set[c] = true
	}
	return set
}()

// spellPath encodes what must be, and nothing else.
func spellPath(path string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '/' || c == ';':
			b.WriteByte(c)
			continue
		case c == '?' || c == '#':
			return "", errors.New("a path ends before a question mark or a number sign")
		case c == '%':
			var ok bool
			if c, ok = encodedByte(path[i:]); !ok {
				return "", errors.New("a percent sign stands before two hexadecimal digits")
			}
			i += 2
		}
		if c == 0 {
			return "", errors.New("no path holds a NUL")
		}
		writeByte(&b, c)
	}
	return b.String(), nil
}

func writeByte(b *strings.Builder, c byte) {
	if plain[c] {
		b.WriteByte(c)
		return
	}
	const digits = "0123456789ABCDEF"
	b.WriteByte('%')
	b.WriteByte(digits[c>>4])
	b.WriteByte(digits[c&15])
}

// encodedByte gives the byte that s begins with, encoded.
func encodedByte(s string) (byte, bool) {
	if len(s) < 3 || s[0] != '%' {
		return 0, false
	}
	high, low := strings.IndexByte(hexDigits, s[1]), strings.IndexByte(hexDigits, s[2])
	if high < 0 || low < 0 {
		return 0, false
	}
	return byte(nibble(high)<<4 | nibble(low)), true
}

const hexDigits = "0123456789abcdefABCDEF"

// nibble is the value of the digit at a place of hexDigits.
func nibble(place int) int {
	if place > 15 {
		return place - 6
	}
	return place
}

// mostEncoded is how many times over a path may be encoded.
const mostEncoded = 3

// readPath gives what a careless server may make of a path.
func readPath(path string) (string, error) {
	for n := 0; ; n++ {
		decoded := decodePath(path)
		if decoded == path {
			break
		}
		if n == mostEncoded {
			return "", errors.New("the path is percent-encoded more than three times over")
		}
		path = decoded
	}
	segments := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' })
	var b strings.Builder
	for _, s := range segments {
		s, _, _ = strings.Cut(s, ";")
		if s == "." || s == ".." {
			return "", errors.New(`a path has no "." or ".." in it, in whatever spelling: write where it leads`)
		}
		if strings.IndexByte(s, 0) >= 0 {
			return "", errors.New("no path holds a NUL")
		}
		if s == "" {
			continue
		}
		b.WriteByte('/')
		for i := range len(s) {
			writeByte(&b, s[i])
		}
	}
	if end := path[len(path)-1]; b.Len() == 0 || end == '/' || end == '\\' {
		b.WriteByte('/')
	}
	return b.String(), nil
}

// decodePath undoes one percent-encoding where there is one.
func decodePath(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if c, ok := encodedByte(path[i:]); ok {
			b.WriteByte(c)
			i += 2
			continue
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// CheckPathPattern refuses a pattern of paths that is not spelled in the one
// way: a path as [NormalPath] gives it, or DIR/** for all that begins with DIR/.
func CheckPathPattern(pattern string) error {
	path, _ := strings.CutSuffix(pattern, "**")
	if path != pattern && !strings.HasSuffix(path, "/") {
		return fmt.Errorf("%q: stars stand behind a slash, at the end, as in /v1/**", clip(pattern))
	}
	normal, _, err := NormalPath(path)
	switch {
	case err != nil:
		return fmt.Errorf("%q: %w", clip(pattern), err)
	case normal == path:
		return nil
	case strings.Contains(path, "*"):
		return fmt.Errorf("%q: stars stand at the end alone, as in /v1/**; a star itself is written %%2A", clip(pattern))
	}
	return fmt.Errorf("%q: write %q", clip(pattern), clip(normal+pattern[len(path):]))
}
