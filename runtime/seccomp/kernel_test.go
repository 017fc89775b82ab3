// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/clawsup/clawsup/runtime/seccomp/load"
	"golang.org/x/sys/unix"
)

// try is something a hostile tool does. It runs as root with every capability,
// so that whatever stops it is the filter.
type try struct {
	name   string
	groups string
	before func() // what the box has before the filter comes
	do     func() unix.Errno
	want   unix.Errno    // under the filter
	canary func() string // what the attempt touched, if it did
}

const canaryFile = "canary"

func mustWrite() {
	if err := os.WriteFile(canaryFile, []byte("alive"), 0o644); err != nil {
		fatal(err)
	}
}

// plainFile says how the canary file changed.
func plainFile() string {
	fi, err := os.Lstat(canaryFile)
	if err != nil || fi.Mode() != 0o644 {
		return fmt.Sprint(fi, err)
	}
	return ""
}

// nothing says which file appeared.
func nothing() string {
	entries, err := os.ReadDir(".")
	if err != nil || len(entries) > 0 {
		return fmt.Sprint(entries, err)
	}
	return ""
}

func call(nr uintptr, args ...uintptr) unix.Errno {
	var a [6]uintptr
	copy(a[:], args)
	_, _, errno := unix.RawSyscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5])
	return errno
}

func pointer[T any](v *T) uintptr { return uintptr(unsafe.Pointer(v)) }

func cstring(s string) uintptr {
	p, err := unix.BytePtrFromString(s)
	if err != nil {
		fatal(err)
	}
	keptAlive = append(keptAlive, p)
	return pointer(p)
}

// keptAlive holds what only the kernel has the address of.
var keptAlive []*byte

// cwd is AT_FDCWD as a register has it.
var cwd = uintptr(0xffffffffffffff9c)

func socketTry(name, groups string, family, kind, protocol uintptr, want unix.Errno) try {
	return try{name: name, groups: groups, want: want, do: func() unix.Errno {
		return call(unix.SYS_SOCKET, family, kind, protocol)
	}}
}

// fileTry makes a file or changes the canary file.
func fileTry(name string, want unix.Errno, made bool, nr uintptr, args ...uintptr) try {
	t := try{name: name, want: want, do: func() unix.Errno { return call(nr, args...) }, canary: nothing}
	if !made {
		t.before, t.canary = mustWrite, plainFile
	}
	return t
}

func cloneTry(flag uintptr, name string) try {
	return try{name: "clone " + name, want: unix.EPERM, do: func() unix.Errno {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, flag|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno == 0 && pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return errno
	}}
}

func unshareTry(flag uintptr, name string) try {
	var before string
	link := func() string {
		s, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), name))
		if err != nil {
			fatal(err)
		}
		return s
	}
	return try{name: "unshare " + name, want: unix.EPERM,
		before: func() { runtime.LockOSThread(); before = link() },
		do:     func() unix.Errno { return call(unix.SYS_UNSHARE, flag) },
		canary: func() string {
			if after := link(); after != before {
				return before + " became " + after
			}
			return ""
		}}
}

// terminal is a pty made before the filter is loaded.
var terminal *os.File

func openTerminal() {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		fatal(err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		fatal(errno)
	}
	keptAlive = append(keptAlive, (*byte)(unsafe.Pointer(master)))
	terminal = os.NewFile(fd, "pty")
}

func ioctlTry(name string, request uint64, want unix.Errno) try {
	return try{name: name, want: want, before: openTerminal,
		do: func() unix.Errno {
			var arg [64]byte
			arg[0] = '\n' // for TIOCSTI, a character; for TIOCSETD, N_PPS and up don't matter
			return call(unix.SYS_IOCTL, terminal.Fd(), uintptr(request), pointer(&arg))
		},
		canary: func() string {
			n, err := unix.IoctlGetInt(int(terminal.Fd()), fionread)
			if err != nil || n != 0 {
				return fmt.Sprintf("%d characters typed (%v)", n, err)
			}
			return ""
		}}
}

func attempts() []try {
	dir, file := cstring("."), cstring(canaryFile)
	tries := []try{
		unshareTry(unix.CLONE_NEWUTS, "uts"),
		unshareTry(unix.CLONE_NEWNET, "net"),
		unshareTry(unix.CLONE_NEWIPC, "ipc"),
		unshareTry(unix.CLONE_NEWCGROUP, "cgroup"),
		unshareTry(unix.CLONE_NEWNS|unix.CLONE_FS, "mnt"),
		cloneTry(unix.CLONE_NEWNS, "mount"),
		cloneTry(unix.CLONE_NEWCGROUP, "cgroup"),
		cloneTry(unix.CLONE_NEWUTS, "uts"),
		cloneTry(unix.CLONE_NEWIPC, "ipc"),
		cloneTry(unix.CLONE_NEWUSER, "user"),
		cloneTry(unix.CLONE_NEWPID, "pid"),
		cloneTry(unix.CLONE_NEWNET, "net"),
		cloneTry(unix.CLONE_NEWUSER|1<<32, "user with a high bit"),
		{name: "clone3", want: unix.ENOSYS, do: func() unix.Errno { return call(unix.SYS_CLONE3, 0, 0) }},
		{name: "setns", want: unix.EPERM, do: func() unix.Errno {
			fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				fatal(err)
			}
			return call(unix.SYS_SETNS, uintptr(fd), unix.CLONE_NEWUTS)
		}},
		{name: "mount", want: unix.EPERM,
			before: func() { // in a namespace of the child's own, should the filter fail
				runtime.LockOSThread()
				if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
					fatal(err)
				}
				if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
					fatal(err)
				}
			},
			do: func() unix.Errno {
				return call(unix.SYS_MOUNT, cstring("none"), dir, cstring("ramfs"), 0, 0)
			},
			canary: func() string {
				var s unix.Statfs_t
				if err := unix.Statfs(".", &s); err != nil || s.Type == unix.RAMFS_MAGIC {
					return fmt.Sprintf("mounted (%v)", err)
				}
				return ""
			}},
		{name: "chroot", want: unix.EPERM, do: func() unix.Errno { return call(unix.SYS_CHROOT, cstring("/")) }},
		{name: "fsopen", want: unix.EPERM, do: func() unix.Errno { return call(unix.SYS_FSOPEN, cstring("tmpfs"), 0) }},
		{name: "open_tree", want: unix.EPERM, do: func() unix.Errno { return call(unix.SYS_OPEN_TREE, cwd, dir, 0) }},
		{name: "ptrace", want: unix.EPERM, do: func() unix.Errno { return call(unix.SYS_PTRACE, unix.PTRACE_TRACEME) }},
		{name: "process_vm_readv", want: unix.EPERM, do: func() unix.Errno {
			return call(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid()), 0, 0, 0, 0, 0)
		}},
		{name: "kcmp", want: unix.EPERM, do: func() unix.Errno {
			return call(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(os.Getpid()), 0, 0, 0)
		}},
		{name: "pidfd_getfd", want: unix.EPERM, do: func() unix.Errno {
			fd, err := unix.PidfdOpen(os.Getppid(), 0)
			if err != nil {
				fatal(err)
			}
			return call(unix.SYS_PIDFD_GETFD, uintptr(fd), 0, 0)
		}},
		{name: "open_by_handle_at", want: unix.EPERM, do: func() unix.Errno {
			return call(unix.SYS_OPEN_BY_HANDLE_AT, cwd, 0, 0)
		}},
		{name: "name_to_handle_at", want: unix.EPERM, do: func() unix.Errno {
			return call(unix.SYS_NAME_TO_HANDLE_AT, cwd, dir, 0, 0, 0)
		}},
		{name: "prlimit64 of the parent", want: unix.EPERM, do: func() unix.Errno {
			var l unix.Rlimit
			return call(unix.SYS_PRLIMIT64, uintptr(os.Getppid()), unix.RLIMIT_NOFILE, 0, pointer(&l))
		}},
		{name: "personality READ_IMPLIES_EXEC", want: unix.EPERM, do: func() unix.Errno {
			return call(unix.SYS_PERSONALITY, 0x0400000)
		}},
		{name: "newer than the table", want: unix.ENOSYS, do: func() unix.Errno { return call(newest + 1) }},

		fileTry("fchmodat 04755", unix.EPERM, false, unix.SYS_FCHMODAT, cwd, file, 0o4755),
		fileTry("fchmodat 02755", unix.EPERM, false, unix.SYS_FCHMODAT, cwd, file, 0o2755),
		fileTry("fchmodat 04755 with high bits", unix.EPERM, false, unix.SYS_FCHMODAT, cwd, file, 1<<32|0o4755),
		fileTry("fchmodat 04755 with bits above a mode", unix.EPERM, false, unix.SYS_FCHMODAT, cwd, file, 1<<16|0o4755),
		fileTry("fchmodat2 04755", unix.EPERM, false, unix.SYS_FCHMODAT2, cwd, file, 0o4755, 0),
		{name: "fchmod 06755", want: unix.EPERM, before: mustWrite, canary: plainFile, do: func() unix.Errno {
			f, err := os.Open(canaryFile)
			if err != nil {
				fatal(err)
			}
			return call(unix.SYS_FCHMOD, f.Fd(), 0o6755)
		}},
		fileTry("openat O_CREAT 06755", unix.EPERM, true, unix.SYS_OPENAT, cwd, file, unix.O_CREAT|unix.O_RDWR, 0o6755),
		fileTry("openat O_TMPFILE 04755", unix.EPERM, true, unix.SYS_OPENAT, cwd, dir, unix.O_TMPFILE|unix.O_RDWR, 0o4755),
		{name: "openat2", want: unix.ENOSYS, canary: nothing, do: func() unix.Errno {
			how := unix.OpenHow{Flags: unix.O_CREAT | unix.O_RDWR, Mode: 0o4755}
			return call(unix.SYS_OPENAT2, cwd, file, pointer(&how), unix.SizeofOpenHow)
		}},
		fileTry("mknodat regular 04755", unix.EPERM, true, unix.SYS_MKNODAT, cwd, file, unix.S_IFREG|0o4755, 0),
		fileTry("mknodat character device", unix.EPERM, true, unix.SYS_MKNODAT, cwd, file, unix.S_IFCHR|0o600, 0x0103),
		fileTry("mknodat whiteout", unix.EPERM, true, unix.SYS_MKNODAT, cwd, file, unix.S_IFCHR, 0),
		fileTry("mknodat block device", unix.EPERM, true, unix.SYS_MKNODAT, cwd, file, unix.S_IFBLK|0o600, 0x0700),
		fileTry("renameat2 leaving a whiteout", unix.EPERM, false, unix.SYS_RENAMEAT2, cwd, file, cwd, cstring("moved"), unix.RENAME_WHITEOUT),
		fileTry("mknodat socket", unix.EPERM, true, unix.SYS_MKNODAT, cwd, file, unix.S_IFSOCK|0o600, 0),
		fileTry("mknodat type above 16 bits", unix.EPERM, true, unix.SYS_MKNODAT, cwd, file, 1<<16|unix.S_IFCHR|0o600, 0x0103),
		{name: "setxattr", want: unix.EOPNOTSUPP, before: mustWrite,
			do: func() unix.Errno {
				return call(unix.SYS_SETXATTR, file, cstring("trusted.canary"), cstring("dead"), 4, 0)
			},
			canary: func() string {
				n, err := unix.Listxattr(canaryFile, make([]byte, 512))
				if err != nil || n != 0 {
					return fmt.Sprintf("%d bytes of attributes (%v)", n, err)
				}
				return ""
			}},
		{name: "lease", want: unix.EPERM, before: mustWrite, do: func() unix.Errno {
			f, err := os.Open(canaryFile)
			if err != nil {
				fatal(err)
			}
			return call(unix.SYS_FCNTL, f.Fd(), 1<<32|unix.F_SETLEASE, unix.F_WRLCK)
		}},

		ioctlTry("TIOCSTI", unix.TIOCSTI, unix.EPERM),
		ioctlTry("TIOCSTI with a high bit", 1<<32|unix.TIOCSTI, unix.EPERM),
		ioctlTry("TIOCSTI sign extended", 0xffffffff<<32|unix.TIOCSTI, unix.EPERM),
		ioctlTry("TIOCLINUX", unix.TIOCLINUX, unix.EPERM),
		ioctlTry("TIOCSETD", unix.TIOCSETD, unix.EPERM),
		ioctlTry("TIOCGWINSZ", unix.TIOCGWINSZ, 0),
		ioctlTry("TIOCGWINSZ with a high bit", 1<<32|unix.TIOCGWINSZ, 0),

		socketTry("AF_NETLINK", "loopback", unix.AF_NETLINK, unix.SOCK_RAW, 0, unix.EAFNOSUPPORT),
		socketTry("AF_PACKET", "loopback", unix.AF_PACKET, unix.SOCK_RAW, 0, unix.EPERM),
		socketTry("AF_VSOCK", "loopback", unix.AF_VSOCK, unix.SOCK_STREAM, 0, unix.EPERM),
		socketTry("AF_ALG", "loopback", unix.AF_ALG, unix.SOCK_SEQPACKET, 0, unix.EPERM),
		socketTry("AF_XDP", "loopback", unix.AF_XDP, unix.SOCK_RAW, 0, unix.EPERM),
		socketTry("raw IP", "loopback", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP, unix.EPERM),
		socketTry("ping socket", "loopback", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP, unix.EPERM),
		socketTry("MPTCP", "loopback", unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP, unix.EPROTONOSUPPORT),
		socketTry("MPTCP over IPv6", "loopback", unix.AF_INET6, unix.SOCK_STREAM, 1<<32|unix.IPPROTO_MPTCP, unix.EPROTONOSUPPORT),
		socketTry("IP without the group", "", unix.AF_INET, unix.SOCK_STREAM, 0, unix.EAFNOSUPPORT),
		socketTry("IPv6 without the group", "", unix.AF_INET6, unix.SOCK_DGRAM, 0, unix.EAFNOSUPPORT),
		socketTry("family with a high bit", "", 1<<32|unix.AF_PACKET, unix.SOCK_RAW, 0, unix.EPERM),
		socketTry("TCP", "loopback", unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0),
		socketTry("UDP", "loopback", unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP, 0),
		socketTry("Unix", "unix", unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0, 0),
		socketTry("Unix without the group", "loopback", unix.AF_UNIX, unix.SOCK_STREAM, 0, unix.EAFNOSUPPORT),
		socketTry("Unix with a high bit, without the group", "", 1<<32|unix.AF_UNIX, unix.SOCK_STREAM, 0, unix.EAFNOSUPPORT),
		{name: "inotify without the group", want: unix.ENOSYS, do: func() unix.Errno { return call(unix.SYS_INOTIFY_INIT1, 0) }},
		{name: "inotify", groups: "inotify", do: func() unix.Errno { return call(unix.SYS_INOTIFY_INIT1, 0) }},
		{name: "syncfs", want: unix.EPERM, do: func() unix.Errno { return call(unix.SYS_SYNCFS, 0) }},

		{name: "seccomp listener", groups: "nested", want: unix.EPERM, do: func() unix.Errno {
			return call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, 0)
		}},
		{name: "seccomp without the group", want: unix.EINVAL, do: func() unix.Errno {
			return call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0)
		}},
		{name: "seccomp with the group", groups: "nested", want: unix.EFAULT, do: func() unix.Errno {
			return call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, 0)
		}},
		{name: "landlock", want: 0, do: func() unix.Errno {
			return call(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
		}},
		// Nobody traces it, says the kernel: to be traced would stop it at its next signal.
		{name: "ptrace with the group", groups: "ptrace", want: unix.ESRCH, do: func() unix.Errno {
			return call(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(os.Getpid()))
		}},
		{name: "memfd of huge pages", want: unix.EPERM, do: func() unix.Errno {
			return call(unix.SYS_MEMFD_CREATE, dir, unix.MFD_HUGETLB)
		}},
	}
	// Options of the kernel that the filter must be the one to refuse: arguments
	// are such that the kernel, asked, would answer something else.
	for _, r := range Table {
		nr, ok, err := number(r.Call, native)
		if err != nil {
			fatal(err)
		}
		if r.Group != Base || r.Answer == Allow || len(r.When) > 0 || !ok {
			continue
		}
		tries = append(tries, try{name: "row " + r.Call, want: unix.Errno(r.Answer), do: func() unix.Errno {
			const bad = ^uintptr(0)
			return call(uintptr(nr), bad, bad, bad, bad, bad, bad)
		}})
	}
	return append(tries, legacyAttempts()...)
}

func TestAttempts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: without it the kernel refuses what the filter should")
	}
	for _, a := range attempts() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			o := runAttempt(t, a.name, a.groups)
			if o.Errno != a.want {
				t.Errorf("%v, want %v", o.Errno, a.want)
			}
			if a.want != 0 && o.Canary != "" {
				t.Errorf("canary: %s", o.Canary)
			}
		})
	}
}

// The same attempts without a filter must end in another way, or the test
// above proves nothing.
func TestAttemptsWithoutFilter(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	for _, a := range attempts() {
		if a.canary == nil || a.want == 0 {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			if o := runAttempt(t, a.name, "-"); o.Errno == a.want && o.Canary == "" {
				t.Errorf("%v and an untouched canary even without a filter", o.Errno)
			}
		})
	}
}

func TestForeignCallsDie(t *testing.T) {
	for name := range kills {
		t.Run(name, func(t *testing.T) {
			out, err := child(t, "kill", "", name).CombinedOutput()
			exit, ok := err.(interface{ Sys() any })
			if !ok {
				t.Fatalf("%v: %s", err, out)
			}
			if ws := exit.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != unix.SIGSYS {
				t.Errorf("ended with %#x: %s", ws, out)
			}
			if out, err := child(t, "kill", "-", name).CombinedOutput(); err != nil || string(out) != "survived\n" {
				t.Errorf("without a filter: %v: %s", err, out)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, groups := range [][]string{nil, {"loopback"}} {
		f, err := Compile(groups)
		if err != nil {
			b.Fatal(err)
		}
		filter := f.Bytes()
		type result struct {
			took time.Duration
			err  error
		}
		b.Run(strings.Join(append([]string{"base"}, groups...), "+"), func(b *testing.B) {
			results, total := make(chan result), time.Duration(0)
			for b.Loop() {
				go func() {
					runtime.LockOSThread() // and never unlocked: the thread ends with its filter
					if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
						results <- result{err: err}
						return
					}
					start := time.Now()
					err := load.Load(filter)
					results <- result{time.Since(start), err}
				}()
				r := <-results
				if r.err != nil {
					b.Fatal(r.err)
				}
				total += r.took
			}
			b.ReportMetric(float64(total.Nanoseconds())/float64(b.N), "ns/load")
			b.ReportMetric(float64(f.Len()), "instructions")
		})
	}
}
