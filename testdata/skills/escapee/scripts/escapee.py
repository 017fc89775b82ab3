#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Try every known way out of a box. See ../../README.md for the output.

Each attempt runs in a child of its own and changes nothing that outlives it.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import signal
import socket
import struct
import sys


class Blocked(Exception):
    """An attempt that failed without an errno."""


def in_box():
    """A box says so, or runs us from /skill on a read-only mount."""
    if os.environ.get("CLAWSUP_BOX") == "1":
        return True
    here = os.path.dirname(os.path.realpath(__file__))
    return here == "/skill/scripts" and bool(os.statvfs("/skill").f_flag & os.ST_RDONLY)


def attempt(function):
    """Run function in a child, which a filter may kill. Return (leaked, detail)."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        signal.alarm(10)
        try:
            leaked, detail = True, function()
            if detail is None:
                leaked, detail = False, "nothing there"
        except Blocked as e:
            leaked, detail = False, str(e)
        except OSError as e:
            leaked, detail = False, f"{errno.errorcode.get(e.errno, e.errno)}"
        os.write(write, f"{int(leaked)}{detail}"[:300].encode("utf-8", "replace"))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if said:
        return said[0] == "1", said[1:]
    if os.WIFSIGNALED(status):
        return False, f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return True, f"no answer, wait status {status}"


def main(attempts):
    if not in_box():
        print("this program attacks its surroundings; it starts only in a box (see README.md)", file=sys.stderr)
        return 64
    chosen = [name for name, _ in attempts]
    args = sys.argv[1:]
    while args:
        option, names = args[0], args[1].split(",") if len(args) > 1 else []
        if option not in ("--only", "--except") or not names or set(names) - {name for name, _ in attempts}:
            print("usage: [--only NAME,...] [--except NAME,...]", file=sys.stderr)
            return 64
        chosen = [n for n in chosen if (n in names) == (option == "--only")]
        args = args[2:]
    leaks = 0
    for name, function in attempts:
        if name in chosen:
            leaked, detail = attempt(function)
            leaks += leaked
            shown = "".join(c if c.isprintable() else "?" for c in detail)
            print(f"{name}\t{'LEAKED' if leaked else 'blocked'}\t{shown}", flush=True)
    return 3 if leaks else 0


LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
ARM = platform.machine() == "aarch64"

# System call numbers: x86-64, then arm64. From 424 on they are the same.
NUMBERS = {
    "chroot": (161, 51), "pivot_root": (155, 41), "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97),
    "setns": (308, 268), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "bpf": (321, 280), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "clone": (56, 220),
    "kexec_load": (246, 104), "personality": (135, 92), "sethostname": (170, 161), "setuid": (105, 146),
    "syslog": (103, 116), "kcmp": (312, 272), "swapoff": (168, 225), "fanotify_init": (300, 262), "io_setup": (206, 0),
    "io_uring_setup": (425, 425), "open_tree": (428, 428), "fsopen": (430, 430), "clone3": (435, 435),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "mount_setattr": (442, 442), "memfd_secret": (447, 447),
    "seccomp": (317, 277), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
}
AT_FDCWD = -100


def call(name, *args):
    """One system call; the result, or OSError."""
    number = NUMBERS[name][ARM]
    if number is None:
        raise Blocked("not on this machine")
    converted = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = LIBC.syscall(ctypes.c_long(number), *converted)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def works(name, *args):
    """An attempt that leaks when the call succeeds."""
    return lambda: f"{name} returned {call(name, *args)}"


NAMESPACES = {"user": 0x10000000, "mount": 0x00020000, "pid": 0x20000000, "net": 0x40000000, "ipc": 0x08000000,
              "uts": 0x04000000, "cgroup": 0x02000000, "time": 0x00000080}


def unshare_user_then(flag):
    """The usual start of a kernel exploit: be root in a namespace of one's own."""
    def go():
        call("unshare", NAMESPACES["user"] | flag)
        return "root in a namespace of its own"
    return go


def clone_user():
    child = call("clone", NAMESPACES["user"] | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a child in a new user namespace"


def clone3_user():
    args = struct.pack("<QQQQQQQQQQQ", NAMESPACES["user"], 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    child = call("clone3", ctypes.create_string_buffer(args, len(args)), len(args))
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "a child in a new user namespace"


def join_namespaces():
    refused = None
    for kind in ("user", "mnt", "net", "pid", "ipc", "uts", "cgroup", "time"):
        for pid in (1, os.getppid()):
            try:
                fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
                call("setns", fd, 0)
                return f"joined the {kind} namespace of process {pid}"
            except OSError as e:
                refused = e
    raise refused


def other_roots():
    """/proc/PID/root of a process in another mount namespace is a way out."""
    own, refused = os.stat("/"), None
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
        try:
            there = os.stat(f"/proc/{pid}/root/")
            names = os.listdir(f"/proc/{pid}/root/")
        except OSError as e:
            refused = e
            continue
        if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            return f"another root with {len(names)} entries behind process {pid}"
    if refused:
        raise refused
    return None


def other_folders():
    """A working directory that our root can't reach is outside it."""
    refused = None
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
        try:
            if os.readlink(f"/proc/{pid}/cwd").startswith("(unreachable)"):
                return f"process {pid} works in {len(os.listdir(f'/proc/{pid}/cwd/'))} entries outside"
        except OSError as e:
            refused = e
    if refused:
        raise refused
    return None


def other_descriptors():
    """Descriptors of process 1, the supervisor's end of the box."""
    names = os.listdir("/proc/1/fd")
    return f"{len(names)} descriptors of process 1 can be opened" if names else None


def chroot_dance():
    """The classical way out of a chroot: another chroot and a kept directory."""
    keep = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    call("chroot", b"/tmp")
    os.fchdir(keep)
    return "chroot worked"


def memory_of_init():
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("PN", ctypes.addressof(buffer), 8)
    for line in open("/proc/1/maps", encoding="ascii", errors="replace"):
        start = int(line.split("-")[0], 16)
        remote = struct.pack("PN", start, 8)
        call("process_vm_readv", 1, ctypes.create_string_buffer(local, 16), 1, ctypes.create_string_buffer(remote, 16), 1, 0)
        return "memory of process 1 was read"
    return None


def opens(*paths, flags=os.O_WRONLY):
    """Opening is enough to know; nothing is written. What is masked by
    /dev/null opens and leads nowhere."""
    def go():
        refused = Blocked("masked")
        for path in paths:
            try:
                fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
                device = os.fstat(fd).st_rdev
                os.close(fd)
                if device != os.makedev(1, 3):
                    return f"{path} can be opened"
            except OSError as e:
                if isinstance(refused, Blocked) or e.errno != errno.ENOENT:
                    refused = e
        raise refused
    return go


def cgroup_files():
    """Files of the control groups that we could write: limits, membership, release_agent."""
    tried = 0
    for top, folders, files in os.walk("/sys/fs/cgroup"):
        for name in files:
            if name in ("cgroup.procs", "tasks", "release_agent", "memory.max", "memory.limit_in_bytes", "pids.max", "notify_on_release"):
                tried += 1
                try:
                    os.close(os.open(os.path.join(top, name), os.O_WRONLY))
                    return f"{os.path.join(top, name)} can be opened"
                except OSError:
                    pass
    if tried:
        raise Blocked(f"{tried} files refused")
    return None


def creates(folder):
    def go():
        path = os.path.join(folder, f".escapee-{os.getpid()}")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.unlink(path)
        return f"a file was made in {folder}"
    return go


def overwrites_own_skill():
    here = os.path.realpath(__file__)
    os.close(os.open(here, os.O_WRONLY))
    return "its own script can be written"


def makes_device(kind, device):
    def go():
        path = f"/tmp/.escapee-{os.getpid()}"
        os.mknod(path, kind | 0o600, device)
        try:
            os.close(os.open(path, os.O_RDONLY))
            return "a device was made and opened"
        except OSError as e:
            raise Blocked(f"made, but opening it says {errno.errorcode[e.errno]}") from None
        finally:
            os.unlink(path)
    return go


def is_empty(folder):
    try:
        return not os.listdir(folder)
    except NotADirectoryError:
        return False
    except PermissionError:
        return os.statvfs(folder).f_files == 1  # its root is all there is room for


def setuid_mounts():
    """Mounts on which a setuid program would count. One that is read-only and
    empty, as those that mask a folder of /proc are, can't hold any."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
        for line in f:
            fields = line.split()
            options = fields[5].split(",")
            if "nosuid" in options or "ro" in options and is_empty(fields[4]):
                continue
            found.append(fields[4])
    return f"setuid counts on {' '.join(found)}" if found else None


def setuid_file():
    """A setuid program left in the workspace for someone outside."""
    path = f"/workspace/.escapee-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700))
    try:
        os.chmod(path, 0o4755)
        if os.stat(path).st_mode & 0o4000:
            return "a setuid file is in the workspace"
        raise Blocked("the bit was dropped")
    finally:
        os.unlink(path)


def becomes_root():
    if os.getuid() == 0:
        return "it is root to begin with"
    return f"setuid(0) returned {call('setuid', 0)}"


def status(field):
    with open("/proc/self/status", encoding="ascii", errors="replace") as f:
        for line in f:
            if line.startswith(field + ":"):
                return line.split()[1]
    raise Blocked(f"/proc/self/status has no {field}")


def capabilities():
    held = [f for f in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status(f), 16)]
    return f"not empty: {' '.join(held)}" if held else None


def new_privileges():
    return None if status("NoNewPrivs") == "1" else "no_new_privs is not set"


def no_filter():
    return None if status("Seccomp") == "2" else "there is no seccomp filter"


def io_uring():
    return f"a ring: descriptor {call('io_uring_setup', 8, ctypes.create_string_buffer(120))}"


def bpf_map():
    attr = struct.pack("<IIII", 2, 4, 8, 1)  # an array of one value
    return f"a map: descriptor {call('bpf', 0, ctypes.create_string_buffer(attr.ljust(128, bytes(1)), 128), 128)}"


def perf():
    attr = struct.pack("<IIQQQQQ", 1, 112, 0, 0, 0, 0, 0x60).ljust(112, b"\0")  # software clock of user space
    return f"a counter: descriptor {call('perf_event_open', ctypes.create_string_buffer(attr, 112), 0, -1, -1, 0)}"


def handle():
    """open_by_handle_at walks out of any mount by inode number."""
    size = 128
    buffer = ctypes.create_string_buffer(struct.pack("<Ii", size, 0) + bytes(size), 8 + size)
    mount = ctypes.c_int()
    call("name_to_handle_at", AT_FDCWD, b"/", buffer, ctypes.byref(mount), 0)
    top = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    return f"a handle was opened: descriptor {call('open_by_handle_at', top, buffer, os.O_RDONLY)}"


def makes_socket(family, kind, protocol=0):
    def go():
        with socket.socket(family, kind, protocol):
            return "a socket was made"
    return go


def terminal(request, argument):
    """Put a character into the terminal's input, to be read by the shell outside."""
    def go():
        refused = None
        for fd in (0, 1, 2):
            if os.isatty(fd):
                try:
                    fcntl.ioctl(fd, request, argument)
                    return f"the terminal took it on descriptor {fd}"
                except OSError as e:
                    refused = e
        if refused:
            raise refused
        return None
    return go


def signals_outside():
    """Signal 0 to every process number that isn't of our own line of ancestors."""
    own, pid = {1}, os.getpid()
    while pid > 0:
        own.add(pid)
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            pid = int(f.read().rsplit(")", 1)[1].split()[1])
    for other in range(2, 32768):
        if other not in own:
            try:
                os.kill(other, 0)
            except PermissionError:
                pass
            except ProcessLookupError:
                continue
            return f"process {other} is within reach of kill"
    return None


def executes(code):
    """Run machine code that makes a foreign system call; it returns its result."""
    def go():
        if ARM:
            raise Blocked("not on this machine")
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        function = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
        result = function()
        if result in (-errno.ENOSYS, -errno.EPERM, 0x100000000 - errno.ENOSYS, 0x100000000 - errno.EPERM):
            raise Blocked("refused")
        return f"it returned {result}"
    return go


# int 0x80 with getpid of i386; getpid of the x32 table. Both save rbx.
INT80 = bytes.fromhex("53b814000000cd805bc3")
X32 = bytes.fromhex("53b8270000400f055bc3")


def attach():
    LIBC.ptrace.restype = ctypes.c_long
    for pid in (1, os.getppid()):
        if LIBC.ptrace(16, pid, None, None) == 0:  # PTRACE_ATTACH
            os.waitpid(pid, 0x40000000)
            LIBC.ptrace(17, pid, None, None)  # PTRACE_DETACH
            return f"attached to process {pid}"
    raise OSError(ctypes.get_errno(), "ptrace")


def takes_descriptor():
    fd = call("pidfd_open", 1, 0)
    return f"descriptor 0 of process 1 is now {call('pidfd_getfd', fd, 0, 0)}"


def lowers_oom_score():
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as f:
        f.write("-1000")
    return "the kernel will kill others first"


def raises_limits():
    import resource
    for name in ("RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_STACK"):
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY:
            return f"{name} has no limit"
        try:
            resource.setrlimit(kind, (hard + 1, hard + 1))
            return f"{name} was raised"
        except (ValueError, OSError):
            pass
    return None


ATTEMPTS = [
    *((f"unshare-{name}", works("unshare", flag)) for name, flag in NAMESPACES.items()),
    ("unshare-user-mount", unshare_user_then(NAMESPACES["mount"])),
    ("unshare-user-net", unshare_user_then(NAMESPACES["net"])),
    ("clone-user", clone_user),
    ("clone3-user", clone3_user),
    ("setns", join_namespaces),
    ("mount-tmpfs", works("mount", b"none", b"/tmp", b"tmpfs", 0, b"size=4k")),
    ("mount-bind", works("mount", b"/usr", b"/tmp", None, 4096, None)),
    ("mount-proc", works("mount", b"proc", b"/tmp", b"proc", 0, None)),
    ("remount-usr", works("mount", b"none", b"/usr", None, 32 | 4096, None)),
    ("umount", works("umount2", b"/proc", 2)),
    ("pivot-root", works("pivot_root", b"/", b"/tmp")),
    ("fsopen", works("fsopen", b"tmpfs", 0)),
    ("open-tree", works("open_tree", AT_FDCWD, b"/", 1)),
    ("mount-setattr", works("mount_setattr", AT_FDCWD, b"/usr", 0, ctypes.create_string_buffer(struct.pack("<QQQQ", 0, 1, 0, 0), 32), 32)),
    ("chroot", chroot_dance),
    ("proc-root", other_roots),
    ("proc-cwd", other_folders),
    ("proc-descriptors", other_descriptors),
    ("proc-memory", opens("/proc/1/mem", flags=os.O_RDWR)),
    ("vm-read", memory_of_init),
    ("ptrace", attach),
    ("pidfd-getfd", takes_descriptor),
    ("kcmp", works("kcmp", 1, os.getpid(), 0, 0, 0)),
    ("kill-outside", signals_outside),
    ("core-pattern", opens("/proc/sys/kernel/core_pattern")),
    ("modprobe-path", opens("/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug", "/sys/kernel/uevent_helper")),
    ("sysctl", opens("/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/randomize_va_space")),
    ("sysrq", opens("/proc/sysrq-trigger")),
    ("binfmt-misc", opens("/proc/sys/fs/binfmt_misc/register")),
    ("cgroup-files", cgroup_files),
    ("oom-score", lowers_oom_score),
    ("raise-limits", raises_limits),
    ("mknod-character", makes_device(0o020000, os.makedev(1, 1))),
    ("mknod-block", makes_device(0o060000, os.makedev(8, 0))),
    ("devices", opens("/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/loop-control", "/dev/net/tun", "/dev/sda", "/dev/vda", "/dev/vsock", flags=os.O_RDWR)),
    ("write-root", creates("/")),
    ("write-usr", creates("/usr")),
    ("write-etc", creates("/etc")),
    ("write-skill", creates("/skill")),
    ("write-own-script", overwrites_own_skill),
    ("write-workspace", creates("/workspace")),
    ("setuid-file", setuid_file),
    ("setuid-mounts", setuid_mounts),
    ("become-root", becomes_root),
    ("capabilities", capabilities),
    ("new-privileges", new_privileges),
    ("no-filter", no_filter),
    ("io-uring", io_uring),
    ("bpf", bpf_map),
    ("perf", perf),
    ("userfaultfd", works("userfaultfd", 1)),
    ("keyctl", works("keyctl", 0, -3, 1)),
    ("add-key", works("add_key", b"user", b"escapee", b"x", 1, -2)),
    ("open-by-handle", handle),
    ("fanotify", works("fanotify_init", 0x200, 0)),
    ("memfd-secret", works("memfd_secret", 0)),
    ("syslog", works("syslog", 3, ctypes.create_string_buffer(64), 64)),
    ("personality", works("personality", 0x0040000)),
    ("iopl", works("iopl", 3)),
    ("modify-ldt", works("modify_ldt", 0, ctypes.create_string_buffer(16), 16)),
    ("int80", executes(INT80)),
    ("x32", executes(X32)),
    ("socket-packet", makes_socket(17, socket.SOCK_RAW)),
    ("socket-netlink", makes_socket(16, socket.SOCK_RAW)),
    ("socket-netfilter", makes_socket(16, socket.SOCK_RAW, 12)),
    ("socket-vsock", makes_socket(40, socket.SOCK_STREAM)),
    ("socket-alg", makes_socket(38, socket.SOCK_SEQPACKET)),
    ("socket-bluetooth", makes_socket(31, socket.SOCK_RAW, 1)),
    ("socket-can", makes_socket(29, socket.SOCK_RAW, 1)),
    ("socket-tipc", makes_socket(30, socket.SOCK_SEQPACKET)),
    ("socket-raw", makes_socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    ("socket-ping", makes_socket(socket.AF_INET, socket.SOCK_DGRAM, 1)),
    ("tiocsti", terminal(0x5412, b"\0")),
    ("tioclinux", terminal(0x541C, b"\2")),
]

if __name__ == "__main__":
    sys.exit(main(ATTEMPTS))
