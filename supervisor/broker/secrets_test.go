// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	built "github.com/clawsup/clawsup/runtime/programs"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
)

const secretValue = "the-value-that-nobody-sees-4711"

// newSecret is one that goes to a model provider.
func newSecret(name string) api.NewSecret {
	return api.NewSecret{
		Name: name, Value: []byte(secretValue), Shape: "openai", Hosts: []string{"api.example.com:443"},
		Places: []packet.Place{{Kind: packet.Header, Name: "Authorization"}},
	}
}

// TestSecrets: a value goes in, is kept, and is in no answer, no receipt and no
// file as it is.
func TestSecrets(t *testing.T) {
	h := begin(t, "")
	admin := h.dial("admin")
	made := ask[secrets.Secret](t, admin, api.SecretSet, newSecret("model"))
	if made.Name != "model" || !strings.HasPrefix(made.Owner, "uid 0") || !made.Private || made.Created.IsZero() {
		t.Errorf("%+v", made)
	}
	plain := newSecret("other")
	plain.Shape, plain.Public, plain.Ask = "", true, true
	if got := ask[secrets.Secret](t, admin, api.SecretSet, plain); got.Private || !got.Ask || got.Shape != secrets.Plain {
		t.Errorf("%+v", got)
	}
	for _, c := range []struct {
		method string
		params any
		code   api.Code
	}{
		{api.SecretSet, newSecret("model"), api.CodeConflict},
		{api.SecretSet, newSecret("../model"), api.CodeParams},
		{api.SecretSet, api.NewSecret{Name: "x", Value: []byte(secretValue)}, api.CodeParams},
		{api.SecretShow, api.SecretRef{Secret: "nobody"}, api.CodeNotFound},
		{api.SecretRotate, api.SecretValue{Secret: "nobody", Value: []byte(secretValue)}, api.CodeNotFound},
		{api.SecretRotate, api.SecretValue{Secret: "model", Value: []byte(secretValue + "\n")}, api.CodeParams},
		{api.SecretRemove, api.SecretRef{Secret: "nobody"}, api.CodeNotFound},
	} {
		_, err := try[json.RawMessage](admin, c.method, c.params)
		if api.CodeOf(err) != c.code || strings.Contains(err.Error(), secretValue) {
			t.Errorf("%s %v: %v", c.method, c.params, err)
		}
	}
	rotated := ask[secrets.Secret](t, admin, api.SecretRotate, api.SecretValue{Secret: "model", Value: []byte(secretValue + "-2")})
	if got := ask[secrets.Secret](t, admin, api.SecretShow, api.SecretRef{Secret: "model"}); !reflect.DeepEqual(got, rotated) {
		t.Errorf("%+v, want %+v", got, rotated)
	}
	removed := ask[api.SecretRemoved](t, admin, api.SecretRemove, api.SecretRef{Secret: "other"})
	if removed.Secret != "other" || len(removed.Skills) != 0 {
		t.Errorf("%+v", removed)
	}
	h.stop()
	h.start()
	if list := ask[[]secrets.Secret](t, h.dial("admin"), api.SecretList, api.Nothing{}); len(list) != 1 || list[0].Name != "model" {
		t.Errorf("%+v", list)
	}
	v, err := h.broker.vault.store.Value("model")
	if err != nil || string(v.Bytes()) != secretValue+"-2" {
		t.Errorf("%v", err)
	}
	v.Close()
	log := ""
	if err := filepath.WalkDir(h.dir+"/state", func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(file)
		if strings.Contains(string(text), secretValue) {
			t.Errorf("%s has the value", file)
		}
		if strings.Contains(file, "/audit/") {
			log += string(text)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"set secret"`, `"rotate secret"`, `"remove secret"`, "api.example.com:443", "header:Authorization"} {
		if !strings.Contains(log, want) {
			t.Errorf("no receipt has %s", want)
		}
	}
}

// TestSecretsAreRoots: on no other socket than root's.
func TestSecretsAreRoots(t *testing.T) {
	h := begin(t, "")
	for _, socket := range []string{"approval", "call"} {
		for _, method := range []string{api.SecretSet, api.SecretList, api.SecretShow, api.SecretRotate, api.SecretRemove, api.SkillBind, api.SkillUnbind, api.SkillBindings} {
			if _, err := try[json.RawMessage](h.dial(socket), method, api.Nothing{}); api.CodeOf(err) != api.CodeMethod {
				t.Errorf("%s on %s: %v", method, socket, err)
			}
		}
	}
	if _, err := try[json.RawMessage](h.dial("admin"), api.SecretPlaceholders, api.Nothing{}); api.CodeOf(err) != api.CodeMethod {
		t.Error(err)
	}
	if _, err := try[api.Placeholders](h.dial("call"), api.SecretPlaceholders, api.SecretNames{Names: []string{"model"}}); api.CodeOf(err) != api.CodeNotFound {
		t.Error(err)
	}
}

const weatherSkill = `---
name: weather
description: Tells the weather.
metadata: {"openclaw": {"requires": {"env": ["WEATHER_KEY"]}, "primaryEnv": "MODEL_KEY"}}
---
`

// TestSkillBindings: what a person bound counts for the bytes that the skill had.
func TestSkillBindings(t *testing.T) {
	h := newHost(t, "")
	h.write("skills/weather/SKILL.md", weatherSkill)
	h.start()
	admin := h.dial("admin")
	ask[secrets.Secret](t, admin, api.SecretSet, newSecret("model"))
	bind := func(force bool, pairs ...string) (api.SkillBound, error) {
		variables := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			variables[pairs[i]] = pairs[i+1]
		}
		return try[api.SkillBound](admin, api.SkillBind, api.SkillBinding{Skill: "weather", Variables: variables, Force: force})
	}
	if _, err := bind(false, "WHETHER_KEY", "model"); api.CodeOf(err) != api.CodeParams || !strings.Contains(err.Error(), "MODEL_KEY, WEATHER_KEY") || !strings.Contains(err.Error(), "--force") {
		t.Error(err)
	}
	if _, err := bind(false, "WEATHER_KEY", "nobody"); api.CodeOf(err) != api.CodeNotFound {
		t.Error(err)
	}
	got, err := bind(false, "WEATHER_KEY", "model")
	if err != nil || got.Bound.Skill != "weather" || !slices.Equal(got.Wanted, []string{"MODEL_KEY"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = bind(true, "OTHER", "model"); err != nil || len(got.Bound.Variables) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	state := func() api.SkillBound {
		t.Helper()
		list := ask[[]api.SkillBound](t, admin, api.SkillBindings, api.Nothing{})
		if len(list) != 1 {
			t.Fatalf("%+v", list)
		}
		return list[0]
	}
	if one := state(); one.Wrong != "" {
		t.Errorf("%+v", one)
	}
	h.write("skills/weather/SKILL.md", weatherSkill+"Also runs things.\n")
	if one := state(); !strings.Contains(one.Wrong, "has changed since") || !strings.Contains(one.Wrong, "look at the skill") {
		t.Errorf("%+v", one)
	}
	h.write("skills/weather/SKILL.md", weatherSkill)
	if removed := ask[api.SecretRemoved](t, admin, api.SecretRemove, api.SecretRef{Secret: "model"}); !slices.Equal(removed.Skills, []string{"weather"}) {
		t.Errorf("%+v", removed)
	}
	if one := state(); !strings.Contains(one.Wrong, "no such secret") {
		t.Errorf("%+v", one)
	}
	ask[api.Nothing](t, admin, api.SkillUnbind, api.SkillVariables{Skill: "weather", Variables: []string{"OTHER"}})
	if one := state(); len(one.Bound.Variables) != 1 {
		t.Errorf("%+v", one)
	}
	ask[api.Nothing](t, admin, api.SkillUnbind, api.SkillVariables{Skill: "weather"})
	if _, err := try[api.Nothing](admin, api.SkillUnbind, api.SkillVariables{Skill: "weather"}); api.CodeOf(err) != api.CodeNotFound {
		t.Error(err)
	}
}

// TestAgentsPlaceholders: an agent in its box gets placeholders of the secrets in
// its profile by OpenClaw's protocol, of no others, and no value.
func TestAgentsPlaceholders(t *testing.T) {
	if err := built.Build(programs, "clawsup"); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, "")
	h.write("profiles/gateway.toml", "extends = \"default\"\n[network]\nmode = \"egress\"\n[secrets]\nMODEL_KEY = \"model\"\n")
	script := h.write("programs/ask.sh", `#!/bin/sh
for ids in '"model","other"' '"nobody"'; do
	echo '{"protocolVersion":1,"provider":"clawsup","ids":['"$ids"']}' | `+programs+`/clawsup secret exec-provider 2>&1
done
echo "{\"env\":\"$MODEL_KEY\"}"
`)
	h.setAgent([]string{"/bin/sh", script}, "profile = \"gateway\"\nnetwork = \"egress\"\n")
	config := strings.Replace(h.read("clawsup.toml"), `read = ["`+h.dir+`/programs"]`, `read = ["`+h.dir+`/programs", "`+programs+`/clawsup"]`, 1)
	h.write("clawsup.toml", config)
	h.start()
	admin := h.dial("admin")
	ask[secrets.Secret](t, admin, api.SecretSet, newSecret("model"))
	ask[secrets.Secret](t, admin, api.SecretSet, newSecret("other"))
	lines := h.runAgent()
	if len(lines) != 3 {
		t.Fatalf("%v", lines)
	}
	values, _ := lines[0]["values"].(map[string]any)
	wrong, _ := lines[0]["errors"].(map[string]any)
	placeholder, _ := values["model"].(string)
	if !strings.HasPrefix(placeholder, "sk-") || len(values) != 1 || wrong["other"] == nil {
		t.Errorf("%v", lines[0])
	}
	if wrong, _ := lines[1]["errors"].(map[string]any); wrong["nobody"] == nil {
		t.Errorf("%v", lines[1])
	}
	if lines[2]["env"] != placeholder {
		t.Errorf("in its environment: %v, by the protocol: %s", lines[2], placeholder)
	}
	for _, l := range lines {
		for _, text := range l {
			if said, _ := text.(string); strings.Contains(said, secretValue) {
				t.Errorf("the agent has the value: %v", l)
			}
		}
	}
}
