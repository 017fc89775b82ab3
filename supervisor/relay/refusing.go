// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// refused are the system calls that the helper has no use for, and that a socket
// of the host's network would answer: where it leads, and what the host's
// interfaces and addresses are (netdevice(7)).
var refused = []uint32{unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_IOCTL}

// refusing puts in front of a compiled filter (an array of struct sock_filter,
// linux/filter.h) that some system calls fail with EPERM.
//
// The helper's sockets are of other network namespaces than its own, and a socket stays
// where it was made: whoever could connect one anew (connect(2), AF_UNSPEC), or listen
// on it, would be on the host's network.
//
// Calls of other architectures, whose numbers mean something else, are for the filter
// behind: it kills them.
func refusing(filter []byte, calls ...uint32) []byte {
	instruction := func(code uint16, ifTrue, ifFalse uint8, k uint32) []byte {
		b := binary.NativeEndian.AppendUint16(nil, code)
		return binary.NativeEndian.AppendUint32(append(b, ifTrue, ifFalse), k)
	}
	const number = 0 // where struct seccomp_data has it
	front := instruction(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, 0, 0, number)
	for _, call := range calls {
		front = slices.Concat(front,
			instruction(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, 0, 1, call),
			instruction(unix.BPF_RET|unix.BPF_K, 0, 0, unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)))
	}
	return slices.Concat(front, filter)
}
