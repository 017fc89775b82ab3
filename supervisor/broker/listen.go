// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/systemd"
)

// callStore begins the names under which systemd's descriptor store has the
// sockets for calls: "call-root" and "call-agent-NAME".
const callStore = "call-"

// given is the socket that systemd has opened, or one that is made here.
func (b *Broker) given(name, path string, mode os.FileMode) (*net.UnixListener, error) {
	l, err := systemd.Listener(b.options.Given[name])
	if err != nil {
		return nil, fmt.Errorf("socket %s from systemd: %w", name, err)
	}
	if l != nil {
		return l, nil
	}
	return api.Listen(path, mode, 0, 0)
}

// kept is the socket that the process before had left with systemd, or one that
// is made here and left there: who connects while there is no process waits.
func (b *Broker) kept(name, path string, mode os.FileMode, gid uint32) (*net.UnixListener, error) {
	l, err := systemd.Listener(b.options.Given[name])
	if l != nil {
		if l.Addr().String() == path && isSocket(path, mode, gid) {
			return l, nil
		}
		err = l.Close() // the configuration has changed since
	}
	if err != nil {
		logrus.WithError(err).Warnf("what systemd kept as %s is of no use", name)
	}
	if l, err = api.Listen(path, mode, 0, int(gid)); err != nil || !b.options.Stores {
		return l, err
	}
	if b.options.Given[name] != nil {
		err = forget(name)
	}
	if err == nil {
		err = keepListener(name, l)
	}
	if err != nil { // who connects then is told at once that nobody listens
		logrus.WithError(err).Warnf("systemd does not keep %s", path)
	}
	return l, nil
}

func keepListener(name string, l *net.UnixListener) error {
	f, err := l.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return keep(name, []*os.File{f})
}

// isSocket tells whether path is a socket of root's with this mode and group.
func isSocket(path string, mode os.FileMode, gid uint32) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode == unix.S_IFSOCK|uint32(mode) && st.Uid == 0 && st.Gid == gid
}

// forgetOthers has systemd forget the sockets of agents that are no longer
// configured.
func (b *Broker) forgetOthers() error {
	for name, files := range b.options.Given {
		agent, ok := strings.CutPrefix(name, callStore+"agent-")
		if !ok || slices.ContainsFunc(b.doors, func(d *door) bool { return d.kind == agentDoor && d.agent == agent }) {
			continue
		}
		closeAll(files)
		if err := forget(name); err != nil {
			return err
		}
	}
	return nil
}
