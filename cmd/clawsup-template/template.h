// SPDX-License-Identifier: Apache-2.0
//
// What template.c says to clawsup and hears from it. The other side is package
// runtime/wire, box.go, which has the same numbers; a test compares them.

#ifndef TEMPLATE_H
#define TEMPLATE_H

// A message is numbers and texts in a fixed order: a number is eight bytes of
// the machine's own order, a text is a number of bytes, those bytes and a NUL.
#define PROTOCOL 1

enum {
	MAX_SETUP = 256 << 10, // bytes of a setup or an order
	MAX_CALL = 4 << 20,    // bytes of a call
	MAX_FDS = 64,          // descriptors on one message
	MAX_MOUNTS = 64,
	MAX_MEASURED = 64,
	CONTROL_FD = 3, // at which the template finds its socket
};

// Setup.flags
enum {
	SET_LANDLOCK = 1,
	SET_SECCOMP = 2,
	SET_CGROUP_NAMESPACE = 4,
	SET_TIME_NAMESPACE = 8,
};

// Order.flags
enum { ORDER_UNIFIED = 1 }; // the first group is a directory of cgroup v2, the rest are tasks files of v1

// Order: kinds of places
enum { PLACE_TREE = 1, PLACE_TMPFS = 2, PLACE_DIRECTORY = 3 };
// and their flags
enum { PLACE_LOOSE = 1, PLACE_MAPPED = 2 };

// Call.flags
enum { CALL_WATCH = 1 };

// Events of a box
enum { EVENT_HELLO = 1, EVENT_FAILED = 2, EVENT_DONE = 3 };

// Steps, as in package wire
enum {
	STEP_CGROUP = 4,
	STEP_MOUNT = 5,
	STEP_CONTAINER = 6,
	STEP_INIT = 7,
	STEP_CALL = 8,
	STEP_IDENTITY = 9,
	STEP_RLIMIT = 10,
	STEP_CHDIR = 11,
	STEP_REQUIRES = 12,
	STEP_LOOKUP = 13,
	STEP_LANDLOCK = 14,
	STEP_SECCOMP = 15,
	STEP_EXEC = 16,
};

// What failed within a step, where an error number alone doesn't say it
enum {
	FAULT_ERRNO = 0,       // text: what was tried
	FAULT_REQUIRES = 1,    // text: the program
	FAULT_REQUIRES_ANY = 2,
	FAULT_NOT_FOUND = 3,   // text: the command
	FAULT_NOT_REGULAR = 4, // text: the command
	FAULT_EXEC = 5,        // text: the file
	FAULT_SILENT = 6,      // the stage ended without a word
	FAULT_FRAME = 7,       // a message broke the rules
};

// Done.flags
enum { DONE_OUTPUT_LIMIT = 1, DONE_TIMED_OUT = 2 };

#endif
