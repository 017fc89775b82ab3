// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"

	"github.com/clawsup/clawsup/supervisor/agent"
	"github.com/clawsup/clawsup/supervisor/api"
)

// method answers one request of a client that may ask it: see api.Rights.
type method func(b *Broker, ctx context.Context, who client, r *api.Request) (any, error)

// methods is the table of what the daemon answers.
var methods = map[string]method{
	api.CallSubmit:  (*Broker).callSubmit,
	api.CallWait:    (*Broker).callWait,
	api.CallFollow:  (*Broker).callFollow,
	api.CallCancel:  (*Broker).callCancel,
	api.CallList:    (*Broker).callList,
	api.CallShow:    (*Broker).callShow,
	api.CallExplain: (*Broker).callExplain,
	api.CallWatch:   (*Broker).callWatch,
	api.CallStop:    (*Broker).callStop,

	api.TicketList:   (*Broker).ticketList,
	api.TicketShow:   (*Broker).ticketShow,
	api.TicketAnswer: (*Broker).ticketAnswer,
	api.TicketWatch:  (*Broker).ticketWatch,

	api.GrantList:   (*Broker).grantList,
	api.GrantRevoke: (*Broker).grantRevoke,

	api.ChangesList:    (*Broker).changesList,
	api.ChangesShow:    (*Broker).changesShow,
	api.ChangesDiff:    (*Broker).changesDiff,
	api.ChangesCommit:  (*Broker).changesCommit,
	api.ChangesDiscard: (*Broker).changesDiscard,
	api.ChangesUndo:    (*Broker).changesUndo,
	api.TrashList:      (*Broker).trashList,
	api.TrashEmpty:     (*Broker).trashEmpty,

	api.SessionList:   (*Broker).sessionList,
	api.SessionShow:   (*Broker).sessionShow,
	api.SessionRemove: (*Broker).sessionRemove,
	api.SessionClear:  (*Broker).sessionClear,
	api.AgentClear:    (*Broker).agentClear,

	api.AgentStatus:  (*Broker).agentStatus,
	api.AgentStart:   whileOpen(agentAct("start", (*agent.Agent).Start)),
	api.AgentStop:    agentAct("stop", (*agent.Agent).Stop),
	api.AgentRestart: whileOpen(agentAct("restart", (*agent.Agent).Restart)),
	api.AgentFreeze:  agentAct("freeze", (*agent.Agent).Freeze),
	api.AgentThaw:    agentAct("thaw", (*agent.Agent).Thaw),
	api.AgentLogs:    (*Broker).agentLogs,
	api.AgentRestore: (*Broker).agentRestore,

	api.SecretSet:          (*Broker).secretSet,
	api.SecretList:         (*Broker).secretList,
	api.SecretShow:         (*Broker).secretShow,
	api.SecretRotate:       (*Broker).secretRotate,
	api.SecretRemove:       (*Broker).secretRemove,
	api.SecretPlaceholders: (*Broker).secretPlaceholders,
	api.SkillBind:          (*Broker).skillBind,
	api.SkillUnbind:        (*Broker).skillUnbind,
	api.SkillBindings:      (*Broker).skillBindings,

	api.Status:   (*Broker).status,
	api.Reload:   (*Broker).reload,
	api.Lockdown: (*Broker).lockdown,
	api.Unlock:   (*Broker).unlock,
	api.WhoAmI:   (*Broker).whoAmI,
}

// params reads a method's parameters.
func params[T any](r *api.Request) (T, error) {
	var v T
	err := r.Decode(&v)
	return v, err
}
