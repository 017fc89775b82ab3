// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const configAgent = `default_profile = "strict"
[[workspace]]
name = "work"
path = "WORK"
[agent]
command = ["/bin/sh", "-c", "true"]
user = 61001
group = 61001
state_dir = "/srv/agent"
profile = "default"
limits.cpu = 2
environment = { HOME = "/srv/agent" }
`

func TestConfigCommands(t *testing.T) {
	b := newBench(t, "")
	base, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	b.write("clawsup.toml", string(base)+strings.Replace(configAgent, "WORK", filepath.Join(b.dir, "work"), 1))

	got := b.nobody("config", "check")
	if want := b.config + " is good: 1 agent, 1 workspace, 1 file\n"; got.status != 0 || got.out != want || got.err != "" {
		t.Errorf("check: %+v", got)
	}
	got = b.nobody("config", "show")
	if got.status != 0 || got.err != "" {
		t.Errorf("show: %+v", got)
	}
	for _, want := range []string{
		"\nslots = 64 ", "\ndefault_profile = \"strict\" ", b.config + ":7\n", "\n[calls]\nconcurrency = 16 ", "# default\n",
		"\n[[agent]]\nname = \"agent\" ", "\nlimits.cpu = 2.0 ", "\nenvironment.HOME = \"/srv/agent\" ",
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("show lacks %q:\n%s", want, got.out)
		}
	}
	// what it shows is a configuration that says the same
	again := b.write("again.toml", got.out)
	values := func(args ...string) map[string]any {
		got := b.nobody(args...)
		var list []struct {
			Key    string
			Value  any
			Origin *string
		}
		if err := json.Unmarshal([]byte(got.out), &list); err != nil {
			t.Fatalf("%v: %+v", err, got)
		}
		all := map[string]any{}
		for _, s := range list {
			text, err := json.Marshal(s.Value)
			if err != nil {
				t.Fatal(err)
			}
			all[s.Key] = string(text)
		}
		return all
	}
	one, two := values("config", "show", "--json"), values("config", "show", "--json", "--config", again)
	if len(one) < 60 || len(one) != len(two) {
		t.Errorf("%d and %d values", len(one), len(two))
	}
	for key, value := range one {
		if two[key] != value {
			t.Errorf("%s is %v, and shown as a file %v", key, value, two[key])
		}
	}

	broken := b.write("broken.toml", "slot = 1\n[agent]\nusr = 1\n")
	got = b.nobody("config", "check", broken)
	if got.status != exitFault || got.out != "" || got.err != "clawsup: "+broken+":1: unknown key slot; did you mean slots?\nclawsup: "+broken+":3: unknown key agent.agent.usr; did you mean agent.agent.user?\n" {
		t.Errorf("check of a broken one: %+v", got)
	}
	gone := b.write("gone.toml", "default_profile = \"gone\"\n[[workspace]]\nname = \"w\"\npath = \"/srv/no-such-directory-here\"\n")
	got = b.nobody("config", "check", gone)
	if got.status != exitFault || !strings.Contains(got.err, gone+":1: default_profile: ") || !strings.Contains(got.err, gone+":4: workspace.w.path: ") {
		t.Errorf("check of one that names what is not there: %+v", got)
	}
}
