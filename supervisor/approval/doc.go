// SPDX-License-Identifier: Apache-2.0

// Package approval keeps the questions that are put to people, their answers,
// and the grants that come of them. It has no sockets: who somebody is, and by
// which way an answer came, is said by the caller, who knows it from the
// kernel. [Roles] says what that somebody may do.
//
//	book, err := approval.Open(dir, options)      // root; one process at a time
//	verdict := book.Use(subject, rules)           // by profile or standing grant
//	id, err := book.Ask(ctx, question)            // durable before anybody is told
//	outcome, err := book.Await(ctx, id, call)     // each call once
//	ticket, err := book.Answer(who, answer)       // durable before it returns
//
// # A ticket
//
// It is pending until the first of: a no; enough yeses; a change; its expiry;
// its last call giving up; lockdown, reload or restart, which make it void.
// Only then can [Book.Await] answer, and every call of it is answered once. An
// answer names the revision that the person saw, and a yes to another one is
// refused: so a yes covers the calls that were there and no later one. A no
// needs no newest revision, since joining calls must not be able to outrun it.
//
// Calls with the same requester, agent, session, effect, target, plan digest,
// labels, rule and quorum fold into one ticket while nobody has answered it,
// at most 64 over its life. Other questions take a token from their agent's
// bucket (from their uid's, without an agent); no token is [ErrFlood].
//
// A quorum takes that many people: distinct uids, of whom those that answer
// through one helper count as one. One no is a no.
//
// # Roles are those of the moment
//
// Options.Roles is asked at each answer, each count of a quorum and each use of
// a grant: who has lost the role has said nothing. [Book.Recheck] then takes
// what such people gave away for good.
//
// # The requester is never an approver
//
// An answer by the uid that asked is refused. Root is excepted: what an
// operator runs as root, the same operator may allow from another terminal,
// since root could do it without asking. A uid of an agent has no role
// whatever lists and groups say.
//
// # A change
//
// An answer that changes the call closes the ticket as changed. The daemon
// makes the new plan and calls [Book.AskChanged], or [Book.FailChange] if there
// is none; until then, at most until the ticket's expiry, its calls go on
// waiting, and are then told the next ticket.
//
// # A grant
//
// It is for the ticket's effect and one of its targets; for the skill's digest with the
// script, under the profile and on the workspace of the ticket, for any
// command there that is no skill's where it is about a destination, or else for the
// whole plan; and for the session, or the agent if it is wide (see
// [Ticket.Scope]). It takes people who all said grant, and has the shortest time,
// the fewest uses and the narrowest target that any of them said. [Book.Use] decides and counts a use
// down in one step, durably before it says yes. What is not counted costs no
// write.
//
// # Time
//
// At the moment of its expiry a thing is expired, by the wall clock. A clock
// that is set back extends nothing while the daemon runs: the monotonic clock
// bounds everything as well. An expired grant is written down as such, and does
// not come back with an older clock; one that seems to be from the future does
// not count.
//
// # On disk
//
// DIR/tickets/ID.json has one ticket with its grant, so that an answer and what
// comes of it are one write: whole, or not there (see package record). A yes is
// durable before anybody is told; a no is told at once and written after. What
// was pending when a process died is void at the next start, as its calls are.
// A file that isn't understood whole is moved to DIR/aside and told of in
// [Book.Notes]. DIR/lockdown.json stands while there is a lockdown: whatever
// the tickets say, nothing counts then.
//
// # Limits
//
// When a write fails after its rename, with a disk that is failing, an answer
// that was refused with that error can be there after the next start. The time
// at which a grant without a count was last used is not kept over a restart.
// Users and groups are those of /etc/passwd and /etc/group: ones that only the
// name service switch knows (LDAP, systemd-homed) can be named by number alone.
package approval
