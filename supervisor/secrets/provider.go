// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"slices"
	"strings"

	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Provider is what a secret of a well-known service is bound to.
type Provider struct {
	Name    string
	Shape   string
	Binding Binding
}

// Places that many have.
var (
	bearer = packet.Place{Kind: packet.Header, Name: "Authorization"}
	inPath = packet.Place{Kind: packet.Path}
)

func header(name string) packet.Place { return packet.Place{Kind: packet.Header, Name: name} }

func to(host string, places ...packet.Place) Binding {
	return Binding{Hosts: []string{host}, Places: places}
}

// providers is the table: the hosts and places that each documents for its API.
var providers = []Provider{
	{"anthropic", "anthropic", to("api.anthropic.com:443", header("X-Api-Key"), bearer)},
	{"brave", Prefix + "BSA", to("api.search.brave.com:443", header("X-Subscription-Token"))},
	{"deepseek", "openai", to("api.deepseek.com:443", bearer)},
	{"discord", "discord", Binding{
		Hosts:  []string{"discord.com:443", "*.discord.gg:443"},
		Places: []packet.Place{bearer, {Kind: packet.WebSocket, Name: "d.token"}},
	}},
	{"github", "github", Binding{
		Hosts:  []string{"api.github.com:443", "uploads.github.com:443", "github.com:443"},
		Places: []packet.Place{bearer, {Kind: packet.Basic, Name: "password"}, {Kind: packet.Basic, Name: "user"}},
	}},
	{"gitlab", "gitlab", to("gitlab.com:443", bearer, header("Private-Token"), packet.Place{Kind: packet.Basic, Name: "password"})},
	{"google", "google", to("generativelanguage.googleapis.com:443", header("X-Goog-Api-Key"), packet.Place{Kind: packet.QueryItem, Name: "key"}, bearer)},
	{"groq", "groq", to("api.groq.com:443", bearer)},
	{"huggingface", "huggingface", Binding{Hosts: []string{"huggingface.co:443", "router.huggingface.co:443"}, Places: []packet.Place{bearer}}},
	{"mistral", Letters, to("api.mistral.ai:443", bearer)},
	{"openai", "openai", to("api.openai.com:443", bearer)},
	{"openrouter", "openrouter", to("openrouter.ai:443", bearer)},
	{"slack", "slack-bot", Binding{
		Hosts:  []string{"slack.com:443", "files.slack.com:443"},
		Places: []packet.Place{bearer, {Kind: packet.Form, Name: "token"}},
	}},
	{"slack-app", "slack-app", to("slack.com:443", bearer)},
	{"telegram", "telegram", to("api.telegram.org:443", inPath)},
	{"xai", Prefix + "xai-", to("api.x.ai:443", bearer)},
}

// Providers gives the names of the table.
func Providers() []string {
	var names []string
	for _, p := range providers {
		names = append(names, p.Name)
	}
	return names
}

// FindProvider gives one of the table.
func FindProvider(name string) (Provider, error) {
	for _, p := range providers {
		if p.Name == name {
			p.Binding.Hosts, p.Binding.Places = slices.Clone(p.Binding.Hosts), slices.Clone(p.Binding.Places)
			return p, nil
		}
	}
	if near, ok := spell.Nearest(name, Providers()); ok {
		return Provider{}, invalidf("there is no provider %s; did you mean %s?", visible.Quote(name), near)
	}
	return Provider{}, invalidf("there is no provider %s; there are %s", visible.Quote(name), strings.Join(Providers(), ", "))
}
