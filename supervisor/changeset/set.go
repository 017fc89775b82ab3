// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"fmt"

	"github.com/clawsup/clawsup/supervisor/raw"
)

// Set is what a call did to its workspace. Entries are in the order of their
// paths, byte by byte with '/' before every other byte, so that a directory is
// followed by what is in it; of two with one path the Deleted is first.
type Set struct {
	Entries []Entry
}

// Entry is one path that is not what it was.
type Entry struct {
	Kind   Kind       `json:"kind"`
	Path   raw.String `json:"path"`             // below the workspace, without a slash at either end, any bytes but NUL; of Deleted as it was, of others as the call left it
	From   raw.String `json:"from,omitempty"`   // of Renamed, and of what is Modified or Changed in a renamed directory: where the workspace has it
	Link   raw.String `json:"link,omitempty"`   // of Created: the path, earlier in the set, that this is another name of
	Target raw.String `json:"target,omitempty"` // of a symbolic link, after
	Before State      `json:"before,omitzero"`  // as the workspace has it; zero of Created
	After  State      `json:"after,omitzero"`   // as the call left it; zero of Deleted
	Notes  Notes      `json:"notes,omitempty"`  // a sum: 1 in conflict, 2 a link that leaves, 4 privileged, 8 hard linked, 16 somebody else's, 32 attributes not carried
}

// Kind is what happened to a path.
type Kind uint8

// The kinds. Where a directory takes the place of something else, or something
// else that of a directory, the path has a Deleted and a Created.
const (
	Created  Kind = iota + 1
	Modified      // other content, or another type of file that is no directory; anything of a file with further names, which keep what it was
	Deleted       // a directory's entries are Deleted too, each, but for directories that were moved out of it; named by where the workspace has it, also in a directory that is Renamed
	Renamed       // a directory that was there before, moved whole; what is in it is an entry only where it changed
	Changed       // mode or extended attributes alone, of a file of one name or a directory
	Dropped       // made by the call and never committed: a device, FIFO or socket, or a file of more holes than Walk reads; with a Before, that stays
)

// Was is the path at which the workspace has what Before tells of.
func (e *Entry) Was() string {
	if e.From != "" {
		return string(e.From)
	}
	return string(e.Path)
}

// State is a file as it is, or was, at one moment.
type State struct {
	Type     Type    `json:"type"`
	Mode     uint32  `json:"mode"` // permission bits, 0 to 07777; of After without setuid and setgid, but for setgid of a directory that had it before
	UID      uint32  `json:"uid"`
	GID      uint32  `json:"gid"`
	Size     int64   `json:"size"`             // bytes of a regular file's content or a link's target; else 0
	Digest   string  `json:"digest,omitempty"` // of the same bytes, "sha256:" and 64 hexadecimal digits; empty of others, and of a file with more holes than Walk reads
	Modified int64   `json:"modified"`         // mtime, nanoseconds since 1970
	Links    uint32  `json:"links"`            // names that it has
	Identity         // of Before: what a commit checks again
	Xattrs   []Xattr `json:"xattrs,omitempty"` // user.* alone, by name
}

// Identity tells whether a file is the one that was looked at, and unchanged
// since: every write, rename and chmod moves ctime (inode(7)).
type Identity struct {
	Dev   uint64 `json:"dev,omitempty"`
	Ino   uint64 `json:"ino,omitempty"`
	Ctime int64  `json:"ctime,omitempty"` // nanoseconds since 1970
}

// Xattr is one extended attribute (xattr(7)).
type Xattr struct {
	Name  raw.String `json:"name"` // with its name space
	Value []byte     `json:"value"`
}

// Type is a file's type; None where there is no file.
type Type uint8

// The types.
const (
	None Type = iota
	Regular
	Directory
	Symlink
	Special // device, FIFO or socket
)

// Notes are what people have to know of an entry beyond its kind.
type Notes uint16

// The notes.
const (
	Conflict   Notes = 1 << iota // the workspace's file changed, came or went since the call began
	Leaves                       // a symbolic link that is absolute, or leads out of the workspace
	Privileged                   // setuid, setgid or file capabilities, which are not committed
	HardLinked                   // the workspace's file has further names, which keep the old content
	Foreign                      // the workspace's file is not its owner's
	Attributes                   // extended attributes that are not carried: an ACL, a name space beyond user.*, or more than Walk reads

	end // no note
)

var kindNames = [...]string{Created: "created", Modified: "modified", Deleted: "deleted", Renamed: "renamed", Changed: "changed", Dropped: "dropped"}

// Kinds gives all of them in their order.
func Kinds() []Kind { return []Kind{Created, Modified, Deleted, Renamed, Changed, Dropped} }

// String gives the kind's name.
func (k Kind) String() string { return name(int(k), kindNames[:]) }

// MarshalText gives the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return text(int(k), kindNames[:]) }

// UnmarshalText takes a kind's name.
func (k *Kind) UnmarshalText(b []byte) error {
	i, err := named(b, kindNames[:])
	*k = Kind(i)
	return err
}

var typeNames = [...]string{None: "none", Regular: "file", Directory: "directory", Symlink: "link", Special: "special"}

// String gives the type's name.
func (t Type) String() string { return name(int(t), typeNames[:]) }

// MarshalText gives the type's name.
func (t Type) MarshalText() ([]byte, error) { return text(int(t), typeNames[:]) }

// UnmarshalText takes a type's name.
func (t *Type) UnmarshalText(b []byte) error {
	i, err := named(b, typeNames[:])
	*t = Type(i)
	return err
}

func name(i int, names []string) string {
	if i < 0 || i >= len(names) || names[i] == "" {
		return fmt.Sprintf("unknown %d", i)
	}
	return names[i]
}

func text(i int, names []string) ([]byte, error) {
	if i < 0 || i >= len(names) || names[i] == "" {
		return nil, fmt.Errorf("there is no such word for %d", i)
	}
	return []byte(names[i]), nil
}

func named(b []byte, names []string) (int, error) {
	for i, n := range names {
		if n != "" && n == string(b) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown word %q", b)
}

// Has says whether all of m are in n.
func (n Notes) Has(m Notes) bool { return n&m == m }
