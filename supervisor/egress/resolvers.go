// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxResolvers is how many are asked, as in resolv.conf(5).
const maxResolvers = 3

// resolvers are those that names are looked up at.
type resolvers struct {
	configured func() []netip.AddrPort
	path       string

	mu    sync.Mutex
	known []netip.AddrPort // mu
	seen  time.Time        // mu; when the file was looked at
	state fileState        // mu
}

// fileState is what changes with a file.
type fileState struct {
	dev, ino uint64
	size     int64
	changed  unix.Timespec
}

func newResolvers(configured func() []netip.AddrPort) *resolvers {
	return &resolvers{configured: configured, path: "/etc/resolv.conf"}
}

// resolversLife is for how long the file is taken to be the same.
const resolversLife = time.Second

// list gives them. Where the file can't be read it is what it was, and at first
// nothing.
func (r *resolvers) list() []netip.AddrPort {
	if r.configured != nil {
		if list := r.configured(); len(list) > 0 {
			return list[:min(len(list), maxResolvers)]
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.seen) > resolversLife {
		r.seen = now
		if list, state, err := readResolvers(r.path, r.state); err == nil {
			r.known, r.state = list, state
		}
	}
	return r.known
}

// errUnchanged says that a file is the one that was read.
var errUnchanged = errors.New("unchanged")

// maxResolvConf bounds the file, in bytes.
const maxResolvConf = 64 << 10

// readResolvers reads the file unless it is as it was. One that others than its owner
// can write is not believed.
func readResolvers(path string, known fileState) ([]netip.AddrPort, fileState, error) {
	fail := func(err error) ([]netip.AddrPort, fileState, error) {
		return nil, fileState{}, fmt.Errorf("resolvers: %s: %w", path, err)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fail(err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := control(file, func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o022 != 0 || st.Size > maxResolvConf {
		return fail(errors.New("it is no regular file, or too long, or others than its owner can write it"))
	}
	state := fileState{uint64(st.Dev), st.Ino, st.Size, st.Ctim}
	if state == known {
		return nil, state, errUnchanged
	}
	text, err := io.ReadAll(io.LimitReader(file, maxResolvConf))
	if err != nil {
		return fail(err)
	}
	return parseResolvers(string(text)), state, nil
}

// parseResolvers reads resolv.conf(5): the first three lines "nameserver ADDRESS",
// or the host itself if there are none. Other lines are about names that programs
// of the host look up.
func parseResolvers(text string) (list []netip.AddrPort) {
	const port = 53
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" || len(list) == maxResolvers {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			list = append(list, netip.AddrPortFrom(a.Unmap(), port))
		}
	}
	if list == nil {
		list = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}
	}
	return list
}
