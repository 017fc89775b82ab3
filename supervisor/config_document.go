// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Bounds of one file: finding the place of a value costs a copy of the file,
// finding those of an agent a decoding.
const (
	maxKeys   = 4096
	maxTables = 256 // of agents, and of workspaces
)

// document is one decoded file. The decoder gives the place of a value only
// with an error about it, and only the last of each name.
type document struct {
	file string
	text []byte
	md   toml.MetaData
	top  table
}

// table is a table of the file with its values still undecoded.
type table = map[string]toml.Primitive

// decodeDocument parses the text as TOML.
func decodeDocument(file string, text []byte) (*document, *ConfigError) {
	d := &document{file: file, text: text}
	var err error
	if d.md, err = toml.NewDecoder(bytes.NewReader(text)).Decode(&d.top); err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			return nil, &ConfigError{file, pe.Position.Line, "not valid TOML: " + pe.Message}
		}
		return nil, &ConfigError{file, 0, fmt.Sprintf("not valid TOML: %v", err)}
	}
	if n := len(d.md.Keys()); n > maxKeys {
		return nil, &ConfigError{file, 0, fmt.Sprintf("has %d keys; a file has at most %d", n, maxKeys)}
	}
	return d, nil
}

// position is a value that the decoder can't fill: its error says where it stands.
type position struct{}

func (position) UnmarshalTOML(any) error { return errors.New("position asked for") }

// line gives the line of a value, from 1; of a table that of its header, or if
// there is none, that of its first value.
func (d *document) line(p toml.Primitive) int {
	var pe toml.ParseError
	if errors.As(d.md.PrimitiveDecode(p, position{}), &pe) && pe.Position.Line > 0 {
		return pe.Position.Line
	}
	first := 0
	if t, ok := d.table(p); ok {
		for _, inner := range t {
			if n := d.line(inner); first == 0 || n < first {
				first = n
			}
		}
	}
	return first
}

// table gives the value if it is a table.
func (d *document) table(p toml.Primitive) (table, bool) {
	var t table
	err := d.md.PrimitiveDecode(p, &t)
	return t, err == nil && t != nil // it leaves t alone where there is something else
}

// value gives what the decoder makes of a value by itself.
func (d *document) value(p toml.Primitive) any {
	var v any
	if d.md.PrimitiveDecode(p, &v) != nil {
		return nil
	}
	return v
}

// entry is one of the tables that [[name]] makes.
type entry struct {
	doc   *document // that knows its places
	table table
	line  int
}

// entries gives the tables of [[name]], with their places: since the decoder
// keeps those of the last table alone, the text before its header is decoded
// again, and so on.
func (d *document) entries(name string) ([]entry, *ConfigError) {
	var entries []entry
	for doc := d; ; {
		header := doc.top[name]
		var tables []table
		if doc.md.Type(name) != "ArrayHash" || doc.md.PrimitiveDecode(header, &tables) != nil || len(tables) == 0 {
			return nil, &ConfigError{d.file, doc.line(header), fmt.Sprintf("%s is a table; write [[%s]] and its keys below", name, name)}
		}
		if len(tables) > maxTables {
			return nil, &ConfigError{d.file, doc.line(header), fmt.Sprintf("more than %d of [[%s]] in one file", maxTables, name)}
		}
		line := doc.line(header)
		entries = append(entries, entry{doc, tables[len(tables)-1], line})
		if len(tables) == 1 {
			slices.Reverse(entries)
			return entries, nil
		}
		var before []byte
		for text := range bytes.Lines(doc.text) {
			if line--; line == 0 {
				break
			}
			before = append(before, text...)
		}
		var fault *ConfigError
		if doc, fault = decodeDocument(d.file, before); fault != nil {
			return nil, fault
		}
	}
}

// laying is one file that is being laid over a configuration.
type laying struct {
	config *Config
	file   string
	faults []*ConfigError
}

func (o *laying) fault(line int, format string, args ...any) {
	o.faults = append(o.faults, &ConfigError{o.file, line, fmt.Sprintf(format, args...)})
}

func (o *laying) origin(key string, line int) {
	o.config.Origin[key] = fmt.Sprintf("%s:%d", o.file, line)
}

// parse lays the file's text over c and gives what is wrong with it, in its order.
func (c *Config) parse(file string, text []byte) []*ConfigError {
	d, fault := decodeDocument(file, text)
	if fault != nil {
		return []*ConfigError{fault}
	}
	o := &laying{config: c, file: file}
	take(o, d, d.top, configKeys, c, "", "", []string{"agent", "workspace"})
	// workspaces first, whatever the file's order: it means nothing
	o.takeWorkspaces(d)
	o.takeAgents(d)
	slices.SortStableFunc(o.faults, func(a, b *ConfigError) int { return a.Line - b.Line })
	return o.faults
}

// take lays a table over s. prefix stands before the names of its keys in the
// messages and in Origin, within is the part of their names that the table is
// below; names that others take are left to them.
func take[S any](o *laying, d *document, t table, keys []key[S], s *S, prefix, within string, others []string) {
	for _, word := range slices.Sorted(maps.Keys(t)) {
		name := within + word
		if slices.Contains(others, name) {
			continue
		}
		p := t[word]
		i := slices.IndexFunc(keys, func(k key[S]) bool { return k.name == name })
		inner, isTable := d.table(p)
		switch {
		case i < 0 && isSection(keys, name) && isTable:
			take(o, d, inner, keys, s, prefix, name+".", nil)
		case i < 0 && isSection(keys, name):
			o.fault(d.line(p), "%s is a table; write [%s] and its keys below", prefix+name, name)
		case i < 0:
			o.fault(d.line(p), "unknown key %s%s", visible.Text(prefix+name), meant(keys, prefix, name, others))
		case keys[i].each != nil && isTable:
			for _, entry := range slices.Sorted(maps.Keys(inner)) {
				full := prefix + name + "." + entry
				if err := keys[i].each(s, entry, d.value(inner[entry])); err != nil {
					o.fault(d.line(inner[entry]), "%s: %v", visible.Text(full), err)
					continue
				}
				o.origin(full, d.line(inner[entry]))
			}
		case keys[i].each != nil:
			o.fault(d.line(p), "%s (%s): write a table of strings", prefix+name, keys[i].doc)
		default:
			if err := keys[i].set(s, d.value(p)); err != nil {
				o.fault(d.line(p), "%s (%s): %v", prefix+name, keys[i].doc, err)
				continue
			}
			o.origin(prefix+name, d.line(p))
		}
	}
}

// isSection reports whether name is a table of keys.
func isSection[S any](keys []key[S], name string) bool {
	return slices.ContainsFunc(keys, func(k key[S]) bool { return strings.HasPrefix(k.name, name+".") })
}

// meant proposes a key for an unknown one.
func meant[S any](keys []key[S], prefix, name string, others []string) string {
	names := slices.Concat(keyNames(keys), others)
	if near, ok := spell.Nearest(name, names); ok {
		return "; did you mean " + prefix + near + "?"
	}
	// a right name in a wrong place: "memory" for limits.memory
	last := name[strings.LastIndexByte(name, '.')+1:]
	for _, n := range names {
		if strings.HasSuffix(n, "."+last) {
			return "; did you mean " + prefix + n + "?"
		}
	}
	return "; the keys are " + strings.Join(names, ", ")
}

// nameOf gives the name that an entry has in the file, if it is a good one.
func (o *laying) nameOf(e entry, what string) (string, bool) {
	p, there := e.table["name"]
	if !there {
		o.fault(e.line, "[[%s]] has no name; write name = \"...\" below it", what)
		return "", false
	}
	name, err := plainName.parse(e.doc.value(p))
	if err != nil {
		o.fault(e.doc.line(p), "%s.name: %v", what, err)
	}
	return name, err == nil
}

// takeWorkspaces lays each [[workspace]] over the one of its name.
func (o *laying) takeWorkspaces(d *document) {
	if _, there := d.top["workspace"]; !there {
		return
	}
	entries, fault := d.entries("workspace")
	if fault != nil {
		o.faults = append(o.faults, fault)
		return
	}
	seen := map[string]int{}
	for _, e := range entries {
		name, ok := o.nameOf(e, "workspace")
		if !ok || o.repeated(seen, "workspace", name, e.line) {
			continue
		}
		list := &o.config.Workspaces
		i := slices.IndexFunc(*list, func(w WorkspaceConfig) bool { return w.Name == name })
		if i < 0 {
			i = len(*list)
			*list = append(*list, WorkspaceConfig{Name: name, Private: true})
			o.origin("workspace."+name, e.line)
		}
		take(o, e.doc, e.table, workspaceKeys, &(*list)[i], "workspace."+name+".", "", nil)
	}
}

// takeAgents lays [agent], or each [[agent]], over the one of its name. [agent]
// without a name means the only one there is.
func (o *laying) takeAgents(d *document) {
	p, there := d.top["agent"]
	if !there {
		return
	}
	t, one := d.table(p)
	entries := []entry{{d, t, d.line(p)}}
	if !one {
		var fault *ConfigError
		if entries, fault = d.entries("agent"); fault != nil {
			o.faults = append(o.faults, fault)
			return
		}
	}
	list := &o.config.Agents
	seen := map[string]int{}
	for _, e := range entries {
		name, ok := defaultAgent().Name, true
		switch _, named := e.table["name"]; {
		case named || !one:
			name, ok = o.nameOf(e, "agent")
		case len(*list) == 1:
			name = (*list)[0].Name
		case len(*list) > 1:
			o.fault(e.line, "[agent] has no name, and there are several; write name = \"...\" below it")
			ok = false
		}
		if !ok || o.repeated(seen, "agent", name, e.line) {
			continue
		}
		i := slices.IndexFunc(*list, func(a AgentConfig) bool { return a.Name == name })
		if i < 0 {
			i = len(*list)
			a := defaultAgent()
			a.Name = name
			*list = append(*list, a)
			o.origin("agent."+name, e.line)
		}
		take(o, e.doc, e.table, agentKeys, &(*list)[i], "agent."+name+".", "", nil)
	}
}

// repeated says that a name was there before in the same file.
func (o *laying) repeated(seen map[string]int, what, name string, line int) bool {
	before, yes := seen[name]
	if yes {
		o.fault(line, "%s %s is there twice, first in line %d", what, name, before)
	}
	seen[name] = line
	return yes
}
