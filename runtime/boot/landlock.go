// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/wire"
)

// versions holds what each ABI handles. The host chose the number from what
// the kernel has; nothing is lowered here.
var versions = []landlock.Config{
	1: landlock.V1, 2: landlock.V2, 3: landlock.V3, 4: landlock.V4,
	5: landlock.V5, 6: landlock.V6, 7: landlock.V7, 8: landlock.V8,
	9: landlock.V9, 10: landlock.V10, 11: landlock.V11,
}

const (
	readRights  = ll.AccessFSReadFile | ll.AccessFSReadDir
	writeRights = ll.AccessFSWriteFile | ll.AccessFSTruncate | ll.AccessFSRefer |
		ll.AccessFSRemoveDir | ll.AccessFSRemoveFile |
		ll.AccessFSMakeDir | ll.AccessFSMakeReg | ll.AccessFSMakeSym
	socketRights = ll.AccessFSMakeSock | ll.AccessFSMakeFifo | ll.AccessFSResolveUnix
	// fileRights are those that the kernel takes on a path that is no directory.
	fileRights = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSWriteFile |
		ll.AccessFSTruncate | ll.AccessFSIoctlDev | ll.AccessFSResolveUnix
)

// access spells the classes of package wire in Landlock's rights.
var access = map[wire.Access]uint64{
	wire.Read:    readRights,
	wire.Execute: readRights | ll.AccessFSExecute,
	wire.Write:   readRights | ll.AccessFSExecute | writeRights,
	wire.Full:    readRights | ll.AccessFSExecute | writeRights | socketRights,
	wire.Connect: readRights | ll.AccessFSExecute | ll.AccessFSResolveUnix,
	wire.Device:  ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate,
}

// restrict applies the rules to every thread of this process.
func restrict(l *wire.Landlock) error {
	if l.ABI < 1 || l.ABI >= len(versions) {
		return fmt.Errorf("version %d is not known here; the newest is %d", l.ABI, wire.MaxABI)
	}
	config := versions[l.ABI]
	config.HandledAccessNet &^= openNetwork(l)
	if !l.Scope {
		config.Scoped = 0
	}
	var rules []landlock.Rule
	for _, r := range l.Rules {
		rights, ok := access[r.Access]
		if !ok {
			return fmt.Errorf("%q: unknown access class %d", r.Path, r.Access)
		}
		var st unix.Stat_t
		if err := unix.Stat(string(r.Path), &st); err != nil {
			return fmt.Errorf("%q: %w", r.Path, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			rights &= fileRights
		}
		set := landlock.AccessFSSet(rights) & config.HandledAccessFS
		rules = append(rules, landlock.PathAccess(set, string(r.Path)))
	}
	return config.Restrict(rules...)
}

// openNetwork is what stays out of the ruleset because the profile gives the
// box its own loopback. Ports can't tell loopback from elsewhere; the empty
// network namespace does.
func openNetwork(l *wire.Landlock) landlock.AccessNetSet {
	var open landlock.AccessNetSet
	if l.TCP {
		open |= ll.AccessNetBindTCP | ll.AccessNetConnectTCP
	}
	if l.UDP {
		open |= ll.AccessNetBindUDP | ll.AccessNetConnectSendUDP
	}
	return open
}
