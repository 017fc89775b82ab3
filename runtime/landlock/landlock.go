// SPDX-License-Identifier: Apache-2.0

// Package landlock turns the second wall, as package layer chose it, into
// Landlock's own terms: the rights of each class of access, and what a version
// handles. It applies nothing; the two programs inside of boxes do that.
package landlock

import (
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"

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
)

// FileRights are those that the kernel takes on a path that is no directory.
const FileRights = ll.AccessFSExecute | ll.AccessFSReadFile | ll.AccessFSWriteFile |
	ll.AccessFSTruncate | ll.AccessFSIoctlDev | ll.AccessFSResolveUnix

// access spells the classes of package wire in Landlock's rights.
var access = map[wire.Access]uint64{
	wire.Read:    readRights,
	wire.Execute: readRights | ll.AccessFSExecute,
	wire.Write:   readRights | ll.AccessFSExecute | writeRights,
	wire.Full:    readRights | ll.AccessFSExecute | writeRights | socketRights,
	wire.Connect: readRights | ll.AccessFSExecute | ll.AccessFSResolveUnix,
	wire.Device:  ll.AccessFSReadFile | ll.AccessFSWriteFile | ll.AccessFSTruncate,
}

// Config is what the ruleset handles: what it handles and no rule allows is
// refused.
func Config(l *wire.Landlock) (landlock.Config, error) {
	if l.ABI < 1 || l.ABI >= len(versions) {
		return landlock.Config{}, fmt.Errorf("version %d is not known here; the newest is %d", l.ABI, wire.MaxABI)
	}
	config := versions[l.ABI]
	config.HandledAccessNet &^= openNetwork(l)
	if !l.Scope {
		config.Scoped = 0
	}
	return config, nil
}

// Rights are those of a rule on a directory, as far as the config handles them.
func Rights(config landlock.Config, r wire.Rule) (uint64, error) {
	rights, ok := access[r.Access]
	if !ok {
		return 0, fmt.Errorf("%q: unknown access class %d", r.Path, r.Access)
	}
	return rights & uint64(config.HandledAccessFS), nil
}

// Ruleset is the same in the kernel's numbers.
func Ruleset(l *wire.Landlock) (*wire.Ruleset, error) {
	config, err := Config(l)
	if err != nil {
		return nil, err
	}
	set := &wire.Ruleset{
		FS: uint64(config.HandledAccessFS), Net: uint64(config.HandledAccessNet), Scoped: uint64(config.Scoped),
		File: FileRights,
	}
	for _, r := range l.Rules {
		rights, err := Rights(config, r)
		if err != nil {
			return nil, err
		}
		set.Rules = append(set.Rules, wire.AccessRule{Access: rights, Path: string(r.Path)})
	}
	return set, nil
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
