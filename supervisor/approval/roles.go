// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/sys/user"
)

// RoleNames says who has which role. An entry is the name of a user, "@" and
// the name of a group, or "uid:" and a number.
type RoleNames struct {
	Owner, Admin, Approver, Viewer []string
}

// Roles knows which role a uid has. It is never changed.
type Roles struct {
	entries []roleEntry // the highest role first
	agents  []uint32

	passwd, group string // files, see passwd(5) and group(5)
	known         *accounts
}

type roleEntry struct {
	role  Role
	user  string // one of the three is set
	group string
	uid   uint32
}

// accountName is what useradd(8) takes, and a little more: no name with a
// colon, a comma or a space can be in the files.
var accountName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}\$?$`) })

// NewRoles takes the lists of a configuration and the uids of all agents, who
// have no role whatever the lists say. It refuses an entry that it doesn't
// understand; one that names nobody (yet) is none to refuse.
func NewRoles(names RoleNames, agents []uint32) (Roles, error) {
	r := Roles{agents: slices.Clone(agents), passwd: "/etc/passwd", group: "/etc/group", known: &accounts{}}
	if slices.Contains(agents, 0) {
		return Roles{}, errors.New("an agent can't be root")
	}
	for _, list := range []struct {
		role  Role
		names []string
	}{{Owner, names.Owner}, {Admin, names.Admin}, {Approver, names.Approver}, {Viewer, names.Viewer}} {
		for _, name := range list.names {
			e, err := parseRole(list.role, name)
			if err != nil {
				return Roles{}, err
			}
			r.entries = append(r.entries, e)
		}
	}
	return r, nil
}

func parseRole(role Role, text string) (roleEntry, error) {
	e := roleEntry{role: role}
	if number, ok := strings.CutPrefix(text, "uid:"); ok {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n == 1<<32-1 || strconv.FormatUint(n, 10) != number { // (uid_t)-1 is nobody's, see setresuid(2)
			return e, fmt.Errorf("role %s: %q is not the number of a user: write for example \"uid:1000\"", role, text)
		}
		e.uid = uint32(n)
		return e, nil
	}
	name, group := strings.CutPrefix(text, "@")
	if !accountName().MatchString(name) {
		return e, fmt.Errorf("role %s: %q names nobody: write a user's name, \"@\" and a group's, or \"uid:\" and a number", role, text)
	}
	if group {
		e.group = name
	} else {
		e.user = name
	}
	return e, nil
}

// Of gives the highest role that a uid has, and the name of its user, or "" if
// it has none. Names and groups are those that /etc/passwd and /etc/group have
// now: who leaves a group loses at once what it gave. If they can't be
// read, only numbers count. Uid 0 is the owner; an agent's uid is nobody.
func (r Roles) Of(uid uint32) (Role, string) {
	if uid == 0 {
		return Owner, "root"
	}
	who := r.known.of(uid, r.passwd, r.group, func() identity {
		role, name := r.find(uid)
		return identity{role, name}
	})
	return who.role, who.name
}

// find looks a uid up in the files.
func (r Roles) find(uid uint32) (Role, string) {
	accounts, err := user.ParsePasswdFileFilter(r.passwd, func(u user.User) bool { return u.Uid == int(uid) })
	if err != nil {
		accounts = nil
	}
	var name string
	if len(accounts) > 0 {
		name = accounts[0].Name
	}
	if slices.Contains(r.agents, uid) {
		return NoRole, name
	}
	var groups []string
	if slices.ContainsFunc(r.entries, func(e roleEntry) bool { return e.group != "" }) {
		groups = r.groupsOf(accounts)
	}
	for _, e := range r.entries {
		switch {
		case e.user != "":
			if slices.ContainsFunc(accounts, func(u user.User) bool { return u.Name == e.user }) {
				return e.role, name
			}
		case e.group != "":
			if slices.Contains(groups, e.group) {
				return e.role, name
			}
		case e.uid == uid:
			return e.role, name
		}
	}
	return NoRole, name
}

// groupsOf gives the names of the groups of a user's accounts, also of the
// primary ones. Gid 0 is no primary group here: it is what the parser makes of
// a number that it can't read.
func (r Roles) groupsOf(accounts []user.User) (names []string) {
	groups, err := user.ParseGroupFileFilter(r.group, func(g user.Group) bool {
		return slices.ContainsFunc(accounts, func(u user.User) bool {
			return slices.Contains(g.List, u.Name) || u.Gid != 0 && u.Gid == g.Gid
		})
	})
	if err != nil {
		return nil
	}
	for _, g := range groups {
		names = append(names, g.Name)
	}
	return names
}
