// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What follows is about boxes whose programs may reach beyond them. A box is
// known by a number of clawsupd's, and each of its connections by the listening
// socket that it came in through: nothing that a program says ties it to a box.

// Box is what the helper has to know of one. Files that come apart from it: the
// TCP listener with Open, the UDP socket of DNS with Datagrams.
type Box struct {
	Certificate []byte `json:"certificate"` // DER, of the authority that the box trusts
	Key         []byte `json:"key"`         // DER (PKCS #8), of the same

	Connections int   `json:"connections"` // at one time; 0: no bound but the helper's own
	Sent        int64 `json:"sent"`        // bytes out, of all its connections together; 0: no bound
	Received    int64 `json:"received"`    // bytes in; 0: no bound

	Fields    []string `json:"fields,omitempty"` // names of fields that rules look at, in queries and bodies
	Resolvers int      `json:"resolvers"`        // how many there are: see Lookup
}

// Binding is a secret and where it may stand. Every box has all of them: on a
// host that a secret is bound to, no other credential passes.
type Binding struct {
	Secret      string    `json:"secret"`                // name
	Placeholder string    `json:"placeholder,omitempty"` // what the box has in its place; empty: this box may not use it
	Hosts       []string  `json:"hosts"`                 // HOST:PORT or *.SUFFIX:PORT, as in policy
	Places      []Place   `json:"places"`                // where it may stand, at least one
	Cookies     bool      `json:"cookies,omitempty"`     // whether Cookie is no credential there
	Captures    []Capture `json:"captures,omitempty"`    // tokens in answers that become secrets themselves
}

// Covers says whether the secret is bound to a host and port.
func (b *Binding) Covers(host string, port uint16) bool {
	at := HostPort(host, port)
	return slices.ContainsFunc(b.Hosts, func(pattern string) bool {
		if suffix, wild := strings.CutPrefix(pattern, "*"); wild {
			return len(at) > len(suffix) && strings.HasSuffix(at, suffix) && at[0] != '['
		}
		return pattern == at
	})
}

// HostPort writes a name or an address, and a port, as policy does:
// api.example.com:443, 192.0.2.1:443, [2001:db8::1]:443.
func HostPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

// Place is where in a request a secret may stand.
type Place struct {
	Kind PlaceKind `json:"kind"`
	Name string    `json:"name,omitempty"` // of a header, a field; "user" or "password" of basic
}

// PlaceKind is a kind of place.
type PlaceKind string

// The kinds of places.
const (
	Header    PlaceKind = "header"    // a header of that name, alone or behind a scheme ("Bearer ...")
	QueryItem PlaceKind = "query"     // a field of the query
	Basic     PlaceKind = "basic"     // the user or the password of Authorization: Basic
	Path      PlaceKind = "path"      // within one segment of the path, as in /botTOKEN/getMe
	Form      PlaceKind = "form"      // a field of an application/x-www-form-urlencoded body
	JSON      PlaceKind = "json"      // a field of a JSON body, dotted from its top: "auth.token"
	WebSocket PlaceKind = "websocket" // a field of the JSON object that is the first message of a WebSocket: "d.token"
)

// Capture is a field of the answer of a token endpoint.
type Capture struct {
	Path  string `json:"path"`  // of the request, exact
	Field string `json:"field"` // of the JSON answer, dotted
}

// Use is a secret in a request.
type Use struct {
	Secret string `json:"secret"`
	Place  Place  `json:"place"`
}

// Through is how far the helper looks into what passes.
type Through string

// The ways through.
const (
	HTTP Through = "http" // plain, or with TLS ended here: each request is asked for
	TLS  Through = "tls"  // passed through unopened; only the name that the client sends is looked at
	TCP  Through = "tcp"  // bytes
)

// Query is one question: may this leave the box?
type Query struct {
	Through Through `json:"through"`
	Host    string  `json:"host"` // name in lower case without a dot at its end, or an address as net/netip writes it
	Port    uint16  `json:"port"`

	// Of HTTP.
	Scheme string  `json:"scheme,omitempty"` // http or https
	Method string  `json:"method,omitempty"` // WEBSOCKET for an upgrade to that
	Path   string  `json:"path,omitempty"`   // as it is sent, percent-encoded; without the query
	Search string  `json:"search,omitempty"` // the query as it is sent, without placeholders' places named by Uses; at most MaxSearch bytes
	Size   int64   `json:"size,omitempty"`   // of the body in bytes; -1: it is not known beforehand
	Uses   []Use   `json:"uses,omitempty"`   // secrets whose placeholders stand where they may
	Fields []Field `json:"fields,omitempty"` // of Box.Fields, as found; nothing is left out
	Unread bool    `json:"unread,omitempty"` // the body could not be looked at for fields

	// Addresses are what Host resolved to; set only where a Name said that it may
	// be looked up before anybody is asked.
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// MaxSearch bounds Query.Search, MaxPath Query.Path, in bytes: a request with
// more is refused.
const (
	MaxSearch = 8 << 10
	MaxPath   = 8 << 10
)

// Field is a value that a rule looks at.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Verdict is the answer to a Name, a Query or a Captured.
type Verdict struct {
	Allow bool `json:"allow"`
	// Early is of a Name: it may be looked up before anybody is asked, since the
	// operator wrote it and not the program.
	Early  bool   `json:"early,omitempty"`
	Rule   string `json:"rule,omitempty"`   // that made it, for people
	Reason string `json:"reason,omitempty"` // of a no, one line, for the program
	Ticket string `json:"ticket,omitempty"` // of a person's answer

	Decision  int            `json:"decision,omitempty"`  // its number, for Connect and Ended
	Networks  []netip.Prefix `json:"networks,omitempty"`  // that rules name: refused otherwise (package guard)
	Addresses []netip.Addr   `json:"addresses,omitempty"` // of the host, by the configuration: no lookup then
	Values    []Value        `json:"values,omitempty"`    // of Query.Uses
	// Passing is of a Name: the ports at which rules let it pass unopened, so that
	// the helper doesn't look into what passes there. At all others it does.
	Passing []Passing `json:"passing,omitempty"`
	// Placeholder is of a Captured: what the box gets in place of the token.
	Placeholder string `json:"placeholder,omitempty"`
}

// Passing is a port and the way through there: TLS or TCP.
type Passing struct {
	Port    uint16  `json:"port"`
	Through Through `json:"through"`
}

// Value is a secret's.
type Value struct {
	Secret string `json:"secret"`
	Value  []byte `json:"value"`
}

// Traffic is what became of a decision.
type Traffic struct {
	Status   int           `json:"status,omitempty"` // of the HTTP answer; 0: there was none
	Sent     int64         `json:"sent"`             // bytes of bodies, or of the connection
	Received int64         `json:"received"`
	Took     time.Duration `json:"took"`
	Error    string        `json:"error,omitempty"` // why it ended badly, at most MaxDetail bytes
	Address  string        `json:"address,omitempty"`
}

// Refusal is something that the helper refused by itself, before or beside any
// question.
type Refusal struct {
	Kind   RefusalKind `json:"kind"`
	Host   string      `json:"host,omitempty"`
	Port   uint16      `json:"port,omitempty"`
	Detail string      `json:"detail"` // one line, at most MaxDetail bytes
}

// RefusalKind says what was refused.
type RefusalKind string

// The kinds of refusals.
const (
	RefusedName        RefusalKind = "name"        // a name that no rule could allow, or that is none
	RefusedAddress     RefusalKind = "address"     // the name leads to an address that no rule names
	RefusedMismatch    RefusalKind = "mismatch"    // SNI, Host, authority or CONNECT target disagree
	RefusedProtocol    RefusalKind = "protocol"    // what can't be understood, or is not spoken here
	RefusedPlaceholder RefusalKind = "placeholder" // a secret's placeholder where it may not stand
	RefusedCredential  RefusalKind = "credential"  // another credential on a host that a secret is bound to
	RefusedCap         RefusalKind = "cap"         // bytes or connections over the call's bound
)

// Captured is a token in the answer of a token endpoint.
type Captured struct {
	Secret string `json:"secret"` // whose binding names the endpoint
	Field  string `json:"field"`
	Value  []byte `json:"value"`
}
