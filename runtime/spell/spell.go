// SPDX-License-Identifier: Apache-2.0

// Package spell finds what a mistyped name was probably meant to be: a
// command, a flag, a key of the configuration, a group of system calls.
package spell

// Nearest gives the known name that is closest to word, and whether it is
// close enough to be worth saying: at most a third of the letters, and never
// fewer than two, differ (Levenshtein distance in bytes). Of equally close
// names it is the first.
func Nearest(word string, known []string) (string, bool) {
	if len(word) > 64 {
		return "", false
	}
	best, least := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := Distance(word, k); d < least && d < max(len(word), len(k)) {
			best, least = k, d
		}
	}
	return best, best != ""
}

// Distance is the least number of bytes to insert, remove or replace to make b
// of a.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
