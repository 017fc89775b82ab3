// SPDX-License-Identifier: Apache-2.0

package summary

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/supervisor/raw"
)

// Numbers gives the paths of a list of numbers, as in "3, 7-12". A directory's
// path stands for all that is in it.
func (s *Summary) Numbers(text string) ([]raw.String, error) {
	chosen := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.Atoi(strings.TrimSpace(from))
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(strings.TrimSpace(to))
		}
		if err != nil || first < 1 || last < first || last > s.Len() {
			return nil, fmt.Errorf("the numbers are from 1 to %d, as in 3,7-12", s.Len())
		}
		for n := first; n <= last; n++ {
			chosen[n] = true
		}
	}
	var paths []raw.String
	for n := 1; n <= s.Len(); n++ {
		if !chosen[n] {
			continue
		}
		paths = append(paths, s.Entry(n).Path)
		for n < s.Len() && chosen[n+1] && strings.HasPrefix(string(s.Entry(n+1).Path), string(paths[len(paths)-1])+"/") {
			n++
		}
	}
	return paths, nil
}
