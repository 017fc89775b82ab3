// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"slices"

	"github.com/clawsup/clawsup/supervisor/policy"
)

// present is the roles as they are at one moment: each uid is asked about once.
type present struct {
	ask   func(uid uint32) Role // nil: everybody may do everything
	known map[uint32]Role
}

func newPresent(ask func(uid uint32) Role) present {
	return present{ask, map[uint32]Role{}}
}

// present gives the roles of this moment. b.mu is held.
func (b *Book) present() present { return newPresent(b.options.Roles) }

func (p present) of(uid uint32) Role {
	if p.ask == nil {
		return Owner
	}
	role, ok := p.known[uid]
	if !ok {
		role = p.ask(uid)
		p.known[uid] = role
	}
	return role
}

func (p present) approver(uid uint32) bool { return p.of(uid) >= Approver }

// lost says why a grant counts no more: who gave it may not any more; empty: it counts.
func (p present) lost(g *policy.Grant) string {
	for i, uid := range g.ByUID {
		if !p.approver(uid) {
			return g.By[i] + " is an approver no more"
		}
	}
	return ""
}

// standing gives a copy of the grants that count.
func (p present) standing(grants []policy.Grant) []policy.Grant {
	return slices.DeleteFunc(slices.Clone(grants), func(g policy.Grant) bool { return p.lost(&g) != "" })
}
