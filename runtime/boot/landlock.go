// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"fmt"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"

	rights "github.com/clawsup/clawsup/runtime/landlock"
	"github.com/clawsup/clawsup/runtime/wire"
)

// restrict applies the rules to every thread of this process.
func restrict(l *wire.Landlock) error {
	config, err := rights.Config(l)
	if err != nil {
		return err
	}
	var rules []landlock.Rule
	for _, r := range l.Rules {
		allowed, err := rights.Rights(config, r)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(string(r.Path), &st); err != nil {
			return fmt.Errorf("%q: %w", r.Path, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			allowed &= rights.FileRights
		}
		rules = append(rules, landlock.PathAccess(landlock.AccessFSSet(allowed), string(r.Path)))
	}
	return config.Restrict(rules...)
}
