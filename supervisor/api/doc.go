// SPDX-License-Identifier: Apache-2.0

// Package api is the language of the daemon's sockets: the messages, a server,
// a client, and who may use which method where.
//
// # Sockets
//
// Unix stream sockets below the run directory, /run/clawsup unless configured:
//
//	call.sock               root's own calls (clawsup run); mode 0600
//	agents/NAME/call.sock   one per agent, bound into its box alone: which listener took the
//	                        connection, and the peer's uid, are who calls
//	approval.sock           people with a role: see, answer, stop; mode 0666, and the daemon looks at who comes
//	admin.sock              root, from no box; mode 0600
//
// Rights has every method with its sockets and the least role; docs/sockets.md
// has the parameters and the results.
//
// # Framing
//
// JSON-RPC 2.0, one object on one line, a newline after it, at most MaxFrame
// bytes. There are no batches, and no requests without an id: whoever asks is
// answered. An id is a string or a whole number, of at most 64 bytes as
// written. What a client sends is read exactly or not at all: it must be valid
// UTF-8, at most 64 levels deep, without a key that is there twice, without an
// escaped half of a surrogate pair. Parameters are an object (absent: an empty
// one); a key that a method doesn't know, to the letter, is an error, and so is
// null. A caller that sends "approved": true is refused with CodeParams, and
// the daemon's log has it (Server.Refused).
//
//	→ {"jsonrpc":"2.0","id":1,"method":"ticket.show","params":{"ticket":"k7"}}
//	← {"jsonrpc":"2.0","id":1,"result":{...}}
//	← {"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"no ticket k7","hint":"..."}}
//	← {"jsonrpc":"2.0","method":"ticket.changed","params":{...}}
//
// A client should take fields that it doesn't know: the daemon may be newer.
//
// # Descriptors
//
// A request may bring stdin, stdout and stderr (SCM_RIGHTS, unix(7)): they ride
// on the first bytes of its frame, which says "files": 3 beside "method". A
// number that is not what came is an error and all are closed. Zero and three
// are the only numbers. What kind of files they may be is runtime.CheckStdio's.
//
// # Who asks
//
// The kernel says who connected (SO_PEERCRED, and SO_PEERPIDFD since Linux 6.5)
// and with everything that is received who sent it (SCM_CREDENTIALS, and
// SCM_PIDFD since Linux 6.5). A frame put together by two processes is refused.
// So is one whose user is not the connection's: else it would be enough to have
// a stronger process write a line to its standard error. A connection may be
// handed to another process of the same user, and Request.Peer is then that one.
//
// Peer.Cgroup is read from /proc/PID/cgroup, and through a pidfd it is made sure
// that the process had not ended by then. Where that can't be told, because the
// process has, it is empty, and who decides on cgroups says no: a client stays
// until it has its answer. Before Linux 6.5 a pidfd can only be had by number: a
// process that ended between sending and receiving, and whose number another
// got in that time, would be taken for the other. The user would still be the
// sender's.
//
// A listener that systemd makes needs PassCredentials=yes in its unit: bytes
// that came before the daemon ran are otherwise nobody's, and refused.
//
// # Order
//
// Requests of one connection are worked on side by side, at most MaxRequests;
// answers come as they are ready and carry the id. Notifications of a method
// come before its answer. When a client stops writing (shutdown(2)) it still
// gets its answers. When it closes, or is cut off, what it waited for is
// abandoned, and a call goes on: a connection is no call.
//
// An answer with the id null is for the whole connection, which then ends: it
// was turned away, or what it sent was no sequence of frames. After an answer
// with CodeParse or CodeRequest the connection goes on, MaxFaults times.
//
// # Errors
//
// An Error has a code of a closed set (see the constants), a message for
// people, a hint if they can do something, and for some methods data.
//
// # Bounds
//
// See the constants of the server, each with its reason. The daemon never waits
// for a client: Notify puts into a queue of MaxQueue bytes and cuts off a client
// for which there is no room, and Send waits in its own goroutine, for at most
// WriteTime without progress.
//
// # By hand
//
//	$ printf '%s\n' '{"jsonrpc":"2.0","id":1,"method":"whoami"}' | socat -t 5 - UNIX-CONNECT:/run/clawsup/approval.sock
//	{"jsonrpc":"2.0","id":1,"result":{"uid":1000,"name":"alice","role":"approver"}}
//
// # Limits
//
// The server answers for what it is told by the kernel it runs on. Whoever may
// ptrace a client, or write to its memory, is that client. Root outside a box
// is everybody.
package api

//go:generate go test -run ^TestReference$ . -update
