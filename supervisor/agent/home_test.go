// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor"
)

func TestOpenHome(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	outside := filepath.Join(dir, "outside")
	must(t, os.Mkdir(outside, 0o700))
	var before unix.Stat_t
	must(t, unix.Stat(outside, &before))
	for _, c := range []struct {
		name, want string
		make       func(state string) error
	}{
		{"made", "", func(string) error { return nil }},
		{"there", "", func(s string) error { return joined(os.Mkdir(s, 0o750), os.Chown(s, agentID, agentID)) }},
		{"another's", "belongs to uid 0", func(s string) error { return os.Mkdir(s, 0o700) }},
		{"everybody's", "everybody", func(s string) error {
			return joined(os.Mkdir(s, 0o700), os.Chmod(s, 0o777), os.Chown(s, agentID, agentID))
		}},
		{"link", "not a directory", func(s string) error { return os.Symlink(outside, s) }},
		{"file", "not a directory", func(s string) error { return os.WriteFile(s, nil, 0o600) }},
	} {
		state := filepath.Join(dir, c.name)
		must(t, c.make(state))
		id, err := openHome(&supervisor.AgentConfig{StateDir: state, User: "tester", UID: agentID, GID: agentID})
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Stat(state, &st))
		if st.Uid != agentID || st.Gid != agentID || id.Ino != st.Ino || c.name == "made" && st.Mode&0o7777 != 0o700 {
			t.Errorf("%s: %+v", c.name, st)
		}
	}
	// A directory above that others can write, and one that is a link.
	open := filepath.Join(dir, "open")
	must(t, joined(os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.Symlink(outside, filepath.Join(dir, "way"))))
	for _, state := range []string{filepath.Join(open, "state"), filepath.Join(dir, "way", "state")} {
		if _, err := openHome(&supervisor.AgentConfig{StateDir: state, User: "tester", UID: agentID, GID: agentID}); err == nil {
			t.Errorf("%s was taken", state)
		}
		if _, err := os.Lstat(filepath.Join(outside, "state")); err == nil {
			t.Errorf("%s was made elsewhere", state)
		}
	}
	var after unix.Stat_t
	must(t, unix.Stat(outside, &after))
	if after != before {
		t.Errorf("the canary was touched: %+v, before %+v", after, before)
	}
}

func joined(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
