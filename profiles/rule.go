// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Bounds of one rule; see maxEntries too.
const (
	maxRules  = 256 // of one file
	maxPorts  = 64
	maxFields = 16
)

// ruleKey is one row of the table of a rule's keys.
type ruleKey struct {
	name, kind, doc string
	schema          map[string]any
	parse           func(v any) (func(*NetworkRule), error)
	toml            func(r *NetworkRule) string // empty: the rule doesn't name it
}

func ruleRow[T any](name string, k kind[T], field func(*NetworkRule) *T, named func(T) bool, doc string) ruleKey {
	return ruleKey{
		name: name, kind: k.name, doc: doc, schema: k.schema,
		parse: func(v any) (func(*NetworkRule), error) {
			t, err := k.parse(v)
			return func(r *NetworkRule) { *field(r) = t }, err
		},
		toml: func(r *NetworkRule) string {
			if t := *field(r); named(t) {
				return k.toml(t)
			}
			return ""
		},
	}
}

func isSet[T ~string](t T) bool  { return t != "" }
func isListed[T any](l []T) bool { return l != nil }

// ruleKeys are the keys of a rule, in the order of a file.
var ruleKeys = []ruleKey{
	ruleRow("host", text("host", checkHostPattern), func(r *NetworkRule) *string { return &r.Host }, isSet,
		"A name in lower case, `*.` and a name for every name below that one, or an address. It has to be there."),
	ruleRow("ports", ports, func(r *NetworkRule) *[]uint16 { return &r.Ports }, isListed,
		"Without it: 443, with scheme http 80. With through tcp it has to be there."),
	ruleRow("scheme", oneOf("https", "http"), func(r *NetworkRule) *string { return &r.Scheme }, isSet,
		"Of requests. Without it: https, with 80 as the only port http."),
	ruleRow("through", oneOf(ThroughHTTP, ThroughTLS, ThroughTCP), func(r *NetworkRule) *Through { return &r.Through }, isSet,
		"http, the usual, is about requests, each of them looked at; tls passes connections unopened, so that everything behind that address can be reached; tcp passes bytes."),
	ruleRow("methods", set("method", CheckMethod), func(r *NetworkRule) *[]string { return &r.Methods }, isListed,
		"Methods of requests. WEBSOCKET is the upgrade to that. Without it: every one."),
	ruleRow("paths", set("path", CheckPathPattern), func(r *NetworkRule) *[]string { return &r.Paths }, isListed,
		"Paths of requests without the query: one, or `DIR/**` for all that begins with `DIR/`. Without it: every one."),
	ruleRow("fields", fields, func(r *NetworkRule) *map[string][]string { return &r.Fields }, func(f map[string][]string) bool { return f != nil },
		"Fields of the query, the form or the JSON body, each with the values that it may have: each has to be there, and with these values alone."),
	ruleRow("addresses", networks, func(r *NetworkRule) *[]netip.Prefix { return &r.Addresses }, isListed,
		"Networks that are not public, in which the host's address may lie. Without it: public addresses alone."),
	ruleRow("decision", oneOf(Allow, Ask, Deny), func(r *NetworkRule) *Decision { return &r.Decision }, isSet,
		"It has to be there."),
}

// ports are numbers of ports.
var ports = kind[[]uint16]{
	name: "list of ports",
	parse: func(v any) ([]uint16, error) {
		list, err := entries(v, "ports", maxPorts)
		if err != nil {
			return nil, err
		}
		sorted := make([]uint16, 0, len(list))
		for _, e := range list {
			n, ok := e.(int64)
			if !ok || n < 1 || n > 65535 {
				return nil, mistyped("ports from 1 to 65535", e)
			}
			if slices.Contains(sorted, uint16(n)) {
				return nil, fmt.Errorf("%d is there twice; write it once", n)
			}
			sorted = append(sorted, uint16(n))
		}
		slices.Sort(sorted)
		return sorted, nil
	},
	toml: func(list []uint16) string { return strings.ReplaceAll(fmt.Sprint(list), " ", ", ") },
	schema: map[string]any{
		"type": "array", "uniqueItems": true, "minItems": 1, "maxItems": maxPorts,
		"items": map[string]any{"type": "integer", "minimum": 1, "maximum": 65535},
	},
}

// entries gives a list that is not empty.
func entries(v any, what string, most int) ([]any, error) {
	list, ok := v.([]any)
	switch {
	case !ok:
		return nil, mistyped("a list of "+what, v)
	case len(list) == 0:
		return nil, fmt.Errorf("is empty, and the rule would be about nothing; name %s, or leave it out", what)
	case len(list) > most:
		return nil, fmt.Errorf("has %d entries; write at most %d", len(list), most)
	}
	return list, nil
}

// Least lengths of a network's prefix: the largest private networks there are.
const (
	leastBits4 = 8 // 10.0.0.0/8
	leastBits6 = 7 // fc00::/7
)

// networks are networks in CIDR notation (RFC 4632).
var networks = kind[[]netip.Prefix]{
	name: "list of networks",
	parse: func(v any) ([]netip.Prefix, error) {
		list, err := entries(v, "networks", maxEntries)
		if err != nil {
			return nil, err
		}
		sorted := make([]netip.Prefix, 0, len(list))
		for _, e := range list {
			s, ok := e.(string)
			if !ok {
				return nil, mistyped(`a network such as "10.1.2.0/24"`, e)
			}
			p, err := parseNetwork(s)
			if err != nil {
				return nil, err
			}
			if slices.Contains(sorted, p) {
				return nil, fmt.Errorf("%q is there twice; write it once", s)
			}
			sorted = append(sorted, p)
		}
		slices.SortFunc(sorted, netip.Prefix.Compare)
		return sorted, nil
	},
	toml: func(list []netip.Prefix) string {
		quoted := make([]string, len(list))
		for i, p := range list {
			quoted[i] = strconv.Quote(p.String())
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	},
	schema: map[string]any{
		"type": "array", "uniqueItems": true, "minItems": 1, "maxItems": maxEntries,
		"items": map[string]any{"type": "string", "maxLength": 64},
	},
}

func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf(`%q is no network; write one such as "10.1.2.0/24", or one address as "10.1.2.3/32"`, clip(s))
	}
	if p.Masked() != p || p.String() != s {
		return p, fmt.Errorf("%q has bits behind its prefix, or another spelling; write %q", clip(s), p.Masked())
	}
	if p.Addr().Is4() && p.Bits() < leastBits4 || p.Addr().Is6() && p.Bits() < leastBits6 {
		return p, fmt.Errorf("%q is larger than any private network; name those that are meant", s)
	}
	return p, nil
}

// fields are names with the values that they may have.
var fields = kind[map[string][]string]{
	name: "table of lists",
	parse: func(v any) (map[string][]string, error) {
		table, ok := v.(map[string]any)
		if !ok {
			return nil, mistyped(`a table such as { chat_id = ["123"] }`, v)
		}
		if len(table) == 0 || len(table) > maxFields {
			return nil, fmt.Errorf("has %d fields; write 1 to %d, or leave it out", len(table), maxFields)
		}
		named := make(map[string][]string, len(table))
		for _, name := range slices.Sorted(maps.Keys(table)) {
			if name == "" {
				return nil, errors.New("a field has a name")
			}
			if err := checkLine(name); err != nil {
				return nil, err
			}
			if _, err := entries(table[name], "texts", maxEntries); err != nil {
				return nil, fmt.Errorf("%s: %w", clip(name), err)
			}
			values, err := fieldValues.parse(table[name])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", clip(name), err)
			}
			named[name] = values
		}
		return named, nil
	},
	toml: func(named map[string][]string) string {
		var list []string
		for _, name := range slices.Sorted(maps.Keys(named)) {
			list = append(list, strconv.Quote(name)+" = "+fieldValues.toml(named[name]))
		}
		return "{ " + strings.Join(list, ", ") + " }"
	},
	schema: map[string]any{"type": "object", "minProperties": 1, "maxProperties": maxFields, "additionalProperties": fieldValues.schema},
}

var fieldValues = set("text", anyLine)

// ruleFault is what is wrong with one rule of a list.
type ruleFault struct {
	rule int    // from 0
	key  string // of the rule; empty: the rule as a whole
	err  error
}

// Error gives "KEY: what is wrong".
func (f *ruleFault) Error() string {
	if f.key == "" {
		return f.err.Error()
	}
	return clip(f.key) + ": " + f.err.Error()
}

// parseRules reads a list of rules. Its error about one of them is a *ruleFault.
func parseRules(v any) ([]NetworkRule, error) {
	var tables []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		tables = v
	case []any:
		for _, e := range v {
			t, ok := e.(map[string]any)
			if !ok {
				return nil, mistyped("a list of tables; write [[network.rule]] and its keys below", e)
			}
			tables = append(tables, t)
		}
	default:
		return nil, mistyped("a list of tables; write [[network.rule]] and its keys below", v)
	}
	if len(tables) > maxRules {
		return nil, fmt.Errorf("has %d rules; write at most %d", len(tables), maxRules)
	}
	rules := make([]NetworkRule, len(tables))
	for i, table := range tables {
		if err := rules[i].parse(table); err != nil {
			err.rule = i
			return nil, err
		}
	}
	return rules, nil
}

// parse fills r from a table and applies the defaults.
func (r *NetworkRule) parse(table map[string]any) *ruleFault {
	for _, name := range slices.Sorted(maps.Keys(table)) {
		i := slices.IndexFunc(ruleKeys, func(k ruleKey) bool { return k.name == name })
		if i < 0 {
			names := make([]string, len(ruleKeys))
			for i, k := range ruleKeys {
				names[i] = k.name
			}
			near := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(distance(clip(name), a), distance(clip(name), b)) })
			return &ruleFault{key: name, err: fmt.Errorf("there is no such key of a rule; did you mean %s? There are %s", near, strings.Join(names, ", "))}
		}
		apply, err := ruleKeys[i].parse(table[name])
		if err == nil && name != "fields" {
			if list, ok := table[name].([]any); ok && len(list) == 0 {
				err = errors.New("is empty, and the rule would be about nothing; leave it out for every one")
			}
		}
		if err != nil {
			return &ruleFault{key: name, err: err}
		}
		apply(r)
	}
	if f := r.contradiction(); f != nil {
		return f
	}
	r.complete()
	return nil
}

// contradiction judges what a rule names.
func (r *NetworkRule) contradiction() *ruleFault {
	address := false
	if _, err := netip.ParseAddr(r.Host); err == nil {
		address = true
	}
	requests := r.Through == "" || r.Through == ThroughHTTP
	for _, c := range []struct {
		broken    bool
		key, text string
	}{
		{r.Host == "", "", `a rule has a host; write host = "api.example.com"`},
		{r.Decision == "", "", `a rule has a decision; write decision = "allow", "ask" or "deny"`},
		{!requests && r.Methods != nil, "methods", "only requests have methods, and what passes by tls or tcp isn't looked at; leave out methods or through"},
		{!requests && r.Paths != nil, "paths", "only requests have paths, and what passes by tls or tcp isn't looked at; leave out paths or through"},
		{!requests && r.Fields != nil, "fields", "only requests have fields, and what passes by tls or tcp isn't looked at; leave out fields or through"},
		{!requests && r.Scheme != "", "scheme", "only requests have a scheme, and what passes by tls or tcp isn't looked at; leave out scheme or through"},
		{r.Through == ThroughTCP && r.Ports == nil && r.Decision != Deny, "through", "bytes have no usual port; write ports, such as ports = [22]"},
		{r.Decision == Deny && r.Addresses != nil, "addresses", "a denial leads to no address; leave it out"},
		{address && r.Addresses != nil, "addresses", "the host is an address, and leads to no other; leave it out"},
	} {
		if c.broken {
			return &ruleFault{key: c.key, err: errors.New(c.text)}
		}
	}
	return nil
}

// complete fills in what a rule doesn't name. A denial is about everything that
// it doesn't rule out.
func (r *NetworkRule) complete() {
	if r.Through == "" && (r.Decision != Deny || r.Scheme != "" || r.Methods != nil || r.Paths != nil || r.Fields != nil) {
		r.Through = ThroughHTTP
	}
	if r.Decision == Deny {
		return
	}
	if r.Through == ThroughHTTP && r.Scheme == "" {
		r.Scheme = "https"
		if slices.Equal(r.Ports, []uint16{80}) {
			r.Scheme = "http"
		}
	}
	if r.Ports == nil {
		r.Ports = []uint16{443}
		if r.Scheme == "http" {
			r.Ports = []uint16{80}
		}
	}
}

// settings are the keys of a rule that it names or has by default.
func (r *NetworkRule) settings() []setting {
	var list []setting
	for _, k := range ruleKeys {
		if text := k.toml(r); text != "" {
			list = append(list, setting{name: k.name, toml: text})
		}
	}
	return list
}

// inline is a rule in one line.
func (r *NetworkRule) inline() string {
	var list []string
	for _, s := range r.settings() {
		list = append(list, s.name+" = "+s.toml)
	}
	return "{ " + strings.Join(list, ", ") + " }"
}

// networkDefault is the row of network.default.
var networkDefault = func() key {
	k := row("network.default", oneOf(Ask, Deny), ranked(Deny, Ask), func(p *Profile) *Decision { return &p.Network.Default },
		"What happens to what no rule is about. Without it: ask, and of a file whose ancestors have rules or a default what those say.")
	parse := k.parse
	k.level = true
	settings := k.settings
	k.settings = func(p *Profile) []setting {
		if p.Network.Mode != NetworkEgress {
			return nil
		}
		return settings(p)
	}
	k.parse = func(v any) (func(*Profile), error) {
		apply, err := parse(v)
		return func(p *Profile) {
			apply(p)
			p.Network.last().Default = p.Network.Default
		}, err
	}
	return k
}()

// networkRule is the row of network.rule.
var networkRule = key{
	name: "network.rule", kind: "list of tables", bound: true, level: true,
	rule: "each file's rules decide by themselves, and the strictest of their decisions counts",
	doc:  "Who may be reached, and how: see below. Added to the parent's.",
	schema: func() map[string]any {
		properties := map[string]any{}
		for _, k := range ruleKeys {
			property := maps.Clone(k.schema)
			property["description"] = k.doc
			properties[k.name] = property
		}
		item := closedObject(properties)
		item["required"] = []any{"host", "decision"}
		return map[string]any{"type": "array", "maxItems": maxRules, "items": item}
	}(),
	parse: func(v any) (func(*Profile), error) {
		rules, err := parseRules(v)
		return func(p *Profile) { p.Network.last().Rules = rules }, err
	},
	settings: func(p *Profile) []setting {
		if p.Network.Mode != NetworkEgress {
			return nil
		}
		var list []setting
		for i := range p.Network.Levels {
			l := &p.Network.Levels[i]
			if l.Default != "" {
				list = append(list, setting{name: "network.level", toml: strconv.Quote(string(l.Default)), origin: l.Origin, level: i + 1})
			}
			for j := range l.Rules {
				list = append(list, setting{name: "network.rule", toml: l.Rules[j].inline(), origin: l.Rules[j].Origin, level: i + 1})
			}
		}
		return list
	},
	wider: func(_, _ *Profile) bool { return false }, // by construction: a level takes away
}

// last is the level that a file adds to.
func (n *Network) last() *NetworkLevel { return &n.Levels[len(n.Levels)-1] }
