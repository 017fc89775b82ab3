// SPDX-License-Identifier: Apache-2.0

// Package seccomp says which system calls a tool in a sandbox may make, and
// turns that into a filter the kernel runs before every call.
//
// # The table
//
// [Table] is the whole policy, as data: one row per system call or per
// condition on its arguments, each with the answer and the reason. It reads
// from top to bottom. What no row mentions is refused with EPERM. Rows whose
// answer is [Refuse] change nothing for the kernel: they are there to say why
// a call that somebody will look for stays closed.
//
// Rows belong to a group. The base group is always on; the others widen it
// and are named by a profile (see [Groups]). A row of a named group takes the
// place of the base rows that it contradicts.
//
// # The order of decisions
//
//  1. A call of another architecture (int 0x80, x32) kills the process.
//  2. A number above the newest call the table knows answers ENOSYS, so that a
//     libc newer than this table falls back as it does on an older kernel.
//  3. The rows of the call, if their conditions hold, answer.
//  4. Everything else is EPERM.
//
// # Arguments
//
// The kernel takes most arguments as 32 bits while the register has 64. Every
// condition therefore looks at chosen bits only (see [Arg]): what the kernel
// ignores can't make a value look like another, in either direction.
//
// A filter sees registers and never memory. Calls that pass their flags in
// memory can't be checked: clone3 and openat2 answer ENOSYS, and libc uses
// clone and openat. Set-user-id modes are refused wherever a mode is passed,
// because a file the box leaves behind in a workspace is a file of the host.
//
// # How it is used
//
// [Compile] gives the filter as bytes, once per process and set of groups. It
// needs libseccomp and cgo. Package load hands those bytes to the kernel; it
// needs neither, and is what runs inside the box.
//
// # Limits
//
// A filter is not a boundary for data: it can't see path names, and the calls
// it lets through are still the kernel's whole attack surface for them. It
// assumes that the tool has no capability, a mount namespace without setuid,
// and a process 1 that the tool can't trace (a Landlock domain of its own, or
// PR_SET_DUMPABLE 0), most of all with the ptrace group. A descriptor that is
// open when the filter is loaded stays usable: close what the tool must not
// have.
package seccomp
