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
