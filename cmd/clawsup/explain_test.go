// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExplainEffect(t *testing.T) {
	b := newBench(t, "")
	b.profile("asking", "[effects]\nexec = \"ask\"\n")
	for _, c := range []struct {
		args     string
		decision string
		rule     string
	}{
		{"exec", "allow", "profile default has effects.exec"},
		{"--profile asking exec", "ask", b.dir + "/profiles/asking.toml"},
		{"net.connect api.example.com:443", "deny", "network.mode"},
		{"--labels untrusted,private fs.modify docs/plan.md", "ask", "effects.fs_modify"},
		{"--profile readonly fs.modify docs/plan.md", "deny", "workspace.mode"},
		{"secret.use token", "deny", "names no secret"},
	} {
		got := b.nobody(append([]string{"explain", "--json"}, strings.Fields(c.args)...)...)
		var said struct {
			Decision, Rule string
			Lines          []string
		}
		if err := json.Unmarshal([]byte(got.out), &said); err != nil || got.status != 0 {
			t.Errorf("%s: %v, %+v", c.args, err, got)
			continue
		}
		if said.Decision != c.decision || !strings.Contains(said.Rule, c.rule) {
			t.Errorf("%s: %+v", c.args, said)
		}
		if got := b.nobody(append([]string{"explain"}, strings.Fields(c.args)...)...); got.status != 0 || got.out != strings.Join(said.Lines, "\n")+"\n" {
			t.Errorf("%s, for people: %+v", c.args, got)
		}
	}
	if got := b.nobody("explain", "--profile", "nope", "exec"); got.status != 1 || !strings.Contains(got.err, "no profile") {
		t.Errorf("%+v", got)
	}
}
