#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Take all of something. See ../SKILL.md, and ../../README.md for the output."""

import errno
import mmap
import os
import signal
import sys
import threading
import time

MIB = 1 << 20


def in_box():
    """A box says so, or runs us from /skill on a read-only mount."""
    if os.environ.get("CLAWSUP_BOX") == "1":
        return True
    here = os.path.dirname(os.path.realpath(__file__))
    return here == "/skill/scripts" and bool(os.statvfs("/skill").f_flag & os.ST_RDONLY)


def at(amount):
    os.write(2, f"at\t{amount}\n".encode())


def memory(amount, _):
    held = []
    for i in range(amount):
        block = mmap.mmap(-1, MIB)
        for page in range(0, MIB, mmap.PAGESIZE):
            block[page] = 1
        held.append(block)
        if i % 16 == 15:
            at(i + 1)
    return amount


def shared_memory(amount, _):
    """Files in memory count like memory."""
    fd = os.open(f"/dev/shm/glutton-{os.getpid()}", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(f"/dev/shm/glutton-{os.getpid()}")
    return write(fd, amount)


def write(fd, amount):
    block = b"x" * MIB
    for i in range(amount):
        done = 0
        while done < MIB:
            done += os.write(fd, block[done:])
        if i % 16 == 15:
            at(i + 1)
    return amount


def forks(amount, _):
    children = []
    try:
        for i in range(amount):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            children.append(child)
            if i % 16 == 15:
                at(i + 1)
        return amount
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def threads(amount, _):
    end = threading.Event()
    started = []
    try:
        for i in range(amount):
            t = threading.Thread(target=end.wait, daemon=True)
            try:
                t.start()
            except RuntimeError:
                raise OSError(errno.EAGAIN, f"after {i}") from None
            started.append(t)
        return amount
    finally:
        end.set()


def disk(amount, folder):
    path = f"{folder}/glutton-{os.getpid()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        return write(fd, amount)
    finally:
        os.unlink(path)


def sparse(amount, folder):
    path = f"{folder}/glutton-{os.getpid()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.ftruncate(fd, amount * MIB)
        return amount
    finally:
        os.unlink(path)


def files(amount, folder, name):
    top = f"{folder}/glutton-{os.getpid()}"
    os.mkdir(top, 0o700)
    made = 0
    try:
        for i in range(amount):
            os.close(os.open(f"{top}/{name}{i:08}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            made += 1
            if made % 1024 == 0:
                at(made)
        return made
    finally:
        for i in range(made):
            os.unlink(f"{top}/{name}{i:08}")
        os.rmdir(top)


def inodes(amount, folder):
    return files(amount, folder, "")


def names(amount, folder):
    """Names as long as they may be, with everything that breaks a listing."""
    return files(amount, folder, "\x1b[2J\n -rf \u202e" + "n" * 200)


def output(amount, _):
    return flood(amount, b"all work and no play\n" * 3000)


def line(amount, _):
    return flood(amount, b"x" * 65536)


def flood(amount, block):
    done = 0
    while done < amount:
        done += os.write(1, block[:amount - done])
    return done


def cpu(amount, _):
    """Burn in as many processes as there are processors, ignoring polite signals."""
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU):
        signal.signal(s, signal.SIG_IGN)
    children = []
    end = time.monotonic() + amount
    for _ in range(max(2, os.cpu_count() or 1) - 1):
        child = os.fork()
        if child == 0:
            while time.monotonic() < end:
                pass
            os._exit(0)
        children.append(child)
    while time.monotonic() < end:
        pass
    for child in children:
        os.waitpid(child, 0)
    used = os.times()
    at(f"{used.user + used.system + used.children_user + used.children_system:.2f} s")
    return amount


def sleep(amount, _):
    for s in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(s, signal.SIG_IGN)
        except OSError:
            pass
    at(0)
    time.sleep(amount)
    return amount


def survivors(amount, _):
    """Leave processes behind: double fork, own session, deaf, holding the output."""
    for _ in range(amount):
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                time.sleep(60)
            os._exit(0)
        os.waitpid(child, 0)
    return amount


def descriptors(amount, _):
    for i in range(amount):
        os.dup(0)
        if i % 1024 == 1023:
            at(i + 1)
    return amount


# What it asks for by default is more than any box gives, and less than what
# would hurt a machine for long.
TAKES = {
    "memory": (memory, 4096), "shared-memory": (shared_memory, 4096), "forks": (forks, 4096), "threads": (threads, 4096),
    "disk": (disk, 4096), "sparse": (sparse, 1 << 20), "inodes": (inodes, 1 << 20), "names": (names, 1 << 18),
    "output": (output, 1 << 30), "line": (line, 1 << 30), "cpu": (cpu, 60), "sleep": (sleep, 3600),
    "survivors": (survivors, 3), "descriptors": (descriptors, 1 << 20),
}


def main(args):
    if not in_box():
        print("this program exhausts its surroundings; it starts only in a box (see README.md)", file=sys.stderr)
        return 64
    if not 1 <= len(args) <= 3 or args[0] not in TAKES:
        print(f"usage: glutton.py {'|'.join(TAKES)} [AMOUNT] [DIR]", file=sys.stderr)
        return 64
    take, amount = TAKES[args[0]]
    if len(args) > 1:
        amount = int(args[1])
    try:
        verdict, detail = "LEAKED", f"got {take(amount, args[2] if len(args) > 2 else '/tmp')}, all that it asked for"
    except MemoryError:
        verdict, detail = "blocked", "ENOMEM"
    except OSError as e:
        verdict, detail = "blocked", errno.errorcode.get(e.errno, str(e.errno))
    # Where the output itself was what it took, the verdict goes to standard error.
    print(f"{args[0]}\t{verdict}\t{detail}", file=sys.stderr if take in (output, line) else sys.stdout, flush=True)
    return 3 if verdict == "LEAKED" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
