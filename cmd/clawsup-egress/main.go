// SPDX-License-Identifier: Apache-2.0

// Command clawsup-egress is the boxed relay of clawsupd. For now it relays
// and probes only: it moves bytes between the ports that an agent publishes, or
// reaches on the host's loopback, and the agent's box, and asks agents whether
// they are ready. It opens no connection itself.
//
// clawsupd starts it in a box of its own, without network and without files,
// with one socket at descriptor 3: see package supervisor/relay/packet. Built
// with CGO_ENABLED=0.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/relay/boxed"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const usage = `usage: clawsup-egress

Made to be run by clawsupd in a box, with a socket at descriptor 3.
`

// socketFD is where clawsupd puts the socket.
const socketFD = 3

// memoryLimit makes the collector work harder rather than the box run out.
const memoryLimit = 64 << 20

func main() {
	debug.SetMemoryLimit(memoryLimit)
	os.Exit(run())
}

// run returns the exit status.
func run() int {
	kind, err := unix.GetsockoptInt(socketFD, unix.SOL_SOCKET, unix.SO_TYPE)
	if len(os.Args) != 1 || err != nil || kind != unix.SOCK_SEQPACKET {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	unix.CloseOnExec(socketFD)
	if err := unix.SetNonblock(socketFD, true); err != nil {
		fmt.Fprintln(os.Stderr, "clawsup-egress:", err)
		return 1
	}
	err = boxed.Serve(packet.New(os.NewFile(socketFD, "clawsupd")), boxed.IdleLimit)
	if !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "clawsup-egress:", err)
		return 1
	}
	return 0
}
