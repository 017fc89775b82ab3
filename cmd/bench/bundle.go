// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/clawsup/clawsup/runtime/seccomp"
)

// Of the host's ids, the range that the bundle's user namespace has.
const (
	firstID = 0x6fff0000
	idCount = 65536
)

// bundle is what runc and crun run (OCI runtime specification, bundle.md).
type bundle struct {
	dir   string // holds rootfs, and for each caller a folder with its config.json
	group string // parent of the containers' control groups
	slice string // the same for clawsup
}

// newBundle writes the bundle below dir.
func newBundle(dir string) (*bundle, error) {
	group := fmt.Sprintf("/clawsup-bench-%d", os.Getpid())
	b := &bundle{dir: dir, group: group, slice: group + ".slice"}
	// The container's root is nobody's on the host, and has to get to its root.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"usr", "etc", "proc", "dev", "tmp", "workspace"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return nil, err
		}
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+link, filepath.Join(root, link)); err != nil {
			return nil, err
		}
	}
	filter, err := filter()
	if err != nil {
		return nil, err
	}
	// A bundle fixes the control group: each caller has one of its own.
	for caller := range maxCallers {
		text, err := json.Marshal(b.spec(filter, caller))
		if err != nil {
			return nil, err
		}
		own := filepath.Join(dir, strconv.Itoa(caller))
		if err := os.Mkdir(own, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(own, "config.json"), text, 0o644); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// id names a container of a runtime.
func (b *bundle) id(runtime string) string {
	return fmt.Sprintf("%s-%d-%s", runtime, os.Getpid(), callNumber)
}

// spec asks for what the default profile does, as far as a runtime can do it.
func (b *bundle) spec(filter *specs.LinuxSeccomp, caller int) specs.Spec {
	own := func(size uint32) []specs.LinuxIDMapping {
		return []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstID, Size: size}}
	}
	memory, swap, pids := int64(256<<20), int64(256<<20), int64(64)
	quota, period := int64(100_000), uint64(100_000)
	return specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			User: specs.User{UID: 1000, GID: 1000}, Args: []string{command}, Cwd: "/workspace",
			Env:             []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8"},
			Capabilities:    &specs.LinuxCapabilities{},
			NoNewPrivileges: true,
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_NOFILE", Hard: 256, Soft: 256}, {Type: "RLIMIT_CORE"}, {Type: "RLIMIT_FSIZE", Hard: 1 << 30, Soft: 1 << 30},
			},
		},
		Root:     &specs.Root{Path: filepath.Join(b.dir, "rootfs"), Readonly: true},
		Hostname: "sandbox",
		Mounts: []specs.Mount{
			{Destination: "/usr", Type: "bind", Source: "/usr", Options: []string{"rbind", "ro", "nosuid", "nodev"}},
			{Destination: "/etc", Type: "bind", Source: "/etc", Options: []string{"rbind", "ro", "nosuid", "nodev", "noexec"}},
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "noexec", "mode=1777", "size=4m"}},
			{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777", "size=16m"}},
			{Destination: "/workspace", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777", "size=16m"}},
		},
		Linux: &specs.Linux{
			UIDMappings: own(idCount), GIDMappings: own(idCount),
			CgroupsPath: fmt.Sprintf("%s/caller%d", b.group, caller),
			Resources: &specs.LinuxResources{
				Memory: &specs.LinuxMemory{Limit: &memory, Swap: &swap},
				CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period},
				Pids:   &specs.LinuxPids{Limit: &pids},
			},
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace}, {Type: specs.MountNamespace}, {Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
			},
			Seccomp:     filter,
			MaskedPaths: []string{"/proc/kcore", "/proc/keys", "/proc/sysrq-trigger", "/proc/timer_list"},
			// what Docker's default has read-only
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"},
		},
	}
}

// filter allows the calls that clawsup's filter allows, whatever their arguments.
func filter() (*specs.LinuxSeccomp, error) {
	var table bytes.Buffer
	if err := seccomp.WriteTable(&table, []string{string(seccomp.Loopback)}); err != nil {
		return nil, err
	}
	allowed := specs.LinuxSyscall{Action: specs.ActAllow}
	seen := make(map[string]bool)
	for lines := bufio.NewScanner(&table); lines.Scan(); {
		// CALL ANSWER WHEN: WHY; continuation lines begin with spaces
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && fields[1] == seccomp.Allow.String() && !strings.HasPrefix(lines.Text(), " ") && !seen[fields[0]] {
			seen[fields[0]] = true
			allowed.Names = append(allowed.Names, fields[0])
		}
	}
	// A runtime loads the filter before its last steps, which need these.
	for _, name := range []string{"capset", "setgroups", "setresuid", "setresgid", "setuid", "setgid"} {
		if !seen[name] {
			allowed.Names = append(allowed.Names, name)
		}
	}
	errno := uint(1)
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActErrno, DefaultErrnoRet: &errno,
		Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		Syscalls:      []specs.LinuxSyscall{allowed},
	}, nil
}

// config writes a configuration with which clawsup keeps to the benchmark's own
// folder and control group, and else does what it does without one.
func (b *bundle) config() (string, error) {
	file := filepath.Join(b.dir, "clawsup.toml")
	text := fmt.Sprintf("state_dir = %q\nrun_dir = %q\ncgroup_parent = %q\n", filepath.Join(b.dir, "state"), filepath.Join(b.dir, "run"), b.slice)
	return file, os.WriteFile(file, []byte(text), 0o644)
}

// remove removes the control groups that were made above the containers' own.
func (b *bundle) remove() {
	for _, group := range []string{b.group, b.slice} {
		removeGroup(group)
	}
}
