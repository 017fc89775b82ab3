#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Try to read what a skill must never see. See ../../README.md for the output.

Every attempt only reads, connects, or sends a request that changes nothing.
"""

import errno
import glob
import os
import re
import signal
import socket
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


def read(*patterns):
    """The first file of these that has content; the last refusal if none has."""
    def go():
        refused = None
        for pattern in patterns:
            for path in sorted(glob.glob(pattern, include_hidden=True)) if "*" in pattern else [pattern]:
                try:
                    with open(path, "rb") as f:
                        if f.read(64):
                            return f"read {path}"
                except OSError as e:
                    refused = e
        if refused:
            raise refused
        return None
    return go


def listing(*patterns):
    """The first folder of these that has entries."""
    def go():
        refused = None
        for pattern in patterns:
            for path in sorted(glob.glob(pattern)) if "*" in pattern else [pattern]:
                try:
                    names = os.listdir(path)
                except OSError as e:
                    refused = e
                    continue
                if names:
                    return f"{len(names)} entries in {path}"
        if refused:
            raise refused
        return None
    return go


def connect_unix(*patterns):
    def go():
        refused = None
        for pattern in patterns:
            for path in sorted(glob.glob(pattern)) if "*" in pattern else [pattern]:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                    s.settimeout(2)
                    try:
                        s.connect(path)
                        return f"connected to {path}"
                    except OSError as e:
                        refused = e
        if refused:
            raise refused
        return None
    return go


def connect_abstract():
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
        names = sorted({line.split()[7] for line in f if len(line.split()) > 7 and line.split()[7].startswith("@")})
    refused = None
    for name in names:
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_UNIX, kind) as s:
                s.settimeout(2)
                try:
                    s.connect("\0" + name[1:])
                    return f"connected to {name}"
                except OSError as e:
                    refused = e
    if refused:
        raise refused
    return None


def connect(family, address, port):
    def go():
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(2)
            try:
                s.connect((address, port))
            except TimeoutError:
                raise Blocked("timed out") from None
        return f"connected to {address} port {port}"
    return go


def loopback():
    """Services of the host. In a network of its own there is nobody to answer."""
    for port in (22, 25, 53, 80, 443, 631, 2375, 3306, 5432, 6379, 8080, 11434, 18789):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return f"127.0.0.1 port {port} answers"
    return None


def dns():
    """A query is a way to send data out, whether it is answered or not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        query = bytes.fromhex("000001000001000000000000") + b"\x06secret\x07invalid\x00" + bytes.fromhex("00010001")
        s.sendto(query, ("192.0.2.53", 53))  # an address of TEST-NET-1: nobody's
    return "a packet was sent"


def interfaces():
    names = [name for _, name in socket.if_nameindex() if name != "lo"]
    return f"network interfaces {names}" if names else None


def ancestors():
    """Our own process and those that started it, as far as we see."""
    own, pid = set(), os.getpid()
    while pid > 0:
        own.add(pid)
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                pid = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
    return own


def environments():
    """Variables of other processes that we don't have ourselves."""
    mine = {k.encode() for k in os.environ}
    refused = None
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
        if pid == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                theirs = {v.split(b"=", 1)[0] for v in f.read().split(b"\0") if v}
        except OSError as e:
            refused = e
            continue
        if theirs - mine:
            return f"{len(theirs - mine)} more variables in process {pid}"
    if refused:
        raise refused
    return None


def processes():
    own = ancestors() | {1}
    others = [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) not in own]
    return f"{len(others)} processes of others, such as {others[0]}" if others else None


def own_environment():
    names = [k for k in os.environ if re.search(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|LD_|BASH_ENV|SSH_", k)]
    return f"the environment has {' '.join(names)}" if names else None


def descriptors():
    return f"descriptors {INHERITED} were open" if INHERITED else None


def kernel_addresses():
    with open("/proc/kallsyms", encoding="ascii", errors="replace") as f:
        for line in f:
            if line.split()[0].strip("0"):
                return "addresses of the kernel are shown"
    return None


def inherited():
    """Descriptors above 2 that we were started with: whatever is open now."""
    limit = os.sysconf("SC_OPEN_MAX")
    found = []
    for fd in range(3, min(limit, 4096)):
        try:
            os.fstat(fd)
            found.append(fd)
        except OSError:
            pass
    return found


INHERITED = inherited()

ATTEMPTS = [
    ("ssh-keys", read("/root/.ssh/*", "/home/*/.ssh/*")),
    ("host-keys", read("/etc/ssh/ssh_host_*_key")),
    ("shadow", read("/etc/shadow", "/etc/shadow-", "/etc/gshadow")),
    ("sudoers", read("/etc/sudoers", "/etc/sudoers.d/*")),
    ("root-home", listing("/root")),
    ("homes", listing("/home/*")),
    ("tokens", read("/root/.aws/credentials", "/root/.netrc", "/root/.npmrc", "/root/.config/*/*", "/root/.docker/config.json",
                    "/home/*/.aws/credentials", "/home/*/.netrc", "/home/*/.npmrc", "/home/*/.openclaw/*")),
    ("dot-env", read("/.env", "/root/.env", "/home/*/.env", "/srv/*/.env", "/opt/*/.env", "/var/www/*/.env", "/workspace/../.env")),
    ("clawsup-state", listing("/var/lib/clawsup", "/etc/clawsup", "/run/clawsup", "/var/log/clawsup")),
    ("logs", listing("/var/log")),
    ("others-tmp", listing("/tmp", "/var/tmp", "/dev/shm")),
    ("own-environment", own_environment),
    ("other-environments", environments),
    ("other-processes", processes),
    ("inherited-descriptors", descriptors),
    ("kernel-memory", read("/proc/kcore", "/dev/mem", "/dev/kmem")),
    ("kernel-log", read("/dev/kmsg", "/proc/kmsg", "/var/log/dmesg")),
    ("kernel-addresses", kernel_addresses),
    ("machine-serials", read("/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/product_serial")),
    ("block-devices", read("/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/loop0", "/dev/dm-0")),
    ("container-sockets", connect_unix("/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock")),
    ("clawsup-sockets", connect_unix("/run/clawsup/*", "/run/clawsup/approval.sock", "/run/clawsup/admin.sock")),
    ("bus-sockets", connect_unix("/run/dbus/system_bus_socket", "/run/systemd/private", "/run/user/*/bus", "/run/user/*/systemd/private")),
    ("agent-sockets", connect_unix("/tmp/ssh-*/agent.*", "/run/user/*/keyring/ssh", "/run/user/*/gnupg/S.gpg-agent", "/tmp/.X11-unix/*")),
    ("abstract-sockets", connect_abstract),
    ("metadata-service", connect(socket.AF_INET, "169.254.169.254", 80)),
    ("metadata-service-6", connect(socket.AF_INET6, "fd00:ec2::254", 80)),
    ("internet", connect(socket.AF_INET, "1.1.1.1", 443)),
    ("dns", dns),
    ("host-loopback", loopback),
    ("interfaces", interfaces),
]

if __name__ == "__main__":
    sys.exit(main(ATTEMPTS))
