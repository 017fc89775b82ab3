// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Row is one line of the table: when Call is made and all of When hold, the
// kernel gives Answer.
type Row struct {
	Group  Group
	Call   string // the kernel's name of the system call, as in syscalls(2)
	When   []Arg  // nil means always
	Answer Answer
	Why    string
}

// Group is a set of rows that a profile turns on by name.
type Group string

const (
	Base     Group = "base"
	Loopback Group = "loopback"
	Unix     Group = "unix"
	Inotify  Group = "inotify"
	SysVIPC  Group = "sysvipc"
	Ptrace   Group = "ptrace"
	NUMA     Group = "numa"
	Nested   Group = "nested"
)

// GroupInfo is a group and what it is for, in one sentence.
type GroupInfo struct {
	Name Group
	Doc  string
}

// Groups lists the groups in the order in which the table is printed, base
// first. Base is always on.
func Groups() []GroupInfo {
	return []GroupInfo{
		{Base, "what every program needs; always on"},
		{Loopback, "TCP and UDP sockets, IPv4 and IPv6; where they lead is the network namespace's business"},
		{Unix, "Unix sockets with names; on where no socket of the host's can be reached, or Landlock keeps it apart"},
		{Inotify, "watching files; takes of the 128 instances that the host's root has, and sees the host's programs being opened"},
		{SysVIPC, "System V and POSIX message queues, semaphores and shared memory: PostgreSQL, fakeroot"},
		{Ptrace, "debuggers and tracers inside the box: gdb, strace, sanitizers that look for leaks"},
		{NUMA, "memory placement on machines with several nodes: numactl, databases, numerical libraries"},
		{Nested, "seccomp filters of the program's own on top of this one: browsers, man-db, sshd"},
	}
}

// Answer is what the kernel does with a call: Allow, or an errno.
type Answer int32

const (
	// Allow lets the call through. It is no errno, and not the zero value.
	Allow Answer = 1 << 16
	// Refuse is the answer to everything that no row allows.
	Refuse = Answer(unix.EPERM)
	// Absent is what a kernel without the call answers; programs fall back.
	Absent = Answer(unix.ENOSYS)
)

// String gives "allow" or the errno's name.
func (a Answer) String() string {
	if a == Allow {
		return "allow"
	}
	return unix.ErrnoName(unix.Errno(a))
}

// Arg is a condition on one argument: of its 64 bits, those in Mask have the
// value Value.
type Arg struct {
	Pos   uint // from 0
	Mask  uint64
	Value uint64
	Words string
}

// excludes says that no argument can meet both conditions.
func (a Arg) excludes(b Arg) bool {
	common := a.Mask & b.Mask
	return a.Pos == b.Pos && a.Value&common != b.Value&common
}

// overlaps says that some arguments meet the conditions of both rows.
func (r Row) overlaps(o Row) bool {
	for _, a := range r.When {
		for _, b := range o.When {
			if a.excludes(b) {
				return false
			}
		}
	}
	return true
}

// condition says in words when the row holds.
func (r Row) condition() string {
	words := make([]string, len(r.When))
	for i, a := range r.When {
		words[i] = a.Words
	}
	return strings.Join(words, ", ")
}

// int32Bits are what the kernel takes of an argument declared int or unsigned.
const int32Bits = 0xffffffff

// is holds when the 32-bit argument is value.
func is(pos uint, arg string, value uint64, name string) Arg {
	return Arg{pos, int32Bits, value, arg + " " + name}
}

// span holds when the 32-bit argument is one of the n values from first on;
// n is a power of two and first a multiple of it.
func span(pos uint, arg string, first, n uint64, names string) Arg {
	return Arg{pos, int32Bits &^ (n - 1), first, arg + " " + names}
}

// lacks holds when none of bits is set.
func lacks(pos uint, arg string, bits uint64, names string) Arg {
	return Arg{pos, bits, 0, fmt.Sprintf("%s without %s", arg, names)}
}

// all is the condition of a row that needs every one of its arguments.
func all(args ...Arg) []Arg { return args }
