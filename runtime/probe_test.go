// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// A probe is one attack. It runs inside a box, as this test's own program,
// and returns nil when the attack worked, or the error that stopped it.
type probe func(args []string) error

// probeEnv names the probe for the program in the box.
const probeEnv = "CLAWSUP_TEST_PROBE"

// runProbe is main of the program when it runs in a box. It prints the
// verdict: "LEAKED", or "refused" and the error.
func runProbe(name string) int {
	p, ok := probes[name]
	if !ok {
		fmt.Println("no such probe")
		return 9
	}
	err := p(os.Args[1:])
	if err == nil {
		fmt.Println("LEAKED")
		return 3
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		fmt.Println("refused", unix.ErrnoName(errno))
	} else {
		fmt.Println("refused", err)
	}
	return 0
}

// quickRace keeps a program that is built with the race detector from waiting
// a second at its end.
const quickRace = "GORACE=atexit_sleep_ms=0"

// probeBind shows this test's program in the box.
func probeBind(t testing.TB) rootfs.Bind {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		t.Fatal(err)
	}
	return rootfs.Bind{Source: self, Target: "/probe"}
}

// probeCall runs a probe with arguments.
func probeCall(name string, args ...string) Call {
	c := testCall(append([]string{"/probe"}, args...)...)
	c.Env = append(c.Env, probeEnv+"="+name, quickRace)
	return c
}

// attack runs one probe in a box of its own and gives what it printed.
func attack(t *testing.T, h *Host, spec Spec, name string, args ...string) string {
	t.Helper()
	spec.Binds = append(spec.Binds, probeBind(t))
	o := runCall(t, h, spec, probeCall(name, args...), "")
	if o.Status != Exited {
		t.Fatalf("%s: %v %s %s\n%s%s", name, o.Status, o.Step, o.Message, o.out, o.err)
	}
	return strings.TrimSpace(o.out)
}

func errnoOf(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func raw(trap, a1, a2, a3 uintptr) error {
	_, _, e := unix.RawSyscall(trap, a1, a2, a3)
	return errnoOf(e)
}

// masked tells whether a file is /dev/null by another name: opening it works
// and leads nowhere.
func masked(file string) bool {
	var st unix.Stat_t
	return unix.Stat(file, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

func socket(domain, kind, proto int) error {
	_, err := unix.Socket(domain, kind, proto)
	return err
}

func cstr(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		panic(err)
	}
	return uintptr(unsafe.Pointer(p))
}

var probes = map[string]probe{
	"write": func(a []string) error {
		if masked(a[0]) {
			return errors.New("masked")
		}
		return os.WriteFile(a[0], []byte("owned"), 0o666)
	},
	"append": func(a []string) error {
		f, err := os.OpenFile(a[0], os.O_WRONLY|os.O_APPEND, 0)
		if err == nil {
			_, err = f.WriteString("owned")
		}
		return err
	},
	"truncate": func(a []string) error { return os.Truncate(a[0], 0) },
	"remove":   func(a []string) error { return os.Remove(a[0]) },
	"read": func(a []string) error {
		if masked(a[0]) {
			return errors.New("masked")
		}
		_, err := os.ReadFile(a[0])
		return err
	},
	"list": func(a []string) error { _, err := os.ReadDir(a[0]); return err },
	"exec": func(a []string) error { return exec.Command(a[0]).Run() },

	// Modes that would come out of a writable workspace.
	"setuid": func(a []string) error {
		file := filepath.Join(a[0], "setuid")
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			return fmt.Errorf("setup: %v", err)
		}
		return unix.Chmod(file, 0o4755)
	},
	"setuid-open": func(a []string) error {
		_, err := unix.Open(filepath.Join(a[0], "opened"), unix.O_CREAT|unix.O_WRONLY, 0o6755)
		return err
	},
	"mknod": func(a []string) error {
		return unix.Mknod(filepath.Join(a[0], "disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0)))
	},
	"fifo":   func(a []string) error { return unix.Mkfifo(filepath.Join(a[0], "fifo"), 0o666) },
	"socket": func(a []string) error { _, err := net.Listen("unix", filepath.Join(a[0], "sock")); return err },
	"filecap": func(a []string) error {
		file := filepath.Join(a[0], "caps")
		if err := os.WriteFile(file, nil, 0o755); err != nil {
			return fmt.Errorf("setup: %v", err)
		}
		// VFS_CAP_REVISION_2 with CAP_SYS_ADMIN, effective (capabilities(7)).
		v := []byte{1, 0, 0, 2, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		return unix.Setxattr(file, "security.capability", v, 0)
	},

	// Namespaces and privileges.
	"unshare-user": func([]string) error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0) },
	"unshare-net":  func([]string) error { return raw(unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0) },
	"clone-user": func([]string) error {
		pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if e == 0 && pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
		return errnoOf(e)
	},
	"user-mount": func([]string) error {
		cmd := exec.Command("/usr/bin/unshare", "--user", "--map-root-user", "--mount", "/bin/mount", "-t", "tmpfs", "none", "/tmp")
		return cmd.Run()
	},
	"mount":  func([]string) error { return unix.Mount("none", "/tmp", "tmpfs", 0, "") },
	"umount": func(a []string) error { return unix.Unmount(a[0], unix.MNT_DETACH) },
	"remount": func(a []string) error {
		return unix.Mount("", a[0], "", unix.MS_REMOUNT|unix.MS_BIND, "")
	},
	"chroot":     func([]string) error { return unix.Chroot("/tmp") },
	"pivot_root": func([]string) error { return unix.PivotRoot("/tmp", "/tmp") },
	"fsopen":     func([]string) error { _, err := unix.Fsopen("tmpfs", 0); return err },
	"open_tree":  func([]string) error { _, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE); return err },
	"setns": func(a []string) error {
		fd, err := unix.Open(a[0], unix.O_RDONLY, 0)
		if err != nil {
			return err
		}
		return unix.Setns(fd, 0)
	},
	"setuid0":     func([]string) error { return raw(unix.SYS_SETUID, 0, 0, 0) },
	"setgroups":   func([]string) error { return raw(unix.SYS_SETGROUPS, 0, 0, 0) },
	"sethostname": func([]string) error { return unix.Sethostname([]byte("owned")) },

	// PID 1 and everybody else.
	"kill-init":   func([]string) error { return unix.Kill(1, unix.SIGKILL) },
	"ptrace-init": func([]string) error { return raw(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1, 0) },
	"kill-host":   func(a []string) error { pid, _ := strconv.Atoi(a[0]); return unix.Kill(pid, unix.SIGKILL) },
	"processvm": func([]string) error {
		buf := make([]byte, 8)
		local := unix.Iovec{Base: &buf[0], Len: 8}
		_, err := unix.ProcessVMReadv(1, []unix.Iovec{local}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
		return err
	},
	"see-init": func([]string) error { _, err := os.Stat("/proc/1"); return err },

	// Kernel doors.
	"bpf": func([]string) error { return raw(unix.SYS_BPF, 0, 0, 0) },
	"io_uring": func([]string) error {
		var p [120]byte
		return raw(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	},
	"keyctl":      func([]string) error { return raw(unix.SYS_KEYCTL, 0, ^uintptr(2), 0) },
	"add_key":     func([]string) error { return raw(unix.SYS_ADD_KEY, cstr("user"), cstr("k"), cstr("v")) },
	"userfaultfd": func([]string) error { return raw(unix.SYS_USERFAULTFD, 1, 0, 0) },
	"perf": func([]string) error {
		var a [128]byte
		return raw(unix.SYS_PERF_EVENT_OPEN, uintptr(unsafe.Pointer(&a)), 0, ^uintptr(0))
	},
	"kexec":       func([]string) error { return raw(unix.SYS_KEXEC_LOAD, 0, 0, 0) },
	"init_module": func([]string) error { return raw(unix.SYS_INIT_MODULE, 0, 0, 0) },
	"by-handle":   func([]string) error { return raw(unix.SYS_OPEN_BY_HANDLE_AT, 0, 0, 0) },
	"reboot":      func([]string) error { return raw(unix.SYS_REBOOT, 0, 0, 0) },
	"syslog":      func([]string) error { var b [64]byte; return raw(unix.SYS_SYSLOG, 3, uintptr(unsafe.Pointer(&b)), 64) },
	"swapon":      func([]string) error { return raw(unix.SYS_SWAPON, cstr("/tmp/x"), 0, 0) },
	"settime": func([]string) error {
		ts := unix.Timespec{Sec: 1}
		return raw(unix.SYS_CLOCK_SETTIME, 0, uintptr(unsafe.Pointer(&ts)), 0)
	},
	"personality": func([]string) error { return raw(unix.SYS_PERSONALITY, 0x0400000, 0, 0) },
	"iopl":        func([]string) error { return raw(unix.SYS_IOPL, 3, 0, 0) },
	"sys-netlink": func([]string) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW, 0) },
	"sys-packet":  func([]string) error { return socket(unix.AF_PACKET, unix.SOCK_RAW, 0) },
	"sys-vsock":   func([]string) error { return socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
	"sys-alg":     func([]string) error { return socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) },
	"sys-raw":     func([]string) error { return socket(unix.AF_INET, unix.SOCK_RAW, 1) },
	"sys-inet":    func([]string) error { return socket(unix.AF_INET, unix.SOCK_STREAM, 0) },
	"tiocsti": func([]string) error {
		b := byte('x')
		return raw(unix.SYS_IOCTL, 0, 0x5412, uintptr(unsafe.Pointer(&b)))
	},
	"tioclinux": func([]string) error { b := byte(2); return raw(unix.SYS_IOCTL, 0, 0x541c, uintptr(unsafe.Pointer(&b))) },
	"dumpable-core": func([]string) error {
		var r unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &r); err != nil {
			return err
		}
		if r.Max != 1 { // what ends dumps to a program as well: core(5)
			return nil
		}
		return errors.New("core limit is 1")
	},
	"raise-limit": func([]string) error {
		return syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	},

	// The network.
	"dial": func(a []string) error {
		c, err := net.DialTimeout("tcp", a[0], 2*time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	},
	"dial-unix": func(a []string) error {
		c, err := net.DialTimeout("unix", a[0], 2*time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	},
	"bind": func([]string) error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 8080, Addr: [4]byte{127, 0, 0, 1}})
	},

	// What was left open.
	"fds": func([]string) error {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return err
		}
		var open []string
		for _, e := range entries {
			to, err := os.Readlink("/proc/self/fd/" + e.Name())
			if err != nil { // the directory that is being read
				continue
			}
			if n, _ := strconv.Atoi(e.Name()); n > 2 && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") {
				open = append(open, e.Name()+"="+to)
			}
			if n, _ := strconv.Atoi(e.Name()); n <= 2 && !strings.HasPrefix(to, "pipe:") {
				open = append(open, e.Name()+"="+to)
			}
		}
		if open != nil {
			fmt.Println(open)
			return nil
		}
		return errors.New("three pipes and nothing else")
	},
	"environment": func(a []string) error {
		for _, v := range os.Environ() {
			if strings.Contains(v, a[0]) {
				return nil
			}
		}
		return errors.New("not there")
	},

	// Exhaustion.
	"forks": func([]string) error {
		for range 10000 {
			pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if e != 0 {
				return e
			}
			if pid == 0 {
				for {
					unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
				}
			}
		}
		return nil
	},
	"memory": func(a []string) error { // touches MiB of anonymous memory
		mib, _ := strconv.Atoi(a[0])
		b, err := unix.Mmap(-1, 0, mib<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return err
		}
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return nil
	},
	"fill": func(a []string) error { // writes MiB to a file
		mib, _ := strconv.Atoi(a[1])
		f, err := os.Create(a[0])
		if err != nil {
			return err
		}
		block := make([]byte, 1<<20)
		for range mib {
			if _, err := f.Write(block); err != nil {
				return err
			}
		}
		return nil
	},
	"files": func(a []string) error { // makes empty files
		n, _ := strconv.Atoi(a[1])
		for i := range n {
			f, err := os.Create(filepath.Join(a[0], strconv.Itoa(i)))
			if err != nil {
				return err
			}
			_ = f.Close()
		}
		return nil
	},
	"opens": func([]string) error {
		for range 1 << 16 {
			if _, err := unix.Open("/dev/null", unix.O_RDONLY, 0); err != nil {
				return err
			}
		}
		return nil
	},
}
