// SPDX-License-Identifier: Apache-2.0

package approval

import "fmt"

// Role is what a person may do. Each includes those before it.
type Role int

// The roles, the least first.
const (
	NoRole   Role = iota
	Viewer        // sees calls, tickets, grants, sessions and agents
	Approver      // answers tickets and stops calls
	Admin         // revokes grants, removes sessions, freezes and stops agents, locks down
	Owner         // clears labels and ends a lockdown
)

var roleNames = []string{"none", "viewer", "approver", "admin", "owner"}

// String gives the role's name.
func (r Role) String() string { return roleNames[r] }

// UnmarshalText takes the name of a role; "none" is the name of none.
func (r *Role) UnmarshalText(b []byte) error {
	for i, name := range roleNames {
		if i > 0 && name == string(b) {
			*r = Role(i)
			return nil
		}
	}
	return fmt.Errorf("unknown role %q; there are viewer, approver, admin and owner", b)
}
