// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/clawsup/clawsup/skills"
)

// planned are ingredients by what they are of.
func planned(b *testing.B) map[string]Ingredients {
	b.Helper()
	named, session, asked, skill, worked := ingredients(b), ingredients(b), ingredients(b), ingredients(b), ingredients(b)
	named.Request.Args = []string{"true"}
	dir := b.TempDir()
	session.Request.Args = []string{"true"}
	session.Request.Session, session.Request.Called = "s-1", "work"
	session.Request.Trees = &Trees{Workspace: dir, Tmp: dir}
	asked.Profile = profileOf(b, "[effects]\nexec = \"ask\"")
	if err := os.WriteFile(filepath.Join(dir, "run.sh"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		b.Fatal(err)
	}
	skill.Skill = &skills.Skill{Name: "s", Digest: "sha256:1", Dir: dir, Source: dir}
	skill.Request.Skill, skill.Request.Args = "s", []string{"/bin/true"}
	w, err := openWorkspace(dir, []string{"/etc/clawsup", "/var/lib/clawsup", "/var/lib/clawsup/skills", "/run/clawsup"}, []string{"/var/lib/clawsup/audit.head"})
	if err != nil {
		b.Fatal(err)
	}
	worked.Workspace = &w
	worked.Profile = profileOf(b, "[workspace]\nmode = \"ro\"")
	worked.Request.Args = []string{"true"}
	return map[string]Ingredients{"command": named, "session": session, "asked": asked, "skill": skill, "workspace": worked}
}

// BenchmarkPlan is a plan from its ingredients, by what it is of.
func BenchmarkPlan(b *testing.B) {
	for name, in := range planned(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := makePlan(b, in).Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerify is the comparison right before the start.
func BenchmarkVerify(b *testing.B) {
	for name, in := range planned(b) {
		p := makePlan(b, in)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Verify(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	p := makePlan(b, planned(b)["command"])
	b.ReportAllocs()
	for b.Loop() {
		p.digest()
	}
}

// BenchmarkWorkspace is the look at a directory that a call names.
func BenchmarkWorkspace(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "a", "b")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	c := DefaultsFor("")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := openWorkspace(dir, c.own(), c.ownFiles()); err != nil {
			b.Fatal(err)
		}
	}
}
