// SPDX-License-Identifier: Apache-2.0

package changeset

import "slices"

// order compares entries as a set has them.
func order(a, b *Entry) int {
	if n := compare(string(a.Path), string(b.Path)); n != 0 || a.Kind == b.Kind {
		return n
	}
	switch Deleted {
	case a.Kind:
		return -1
	case b.Kind:
		return 1
	}
	return 0
}

// Sort puts the entries in the order of a set. Walk and Decode give no other.
func (s *Set) Sort() {
	// They are large: their numbers are sorted, and then each is moved once.
	entries := s.Entries
	numbers := make([]int32, len(entries))
	for i := range numbers {
		numbers[i] = int32(i)
	}
	by := func(a, b int32) int { return order(&entries[a], &entries[b]) }
	if slices.IsSortedFunc(numbers, by) {
		return
	}
	slices.SortFunc(numbers, by)
	for i := range numbers {
		if numbers[i] < 0 {
			continue
		}
		first := entries[i]
		at := int32(i)
		for numbers[at] != int32(i) {
			next := numbers[at]
			entries[at] = entries[next]
			numbers[at], at = -1, next
		}
		entries[at], numbers[at] = first, -1
	}
}
