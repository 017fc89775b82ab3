// SPDX-License-Identifier: Apache-2.0

package api

import "github.com/clawsup/clawsup/supervisor/approval"

// Right says on which sockets a method is, and what role it takes.
type Right struct {
	Method   string
	Call     bool          // on call.sock, for a caller's own calls
	Approval bool          // on approval.sock
	Admin    bool          // on admin.sock
	Role     approval.Role // the least that it takes on approval.sock and admin.sock; who is on call.sock needs none
}

// rights is the table: a method that stops something takes less than the one
// that lets it go on, so that nobody waits for the owner to pull a cord.
var rights = []Right{
	{Method: CallSubmit, Call: true},
	{Method: CallWait, Call: true},
	{Method: CallFollow, Call: true, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: CallCancel, Call: true},
	{Method: CallList, Call: true, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: CallShow, Call: true, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: CallExplain, Call: true, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: CallWatch, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: CallStop, Approval: true, Admin: true, Role: approval.Approver},

	{Method: TicketList, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: TicketShow, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: TicketWatch, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: TicketAnswer, Approval: true, Admin: true, Role: approval.Approver},

	{Method: GrantList, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: GrantRevoke, Approval: true, Admin: true, Role: approval.Admin},

	{Method: ChangesList, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: ChangesShow, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: ChangesDiff, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: ChangesCommit, Approval: true, Admin: true, Role: approval.Admin},
	{Method: ChangesDiscard, Approval: true, Admin: true, Role: approval.Admin},
	{Method: ChangesUndo, Approval: true, Admin: true, Role: approval.Admin},
	{Method: TrashList, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: TrashEmpty, Approval: true, Admin: true, Role: approval.Admin},

	{Method: SessionList, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: SessionShow, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: SessionRemove, Approval: true, Admin: true, Role: approval.Admin},
	{Method: SessionClear, Approval: true, Admin: true, Role: approval.Owner},

	{Method: AgentStatus, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: AgentStop, Approval: true, Admin: true, Role: approval.Admin},
	{Method: AgentFreeze, Approval: true, Admin: true, Role: approval.Admin},
	{Method: AgentClear, Approval: true, Admin: true, Role: approval.Owner},
	{Method: AgentStart, Admin: true, Role: approval.Owner},
	{Method: AgentRestart, Admin: true, Role: approval.Owner},
	{Method: AgentThaw, Admin: true, Role: approval.Owner},
	{Method: AgentLogs, Admin: true, Role: approval.Owner},
	{Method: AgentRestore, Admin: true, Role: approval.Owner},

	{Method: SecretSet, Admin: true, Role: approval.Owner},
	{Method: SecretList, Admin: true, Role: approval.Owner},
	{Method: SecretShow, Admin: true, Role: approval.Owner},
	{Method: SecretRotate, Admin: true, Role: approval.Owner},
	{Method: SecretRemove, Admin: true, Role: approval.Owner},
	{Method: SecretPlaceholders, Call: true},
	{Method: SkillBind, Admin: true, Role: approval.Owner},
	{Method: SkillUnbind, Admin: true, Role: approval.Owner},
	{Method: SkillBindings, Admin: true, Role: approval.Owner},

	{Method: Status, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: WhoAmI, Approval: true, Admin: true, Role: approval.Viewer},
	{Method: Lockdown, Approval: true, Admin: true, Role: approval.Admin},
	{Method: Unlock, Approval: true, Admin: true, Role: approval.Owner},
	{Method: Reload, Admin: true, Role: approval.Owner},
}

// Rights gives the row of every method. What is not in it is not there.
func Rights() []Right { return append([]Right(nil), rights...) }
