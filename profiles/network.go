// SPDX-License-Identifier: Apache-2.0

package profiles

import "net/netip"

// Network is what the box can reach.
type Network struct {
	Mode NetworkMode `toml:"mode"`
	// Default is what happens to what no rule of any level is about: Ask or Deny.
	Default  Decision `toml:"default"`
	Loopback bool     `toml:"loopback"` // the box's own 127.0.0.1, where programs test themselves
	// Levels are what the files of the chain say that have rules or a default, the
	// oldest ancestor first. Each decides by itself, and the strictest counts.
	Levels []NetworkLevel `toml:"level"`
}

// NetworkMode is what the box can reach beyond itself.
type NetworkMode string

const (
	NetworkNone   NetworkMode = "none"   // nothing
	NetworkEgress NetworkMode = "egress" // what rules and people let through clawsup-egress
)

// NetworkLevel is what one file of a chain says of destinations.
type NetworkLevel struct {
	Rules []NetworkRule `toml:"rule"`
	// Default is what happens to what none of Rules is about: Ask or Deny. Empty: the level
	// says nothing of it, and the others decide; the first level always has one.
	Default Decision `toml:"default"`
	Origin  string   `toml:"origin"` // a path or "built in: NAME"
}

// NetworkRule is a decision about destinations. What a rule that allows or asks
// doesn't name is the narrow usual, and what one that denies doesn't name is
// everything: see each field.
type NetworkRule struct {
	Host    string   `toml:"host"`              // a name, *.NAME for all below it, or an address; see [CheckHost]
	Ports   []uint16 `toml:"ports,omitempty"`   // sorted; of a denial nil is every one
	Scheme  string   `toml:"scheme,omitempty"`  // "http" or "https"; empty: no request, or of a denial either
	Through Through  `toml:"through,omitempty"` // of a denial empty is every way

	Methods []string            `toml:"methods,omitempty"` // nil: every one; WEBSOCKET is the upgrade
	Paths   []string            `toml:"paths,omitempty"`   // nil: every one; exact or DIR/**, as [NormalPath] spells them
	Fields  map[string][]string `toml:"fields,omitempty"`  // of query and body: each must be there, with these values alone

	Addresses []netip.Prefix `toml:"addresses,omitempty"` // networks that are not public, which the name may lead to
	Decision  Decision       `toml:"decision"`
	Origin    string         `toml:"origin"` // "FILE:LINE"
}

// Through is how far clawsup-egress looks into what passes.
type Through string

const (
	ThroughHTTP Through = "http" // each request, with TLS ended where there is any
	ThroughTLS  Through = "tls"  // unopened, for the name that the client sends
	ThroughTCP  Through = "tcp"  // bytes
)

// WebSocket is the method by which rules and targets name the upgrade of a
// connection to the WebSocket protocol (RFC 6455), which is a GET on the wire.
const WebSocket = "WEBSOCKET"
