// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/wire"
)

// Config is what a host's sandboxes have in common.
type Config struct {
	RunDir  string // volatile state of root's own, as /run/clawsup
	Init    string // the clawsup-init program
	Group   string // parent cgroup, as /clawsup.slice
	UIDBase int    // first host uid and gid of the boxes; each slot takes SlotIDs of them
	Slots   int    // how many boxes there may be at once
	// Hold has boxes outlive this process where systemd owns a cgroup v2 tree:
	// they live in a scope that Init holds, and this process stays where it is.
	// Without it this process moves into a scope of its own there.
	Hold bool
}

// Defaults of Config. The uids are a range that no distribution assigns:
// systemd's allocation (UIDS-GIDS.md) ends below it.
const (
	DefaultRunDir  = "/run/clawsup"
	DefaultGroup   = "/clawsup.slice"
	DefaultUIDBase = 0x70000000
	DefaultSlots   = 4096
)

// Host is where sandboxes are made.
type Host struct {
	config Config
	groups cgroup.Host
	parent *cgroup.Parent
	mark   string // of this RunDir, in the names of its boxes' groups

	mine *numbers // slots that this process holds

	withheld wire.Text // tests: what Landlock has no rule for

	Layers layer.Host // what the kernel offers
}

// Open probes the host, removes what a killed process left behind, and opens
// the parent group. The caller is root.
func Open(ctx context.Context, config Config) (*Host, error) {
	h := &Host{mine: &numbers{held: map[int]bool{}}, config: config, mark: mark(config.RunDir)}
	for _, program := range []string{config.Init, h.templateProgram()} {
		if err := CheckProgram(program); err != nil {
			return nil, failed(StepSpec, err)
		}
	}
	groups, err := cgroup.Detect()
	if err != nil {
		return nil, failed(StepCgroup, err)
	}
	h.groups, h.Layers = groups, layer.Probe(groups)
	for _, d := range []struct {
		dir  string
		mode os.FileMode
	}{{config.RunDir, 0o711}, {h.stageDir(), 0o755}, {h.slotDir(), 0o711}} {
		if err := ownDir(d.dir, d.mode); err != nil {
			return nil, failed(StepSlot, err)
		}
	}
	// libcontainer's cgroup package keeps its first descriptor of the cgroup
	// root for ever. It must be one of this mount namespace and not of a
	// thread that is gone after its first box.
	_, _ = cgroups.ReadFile("/sys/fs/cgroup", "cgroup.procs")
	open := func() (*cgroup.Parent, error) { return cgroup.OpenParent(groups, config.Group) }
	if config.Hold {
		open = func() (*cgroup.Parent, error) {
			return cgroup.OpenHeld(groups, config.Group, []string{config.Init, "hold"})
		}
	}
	h.parent, err = open()
	if err != nil {
		return nil, failed(StepCgroup, err)
	}
	if err := h.Sweep(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// Close gives the parent group up.
func (h *Host) Close() error {
	if err := h.parent.Close(); err != nil {
		return failed(StepCleanup, err)
	}
	return nil
}

// boxName matches the name of a box's group, of any run directory.
var boxName = regexp.MustCompile(`^box-[0-9a-f]{8}-[0-9]{4,}$`)

// Boxed tells whether a process is in a box, by what its /proc/PID/cgroup
// holds (cgroups(7)). A box of another run directory below the same group
// counts, and so does a text that is no such file's.
func (h *Host) Boxed(cgroupFile string) bool {
	if cgroupFile == "" {
		return true
	}
	for line := range strings.Lines(cgroupFile) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 || h.parent.Holds(fields[2], boxName.MatchString) {
			return true
		}
	}
	return false
}

// mark tells the groups of two run directories apart that share a parent: a
// slot's lock is worth nothing to who doesn't look at it.
func mark(runDir string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(runDir)))
	return hex.EncodeToString(sum[:4])
}

// stageDir is where every box's root is built, each in a mount namespace of
// its own: on the host it is always empty.
func (h *Host) stageDir() string { return filepath.Join(h.config.RunDir, "stage") }

// Stage is an empty directory over which threads mount in namespaces of their own.
func (h *Host) Stage() string { return h.stageDir() }

// slotDir holds one lock file, and while it lives one directory, per box.
func (h *Host) slotDir() string { return filepath.Join(h.config.RunDir, "boxes") }

// ownDir makes a directory of root's own, or refuses one that is not.
func ownDir(dir string, mode os.FileMode) error {
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s must be a directory that root owns and nobody else can write", dir)
	}
	return os.Chmod(dir, mode) // past the umask
}

// CheckProgram refuses a program that somebody but root could have written.
// clawsup's own programs lie beside each other and are trusted by both sides
// of a box.
func CheckProgram(file string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return fmt.Errorf("%w; it is installed beside clawsup", &os.PathError{Op: "stat", Path: file, Err: err})
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return fmt.Errorf("%q is not a program", file)
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("%q must belong to root and be writable by nobody else", file)
	}
	return nil
}
