// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"encoding/json"
	"maps"
	"strings"
)

// Schema gives the JSON Schema (draft 2020-12) of a profile file, for editors.
// It knows keys, types and plain bounds; the rest is said by Load.
func Schema() []byte {
	properties := map[string]any{}
	tables := map[string]map[string]any{}
	for _, k := range keys {
		property := maps.Clone(k.schema)
		property["description"] = k.doc + " Inheritance: " + k.rule + "."
		table, last, nested := strings.Cut(k.name, ".")
		if !nested {
			properties[k.name] = property
			continue
		}
		if tables[table] == nil {
			tables[table] = map[string]any{}
			properties[table] = closedObject(tables[table])
		}
		tables[table][last] = property
	}
	schema := closedObject(properties)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "clawsup profile"
	out, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		panic("profiles: the schema holds what JSON can't: " + err.Error())
	}
	return append(out, '\n')
}

func closedObject(properties map[string]any) map[string]any {
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}
