// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"os"

	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/layer"
)

// initCapabilities are clawsup-init's, over nothing but the box's own user
// namespace: to become the tool, and to signal it, since it has another uid.
var initCapabilities = []string{"CAP_KILL", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"}

// shownProc are the files of /proc, beside those of processes, that programs
// need to run. Everything else that the host has there is masked, so that a
// file which a new kernel or module brings is hidden until it is known.
var shownProc = map[string]bool{
	"cpuinfo": true, "meminfo": true, "stat": true, "vmstat": true, "uptime": true, "loadavg": true,
	"version": true, "filesystems": true, "mounts": true, "net": true, "self": true, "thread-self": true,
	"sys": true, "sysvipc": true,
}

// hiddenProc lists what of the host's /proc a box must not see, files and
// directories, by their names in it.
func hiddenProc() (files, dirs []string, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case shownProc[name] || name[0] >= '0' && name[0] <= '9':
		case e.IsDir():
			dirs = append(dirs, name)
		default:
			files = append(files, name)
		}
	}
	return files, dirs, nil
}

// readonlyProc is what is shown and has files that root could write.
var readonlyProc = []string{"sys"}

// procOptions are those of the box's /proc.
func procOptions(spec *Spec) string {
	if spec.ProcPids {
		return "hidepid=invisible,subset=pid"
	}
	return "hidepid=invisible"
}

// inProc gives the paths of names in /proc.
func inProc(names []string) []string {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = "/proc/" + name
	}
	return paths
}

// containerConfig is what libcontainer is told. The mounts are made already;
// left to it are those that need the box's own namespaces.
func (s *Berth) containerConfig(spec *Spec) (*configs.Config, error) {
	id := func(n int) int64 { return int64(s.host.hostID(s.slot, n)) }
	maps := func(box, host int) []configs.IDMap {
		return []configs.IDMap{
			{ContainerID: 0, HostID: id(0), Size: 1},
			{ContainerID: int64(box), HostID: int64(host), Size: 1},
		}
	}
	tool := s.host.tool(spec, s.slot)
	on := spec.Layers.Enforce
	namespaces := configs.Namespaces{
		{Type: configs.NEWUSER}, {Type: configs.NEWNS}, {Type: configs.NEWPID},
		{Type: configs.NEWIPC}, {Type: configs.NEWUTS},
	}
	var networks []*configs.Network
	if spec.Network != NetworkHost {
		namespaces.Add(configs.NEWNET, "")
		networks = []*configs.Network{{Type: "loopback"}}
	}
	if on.Has(layer.NamespaceCgroup) {
		namespaces.Add(configs.NEWCGROUP, "")
	}
	var clocks map[string]specs.LinuxTimeOffset
	if on.Has(layer.NamespaceTime) {
		namespaces.Add(configs.NEWTIME, "")
		// Offsets of nothing: the namespace is there so that the clocks are the box's own.
		clocks = map[string]specs.LinuxTimeOffset{"monotonic": {}, "boottime": {}}
	}
	stage := s.host.stageDir()
	proc := &configs.Mount{
		Device: "proc", Source: "proc", Destination: "/proc",
		Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC,
		Data:  procOptions(spec),
	}
	files, dirs, err := hiddenProc()
	if err != nil {
		return nil, err
	}
	mask, readonly := inProc(append(files, dirs...)), inProc(readonlyProc)
	if spec.ProcPids {
		mask, readonly = nil, nil
	}
	return &configs.Config{
		Rootfs:            stage,
		Readonlyfs:        false, // it is, by a locked mount
		ParentDeathSignal: 0,     // of a thread, not of the process; the control socket tells instead
		RootPropagation:   unix.MS_PRIVATE | unix.MS_REC,
		Hostname:          Hostname,
		Namespaces:        namespaces,
		TimeOffsets:       clocks,
		UIDMappings:       maps(ToolUID, tool.UID),
		GIDMappings:       maps(ToolGID, tool.GID),
		Cgroups:           s.leaf.Config(),
		Mounts: []*configs.Mount{
			proc,
			// In place already; libcontainer takes this as the word that /dev needs no making.
			{Device: "bind", Source: stage + "/dev", Destination: "/dev", Flags: unix.MS_BIND | unix.MS_REC},
		},
		MaskPaths:     mask,
		ReadonlyPaths: readonly,
		Capabilities: &configs.Capabilities{
			Bounding: initCapabilities, Effective: initCapabilities, Permitted: initCapabilities,
		},
		NoNewPrivileges: true,
		NoNewKeyring:    false,
		Networks:        networks,
	}, nil
}
