// SPDX-License-Identifier: Apache-2.0

package api

import (
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
)

// The methods about secrets. A value goes in and never comes out.
const (
	SecretSet    = "secret.set"    // NewSecret → secrets.Secret
	SecretList   = "secret.list"   // Nothing → []secrets.Secret
	SecretShow   = "secret.show"   // SecretRef → secrets.Secret
	SecretRotate = "secret.rotate" // SecretValue → secrets.Secret
	SecretRemove = "secret.remove" // SecretRef → SecretRemoved

	SkillBind     = "skill.bind"     // SkillBinding → SkillBound
	SkillUnbind   = "skill.unbind"   // SkillVariables → Nothing
	SkillBindings = "skill.bindings" // Nothing → []SkillBound

	SecretPlaceholders = "secret.placeholders" // SecretNames → Placeholders, of the asking agent's own box
)

// NewSecret is a secret to be. Its owner is who asks.
type NewSecret struct {
	Name     string           `json:"name"`               // 1 to 128 letters, digits, dots, hyphens and underscores
	Value    []byte           `json:"value"`              // 8 to 8192 bytes of UTF-8 without control characters
	Shape    string           `json:"shape,omitempty"`    // of its placeholders; empty: plain
	Hosts    []string         `json:"hosts"`              // HOST:PORT or *.SUFFIX:PORT
	Places   []packet.Place   `json:"places"`             // in requests there
	Cookies  bool             `json:"cookies,omitempty"`  // whether Cookie passes there beside it
	Captures []packet.Capture `json:"captures,omitempty"` // tokens in answers that become secrets
	Ask      bool             `json:"ask,omitempty"`      // each use takes a person
	Public   bool             `json:"public,omitempty"`   // what is read with it is not private
}

// Metadata is all but the value.
func (n *NewSecret) Metadata() secrets.Secret {
	return secrets.Secret{
		Name: n.Name, Shape: n.Shape, Private: !n.Public, Ask: n.Ask,
		Binding: secrets.Binding{Hosts: n.Hosts, Places: n.Places, Cookies: n.Cookies, Captures: n.Captures},
	}
}

// SecretRef names a secret.
type SecretRef struct {
	Secret string `json:"secret"` // name
}

// SecretValue gives a secret another value.
type SecretValue struct {
	Secret string `json:"secret"` // name
	Value  []byte `json:"value"`  // as of NewSecret
}

// SecretRemoved says what still names a secret that is gone.
type SecretRemoved struct {
	Secret string   `json:"secret"` // name
	Skills []string `json:"skills"` // with a variable that was bound to it: they don't run until that is another, or none
}

// SkillBinding gives a skill's variables secrets, for the bytes that it has now.
type SkillBinding struct {
	Skill     string            `json:"skill"`           // as it is found for a call
	Variables map[string]string `json:"variables"`       // name of the secret, by name of the variable
	Force     bool              `json:"force,omitempty"` // also variables that its manifest doesn't name
}

// SkillVariables names variables of a skill.
type SkillVariables struct {
	Skill     string   `json:"skill"`               // name
	Variables []string `json:"variables,omitempty"` // none: all
}

// SkillBound is what is bound to a skill.
type SkillBound struct {
	Bound  secrets.Bound `json:"bound"`            // by a person
	Wrong  string        `json:"wrong,omitempty"`  // why it doesn't count now
	Wanted []string      `json:"wanted,omitempty"` // variables that its manifest names and that have none; of skill.bind
}

// SecretNames are those that an agent asks for.
type SecretNames struct {
	Names []string `json:"names"` // at most MaxSecretNames
}

// MaxSecretNames bounds SecretNames.
const MaxSecretNames = 64

// Placeholders are what a box has in place of secrets.
type Placeholders struct {
	Placeholders map[string]string `json:"placeholders"`      // by name of the secret
	Missing      []string          `json:"missing,omitempty"` // names that the box has none for
}
