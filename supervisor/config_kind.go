// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Bounds of what one value holds.
const (
	maxEntries = 1024 // of a list
	maxText    = 4095 // bytes of one string; what PATH_MAX leaves for a path
)

// lastUID is the last uid that means a user: the two above it are -2 and -1.
const lastUID = 1<<32 - 3

// kind is how values of one type are written in the file.
type kind[T any] struct {
	parse func(v any) (T, error) // v as the TOML decoder makes it: string, int64, float64, bool, []any, ...
	plain func(T) any            // as it would be written: string, bool, a number, or a list of these
}

func asIs[T any](v T) any { return v }

// pathname is an absolute, clean path.
var pathname = text(checkPath)

func checkPath(s string) error {
	if !filepath.IsAbs(s) || filepath.Clean(s) != s {
		return fmt.Errorf("%s is not a path from the root without \".\", \"..\" and doubled slashes", visible.Quote(s))
	}
	return nil
}

// anyText is a text without further conditions.
var anyText = text(func(string) error { return nil })

// text is a string that passes check.
func text(check func(string) error) kind[string] {
	return kind[string]{
		parse: func(v any) (string, error) {
			s, ok := v.(string)
			switch {
			case !ok:
				return "", errors.New("write a string in quotes")
			case len(s) > maxText:
				return "", fmt.Errorf("longer than %d bytes", maxText)
			case strings.ContainsRune(s, 0):
				return "", fmt.Errorf("%s holds a NUL character", visible.Quote(s))
			}
			return s, check(s)
		},
		plain: asIs[string],
	}
}

// optional is k, or an empty string.
func optional(k kind[string]) kind[string] {
	return kind[string]{
		parse: func(v any) (string, error) {
			if v == "" {
				return "", nil
			}
			return k.parse(v)
		},
		plain: k.plain,
	}
}

// number is a whole number.
func number[T int | int64](least, most int64) kind[T] {
	return kind[T]{
		parse: func(v any) (T, error) {
			n, ok := v.(int64)
			if !ok {
				return 0, errors.New("write a whole number")
			}
			return T(n), within(n, least, most, strconv.FormatInt(n, 10), strconv.FormatInt(least, 10), strconv.FormatInt(most, 10))
		},
		plain: asIs[T],
	}
}

// cores is a number of processors, 0 included.
var cores = kind[float64]{
	parse: func(v any) (float64, error) {
		n, ok := v.(float64)
		if i, whole := v.(int64); whole {
			n, ok = float64(i), true
		}
		if !ok {
			return 0, errors.New("write a number")
		}
		if n != 0 && !(n >= 0.01 && n <= 4096) {
			return 0, fmt.Errorf("%v is not between 0.01 and 4096", n)
		}
		return n, nil
	},
	plain: asIs[float64],
}

// onOff is a switch.
var onOff = kind[bool]{
	parse: func(v any) (bool, error) {
		b, ok := v.(bool)
		if !ok {
			return false, errors.New("write true or false")
		}
		return b, nil
	},
	plain: asIs[bool],
}

// anySize ends the bounds of sizes.
const anySize = profiles.Bytes(math.MaxInt64)

// size is a number of bytes, as a text with a unit or a whole number.
func size(least, most profiles.Bytes) kind[profiles.Bytes] {
	return kind[profiles.Bytes]{
		parse: func(v any) (profiles.Bytes, error) {
			var b profiles.Bytes
			switch v := v.(type) {
			case string:
				var err error
				if b, err = profiles.ParseBytes(v); err != nil {
					return 0, err
				}
			case int64:
				b = profiles.Bytes(v)
			default:
				return 0, errors.New(`write a size such as "256M"`)
			}
			return b, within(b, least, most, b.String(), least.String(), most.String())
		},
		plain: func(b profiles.Bytes) any { return b.String() },
	}
}

// aYear ends the bounds of spans.
const aYear = 365 * 24 * time.Hour

// span is a duration.
func span(least, most time.Duration) kind[profiles.Duration] {
	from, to := profiles.Duration(least), profiles.Duration(most)
	return kind[profiles.Duration]{
		parse: func(v any) (profiles.Duration, error) {
			s, ok := v.(string)
			if !ok {
				return 0, errors.New(`write a span of time such as "30s"`)
			}
			d, err := profiles.ParseDuration(s)
			if err != nil {
				return 0, err
			}
			return d, within(d, from, to, d.String(), from.String(), to.String())
		},
		plain: func(d profiles.Duration) any { return d.String() },
	}
}

func within[T int64 | profiles.Bytes | profiles.Duration](v, least, most T, written, from, to string) error {
	if v < least || v > most {
		return fmt.Errorf("%s is not between %s and %s", written, from, to)
	}
	return nil
}

// oneOf is a name of a closed set.
func oneOf[T ~string](names ...T) kind[T] {
	known := make([]string, len(names))
	for i, n := range names {
		known[i] = visible.Quote(string(n))
	}
	return kind[T]{
		parse: func(v any) (T, error) {
			s, ok := v.(string)
			if !ok || !slices.Contains(names, T(s)) {
				return "", errors.New("write " + strings.Join(known, " or "))
			}
			return T(s), nil
		},
		plain: func(t T) any { return string(t) },
	}
}

// account is the name or the number of a user or group.
var account = kind[string]{
	parse: func(v any) (string, error) {
		if n, ok := v.(int64); ok {
			return strconv.FormatInt(n, 10), nil
		}
		s, ok := v.(string)
		if !ok || s == "" {
			return "", errors.New("write a name in quotes, or a number")
		}
		return s, nil
	},
	plain: asIs[string],
}

// list is a list of what k is, in the file's order.
func list[T comparable](what string, k kind[T]) kind[[]T] {
	return kind[[]T]{
		parse: func(v any) ([]T, error) {
			entries, ok := v.([]any)
			switch {
			case !ok:
				return nil, fmt.Errorf("write a list of %s in brackets", what)
			case len(entries) > maxEntries:
				return nil, fmt.Errorf("has %d entries; write at most %d", len(entries), maxEntries)
			}
			out := make([]T, 0, len(entries))
			for _, e := range entries {
				parsed, err := k.parse(e)
				if err != nil {
					return nil, fmt.Errorf("in the list: %w", err)
				}
				out = append(out, parsed)
			}
			return out, nil
		},
		plain: func(l []T) any {
			if l == nil {
				return []T{} // in JSON a list too
			}
			return l
		},
	}
}

// set is a list without repetitions.
func set[T comparable](what string, k kind[T]) kind[[]T] {
	l := list(what, k)
	return kind[[]T]{
		parse: func(v any) ([]T, error) {
			out, err := l.parse(v)
			for i, e := range out {
				if slices.Contains(out[:i], e) {
					return nil, fmt.Errorf("%s is there twice", literal(k.plain(e)))
				}
			}
			return out, err
		},
		plain: l.plain,
	}
}

// layers are names of layers that can be lowered.
var layers = kind[layer.Set]{
	parse: func(v any) (layer.Set, error) {
		names, err := list("strings", anyText).parse(v)
		if err != nil {
			return 0, err
		}
		lowerable := layer.Lowerable()
		var given layer.Set
		for _, name := range names {
			if !slices.Contains(lowerable, name) {
				hint := ""
				if near, ok := spell.Nearest(name, lowerable); ok {
					hint = "did you mean " + near + "? "
				}
				return 0, fmt.Errorf("no layer that can be lowered is called %s; %sthey are %s", visible.Quote(name), hint, strings.Join(lowerable, ", "))
			}
			l, err := layer.Parse(name)
			if err != nil {
				return 0, err
			}
			given = given.With(l)
		}
		return given, nil
	},
	plain: func(given layer.Set) any {
		names := []string{}
		for _, name := range layer.Lowerable() {
			if l, err := layer.Parse(name); err == nil && given.Has(l) {
				names = append(names, name)
			}
		}
		return names
	},
}
