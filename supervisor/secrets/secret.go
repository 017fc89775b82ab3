// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Secret is what is known of one, without its value.
type Secret struct {
	Name     string    `json:"name"`               // as policy has it: 1 to 128 letters, digits, dots, hyphens, underscores
	Owner    string    `json:"owner"`              // who set it
	Created  time.Time `json:"created"`            // when it was set
	Rotated  time.Time `json:"rotated"`            // when it got the value that it has
	LastUsed time.Time `json:"last_used,omitzero"` // when it was last put into a request
	Shape    string    `json:"shape"`              // of its placeholders
	Private  bool      `json:"private,omitempty"`  // what is read with it labels a session private
	Ask      bool      `json:"ask,omitempty"`      // each use takes a person
	Binding
	From  string `json:"from,omitempty"`  // of a token that was captured: SECRET/FIELD
	Wrong string `json:"wrong,omitempty"` // why its value is not given out
}

// Binding is where a secret may go.
type Binding struct {
	Hosts    []string         `json:"hosts"`              // HOST:PORT or *.SUFFIX:PORT
	Places   []packet.Place   `json:"places"`             // in a request there
	Cookies  bool             `json:"cookies,omitempty"`  // whether Cookie passes there beside it
	Captures []packet.Capture `json:"captures,omitempty"` // tokens in answers that become secrets
}

// Bounds of one secret and of the store.
const (
	MinValue    = 8       // bytes
	MaxValue    = 8 << 10 // bytes
	MaxSecrets  = 256
	MaxHosts    = 32
	MaxPlaces   = 16
	MaxCaptures = 8
	maxOwner    = 256
	maxPath     = 512
	maxField    = 128
)

// Old is the age of a value from which it should be rotated.
const Old = 90 * 24 * time.Hour

// Stale says whether its value is older than Old.
func (s *Secret) Stale(now time.Time) bool { return now.Sub(s.Rotated) > Old }

// The kinds of errors, for errors.Is.
var (
	ErrUnknown = errors.New("there is no such secret")
	ErrExists  = errors.New("there is one of that name already")
	ErrInvalid = errors.New("it can't be a secret")
	ErrWrong   = errors.New("its file does not count")
	ErrFull    = fmt.Errorf("there are %d secrets already", MaxSecrets)
)

// problem is an error of a kind, in words of its own.
type problem struct {
	kind error
	text string
}

func (p *problem) Error() string { return p.text }

func (p *problem) Unwrap() error { return p.kind }

func invalidf(format string, args ...any) error {
	return &problem{ErrInvalid, fmt.Sprintf(format, args...)}
}

// CheckName refuses what is no name of a secret.
func CheckName(name string) error {
	if err := (policy.Subject{Effect: policy.SecretUse, Target: name}).Check(); err != nil {
		return invalidf("%v", err)
	}
	return nil
}

// CheckValue refuses what can't stand in a request. Nothing of the value is in
// the error.
func CheckValue(value []byte) error {
	switch {
	case len(value) < MinValue || len(value) > MaxValue:
		return invalidf("a value has %d to %d bytes, this one has %d", MinValue, MaxValue, len(value))
	case !utf8.Valid(value):
		return invalidf("a value is UTF-8")
	case value[0] == ' ' || value[len(value)-1] == ' ':
		return invalidf("a value neither begins nor ends with a space")
	}
	for rest := value; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if unicode.IsControl(r) {
			return invalidf("a value has no control characters, as no header has: there is one at byte %d", len(value)-len(rest))
		}
		rest = rest[n:]
	}
	return nil
}

// Check refuses metadata that binds a secret to nothing, or to what can't be.
func (s *Secret) Check() error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	if len(s.Owner) > maxOwner || visible.Line(s.Owner) != s.Owner {
		return invalidf("its owner is longer than %d bytes, or has what can't be shown", maxOwner)
	}
	if err := CheckShape(s.Shape); err != nil {
		return err
	}
	if err := s.Binding.check(s.Name); err != nil {
		return err
	}
	// Basic divides user and password at the first colon (RFC 7617 2).
	if slices.Contains(s.Places, packet.Place{Kind: packet.Basic, Name: "user"}) && hasColon(s.Shape) {
		return invalidf("a placeholder of shape %s has a colon, which ends the user of basic: take another, such as %s", visible.Quote(s.Shape), Letters)
	}
	return nil
}

func (b *Binding) check(name string) error {
	switch {
	case len(b.Hosts) == 0 || len(b.Hosts) > MaxHosts:
		return invalidf("it goes to 1 to %d hosts, not %d", MaxHosts, len(b.Hosts))
	case len(b.Places) == 0 || len(b.Places) > MaxPlaces:
		return invalidf("it stands in 1 to %d places, not %d", MaxPlaces, len(b.Places))
	case len(b.Captures) > MaxCaptures:
		return invalidf("it captures at most %d tokens, not %d", MaxCaptures, len(b.Captures))
	}
	for i, h := range b.Hosts {
		if err := checkHost(h); err != nil {
			return err
		}
		if slices.Contains(b.Hosts[:i], h) {
			return invalidf("host %s is there twice", h)
		}
	}
	for i, p := range b.Places {
		if err := CheckPlace(p); err != nil {
			return err
		}
		if slices.Contains(b.Places[:i], p) {
			return invalidf("place %s is there twice", PlaceText(p))
		}
	}
	for i, c := range b.Captures {
		if err := checkCapture(name, c); err != nil {
			return err
		}
		for _, other := range b.Captures[:i] {
			if other.Field == c.Field {
				return invalidf("field %s is captured twice", c.Field)
			}
		}
	}
	return nil
}

func checkHost(host string) error {
	if err := policy.CheckPattern(policy.NetConnect, host); err != nil {
		return invalidf("%v", err)
	}
	if suffix, wide := strings.CutPrefix(host, "*."); wide && !strings.Contains(suffix, ".") {
		return invalidf("%s would be every name below %s: name at least *.example.com:443", host, suffix)
	}
	return nil
}

// checkCapture holds a capture to what becomes of it: a secret NAME.FIELD.
func checkCapture(name string, c packet.Capture) error {
	switch {
	case len(c.Path) > maxPath || !requestPath.MatchString(c.Path) || strings.Contains(c.Path+"/", "/../") || strings.Contains(c.Path+"/", "/./"):
		return invalidf("%s is no path that answers are captured from: want one such as /oauth/token, without a query", visible.Quote(c.Path))
	case len(c.Field) > maxField || !fieldPath.MatchString(c.Field):
		return invalidf("%s is no field that is captured: want names such as data.access_token", visible.Quote(c.Field))
	}
	return CheckName(name + "." + c.Field)
}

var (
	// RFC 3986 3.3: pchar, percent-encoded where it must be.
	requestPath = regexp.MustCompile(`^/([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*$`)
	fieldPath   = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
)
