// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
)

// canary is a file on the host that anybody may write: only the box keeps
// an attacker from it.
func canary(t *testing.T) (file string, check func()) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "clawsup-canary-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file = filepath.Join(dir, "canary")
	if err := os.WriteFile(file, []byte("alive"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{dir, file} {
		if err := os.Chmod(p, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return file, func() {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil || string(b) != "alive" {
			t.Errorf("the canary is %q, %v", b, err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("beside the canary: %v, %v", entries, err)
		}
	}
}

// hostProcess is a process outside of every box that an attack may try to hurt.
func hostProcess(t *testing.T) (pid string, check func()) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return strconv.Itoa(cmd.Process.Pid), func() {
		t.Helper()
		if err := cmd.Process.Signal(unix.Signal(0)); err != nil {
			t.Errorf("the host's process: %v", err)
		}
	}
}

// TestAttacksRefused tries the doors of a box one by one, all layers on.
func TestAttacksRefused(t *testing.T) {
	h := testHost(t)
	file, alive := canary(t)
	pid, running := hostProcess(t)
	tests := []struct {
		probe string
		args  []string
		want  []string // any of these errors
	}{
		// D.1 namespaces and other people's processes
		{"unshare-user", nil, []string{"EPERM"}},
		{"unshare-net", nil, []string{"EPERM"}},
		{"clone-user", nil, []string{"EPERM"}},
		{"setns", []string{"/proc/self/ns/net"}, []string{"EPERM"}},
		{"setns", []string{"/proc/1/ns/net"}, []string{"ENOENT", "EACCES"}},
		{"ptrace-init", nil, []string{"EPERM"}},
		{"processvm", nil, []string{"EPERM"}},
		{"kill-init", nil, []string{"EPERM"}},
		{"kill-host", []string{pid}, []string{"ESRCH"}},
		{"see-init", nil, []string{"ENOENT"}},
		// D.2 kernel doors
		{"mount", nil, []string{"EPERM"}},
		{"umount", []string{"/proc/sys"}, []string{"EPERM"}},
		{"remount", []string{"/usr"}, []string{"EPERM"}},
		{"chroot", nil, []string{"EPERM"}},
		{"pivot_root", nil, []string{"EPERM"}},
		{"fsopen", nil, []string{"EPERM"}},
		{"open_tree", nil, []string{"EPERM"}},
		{"bpf", nil, []string{"EPERM"}},
		{"io_uring", nil, []string{"EPERM", "ENOSYS"}},
		{"keyctl", nil, []string{"EPERM", "ENOSYS"}},
		{"add_key", nil, []string{"EPERM", "ENOSYS"}},
		{"userfaultfd", nil, []string{"EPERM", "ENOSYS"}},
		{"perf", nil, []string{"EPERM", "ENOSYS"}},
		{"kexec", nil, []string{"EPERM"}},
		{"init_module", nil, []string{"EPERM"}},
		{"by-handle", nil, []string{"EPERM"}},
		{"reboot", nil, []string{"EPERM"}},
		{"syslog", nil, []string{"EPERM"}},
		{"swapon", nil, []string{"EPERM"}},
		{"settime", nil, []string{"EPERM"}},
		{"personality", nil, []string{"EPERM"}},
		{"iopl", nil, []string{"EPERM"}},
		{"sys-netlink", nil, []string{"EPERM", "EAFNOSUPPORT"}},
		{"sys-packet", nil, []string{"EPERM", "EAFNOSUPPORT"}},
		{"sys-vsock", nil, []string{"EPERM", "EAFNOSUPPORT"}},
		{"sys-alg", nil, []string{"EPERM", "EAFNOSUPPORT"}},
		{"sys-raw", nil, []string{"EPERM", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT"}},
		{"tiocsti", nil, []string{"EPERM"}},
		{"tioclinux", nil, []string{"EPERM"}},
		{"write", []string{"/proc/sys/kernel/core_pattern"}, []string{"EACCES", "EROFS"}},
		{"write", []string{"/proc/sysrq-trigger"}, []string{"EACCES", "EROFS", "ENOENT", "masked"}},
		{"write", []string{"/proc/sys/kernel/hostname"}, []string{"EACCES", "EROFS"}},
		{"write", []string{"/sys/kernel/uevent_helper"}, []string{"ENOENT", "EACCES"}},
		{"read", []string{"/proc/kcore"}, []string{"EACCES", "EPERM", "ENOENT", "masked"}},
		{"read", []string{"/dev/mem"}, []string{"ENOENT", "EACCES"}},
		{"list", []string{"/sys/fs/cgroup"}, []string{"ENOENT", "EACCES"}},
		{"mknod", []string{"/tmp"}, []string{"EPERM"}},
		// D.3 descriptors
		{"fds", nil, []string{"three"}},
		{"read", []string{"/proc/1/environ"}, []string{"ENOENT", "EACCES"}},
		{"list", []string{"/proc/1/root"}, []string{"ENOENT", "EACCES"}},
		{"read", []string{rootfs.InitPath}, []string{"ENOENT"}}, // only a service has one
		{"list", []string{"/.clawsup"}, []string{"EACCES"}},
		// D.4 modes
		{"setuid", []string{"/workspace"}, []string{"EPERM"}},
		{"setuid-open", []string{"/workspace"}, []string{"EPERM"}},
		{"filecap", []string{"/workspace"}, []string{"EPERM", "ENOTSUP"}},
		// the host's files
		{"read", []string{"/etc/shadow"}, []string{"ENOENT", "EACCES"}},
		{"list", []string{"/root"}, []string{"ENOENT", "EACCES"}},
		{"list", []string{"/home"}, []string{"ENOENT", "EACCES"}},
		{"list", []string{"/run"}, []string{"ENOENT", "EACCES"}},
		{"list", []string{"/"}, []string{"EACCES"}},
		{"read", []string{file}, []string{"ENOENT", "EACCES"}},
		{"write", []string{file}, []string{"ENOENT", "EACCES"}},
		{"write", []string{"/usr/bin/owned"}, []string{"EROFS", "EACCES"}},
		{"write", []string{"/etc/passwd"}, []string{"EROFS", "EACCES"}},
		{"write", []string{"/owned"}, []string{"EROFS", "EACCES"}},
		{"write", []string{"/probe"}, []string{"EROFS", "EACCES", "ETXTBSY"}},
		{"write", []string{"/dev/owned"}, []string{"EROFS", "EACCES"}},
		// privileges
		{"setuid0", nil, []string{"EPERM"}},
		{"setgroups", nil, []string{"EPERM"}},
		{"sethostname", nil, []string{"EPERM"}},
		{"dumpable-core", nil, []string{"core"}},
		{"raise-limit", nil, []string{"EPERM"}},
		// the network: nothing is reachable
		{"dial", []string{"192.0.2.1:80"}, []string{"ENETUNREACH"}},
		{"dial", []string{"127.0.0.1:" + hostPort(t)}, []string{"ECONNREFUSED"}},
		{"dial", []string{"[::1]:22"}, []string{"ECONNREFUSED", "EADDRNOTAVAIL"}},
		{"dial-unix", []string{hostAbstract(t)}, []string{"ECONNREFUSED", "EPERM"}},
		// E exhaustion that answers with an error
		{"opens", nil, []string{"EMFILE"}},
		{"fill", []string{"/tmp/big", "64"}, []string{"ENOSPC"}},
		{"files", []string{"/tmp", "100000"}, []string{"ENOSPC"}},
		{"fill", []string{"/dev/shm/big", "64"}, []string{"ENOSPC"}},
	}
	// One box for all, a process for each: what one attack did may help the
	// next. Those that fill the box come last.
	var script strings.Builder
	for _, test := range tests {
		fmt.Fprintf(&script, "%s=%s /probe %s\n", probeEnv, test.probe, strings.Join(test.args, " "))
	}
	spec := testSpec(t, h)
	spec.Binds = append(spec.Binds, probeBind(t))
	call := testCall("sh", "-c", script.String())
	call.Env = append(call.Env, quickRace)
	call.WallTime, spec.CPUTime = 3*time.Minute, 3*time.Minute
	o := runCall(t, h, spec, call, "")
	verdicts := strings.Split(strings.TrimSpace(o.out), "\n")
	if o.Status != Exited || len(verdicts) != len(tests) {
		t.Fatalf("%d verdicts of %d attacks: %+v\n%s%s", len(verdicts), len(tests), o.Result, o.out, o.err)
	}
	for i, test := range tests {
		t.Run(test.probe+" "+strings.Join(test.args, " "), func(t *testing.T) {
			got := verdicts[i]
			verdict, _ := strings.CutPrefix(got, "refused ")
			ok := false
			for _, w := range test.want {
				ok = ok || strings.HasPrefix(verdict, w)
			}
			if !ok {
				t.Errorf("got %q, want one of %v", got, test.want)
			}
		})
	}
	alive()
	running()
}

// hostPort is a listener on the host's loopback.
func hostPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// hostAbstract is an abstract socket that listens on the host.
func hostAbstract(t *testing.T) string {
	t.Helper()
	name := "@clawsup-test-" + strconv.Itoa(os.Getpid())
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return name
}

// TestLayersHoldAlone gives up every layer but one and attacks: each is a
// wall by itself. Where the root is opened, the whole host is mounted
// writable at /host in the box.
func TestLayersHoldAlone(t *testing.T) {
	h := testHost(t)
	file, alive := canary(t)
	onHost := "/host" + file
	tests := []struct {
		attack   string
		args     []string
		alone    string // the layer that is left
		given    []layer.Layer
		wide     bool // the mounts are opened
		loopback bool // landlock.tcp stays unused, as with the profile's loopback
		want     string
	}{
		// Writing to the host.
		{"write", []string{onHost}, "root", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused ENOENT"},
		{"write", []string{onHost}, "landlock", []layer.Layer{layer.Seccomp}, true, true, "refused EACCES"},
		{"append", []string{onHost}, "landlock", []layer.Layer{layer.Seccomp}, true, true, "refused EACCES"},
		{"truncate", []string{onHost}, "landlock", []layer.Layer{layer.Seccomp}, true, true, "refused EACCES"},
		{"remove", []string{onHost}, "landlock", []layer.Layer{layer.Seccomp}, true, true, "refused EACCES"},
		{"read", []string{onHost}, "landlock", []layer.Layer{layer.Seccomp}, true, true, "refused EACCES"},
		{"list", []string{"/host/etc"}, "landlock", []layer.Layer{layer.Seccomp}, true, true, "refused EACCES"},
		{"read", []string{"/host/etc/shadow"}, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, true, true, "refused EACCES"},
		{"write", []string{"/host/etc/owned"}, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, true, true, "refused EACCES"},
		// Namespaces and mounts.
		{"unshare-user", nil, "seccomp", []layer.Layer{layer.Landlock}, false, true, "refused EPERM"},
		{"clone-user", nil, "seccomp", []layer.Layer{layer.Landlock}, false, true, "refused EPERM"},
		{"user-mount", nil, "landlock", []layer.Layer{layer.Seccomp}, false, true, "refused exit status"},
		{"mount", nil, "seccomp", []layer.Layer{layer.Landlock}, false, true, "refused EPERM"},
		{"mount", nil, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused EPERM"},
		{"unshare-net", nil, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused EPERM"},
		{"chroot", nil, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused EPERM"},
		// Processes.
		{"kill-init", nil, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused EPERM"},
		{"ptrace-init", nil, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused EPERM"},
		{"ptrace-init", nil, "seccomp", []layer.Layer{layer.Landlock}, false, true, "refused EPERM"},
		{"see-init", nil, "root", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused ENOENT"},
		// Devices and modes.
		{"mknod", []string{"/tmp"}, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused EPERM"},
		{"mknod", []string{"/tmp"}, "seccomp", []layer.Layer{layer.Landlock}, false, true, "refused EPERM"},
		{"filecap", []string{"/tmp"}, "identity", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused EPERM"},
		{"setuid", []string{"/tmp"}, "seccomp", []layer.Layer{layer.Landlock}, false, true, "refused EPERM"},
		// The network.
		{"dial", []string{"192.0.2.1:80"}, "network", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused ENETUNREACH"},
		{"bind", nil, "landlock", []layer.Layer{layer.Seccomp}, false, false, "refused EACCES"},
		{"sys-inet", nil, "seccomp", []layer.Layer{layer.Landlock}, false, false, "refused EAFNOSUPPORT"},
		{"dial-unix", []string{hostAbstract(t)}, "network", []layer.Layer{layer.Seccomp, layer.Landlock}, false, true, "refused ECONNREFUSED"},
		// Processes without end.
		{"forks", nil, "rlimits", []layer.Layer{layer.Seccomp, layer.Landlock, layer.CgroupPids}, false, true, "refused EAGAIN"},
	}
	for _, test := range tests {
		t.Run(test.attack+" against "+test.alone, func(t *testing.T) {
			wish := layer.All.Without(layer.LandlockUnix)
			if test.loopback {
				wish = wish.Without(layer.LandlockTCP, layer.LandlockUDP)
			}
			given := layer.Of(test.given...)
			if given.Has(layer.Seccomp) { // what it would cover on an older kernel goes with it
				given = given.With(layer.LandlockIoctl)
			}
			if test.alone == "landlock" && test.attack == "bind" && h.Layers.Landlock < 4 {
				t.Skipf("Landlock %d knows no ports", h.Layers.Landlock)
			}
			if test.alone == "landlock" && test.attack == "truncate" && h.Layers.Landlock < 3 {
				t.Skipf("Landlock %d knows no truncation", h.Layers.Landlock)
			}
			plan, err := layer.Lower(wish, h.Layers, given)
			if err != nil {
				t.Fatal(err)
			}
			spec := testSpec(t, h)
			spec.Layers = plan
			if test.wide {
				spec.Binds = append(spec.Binds, rootfs.Bind{Source: "/", Target: "/host", Writable: true, Recurse: true})
			}
			spec.Binds = append(spec.Binds, probeBind(t))
			call := probeCall(test.attack, test.args...)
			if !test.loopback {
				spec.Filter = strictFilter
			}
			o := runOpened(t, h, spec, call)
			if got := strings.TrimSpace(o.out); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q (%v %s %s), want %q", got, o.Status, o.Message, o.err, test.want)
			}
			alive()
		})
	}
}

// runOpened runs a call in a box whose Landlock rules know nothing of /host:
// only the mounts are opened.
func runOpened(t *testing.T, h *Host, spec Spec, call Call) output {
	t.Helper()
	h.withheld = "/host"
	defer func() { h.withheld = "" }()
	return runCall(t, h, spec, call, "")
}

// TestOpenDoorsLeak proves that the matrix can fail: with the walls down the
// same attacks work.
func TestOpenDoorsLeak(t *testing.T) {
	h := testHost(t)
	file, _ := canary(t)
	wide := rootfs.Bind{Source: "/", Target: "/host", Writable: true, Recurse: true}
	tests := []struct {
		attack string
		args   []string
		given  []layer.Layer
	}{
		{"write", []string{"/host" + file}, []layer.Layer{layer.Seccomp, layer.Landlock}},
		{"read", []string{"/host" + file}, []layer.Layer{layer.Seccomp, layer.Landlock}},
		{"clone-user", nil, []layer.Layer{layer.Seccomp, layer.Landlock}},
		{"user-mount", nil, []layer.Layer{layer.Seccomp, layer.Landlock}},
		{"setuid", []string{"/tmp"}, []layer.Layer{layer.Seccomp, layer.Landlock}},
		{"bind", nil, []layer.Layer{layer.Seccomp, layer.Landlock}},
	}
	for _, test := range tests {
		t.Run(test.attack, func(t *testing.T) {
			spec := testSpec(t, h, test.given...)
			spec.Binds = append(spec.Binds, wide)
			if got := attack(t, h, spec, test.attack, test.args...); got != "LEAKED" {
				t.Errorf("with the walls down: %q", got)
			}
		})
	}
}
