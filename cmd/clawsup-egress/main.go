// SPDX-License-Identifier: Apache-2.0

// Command clawsup-egress is the only way out of boxes. It relays the ports that
// an agent publishes or reaches on the host's loopback (package
// supervisor/relay/boxed), and takes what leaves boxes: DNS, HTTP, TLS, bytes (package
// internal/outlet). It opens no connection itself.
//
// clawsupd starts it in a box of its own, without network and without files but
// the certificates of authorities at /roots.pem, with one socket at descriptor 3:
// see package supervisor/relay/packet. Built with CGO_ENABLED=0.
package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/outlet"
	"github.com/clawsup/clawsup/supervisor/relay/boxed"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const usage = `usage: clawsup-egress

Made to be run by clawsupd in a box, with a socket at descriptor 3.
`

const (
	// socketFD is where clawsupd puts the socket.
	socketFD = 3
	// rootsFile has the certificates that servers are verified with, in PEM.
	rootsFile = "/roots.pem"
	// maxRoots bounds it, in bytes: bundles of today have a quarter of a megabyte.
	maxRoots = 4 << 20
	// memoryLimit makes the collector work harder rather than the box run out.
	memoryLimit = 384 << 20
)

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
	if err := serve(); !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "clawsup-egress:", err)
		return 1
	}
	return 0
}

func serve() error {
	// Values of secrets pass through: nobody of the same user reads this memory, and no core has it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("set dumpable to 0: %w", err)
	}
	if err := unix.SetNonblock(socketFD, true); err != nil {
		return err
	}
	roots, err := readRoots()
	if err != nil {
		return err
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("limit of descriptors: %w", err)
	}
	server := boxed.New(packet.New(os.NewFile(socketFD, "clawsupd")), boxed.IdleLimit)
	out := outlet.New(outlet.Options{Host: server, Roots: roots, Files: int(min(files.Cur, 1<<20))})
	return errors.Join(server.Serve(out), out.Close())
}

// readRoots reads who servers are verified with. Without the file there is
// nobody, and no server is trusted.
func readRoots() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	f, err := os.Open(rootsFile)
	if errors.Is(err, os.ErrNotExist) {
		return pool, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRoots+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxRoots || !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificates, or more than %d bytes of them", rootsFile, maxRoots)
	}
	return pool, nil
}
