// SPDX-License-Identifier: Apache-2.0

// Package egress is the only way out of a box, as far as clawsupd has to do with
// it: it leads a box's network to the boxed clawsup-egress, passes the helper's
// questions to a Judge, and makes the sockets for what the Judge allowed.
//
//	way, err := egress.New(egress.Options{Relay: helper, Judge: broker})     // before helper.Run
//	authority, err := egress.NewAuthority("session x", 24*time.Hour)         // authority.PEM() into the box's bundle
//	box, err := way.Open(egress.BoxOptions{In: sandbox.InNetwork, Authority: authority, ...})
//	// the call runs; Judge.Name, Ask, Capture, Ended, Refused
//	err = box.Close()
//
// The helper reads what programs and servers send. This package reads nothing
// of it: package packet's messages alone, whose words it checks for their form.
//
// # What the helper can do if it is taken over
//
// It never makes a socket. It is given one, connecting, for a decision of a
// box that is open and that has not ended: to the decision's port, at an address
// that was decided, or, of a name that nobody looked up before, at one that package
// guard finds public or the rule names, and never at one of the host's own. It can ask in
// the name of any box that is open, so it gets as far as all of them together, and
// of a name it can choose the address. It can send what it likes over what it has,
// lie about what was asked for within its form (a method, a path, a size), and
// about traffic. Questions go to the Judge with what the rules and people of that box
// say. A secret's value comes to it with the answer to a question that uses the
// secret where its binding says, and only then.
//
// To resolvers of the host it can say anything at any time, a few dozen at once:
// DNS can't be asked without that. Over UDP it has no socket for it, but one end of
// a pair: a UDP socket can be used to send to anywhere.
//
// # What happens when it ends
//
// Listening sockets stay open here, so that connections wait in the kernel's
// queue for the next run, which is told of all boxes again, with their
// authorities and secrets. Questions without an answer end, what was allowed has ended.
//
// # Limits
//
// Those of package packet: words a second, questions at a time, decisions that
// have not ended. What is over one of them is denied, or waits.
package egress
