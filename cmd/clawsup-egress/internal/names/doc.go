// SPDX-License-Identifier: Apache-2.0

// Package names is DNS, on both sides of clawsup-egress, which have nothing to
// do with each other.
//
// Towards the box, [Server] answers every query by itself. The address of a name
// that policy could allow is one of 198.18.0.0/15, bound to the name for as long
// as the box lives ([Table]): who connects there has said which name they mean.
// Nothing goes upstream from a query, so that a name can't carry anything out.
// All it costs is a question to clawsupd, which is bounded in rate, and a place
// in the table, which is bounded in number and bytes.
//
//	A of a name that could be allowed      its address of 198.18.0.0/15
//	AAAA, HTTPS, SVCB, TXT, MX, ... of it  nothing (NOERROR)
//	what policy denies, what is no name    NXDOMAIN
//	PTR of an address of the table         its name
//	localhost and below                    127.0.0.1, ::1
//	*.arpa otherwise, *.invalid, *.onion   NXDOMAIN, and nobody is asked; but *.home.arpa is a name like any
//	ANY, AXFR, CHAOS, TSIG, ...            REFUSED
//	too many names, or too many at once    REFUSED
//	clawsupd does not answer               SERVFAIL
//
// HTTPS and SVCB stay empty so that no client finds another port, an address, or
// a key of encrypted ClientHello there. A name of one label is asked for like any
// other. The box's resolv.conf must have no search list: a name that one makes
// up would be asked for as well.
//
// Towards the world, [Lookup] asks the host's resolvers, over sockets that
// clawsupd made, once somebody said yes; [Cache] remembers for a while. What it
// finds is judged by nobody here: see package guard. The caller connects to the
// addresses that it checked, and does not look up again in between.
//
// Limits. Answers are not verified with DNSSEC: what the host's resolvers say is
// believed, as everywhere on the host. TLS is what says who answers. A box that
// meets more than [MaxNames] names in its life finds no further ones.
package names
