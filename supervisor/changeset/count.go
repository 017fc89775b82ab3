// SPDX-License-Identifier: Apache-2.0

package changeset

// Count says how much of each there is.
type Count struct {
	Created   int   `json:"created"`
	Modified  int   `json:"modified"`
	Deleted   int   `json:"deleted"`
	Renamed   int   `json:"renamed"`
	Changed   int   `json:"changed"`
	Dropped   int   `json:"dropped"`
	Conflicts int   `json:"conflicts"` // entries of these kinds with the note Conflict
	Added     int64 `json:"added"`     // bytes of content that there were not before
	Removed   int64 `json:"removed"`   // bytes of content that are gone
}

// Count adds up the entries. What is modified is added with all its bytes, and
// removed with all that it had.
func (s *Set) Count() Count {
	var c Count
	for i := range s.Entries {
		c.add(&s.Entries[i])
	}
	return c
}

// Entries is how many there are.
func (c Count) Entries() int {
	return c.Created + c.Modified + c.Deleted + c.Renamed + c.Changed + c.Dropped
}

func (c *Count) add(e *Entry) {
	switch e.Kind {
	case Created:
		c.Created++
	case Modified:
		c.Modified++
	case Deleted:
		c.Deleted++
	case Renamed:
		c.Renamed++
	case Changed:
		c.Changed++
	case Dropped:
		c.Dropped++
	}
	if e.Notes.Has(Conflict) {
		c.Conflicts++
	}
	added, removed := e.bytes()
	c.Added += added
	c.Removed += removed
}

// bytes are those of regular files that an entry brings and takes away. A
// further name brings none.
func (e *Entry) bytes() (added, removed int64) {
	switch e.Kind {
	case Created, Modified, Deleted:
	default:
		return 0, 0
	}
	if e.After.Type == Regular && e.Link == "" {
		added = e.After.Size
	}
	if e.Before.Type == Regular {
		removed = e.Before.Size
	}
	return added, removed
}
