// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"path"

	"github.com/clawsup/clawsup/supervisor/raw"
)

// Moves tells for people which created files are deleted ones in another
// place: the numbers of the deleted entries, by those of the created ones. The
// content is the same to the byte, and not empty. Each deleted file is the
// origin of one at most, before all of one with the same name. The set itself
// says deleted and created, which is what happened.
func (s *Set) Moves() map[int]int {
	type content struct {
		digest string
		size   int64
	}
	deleted := map[content][]int{}
	for i := range s.Entries {
		if e := &s.Entries[i]; e.Kind == Deleted && e.Before.Type == Regular && e.Before.Digest != "" && e.Before.Size > 0 {
			c := content{e.Before.Digest, e.Before.Size}
			deleted[c] = append(deleted[c], i)
		}
	}
	if len(deleted) == 0 {
		return nil
	}
	type named struct {
		content
		name string
	}
	created := map[content][]int{}
	moves, used := map[int]int{}, map[int]bool{}
	names := map[named][]int{}
	for c, list := range deleted {
		for _, i := range list {
			n := named{c, base(s.Entries[i].Path)}
			names[n] = append(names[n], i)
		}
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		if e.Kind != Created || e.After.Type != Regular || e.Link != "" {
			continue
		}
		c := content{e.After.Digest, e.After.Size}
		if deleted[c] == nil {
			continue
		}
		n := named{c, base(e.Path)}
		if list := names[n]; len(list) > 0 {
			moves[i], used[list[0]], names[n] = list[0], true, list[1:]
			continue
		}
		created[c] = append(created[c], i)
	}
	for c, list := range created {
		left := deleted[c]
		for _, i := range list {
			for len(left) > 0 && used[left[0]] {
				left = left[1:]
			}
			if len(left) == 0 {
				break
			}
			moves[i], left = left[0], left[1:]
		}
	}
	return moves
}

func base(p raw.String) string { return path.Base(string(p)) }
