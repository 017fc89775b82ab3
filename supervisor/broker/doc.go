// SPDX-License-Identifier: Apache-2.0

// Package broker is clawsupd without its flags: it takes calls in, decides
// about them, has people asked, runs them, and writes down what happened.
//
//	b, err := broker.Open(ctx, options)   // sweep, replay the log, open stores and sockets
//	err = b.Serve(ctx)                    // until ctx ends
//	err = b.Reload(ctx)                   // SIGHUP: the next generation, or what is wrong with it
//	err = b.Close()
//
// # One call
//
// The files are in the order of a call's life:
//
//	door.go        four kinds of sockets; who comes through one, and what they may ask for
//	accept.go      what is let in
//	call.go        what is known of a call
//	queue.go       whose turn it is
//	carry.go       one goroutine carries a call from its turn to its end:
//	resolve.go       the plan, and the question that policy gets
//	decide.go        policy's answer, and its receipt
//	ask.go           people's answer, where policy asks
//	spool.go       what it reads and writes, as far as that passes here
//	receipt.go     what is written down about it, before and after
//	reach.go       what its box reaches, where its profile lets it, while it runs:
//	judge.go         policy's answer to each thing that is to leave (wish.go, query.go)
//	held.go          people's answer, for which it waits
//	refusal.go       what was not let out
//	agentway.go    the same for an agent's own box
//	register.go    which calls there are and were
//	answer.go      what people say to a ticket
//	lockdown.go    the end of everything
//	journal.go     after a restart: what the log says about the last run
//	generation.go  configuration, profiles and roles, swapped as one
//
// # What is durable when
//
// A question is in its file before anybody is asked, and in the log before an
// answer to it is acted on. A yes is in the log before a box that can write
// anything that stays is started; for one that can't, it is written while the box
// is made, and synced with the outcome if not before: such a call waits for the
// disk once. The outcome is in the log before the caller gets its answer. If the
// log can't be written, nothing new begins until it can.
//
// A call is in the log or it has not happened. Killed at any point, the daemon
// finds at its next start which calls had been decided and not ended, and ends
// them as supervisor-restart; their boxes were ended by clawsup-init, which
// sees its socket close, or are swept. Tickets that were open are void: an
// answer to one of them is refused.
//
// # Limits
//
// Output of calls whose caller passed no descriptors is kept in unnamed files
// for ten minutes after the end, at most 64 of them, and not over a restart.
// A watcher who is too slow misses output; a follower doesn't.
package broker
