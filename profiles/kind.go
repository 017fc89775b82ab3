// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of what one profile holds.
const (
	maxEntries = 256  // of a list
	maxText    = 4095 // bytes of one string; what PATH_MAX leaves for a path
)

// kind is how values of one type are written.
type kind[T any] struct {
	name   string                 // for readers
	parse  func(v any) (T, error) // v as the TOML decoder makes it: string, int64, float64, bool, time.Time, []any, map[string]any
	toml   func(T) string         // the one spelling
	schema map[string]any         // JSON Schema
}

// mistyped is the error for a value of another type.
func mistyped(want string, v any) error {
	got := "that"
	switch v := v.(type) {
	case string:
		got = fmt.Sprintf("the text %q", clip(v))
	case int64:
		got = fmt.Sprintf("the number %d", v)
	case float64:
		got = "the number " + strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		got = strconv.FormatBool(v)
	case time.Time:
		got = "a date"
	case []any, []map[string]any:
		got = "a list"
	case map[string]any:
		got = "a table"
	}
	return fmt.Errorf("wants %s, not %s", want, got)
}

// within checks an amount against the least and the most that a box can have.
func within[T int64 | float64 | Bytes | Duration](n, least, most T, write func(T) string) error {
	switch {
	case n >= least && n <= most:
		return nil
	case n > most:
		return fmt.Errorf("%s is more than there can be; write at most %s", write(n), write(most))
	case n == 0:
		return fmt.Errorf("0 does not mean unlimited, every limit is set; write at least %s", write(least))
	case n < 0:
		return fmt.Errorf("%s is negative; write at least %s", write(n), write(least))
	default:
		return fmt.Errorf("%s is too little to run anything; write at least %s", write(n), write(least))
	}
}

// size is a number of bytes, as a text with a unit or a plain integer.
func size(least, most Bytes) kind[Bytes] {
	write := func(b Bytes) string { return strconv.Quote(b.String()) }
	return kind[Bytes]{
		name: "size",
		parse: func(v any) (Bytes, error) {
			var b Bytes
			switch v := v.(type) {
			case string:
				if err := b.UnmarshalText([]byte(v)); err != nil {
					return 0, err
				}
			case int64:
				b = Bytes(v)
			default:
				return 0, mistyped(`a size such as "256M"`, v)
			}
			return b, within(b, least, most, write)
		},
		toml: write,
		schema: map[string]any{"oneOf": []any{
			map[string]any{"type": "string", "pattern": "^[0-9]+[KMGT]?$"},
			map[string]any{"type": "integer", "minimum": int64(least), "maximum": int64(most)},
		}},
	}
}

// span is a duration.
func span(least, most time.Duration) kind[Duration] {
	write := func(d Duration) string { return strconv.Quote(d.String()) }
	return kind[Duration]{
		name: "duration",
		parse: func(v any) (Duration, error) {
			s, ok := v.(string)
			if !ok {
				return 0, mistyped(`a span of time such as "30s"`, v)
			}
			var d Duration
			if err := d.UnmarshalText([]byte(s)); err != nil {
				return 0, err
			}
			return d, within(d, Duration(least), Duration(most), write)
		},
		toml:   write,
		schema: map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]*)?(h|ms|m|s))+$`},
	}
}

// count is a whole number.
func count(least, most int64) kind[int64] {
	write := func(n int64) string { return strconv.FormatInt(n, 10) }
	return kind[int64]{
		name: "integer",
		parse: func(v any) (int64, error) {
			n, ok := v.(int64)
			if !ok {
				return 0, mistyped(fmt.Sprintf("a whole number from %d to %d", least, most), v)
			}
			return n, within(n, least, most, write)
		},
		toml:   write,
		schema: map[string]any{"type": "integer", "minimum": least, "maximum": most},
	}
}

// people is how many of them must agree.
var people = kind[int]{
	name: "1, 2, 3",
	parse: func(v any) (int, error) {
		n, ok := v.(int64)
		if !ok || n < 1 || n > MaxQuorum {
			return 0, mistyped(fmt.Sprintf("a whole number of people from 1 to %d", MaxQuorum), v)
		}
		return int(n), nil
	},
	toml:   strconv.Itoa,
	schema: map[string]any{"type": "integer", "minimum": 1, "maximum": MaxQuorum},
}

// cores is a number of processors with a fraction.
func cores(least, most float64) kind[float64] {
	write := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	return kind[float64]{
		name: "number",
		parse: func(v any) (float64, error) {
			var n float64
			switch v := v.(type) {
			case float64:
				n = v
			case int64:
				n = float64(v)
			default:
				return 0, mistyped("a number of cores such as 0.25", v)
			}
			if math.IsNaN(n) || math.IsInf(n, 0) {
				return 0, mistyped("a number of cores such as 0.25", v)
			}
			return n, within(n, least, most, write)
		},
		toml:   write,
		schema: map[string]any{"type": "number", "minimum": least, "maximum": most},
	}
}

// oneOf is a name from a closed set.
func oneOf[T ~string](names ...T) kind[T] {
	quoted, enum := make([]string, len(names)), make([]any, len(names))
	for i, n := range names {
		quoted[i], enum[i] = strconv.Quote(string(n)), string(n)
	}
	want := strings.Join(quoted, " or ")
	return kind[T]{
		name: strings.Join(quoted, ", "),
		parse: func(v any) (T, error) {
			s, ok := v.(string)
			if !ok || !slices.Contains(names, T(s)) {
				return "", mistyped(want, v)
			}
			return T(s), nil
		},
		toml:   func(t T) string { return strconv.Quote(string(t)) },
		schema: map[string]any{"type": "string", "enum": enum},
	}
}

// onOff is a switch.
var onOff = kind[bool]{
	name: "boolean",
	parse: func(v any) (bool, error) {
		b, ok := v.(bool)
		if !ok {
			return false, mistyped("true or false", v)
		}
		return b, nil
	},
	toml:   strconv.FormatBool,
	schema: map[string]any{"type": "boolean"},
}

// text is a line that passes check.
func text(name string, check func(string) error) kind[string] {
	return kind[string]{
		name: name,
		parse: func(v any) (string, error) {
			s, ok := v.(string)
			if !ok {
				return "", mistyped("a "+name, v)
			}
			return s, cmp.Or(checkLine(s), check(s))
		},
		toml:   strconv.Quote,
		schema: map[string]any{"type": "string", "maxLength": maxText},
	}
}

// checkLine refuses what no profile needs and what could lie on a screen.
// Accepted text is spelled the same by strconv.Quote and in TOML.
func checkLine(s string) error {
	switch {
	case len(s) > maxText:
		return fmt.Errorf("%q is longer than %d bytes", clip(s), maxText)
	case !printable(s):
		return fmt.Errorf("%q holds a character that does not show; write it without", clip(s))
	}
	return nil
}

// set is a list of distinct lines that pass check; it is kept sorted, as its
// order means nothing.
func set(name string, check func(string) error) kind[[]string] {
	return kind[[]string]{
		name: "list of " + name + "s",
		parse: func(v any) ([]string, error) {
			list, ok := v.([]any)
			if !ok {
				return nil, mistyped("a list of "+name+"s", v)
			}
			if len(list) > maxEntries {
				return nil, fmt.Errorf("has %d entries; write at most %d", len(list), maxEntries)
			}
			sorted := make([]string, 0, len(list))
			for _, e := range list {
				s, ok := e.(string)
				if !ok {
					return nil, mistyped("a "+name+" in its list", e)
				}
				if err := cmp.Or(checkLine(s), check(s)); err != nil {
					return nil, err
				}
				if slices.Contains(sorted, s) {
					return nil, fmt.Errorf("%q is there twice; write it once", s)
				}
				sorted = append(sorted, s)
			}
			slices.Sort(sorted)
			return sorted, nil
		},
		toml: func(list []string) string {
			quoted := make([]string, len(list))
			for i, s := range list {
				quoted[i] = strconv.Quote(s)
			}
			return "[" + strings.Join(quoted, ", ") + "]"
		},
		schema: map[string]any{
			"type": "array", "uniqueItems": true, "maxItems": maxEntries,
			"items": map[string]any{"type": "string", "maxLength": maxText},
		},
	}
}

// variables are names with values.
var variables = namesWith("table of texts", checkLine)

// secretNames are names of variables with names of secrets.
var secretNames = namesWith("table of names of secrets", CheckSecret)

// namesWith makes a kind of variables' names with values that pass check.
func namesWith(name string, check func(string) error) kind[map[string]string] {
	return kind[map[string]string]{
		name: name,
		parse: func(v any) (map[string]string, error) {
			table, ok := v.(map[string]any)
			if !ok {
				return nil, mistyped("a table of names and texts", v)
			}
			vars := make(map[string]string, len(table))
			for _, name := range slices.Sorted(maps.Keys(table)) {
				value, ok := table[name].(string)
				if !ok {
					return nil, mistyped("a text", table[name])
				}
				if err := cmp.Or(CheckEnv(name, value), check(value)); err != nil {
					return nil, err
				}
				vars[name] = value
			}
			return vars, nil
		},
		schema: map[string]any{
			"type":                 "object",
			"propertyNames":        map[string]any{"pattern": envName.String()},
			"additionalProperties": map[string]any{"type": "string", "maxLength": maxText},
		},
	}
}
