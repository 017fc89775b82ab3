// SPDX-License-Identifier: Apache-2.0

// Package relay is clawsupd's side of the boxed clawsup-egress: it makes
// sockets, and lets the helper move the bytes between them.
//
//	helper, err := relay.Open(relay.Options{Supervisor: s, Dir: "/run/clawsup/egress"})
//	go helper.Run(ctx)                                 // starts it, and starts it again
//	listener, err := relay.Listen(at)                  // in the network namespace that the thread is in
//	r, err := helper.Relay(listener, func() (*os.File, error) { return relay.Connect(to) })
//	err = helper.Probe(ctx, socket, relay.Probe{...})
//	err = r.Close()
//
// What the helper says about boxes that reach beyond themselves goes to a
// Handler (package egress), given before Run.
//
// The two ends of a relay may be in different network namespaces: a socket
// stays in the one that it was made in, whoever holds it. The helper itself
// is in a box with an empty one.
//
// # What the helper can do if it is taken over
//
// It can read and change what goes through it, ask for connections of relays
// that it was given, some five hundred a second, and lie about readiness. It names
// relays by numbers and never an address. What it says is bounded and strictly
// read (package packet); the first word that makes no sense ends it. The sockets
// that it is given are of other network namespaces than its own: that it can't
// connect them anew, bind them or listen on them is its seccomp filter's work.
//
// # What happens when it ends
//
// It is started again, with a pause that doubles from 100 ms to 10 s, when it
// ends, says what makes no sense, or does not answer a ping within five
// seconds. Listening sockets stay open here, so that nobody is refused
// meanwhile: connections wait in the kernel's queue. Those that were relayed are lost.
//
// # Limits
//
// A relay has 256 connections at most, all together 512, and 512 new ones a
// second: more wait. Words about boxes are read 20,000 a second, and then more
// slowly. A pair that moves nothing for two hours is closed.
package relay
