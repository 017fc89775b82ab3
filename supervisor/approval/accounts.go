// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// accounts keeps what was found about uids in passwd(5) and group(5) for as long
// as both are the files that they were: to read them takes longer than all else
// of a decision.
type accounts struct {
	mu      sync.Mutex
	files   [2]fileState        // mu
	answers map[uint32]identity // mu
}

// identity is what Roles.Of gives.
type identity struct {
	role Role
	name string
}

// maxAccounts bounds the table: uids that ask are few.
const maxAccounts = 1024

// fileState tells a file from what it was before. Who replaces one makes
// another inode, who writes one changes its times (inode(7)).
type fileState struct {
	path             string
	dev, ino         uint64
	size             int64
	written, changed int64 // nanoseconds since 1970
}

// stateOf gives that of a file; the zero state where it can't be told.
func stateOf(path string) fileState {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileState{}
	}
	return fileState{path, st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()}
}

// settling is how old a change must be: two within one tick of a file system's
// clock, of which the coarsest count seconds, look the same.
const settling = 3 * time.Second

// settled says whether a change from now on would show.
func (f fileState) settled(now time.Time) bool {
	return f != fileState{} && f.changed < now.Add(-settling).UnixNano() && f.written < now.Add(-settling).UnixNano()
}

// of gives what is known of a uid, or finds it out. A nil receiver knows nothing.
func (a *accounts) of(uid uint32, passwd, group string, find func() identity) identity {
	if a == nil {
		return find()
	}
	now := time.Now()
	files := [2]fileState{stateOf(passwd), stateOf(group)}
	a.mu.Lock()
	known, ok := a.answers[uid]
	ok = ok && a.files == files
	a.mu.Unlock()
	if ok {
		return known
	}
	found := find()
	after := [2]fileState{stateOf(passwd), stateOf(group)}
	if files != after || !files[0].settled(now) || !files[1].settled(now) {
		return found
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.files != files || len(a.answers) >= maxAccounts {
		a.files, a.answers = files, map[uint32]identity{}
	}
	a.answers[uid] = found
	return found
}
