// SPDX-License-Identifier: Apache-2.0

// Package outlet is where the traffic of boxes comes out. It takes what comes
// through a box's listener, finds out what it is, asks clawsupd whether it may leave, and
// only then looks up names, connects, and moves it.
//
//	o := outlet.New(outlet.Options{Host: server, Roots: pool})
//	err := server.Serve(o)                        // package boxed tells it of boxes
//
// # What becomes of a connection
//
//	its destination                               what it is
//	port 53, whatever address                     DNS (package names)
//	the resolver's address, port 3128             HTTP proxy: CONNECT goes on as the connection to its target would
//	the resolver's address, port 1080             SOCKS5, in the same way
//	an address that stands for a name             that name
//	any other address                             the address itself
//
// The rules may say of that name and port that it passes unopened: as bytes, which
// nobody looks at, or as TLS, whose ClientHello must name it. Otherwise the first bytes decide:
//
//	a TLS record                                  TLS is ended here, and what comes out of it has to be HTTP
//	a request line of HTTP/1.x                    HTTP
//	the preface of HTTP/2                         refused: in plain text nobody is asked to speak it
//	anything else, or nothing for a moment        bytes
//
// The name that TLS asks for, the Host or :authority of each request, and the
// target of CONNECT have to be that name and port; 421 otherwise.
//
// # A request
//
//	looked at for secrets (package credential); a placeholder where it may not stand: 403
//	clawsupd is asked, for as long as it takes; the body is unread but where a secret or a rule needs it
//	no: 403, one line with the reason and the ticket's number, which is also in Clawsup-Ticket
//	yes: values are put in, the name is looked up, every address is judged (package guard), a socket comes from clawsupd
//	the answer streams back through the mask
//
// Both sides speak HTTP/1.1 or HTTP/2, whichever way. Requests are made anew by
// net/http: two readings of one request, which smuggling lives on, don't get
// through. A WebSocket's opening is asked for as method WEBSOCKET; other upgrades
// are refused, and the one to HTTP/2 is not taken up. Redirects are the client's to
// follow. Trailers of requests are refused; those of answers pass.
//
// # Bounds
//
// Connections of all boxes: what the limit of descriptors allows, at most
// MaxConnections; nobody has more than they leave for others, which for one box
// alone is half. What waits for an answer of clawsupd: package packet. Bodies that
// are read whole: maxHeld bytes of all boxes, a quarter for one. Lookups of one box
// at a time: maxBoxLookups. A connection that moves nothing for two hours, and waits
// for nobody, is closed.
//
// # Limits
//
// Inside of what passes unopened nobody looks. A program that speaks neither
// HTTP nor TLS is asked about as bytes to an address and port. Where a program connects and
// says nothing, the server may be meant to speak first: after three seconds, or less at ports where
// that is usual, it is asked for as bytes; when the program speaks before the answer, it is looked at after all.
// On ports 80 and 443, where no server does, the program is waited for instead.
// A program that ends its side of a connection while HTTP is spoken on it is taken
// to have left: what it asked for is given up. In bytes that end is passed on.
//
// Bytes of bounds are those between this program and servers: with TLS, heads
// of requests, and what is sent again.
package outlet
