// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"fmt"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// kinds says of each kind of place how its name is spelled.
var kinds = map[packet.PlaceKind]struct {
	form  string // for people
	valid func(name string) bool
}{
	packet.Header:    {"header:NAME", validHeader},
	packet.QueryItem: {"query:FIELD", validItem},
	packet.Basic:     {"basic:user or basic:password", func(n string) bool { return n == "user" || n == "password" }},
	packet.Path:      {"path", func(n string) bool { return n == "" }},
	packet.Form:      {"form:FIELD", validItem},
	packet.JSON:      {"json:FIELD", validDotted},
	packet.WebSocket: {"websocket:FIELD", validDotted},
}

// Places gives the forms of places, for people.
func Places() []string {
	var forms []string
	for _, k := range []packet.PlaceKind{packet.Header, packet.QueryItem, packet.Basic, packet.Path, packet.Form, packet.JSON, packet.WebSocket} {
		forms = append(forms, kinds[k].form)
	}
	return forms
}

// steering are headers that say where a request goes and where it ends: a value
// in one of them would be another request.
var steering = []string{
	"Connection", "Content-Encoding", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

var token = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$") // RFC 9110 5.6.2

func validHeader(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return token.MatchString(name) && !slices.Contains(steering, name) && !strings.HasPrefix(name, "Sec-Websocket-")
}

// validItem takes any name that can be shown.
func validItem(name string) bool { return name != "" && visible.Line(name) == name }

func validDotted(name string) bool {
	return validItem(name) && !slices.Contains(strings.Split(name, "."), "")
}

// CheckPlace refuses a place that no request has, or that steers one.
func CheckPlace(p packet.Place) error {
	k, known := kinds[p.Kind]
	if !known {
		return invalidf("there is no kind of place %s; there are %s", visible.Quote(string(p.Kind)), strings.Join(Places(), ", "))
	}
	if len(p.Name) > maxField || !k.valid(p.Name) {
		return invalidf("%s is no place for a secret: want %s", visible.Quote(PlaceText(p)), k.form)
	}
	return nil
}

// ParsePlace reads a place as people write it: see Places.
func ParsePlace(text string) (packet.Place, error) {
	kind, name, _ := strings.Cut(text, ":")
	p := packet.Place{Kind: packet.PlaceKind(kind), Name: name}
	if p.Kind == packet.Header {
		p.Name = textproto.CanonicalMIMEHeaderKey(name)
	}
	if err := CheckPlace(p); err != nil {
		return packet.Place{}, err
	}
	return p, nil
}

// PlaceText writes a place as ParsePlace reads it.
func PlaceText(p packet.Place) string {
	if p.Name == "" {
		return string(p.Kind)
	}
	return fmt.Sprintf("%s:%s", p.Kind, p.Name)
}
