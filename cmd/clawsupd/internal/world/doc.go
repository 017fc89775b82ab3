// SPDX-License-Identifier: Apache-2.0

// Package world is an Internet of a test's own: two network namespaces, the
// host that a daemon of the test runs on and the servers that it reaches from
// there, with nothing that leads to the network of the machine. Tests import it
// and nothing else does.
//
//	w := world.New(t)                     // ends with the test
//	err := w.Host.Start(clawsupd)         // an exec.Cmd, in the host's namespace
//	w.Config()                            // [network] of its configuration: resolver, roots
//	mark := w.Sink.Mark(t)
//	...                                   // something in a box tries to get out
//	w.Sink.Since(t, mark)                 // every packet that left the host since
//	w.Log.Await(t, func(s world.Seen) bool { return s.Server == world.API })
//
// # What there is
//
// The host has one interface to the servers' namespace, with HostAddress and
// HostAddress6 and a default route, and lo. The servers' namespace answers at
// every address that a packet comes for, public or private, so that nothing gets
// lost between the two: what was sent was seen.
//
// Names are in the top-level domain test, which RFC 6761 keeps free; addresses are from
// the public space, since what is tested refuses those of documentation. The
// DNS server at Resolver knows the zone of zone.go: names of the servers, names that
// lead inwards, a name that changes its mind. It keeps every question.
//
// Servers are at addresses of their own, with certificates of the world's
// authority; they keep every request in Log:
//
//	API, Other   HTTPS, HTTP/1.1 and HTTP/2, all paths of web.go; Other is where nothing should arrive
//	Moved        HTTPS, sends /PATH on to Other
//	Bot          HTTPS, /bot<BotToken>/METHOD
//	Git, Wheels, Packages   HTTPS, a repository, a Python index, an npm registry
//	Plain        HTTP on port 80, paths of web.go
//	Raw          TCP: 7000 sends back what it gets, 7001 speaks first
//	Sealed       HTTPS, for what is passed through unopened
//	Expired, Stranger, Misnamed, Old   HTTPS that a strict client refuses
//
// Canaries listen where nothing of a box should ever arrive: on the host's
// loopback and its own address, and on private and metadata addresses out there.
//
// # The sink
//
// Sink counts each packet that comes out of the host, and each on its lo,
// before any server sees it. Mark and Since send a packet of their own on each
// CPU first and wait for it, so that what was sent before them is in the list:
// an empty list means that nothing was sent.
//
// # Limits
//
// The namespaces have no names: they end with the last descriptor, also when the
// test was killed. ARP, neighbour discovery and multicast reports of the kernel
// itself are not counted.
package world
