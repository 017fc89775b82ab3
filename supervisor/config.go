// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"os"
	"path/filepath"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
)

// DefaultConfig is the file that is read unless another is named.
const DefaultConfig = "/etc/clawsup/clawsup.toml"

// libDir is where distributions put programs that nobody starts by hand.
// Beside bin, there may be another one (make install).
const libDir = "/usr/lib/clawsup"

// Config is what the operator decided for the whole host.
type Config struct {
	StateDir       string    // what outlives a restart: the skill store
	RunDir         string    // what does not: boxes at work
	CgroupParent   string    // the group that holds all boxes
	UIDBase        int       // first host uid and gid of the boxes
	Slots          int       // boxes at once
	SkillPaths     []string  // where skills are found by name, first match wins
	ProfilePaths   []string  // the same for profiles; the built-in ones come last
	Lower          layer.Set // layers given up where the host lacks them
	DefaultProfile string    // used where a call names none
	Init           string    // the clawsup-init program
	Inspect        string    // the clawsup-inspect program
	Egress         string    // the clawsup-egress program
	Daemon         bool      // run and run-skill go through clawsupd

	Agents     []AgentConfig     // in the file's order
	Workspaces []WorkspaceConfig // the same
	Roles      RolesConfig
	Calls      CallsConfig
	Approvals  ApprovalsConfig
	Audit      AuditConfig
	Sessions   SessionsConfig
	Changes    ChangesConfig
	Pool       PoolConfig
	Network    NetworkConfig

	// Origin says by key, as in "agent.openclaw.user", which file and line set
	// it, and by "agent.openclaw" and "workspace.project" where they begin; what
	// is missing has its default.
	Origin map[string]string
}

// DefaultsFor gives the configuration of a host without a file. executable is
// the running program, beside which its companions are looked for first.
func DefaultsFor(executable string) Config {
	return Config{
		StateDir:       "/var/lib/clawsup",
		RunDir:         runtime.DefaultRunDir,
		CgroupParent:   runtime.DefaultGroup,
		UIDBase:        runtime.DefaultUIDBase,
		Slots:          runtime.DefaultSlots,
		SkillPaths:     []string{"/etc/clawsup/skills", "/usr/local/share/clawsup/skills", "/usr/share/clawsup/skills"},
		ProfilePaths:   []string{"/etc/clawsup/profiles"},
		DefaultProfile: "default",
		Init:           companion(executable, "clawsup-init"),
		Inspect:        companion(executable, "clawsup-inspect"),
		Egress:         companion(executable, "clawsup-egress"),
		Calls:          defaultCalls(),
		Approvals:      defaultApprovals(),
		Audit:          defaultAudit("/var/lib/clawsup"),
		Sessions:       defaultSessions(),
		Changes:        defaultChanges(),
		Pool:           defaultPool(),
		Network:        defaultNetwork(),
		Origin:         map[string]string{},
	}
}

// companion finds a program beside the running one, in the lib/clawsup of its
// prefix, else where packages put it.
func companion(executable, name string) string {
	dir := filepath.Dir(executable)
	for _, there := range []string{dir, filepath.Join(filepath.Dir(dir), "lib", "clawsup")} {
		file := filepath.Join(there, name)
		if _, err := os.Stat(file); executable != "" && err == nil {
			return file
		}
	}
	return filepath.Join(libDir, name)
}
