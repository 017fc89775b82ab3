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
	Name     string
	Shape    string
	Variable string // of the environment, that programs read it from
	Binding  Binding
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
	{"anthropic", "anthropic", "ANTHROPIC_API_KEY", to("api.anthropic.com:443", header("X-Api-Key"), bearer)},
	{"brave", Prefix + "BSA", "BRAVE_API_KEY", to("api.search.brave.com:443", header("X-Subscription-Token"))},
	{"deepseek", "openai", "DEEPSEEK_API_KEY", to("api.deepseek.com:443", bearer)},
	{"discord", "discord", "DISCORD_BOT_TOKEN", Binding{
		Hosts:  []string{"discord.com:443", "*.discord.gg:443"},
		Places: []packet.Place{bearer, {Kind: packet.WebSocket, Name: "d.token"}},
	}},
	{"github", "github", "GITHUB_TOKEN", Binding{
		Hosts:  []string{"api.github.com:443", "uploads.github.com:443", "github.com:443"},
		Places: []packet.Place{bearer, {Kind: packet.Basic, Name: "password"}, {Kind: packet.Basic, Name: "user"}},
	}},
	{"gitlab", "gitlab", "GITLAB_TOKEN", to("gitlab.com:443", bearer, header("Private-Token"), packet.Place{Kind: packet.Basic, Name: "password"})},
	{"google", "google", "GEMINI_API_KEY", to("generativelanguage.googleapis.com:443", header("X-Goog-Api-Key"), packet.Place{Kind: packet.QueryItem, Name: "key"}, bearer)},
	{"groq", "groq", "GROQ_API_KEY", to("api.groq.com:443", bearer)},
	{"huggingface", "huggingface", "HF_TOKEN", Binding{Hosts: []string{"huggingface.co:443", "router.huggingface.co:443"}, Places: []packet.Place{bearer}}},
	{"mistral", Letters, "MISTRAL_API_KEY", to("api.mistral.ai:443", bearer)},
	{"openai", "openai", "OPENAI_API_KEY", to("api.openai.com:443", bearer)},
	{"openrouter", "openrouter", "OPENROUTER_API_KEY", to("openrouter.ai:443", bearer)},
	{"slack", "slack-bot", "SLACK_BOT_TOKEN", Binding{
		Hosts:  []string{"slack.com:443", "files.slack.com:443"},
		Places: []packet.Place{bearer, {Kind: packet.Form, Name: "token"}},
	}},
	{"slack-app", "slack-app", "SLACK_APP_TOKEN", to("slack.com:443", bearer)},
	{"telegram", "telegram", "TELEGRAM_BOT_TOKEN", to("api.telegram.org:443", inPath)},
	{"xai", Prefix + "xai-", "XAI_API_KEY", to("api.x.ai:443", bearer)},
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

// ProviderOf gives the name of the provider whose secret programs read from a
// variable, or nothing.
func ProviderOf(variable string) string {
	for _, p := range providers {
		if p.Variable == variable {
			return p.Name
		}
	}
	return ""
}
