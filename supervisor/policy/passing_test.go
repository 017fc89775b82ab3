// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"testing"

	"github.com/clawsup/clawsup/profiles"
)

func TestPassings(t *testing.T) {
	rule := func(host string, d profiles.Decision, through profiles.Through, ports ...uint16) Rule {
		return Rule{Effect: NetConnect, Decision: d, Network: &profiles.NetworkRule{Host: host, Ports: ports, Through: through}}
	}
	rules := []Rule{
		rule("*.example.com", profiles.Allow, profiles.ThroughTLS, 443, 8443),
		rule("api.example.com", profiles.Ask, profiles.ThroughHTTP, 443),
		rule("api.example.com", profiles.Allow, profiles.ThroughTCP, 22, 8443),
		rule("*.example.com", profiles.Allow, profiles.ThroughTCP, 443),
		rule("api.example.com", profiles.Deny, profiles.ThroughTCP, 25),
		rule("192.0.2.7", profiles.Allow, profiles.ThroughTCP, 5432),
		{Effect: NetConnect, Decision: profiles.Ask},
	}
	for host, want := range map[string][]Passing{
		"api.example.com": {{22, profiles.ThroughTCP}, {8443, profiles.ThroughTCP}},
		"www.example.com": {{443, profiles.ThroughTLS}, {8443, profiles.ThroughTLS}},
		"example.com":     nil,
		"192.0.2.7":       {{5432, profiles.ThroughTCP}},
		"192.0.2.8":       nil,
	} {
		if got := Passings(rules, host); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

func TestFieldNames(t *testing.T) {
	rules := []Rule{
		{Network: &profiles.NetworkRule{Fields: map[string][]string{"chat_id": {"1"}, "a": {"b"}}}},
		{Network: &profiles.NetworkRule{Fields: map[string][]string{"chat_id": {"2"}}}},
		{Effect: Exec},
	}
	if got := FieldNames(rules); !slices.Equal(got, []string{"a", "chat_id"}) {
		t.Errorf("%q", got)
	}
}

func TestPlain(t *testing.T) {
	rules := []Rule{
		{Effect: NetRequest, Decision: profiles.Ask, Network: &profiles.NetworkRule{Host: "*.example.com", Ports: []uint16{80, 8080}, Scheme: "http"}},
		{Effect: NetRequest, Decision: profiles.Deny, Network: &profiles.NetworkRule{Host: "www.example.org", Ports: []uint16{80}, Scheme: "http"}},
		{Effect: NetRequest, Decision: profiles.Allow, Network: &profiles.NetworkRule{Host: "www.example.net", Ports: []uint16{80}, Scheme: "https"}},
		{Effect: NetRequest, Decision: profiles.Allow},
	}
	for _, c := range []struct {
		host string
		port uint16
		want bool
	}{
		{"www.example.com", 80, true}, {"www.example.com", 8080, true}, {"www.example.com", 443, false},
		{"example.com", 80, false}, {"www.example.org", 80, false}, {"www.example.net", 80, false}, {"192.0.2.1", 80, false},
	} {
		if got := Plain(rules, c.host, c.port); got != c.want {
			t.Errorf("%s:%d: %v", c.host, c.port, got)
		}
	}
}
