// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// order says which of two values of a key gives a box more.
type order[T any] struct {
	rule  string                     // for readers
	wider func(child, parent T) bool // child gives something that parent doesn't
}

// smaller orders amounts.
func smaller[T cmp.Ordered]() order[T] {
	return order[T]{"smaller is tighter", func(child, parent T) bool { return child > parent }}
}

// larger orders amounts of which more is asked of somebody.
func larger[T cmp.Ordered]() order[T] {
	return order[T]{"larger is tighter", func(child, parent T) bool { return child < parent }}
}

// ranked orders names, tightest first.
func ranked[T ~string](tightest ...T) order[T] {
	words := make([]string, len(tightest))
	for i, t := range tightest {
		words[i] = string(t)
	}
	return order[T]{
		"tightest first: " + strings.Join(words, ", "),
		func(child, parent T) bool {
			return slices.Index(tightest, child) > slices.Index(tightest, parent)
		},
	}
}

// offIsTighter orders a switch.
var offIsTighter = order[bool]{
	"false is tighter",
	func(child, parent bool) bool { return child && !parent },
}

// subset orders sets. Entries are compared whole: a directory below a listed one
// is another entry, since nothing promises that it isn't a link elsewhere.
var subset = order[[]string]{
	"a subset is tighter",
	func(child, parent []string) bool {
		return slices.ContainsFunc(child, func(s string) bool { return !slices.Contains(parent, s) })
	},
}

// fixed is for values of which none is less than another.
func fixed[T comparable]() order[T] {
	return order[T]{"must stay the parent's", func(child, parent T) bool { return child != parent }}
}

// fixedVariables lets a child repeat its parent's variables.
var fixedVariables = order[map[string]string]{
	"no new names, no other values",
	func(child, parent map[string]string) bool { return !maps.Equal(child, parent) },
}

// subsetVariables lets a child leave out what its parent has.
var subsetVariables = order[map[string]string]{
	"a subset is tighter, with the same values",
	func(child, parent map[string]string) bool {
		for name, value := range child {
			if had, ok := parent[name]; !ok || had != value {
				return true
			}
		}
		return false
	},
}

// unordered is for what doesn't bound the box.
var unordered = order[string]{"any", func(_, _ string) bool { return false }}
