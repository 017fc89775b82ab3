// SPDX-License-Identifier: Apache-2.0

// Package difference is how clawsupd and clawsup-inspect talk about what was
// done to the content of a file.
//
// Root reads no hostile bytes beyond moving them. It sends the beginnings of
// both contents to a clawsup-inspect that it started in an empty box (Send),
// which compares them and prints one JSON object (Answer). Root decodes that
// with DecodeAnswer: bounded, strictly, and with every line made visible once
// more by root itself.
//
// # What is sent
//
// The content before, then the content after, then the end of the stream. Each is
//
//	1 byte   1 where there is a file, else 0
//	8 bytes  the size of the whole file
//	4 bytes  n, how many of its bytes follow: the size or MaxContent, the smaller
//	n bytes  the content's beginning
//
// with numbers in network byte order.
//
// # What a line is
//
// The first character says what a line is: ' ' is in both contents, '-' only in
// the one before, '+' only in the one after; '@' begins what clawsup says. In the
// others a tab is → and spaces up to the next multiple of four columns, a space at
// the end is ·, and a carriage return at the end is ␍, unless all lines end in
// one, which is said once. What else could deceive is an escape, as package
// visible has them; then an @ line beneath says so, and a backslash that is in the
// file itself is doubled in that line. So no two lines look alike.
//
// # Limits
//
// Who wrote the content may have taken over the program that reads it. All that
// it wins are wrong lines about this one file. Which paths changed, from what
// size, mode and digest to what, is found and said by root alone, and a decision
// is about those: a lying clawsup-inspect can't hide that a path changed.
package difference
