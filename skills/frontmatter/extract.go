// SPDX-License-Identifier: Apache-2.0

package frontmatter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/skills"
)

// field takes one key of a mapping into the manifest.
type field func(x *extractor, v pair) error

// extractor fills a manifest.
type extractor struct {
	m skills.Manifest
}

// topFields are the keys of front matter. nil: known, and of no use here.
var topFields = map[string]field{
	"name":                     textField(func(m *skills.Manifest) *string { return &m.Name }),
	"description":              textField(func(m *skills.Manifest) *string { return &m.Description }),
	"license":                  textField(func(m *skills.Manifest) *string { return &m.License }),
	"compatibility":            textField(func(m *skills.Manifest) *string { return &m.Compatibility }),
	"allowed-tools":            allowedTools,
	"metadata":                 metadata,
	"version":                  nil,
	"homepage":                 nil,
	"author":                   nil,
	"emoji":                    nil,
	"user-invocable":           nil,
	"disable-model-invocation": nil,
	"command-dispatch":         nil,
	"command-tool":             nil,
	"command-arg-mode":         nil,
}

// openClawNames are the keys of metadata that hold OpenClaw's part, the present
// name first.
var openClawNames = []string{"openclaw", "clawdbot", "clawdis"}

var openClawFields = map[string]field{
	"requires": func(x *extractor, p pair) error {
		return x.fields(p.value, "metadata.openclaw.requires", requiresFields)
	},
	"primaryEnv": textField(func(m *skills.Manifest) *string { return &m.OpenClaw.PrimaryEnv }),
	"envVars":    envVars,
	"os":         listField(func(m *skills.Manifest) *[]string { return &m.OpenClaw.OS }),
	"install":    install,
	"always":     nil,
	"skillKey":   nil,
	"emoji":      nil,
	"homepage":   nil,
	"nix":        nil,
	"config":     nil,
	"cliHelp":    nil,
}

var requiresFields = map[string]field{
	"bins":    listField(func(m *skills.Manifest) *[]string { return &m.OpenClaw.Requires.Bins }),
	"anyBins": listField(func(m *skills.Manifest) *[]string { return &m.OpenClaw.Requires.AnyBins }),
	"env":     listField(func(m *skills.Manifest) *[]string { return &m.OpenClaw.Requires.Env }),
	"config":  listField(func(m *skills.Manifest) *[]string { return &m.OpenClaw.Requires.Config }),
}

// installTexts are the plain fields of one entry of install.
var installTexts = map[string]func(*skills.Install) *string{
	"id":      func(i *skills.Install) *string { return &i.ID },
	"kind":    func(i *skills.Install) *string { return &i.Kind },
	"label":   func(i *skills.Install) *string { return &i.Label },
	"formula": func(i *skills.Install) *string { return &i.Formula },
	"package": func(i *skills.Install) *string { return &i.Package },
	"module":  func(i *skills.Install) *string { return &i.Module },
	"url":     func(i *skills.Install) *string { return &i.URL },
	"sha256":  func(i *skills.Install) *string { return &i.SHA256 },
}

// extract takes what clawsup knows out of the front matter.
func extract(root value) (skills.Manifest, error) {
	var x extractor
	if err := x.fields(root, "", topFields); err != nil {
		return skills.Manifest{}, err
	}
	for _, need := range []struct{ key, value string }{{"name", x.m.Name}, {"description", x.m.Description}} {
		if need.value == "" {
			return skills.Manifest{}, failf(2, "there is no %s", need.key)
		}
	}
	return x.m, nil
}

// fields takes the pairs of a mapping by a table; where is the mapping's name.
func (x *extractor) fields(v value, where string, table map[string]field) error {
	if v.shape == null {
		return nil
	}
	if v.shape != mapping {
		return failf(v.line, "%s is %s; it must be a mapping", where, v)
	}
	for _, p := range v.pairs {
		name := strings.TrimPrefix(where+"."+p.key, ".")
		take, known := table[p.key]
		switch {
		case !known:
			x.warn(p.line, "%s means nothing to clawsup", show(name))
		case take != nil:
			p.key = name
			if err := take(x, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// warn notes what was passed over; the last warning that fits says that there
// were more.
func (x *extractor) warn(line int, format string, args ...any) {
	switch n := len(x.m.Warnings); {
	case n < skills.MaxWarnings-1:
		x.m.Warnings = append(x.m.Warnings, fmt.Sprintf("line %d: %s", line, fmt.Sprintf(format, args...)))
	case n == skills.MaxWarnings-1:
		x.m.Warnings = append(x.m.Warnings, "there are more warnings than are shown")
	}
}

func textField(at func(*skills.Manifest) *string) field {
	return func(x *extractor, p pair) (err error) {
		*at(&x.m), err = textOf(p)
		return err
	}
}

func listField(at func(*skills.Manifest) *[]string) field {
	return func(x *extractor, p pair) (err error) {
		*at(&x.m), err = listOf(p)
		return err
	}
}

// textOf is the text of a pair; nothing counts as empty.
func textOf(p pair) (string, error) {
	if p.value.shape == list || p.value.shape == mapping {
		return "", failf(p.line, "%s is %s; it must be a text", p.key, p.value)
	}
	return strings.TrimSpace(p.value.text), nil
}

// listOf is a list of texts; a single text counts as a list of one.
func listOf(p pair) ([]string, error) {
	switch p.value.shape {
	case null:
		return nil, nil
	case text:
		return []string{p.value.text}, nil
	case mapping:
		return nil, failf(p.line, "%s is a mapping; it must be a list of texts", p.key)
	}
	if len(p.value.items) > skills.MaxItems {
		return nil, failf(p.line, "%s has %d entries, at most %d are allowed", p.key, len(p.value.items), skills.MaxItems)
	}
	var out []string
	for _, i := range p.value.items {
		if i.shape != text {
			return nil, failf(i.line, "an entry of %s is %s; it must be a text", p.key, i)
		}
		out = append(out, i.text)
	}
	return out, nil
}

// allowedTools is a text like "Bash(git add:*) Read", split where no bracket is
// open, or a list.
func allowedTools(x *extractor, p pair) error {
	if p.value.shape != text {
		tools, err := listOf(p)
		x.m.AllowedTools = tools
		return err
	}
	open := 0
	tools := strings.FieldsFunc(p.value.text, func(r rune) bool {
		switch r {
		case '(':
			open++
		case ')':
			open = max(0, open-1)
		}
		return open == 0 && (r == ' ' || r == ',' || r == '\n')
	})
	if len(tools) > skills.MaxItems {
		return failf(p.line, "allowed-tools has %d entries, at most %d are allowed", len(tools), skills.MaxItems)
	}
	x.m.AllowedTools = tools
	return nil
}

// mappingOf is a mapping, or one that is written as JSON in a text.
func mappingOf(p pair) (value, error) {
	if p.value.shape == text && strings.HasPrefix(strings.TrimSpace(p.value.text), "{") {
		return parseJSON(p.value)
	}
	if p.value.shape == list || p.value.shape == text {
		return value{}, failf(p.line, "%s is %s; it must be a mapping", p.key, p.value)
	}
	return p.value, nil
}

func metadata(x *extractor, p pair) error {
	v, err := mappingOf(p)
	if err != nil {
		return err
	}
	best := len(openClawNames)
	var claw pair
	for _, e := range v.pairs {
		if rank := slices.Index(openClawNames, e.key); rank >= 0 {
			if best < len(openClawNames) {
				x.warn(e.line, "metadata has more than one of %s; the first in this order counts", strings.Join(openClawNames, ", "))
			}
			if rank < best {
				best, claw = rank, e
			}
			continue
		}
		if e.value.shape == list || e.value.shape == mapping {
			x.warn(e.line, "%s is %s and means nothing to clawsup", show("metadata."+e.key), e.value)
			continue
		}
		if x.m.Metadata == nil {
			x.m.Metadata = make(map[string]string)
		}
		if len(x.m.Metadata) == skills.MaxItems {
			return failf(e.line, "metadata has more than %d entries", skills.MaxItems)
		}
		x.m.Metadata[e.key] = e.value.text
	}
	claw.key = "metadata.openclaw"
	if claw.value, err = mappingOf(claw); err != nil {
		return err
	}
	return x.fields(claw.value, claw.key, openClawFields)
}

// entries are the items of a list of mappings.
func entries(p pair) ([]value, error) {
	if p.value.shape == null {
		return nil, nil
	}
	if p.value.shape != list {
		return nil, failf(p.line, "%s is %s; it must be a list", p.key, p.value)
	}
	if len(p.value.items) > skills.MaxItems {
		return nil, failf(p.line, "%s has %d entries, at most %d are allowed", p.key, len(p.value.items), skills.MaxItems)
	}
	for _, i := range p.value.items {
		if i.shape != mapping && (i.shape != text || p.key != "metadata.openclaw.envVars") {
			return nil, failf(i.line, "an entry of %s is %s; it must be a mapping", p.key, i)
		}
	}
	return p.value.items, nil
}

func envVars(x *extractor, p pair) error {
	items, err := entries(p)
	if err != nil {
		return err
	}
	for _, item := range items {
		v := skills.EnvVar{Name: item.text, Required: true}
		for _, e := range item.pairs {
			switch e.key {
			case "name":
				v.Name, err = textOf(e)
			case "description":
				v.Description, err = textOf(e)
			case "required":
				v.Required, err = boolOf(e)
			default:
				x.warn(e.line, "%s means nothing to clawsup", show(p.key+"."+e.key))
			}
			if err != nil {
				return err
			}
		}
		if v.Name == "" {
			return failf(item.line, "an entry of %s has no name", p.key)
		}
		x.m.OpenClaw.EnvVars = append(x.m.OpenClaw.EnvVars, v)
	}
	return nil
}

func boolOf(p pair) (bool, error) {
	switch p.value.text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, failf(p.line, "%s is %s; it must be true or false", p.key, p.value)
}

func install(x *extractor, p pair) error {
	items, err := entries(p)
	if err != nil {
		return err
	}
	for _, item := range items {
		var in skills.Install
		for _, e := range item.pairs {
			at, isText := installTexts[e.key]
			switch {
			case isText:
				*at(&in), err = textOf(e)
			case e.key == "bins":
				in.Bins, err = listOf(e)
			case e.key == "os":
				in.OS, err = listOf(e)
			default:
				x.warn(e.line, "%s means nothing to clawsup", show(p.key+"."+e.key))
			}
			if err != nil {
				return err
			}
		}
		x.m.OpenClaw.Install = append(x.m.OpenClaw.Install, in)
	}
	return nil
}
