// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds of a manifest.
const (
	MaxManifest    = 256 << 10 // bytes of what clawsup-inspect prints
	MaxDescription = 1024      // characters (AgentSkills format)
	MaxText        = 4096      // bytes of any other text
	MaxItems       = 64        // of any one list or map
	MaxWarnings    = 32
)

// Manifest is the front matter of a SKILL.md, in the fields of the AgentSkills
// format and of OpenClaw's extension of it. All of it was written by a stranger.
// It asks; it never grants: nothing in it widens a box.
type Manifest struct {
	Name          string            `json:"name"`
	Description   string            `json:"description"`
	License       string            `json:"license,omitempty"`
	Compatibility string            `json:"compatibility,omitempty"`
	AllowedTools  []string          `json:"allowedTools,omitempty"` // such as "Bash(git:*)"; shown, not obeyed
	Metadata      map[string]string `json:"metadata,omitempty"`     // its plain values, without OpenClaw's part
	OpenClaw      OpenClaw          `json:"openclaw"`
	Warnings      []string          `json:"warnings,omitempty"` // what was read but means nothing here
}

// OpenClaw is metadata.openclaw (https://docs.openclaw.ai/clawhub/skill-format).
type OpenClaw struct {
	Requires   Requires  `json:"requires"`
	PrimaryEnv string    `json:"primaryEnv,omitempty"`
	EnvVars    []EnvVar  `json:"envVars,omitempty"`
	OS         []string  `json:"os,omitempty"`
	Install    []Install `json:"install,omitempty"`
}

// Requires is what must be there for the skill to work.
type Requires struct {
	Bins    []string `json:"bins,omitempty"`    // programs, all of them
	AnyBins []string `json:"anyBins,omitempty"` // programs, at least one of them
	Env     []string `json:"env,omitempty"`     // environment variables
	Config  []string `json:"config,omitempty"`  // configuration keys or files
}

// EnvVar is one environment variable that the skill reads.
type EnvVar struct {
	Name        string `json:"name"`
	Required    bool   `json:"required"`
	Description string `json:"description,omitempty"`
}

// Install is one way to get what the skill requires. It is shown to people and
// never carried out.
type Install struct {
	ID      string   `json:"id,omitempty"`
	Kind    string   `json:"kind,omitempty"` // brew, node, go, uv, download
	Label   string   `json:"label,omitempty"`
	Formula string   `json:"formula,omitempty"`
	Package string   `json:"package,omitempty"`
	Module  string   `json:"module,omitempty"`
	URL     string   `json:"url,omitempty"`
	SHA256  string   `json:"sha256,omitempty"`
	Bins    []string `json:"bins,omitempty"`
	OS      []string `json:"os,omitempty"`
}

// InspectError is what clawsup-inspect says about a SKILL.md that it refuses.
type InspectError struct {
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"` // of SKILL.md, counted from 1; 0 when it is about no one line
}

func (e *InspectError) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s line %d: %s", skillFile, e.Line, e.Message)
	}
	return fmt.Sprintf("%s: %s", skillFile, e.Message)
}

// Inspection is the one JSON object that clawsup-inspect prints: exactly one of
// the two is there.
type Inspection struct {
	Manifest *Manifest     `json:"manifest,omitempty"`
	Error    *InspectError `json:"error,omitempty"`
}

// DecodeManifest reads what clawsup-inspect printed. The program that printed it
// had read hostile bytes and may not be itself any more, so: at most MaxManifest
// bytes, one object, no unknown field, no text that a terminal would act on. The
// error is an *InspectError when that is what clawsup-inspect had to say.
func DecodeManifest(out []byte) (Manifest, error) {
	if len(out) > MaxManifest {
		return Manifest{}, fmt.Errorf("clawsup-inspect printed %d bytes, at most %d are read", len(out), MaxManifest)
	}
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	var in Inspection
	if err := d.Decode(&in); err != nil {
		return Manifest{}, fmt.Errorf("clawsup-inspect printed something else than a manifest: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Manifest{}, errors.New("clawsup-inspect printed more than one manifest")
	}
	switch {
	case (in.Manifest == nil) == (in.Error == nil):
		return Manifest{}, errors.New("clawsup-inspect printed not exactly one of a manifest and an error")
	case in.Error != nil:
		if err := checkText("the message of clawsup-inspect", in.Error.Message, ""); err != nil {
			return Manifest{}, err
		}
		return Manifest{}, in.Error
	}
	if err := in.Manifest.check(); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", skillFile, err)
	}
	return *in.Manifest, nil
}

// Validate checks the manifest against the AgentSkills format, for a skill in a
// folder of this name: name as in the folder, description of 1 to 1024
// characters; and against the bounds of this package: required programs are
// plain names, lists are short, texts hold nothing that a terminal acts on.
func (m Manifest) Validate(folder string) error {
	if err := checkName(m.Name); err != nil {
		return fmt.Errorf("%s: name: %w", skillFile, err)
	}
	if m.Name != folder {
		return fmt.Errorf("%s: the name is %s but the folder is %s; they must be the same, rename one of them", skillFile, quote(m.Name), quote(folder))
	}
	if strings.TrimSpace(m.Description) == "" {
		return fmt.Errorf("%s: there is no description; say in a sentence what the skill does and when to use it", skillFile)
	}
	if n := utf8.RuneCountInString(m.Description); n > MaxDescription {
		return fmt.Errorf("%s: the description has %d characters, at most %d are allowed", skillFile, n, MaxDescription)
	}
	if err := m.check(); err != nil {
		return fmt.Errorf("%s: %w", skillFile, err)
	}
	return nil
}

// check holds the manifest to the bounds of this package.
func (m Manifest) check() error {
	for _, t := range []struct{ what, s string }{
		{"name", m.Name},
		{"license", m.License},
		{"compatibility", m.Compatibility},
		{"metadata.openclaw.primaryEnv", m.OpenClaw.PrimaryEnv},
	} {
		if err := checkText(t.what, t.s, "\n\t"); err != nil {
			return err
		}
	}
	// A description may be longer than other texts in bytes, its characters are
	// counted by Validate; and emoji are joined by U+200D.
	if r, bad := unprintable(m.Description, "\n\t\u200d"); bad {
		return fmt.Errorf("description has the character %+q, which can't be shown", r)
	}
	if len(m.Metadata) > MaxItems {
		return fmt.Errorf("metadata has %d entries, at most %d are allowed", len(m.Metadata), MaxItems)
	}
	for k, v := range m.Metadata {
		if err := errors.Join(checkText("a key of metadata", k, ""), checkText("metadata "+quote(k), v, "\n\t")); err != nil {
			return err
		}
	}
	req := m.OpenClaw.Requires
	for _, l := range []struct {
		what  string
		items []string
		most  int
		bins  bool
	}{
		{"allowed-tools", m.AllowedTools, MaxItems, false},
		{"metadata.openclaw.requires.bins", req.Bins, MaxItems, true},
		{"metadata.openclaw.requires.anyBins", req.AnyBins, MaxItems, true},
		{"metadata.openclaw.requires.env", req.Env, MaxItems, false},
		{"metadata.openclaw.requires.config", req.Config, MaxItems, false},
		{"metadata.openclaw.os", m.OpenClaw.OS, MaxItems, false},
		{"warnings", m.Warnings, MaxWarnings, false},
	} {
		if err := checkList(l.what, l.items, l.most, l.bins); err != nil {
			return err
		}
	}
	return m.OpenClaw.check()
}

func (o OpenClaw) check() error {
	if n := max(len(o.EnvVars), len(o.Install)); n > MaxItems {
		return fmt.Errorf("metadata.openclaw.envVars or install has %d entries, at most %d are allowed", n, MaxItems)
	}
	for _, v := range o.EnvVars {
		err := errors.Join(
			checkText("metadata.openclaw.envVars.name", v.Name, ""),
			checkText("metadata.openclaw.envVars.description", v.Description, "\n\t"))
		if err != nil {
			return err
		}
	}
	for _, in := range o.Install {
		for _, s := range []string{in.ID, in.Kind, in.Label, in.Formula, in.Package, in.Module, in.URL, in.SHA256} {
			if err := checkText("metadata.openclaw.install", s, ""); err != nil {
				return err
			}
		}
		err := errors.Join(
			checkList("metadata.openclaw.install.bins", in.Bins, MaxItems, true),
			checkList("metadata.openclaw.install.os", in.OS, MaxItems, false))
		if err != nil {
			return err
		}
	}
	return nil
}

func checkList(what string, items []string, most int, bins bool) error {
	if len(items) > most {
		return fmt.Errorf("%s has %d entries, at most %d are allowed", what, len(items), most)
	}
	for _, s := range items {
		if err := checkText(what, s, ""); err != nil {
			return err
		}
		if bins && !isProgram(s) {
			return fmt.Errorf("%s names %s, which is not the plain name of a program (such as \"git\")", what, quote(s))
		}
	}
	return nil
}

// isProgram says whether s can be looked up in PATH and means nothing else.
func isProgram(s string) bool {
	if s == "" || len(s) > MaxFileName || s[0] == '-' || s[0] == '.' {
		return false
	}
	for _, r := range s {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', strings.ContainsRune("._+-@", r):
		default:
			return false
		}
	}
	return true
}

func checkText(what, s, allowed string) error {
	if len(s) > MaxText {
		return fmt.Errorf("%s has %d bytes, at most %d are allowed", what, len(s), MaxText)
	}
	if r, bad := unprintable(s, allowed); bad {
		return fmt.Errorf("%s has the character %+q, which can't be shown: %s", what, r, quote(s))
	}
	return nil
}
