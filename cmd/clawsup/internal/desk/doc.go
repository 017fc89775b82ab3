// SPDX-License-Identifier: Apache-2.0

// Package desk is the terminal interface at which people answer tickets.
//
// It shows what the daemon tells through a Daemon (a client of approval.sock)
// and sends back what a person answers:
//
//	err := desk.Run(ctx, desk.Options{Dial: dial, Colour: true})
//
// On the left or on top stands a list: the tickets that wait, the oldest
// first, then the calls that run. The rest is the whole text of what is
// selected, that is Text, which the commands that print a ticket use too.
// All of it is wrapped, never cut.
//
// A key answers a ticket only as it was read. It is refused
//
//   - while something about the selected ticket, or which one is selected, or
//     where it stands changed less than Settle ago: the key may have been meant
//     for what was there before;
//   - until every line of that revision was on the screen at some time,
//     in order, from the first to the last;
//   - while an answer of ours is under way.
//
// An answer names the ticket and the revision that was shown; the daemon
// refuses one to another revision. Pasted text is no answer.
//
// Everything shown that others chose is made visible again here (package
// visible), the output of a call that is watched included, so that nothing can
// move the cursor. Only clawsup's own words stand at the left edge: a value that
// goes on stands behind "| " or "+ ", the requester's words behind "> ".
//
// The state is a value (model) that changes by messages alone, as Bubble Tea
// has it; what it shows is a pure function of it. The tests send messages and
// look at the screen.
package desk
