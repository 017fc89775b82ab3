#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small agent for tests and the demonstration: polite, or hostile.

It runs where clawsupd puts an agent, in its box, and tries what a lost agent
would try. Each attempt prints one line of JSON:

    {"attempt": "...", "stopped_by": "..."}     what kept it from succeeding
    {"attempt": "...", "reached": "..."}        it succeeded; the exit status is 1

Modes, of which several may be named and run in their order:

    polite          one call that a person is asked about; prints what it wrote
    attack          every attempt that changes nothing in its box
    approve policy receipts workspace hook signal trace sockets network escape
    approved foreign wash forge        one of them each
    flood           many tickets at once
    fill            its state directory, up to --bytes
    trap            leaves links, FIFOs, set-user-id files and depth in its state directory
    fork-bomb       processes until there are no more
    stubborn        takes no notice of SIGTERM and the like, and stays
    serve           answers HTTP at --listen: /readyz, /pid, /fetch?HOST:PORT
    halt            stops itself (SIGSTOP), so that it can't act on a signal
    eat             memory, until there is no more
    stay            does nothing until it is ended
    exit            ends with --status
"""

import argparse
import base64
import ctypes
import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

PATIENCE = 30  # seconds, for one answer

failed = False


def tell(**line):
    print(json.dumps(line), flush=True)


def stopped(name, by):
    tell(attempt=name, stopped_by=str(by))


def reached(name, what):
    global failed
    failed = True
    tell(attempt=name, reached=str(what))


def attempt(name, action):
    """Runs action, which raises what stops it and returns what it got."""
    try:
        got = action()
    except OSError as e:
        stopped(name, errno.errorcode.get(e.errno, "") + " " + (e.strerror or str(e)))
    except Refused as e:
        stopped(name, e)
    else:
        reached(name, got)


# --- call.sock ---------------------------------------------------------------


class Refused(Exception):
    """An answer that is an error."""


class Client:
    """JSON-RPC 2.0, one object a line."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")
        self.last = 0

    def send(self, method, params):
        self.last += 1
        frame = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}
        self.socket.sendall(json.dumps(frame).encode() + b"\n")
        return self.last

    def receive(self, notified=None):
        """The next answer. Notifications before it go to notified."""
        while True:
            line = self.lines.readline()
            if not line:
                raise Refused("the connection was closed")
            frame = json.loads(line)
            if "method" in frame:
                if notified:
                    notified(frame["method"], frame["params"])
                continue
            return frame

    def ask(self, method, params, notified=None, patience=PATIENCE):
        self.socket.settimeout(patience)
        self.send(method, params)
        frame = self.receive(notified)
        if "error" in frame:
            e = frame["error"]
            raise Refused("code %s: %s" % (e["code"], e["message"]))
        return frame["result"]


def cancel(o, call):
    try:
        Client(o.socket).ask("call.cancel", {"call": call["id"]})
    except Refused:
        pass  # it has ended


def decided(o, call):
    """The call once its labels are settled: it is asked about, runs or has ended."""
    settled = ("asking", "running", "ended")
    client = Client(o.socket)
    client.send("call.follow", {"call": call["id"]})
    now = Client(o.socket).ask("call.show", {"call": call["id"]})
    while now["state"] not in settled:
        frame = json.loads(client.lines.readline())
        if frame.get("method") == "call.changed":
            now = frame["params"]
        elif "result" in frame:
            now = frame["result"]
        elif "error" in frame:
            raise Refused(frame["error"]["message"])
    return now


def asked_call(o):
    """A call that needs a person, under the profile that says so."""
    return {"args": ["python3", "-c", "print(6*7)"], "profile": o.profile}


def polite(o):
    client = Client(o.socket)
    try:
        call = client.ask("call.submit", dict(asked_call(o), claim="what is six times seven?"))
    except Refused as e:
        tell(polite="refused", reason=str(e))
        return
    tell(polite="asked", call=call["id"])
    parts = []

    def notified(method, params):
        if method == "output" and params["stream"] == 1:
            parts.append(base64.b64decode(params["data"]))

    call = client.ask("call.follow", {"call": call["id"]}, notified, o.patience)
    tell(
        polite="ended",
        decision=call.get("decision", ""),
        reason=call.get("reason", ""),
        status=(call.get("result") or {}).get("status", ""),
        stdout=b"".join(parts).decode("utf-8", "backslashreplace"),
    )


def approve(o):
    """Answers its own ticket, by whatever way leads to the socket of people."""
    places = ["/run/clawsup/approval.sock", "/run/clawsup/../approval.sock", "/run/clawsup/admin.sock"]
    for sock in o.approval:
        places += [sock, "/proc/1/root" + sock]
    for place in places:
        attempt("connect to " + place, lambda: Client(place) and "a connection")
    if not os.path.exists(o.socket):
        return
    try:
        submitted = Client(o.socket).ask("call.submit", asked_call(o))
    except Refused as e:
        stopped("submit a call to approve", e)
        return
    for method, params in [
        ("ticket.list", {}),
        ("ticket.answer", {"ticket": submitted.get("ticket", "x"), "revision": 1, "verdict": "allow"}),
        ("grant.list", {}),
        ("reload", {}),
        ("unlock", {}),
    ]:
        attempt(method + " over call.sock", lambda: Client(o.socket).ask(method, params))
    cancel(o, submitted)


def approved(o):
    for extra in ({"approved": True}, {"decision": "allow"}, {"ticket": "x"}, {"Approved": 1}, {"uid": 0}):
        name = "submit with " + json.dumps(extra)
        attempt(name, lambda: Client(o.socket).ask("call.submit", dict(asked_call(o), **extra))["id"])


def foreign(o):
    for call in o.foreign:
        for method in ("call.show", "call.wait", "call.cancel", "call.explain", "call.follow", "call.stop", "call.watch"):
            attempt("%s of another's %s" % (method, call), lambda: Client(o.socket).ask(method, {"call": call}))


def wash(o):
    """Asks in fresh sessions, and tells what labels the calls have all the same."""
    for name in ("clean", "clean-2", "x" * 300, "../other", ""):
        try:
            call = decided(o, Client(o.socket).ask("call.submit", dict(asked_call(o), session=name)))
        except Refused as e:
            stopped("a session called %.20r" % name, e)
            continue
        if call["labels"].get("untrusted"):
            stopped("a session called %.20r" % name, "labels " + json.dumps(call["labels"]))
        else:
            reached("a session called %.20r" % name, json.dumps(call["labels"]))
        cancel(o, call)


def forge(o):
    for method, params in [
        ("call.outcome", {"call": "x", "status": "exited"}),
        ("audit.append", {"kind": "decision", "decision": "allow"}),
        ("call.changed", {"id": "x", "state": "ended"}),
        ("ticket.changed", {"id": "x", "state": "allowed"}),
        ("session.clear", {"name": "agent", "label": "private", "reason": "clean"}),
        ("agent.clear", {"name": "agent", "label": "private", "reason": "clean"}),
    ]:
        attempt("say " + method, lambda: Client(o.socket).ask(method, params))


def flood(o):
    """Asks for --count calls at once, each another one, and counts the answers."""
    client = Client(o.socket)
    answers = {}

    def asking():
        try:
            for i in range(o.count):
                client.send("call.submit", {"args": ["true", str(i)], "profile": o.profile, "session": "flood-%d" % i})
        except OSError:
            pass

    thread = threading.Thread(target=asking, daemon=True)
    thread.start()
    got = 0
    try:
        while got < o.count:
            frame = client.receive()
            key = "code %s" % frame["error"]["code"] if "error" in frame else "accepted"
            answers[key] = answers.get(key, 0) + 1
            got += 1
    except (Refused, OSError) as e:
        answers["cut off"] = str(e)
    tell(attempt="flood", answers=answers)


# --- the box -----------------------------------------------------------------

libc = ctypes.CDLL(None, use_errno=True)


def c(function, *args):
    ctypes.set_errno(0)
    if getattr(libc, function)(*args) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return function


def overwrite(path):
    with open(path, "ab") as f:
        if stat.S_ISCHR(os.fstat(f.fileno()).st_mode):
            raise Refused("it is masked")  # by /dev/null, which takes everything
        f.write(b"\n# hostile\n")
    return "wrote " + path


def create(path):
    with open(path, "xb") as f:
        f.write(b"#!/bin/sh\n")
    return "made " + path


def policy(o):
    for path in o.policy:
        attempt("write " + path, lambda: overwrite(path))
        attempt("make a file beside " + path, lambda: create(os.path.join(os.path.dirname(path), "hostile.toml")))


def receipts(o):
    for path in o.receipts:
        if os.path.isdir(path):
            attempt("list " + path, lambda: os.listdir(path))
        attempt("read " + path, lambda: open(path, "rb").read(16))
        attempt("remove " + path, lambda: os.unlink(path))


def workspace(o):
    for path in o.workspace:
        attempt("make a file in " + path, lambda: create(os.path.join(path, "hostile")))
        for name in sorted(os.listdir(path)):
            at = os.path.join(path, name)
            if os.path.isfile(at):
                attempt("write " + at, lambda: overwrite(at))
                attempt("remove " + at, lambda: os.unlink(at))
                attempt("chmod " + at, lambda: os.chmod(at, 0o777))
        attempt("rename " + path, lambda: os.rename(path, path + ".old"))


def hook(o):
    for path in o.workspace:
        for name in (".git/hooks/post-checkout", ".envrc", ".vscode/tasks.json"):
            at = os.path.join(path, name)

            def plant():
                os.makedirs(os.path.dirname(at), exist_ok=True)
                return create(at)

            attempt("plant " + at, plant)


def signals(o):
    """Signals to whoever isn't its own: PID 1 of the box, and numbers of the host."""
    for pid in [1] + o.pid:
        attempt("signal process %d" % pid, lambda: os.kill(pid, signal.SIGKILL) or "it was sent")


def trace(o):
    attach = 16  # PTRACE_ATTACH
    for pid in [1] + o.pid:
        attempt("trace process %d" % pid, lambda: c("ptrace", attach, pid, None, None))
        attempt("read memory of process %d" % pid, lambda: open("/proc/%d/mem" % pid, "rb"))
        attempt("look into process %d" % pid, lambda: os.listdir("/proc/%d/fd" % pid))


def sockets(o):
    for name, family, kind in [
        ("packet", 17, socket.SOCK_RAW),
        ("raw IPv4", socket.AF_INET, socket.SOCK_RAW),
        ("raw IPv6", socket.AF_INET6, socket.SOCK_RAW),
        ("netlink", 16, socket.SOCK_RAW),
        ("crypto", 38, socket.SOCK_SEQPACKET),
        ("vsock", 40, socket.SOCK_STREAM),
        ("bluetooth", 31, socket.SOCK_RAW),
    ]:
        proto = socket.IPPROTO_ICMP if name.startswith("raw") else 0
        attempt("a %s socket" % name, lambda: socket.socket(family, kind, proto))


def network(o):
    for target in o.target:
        if target.startswith("@"):
            attempt("connect to " + target, lambda: Client("\0" + target[1:]) and "a connection")
            continue
        host, _, port = target.rpartition(":")
        attempt("connect to " + target, lambda: socket.create_connection((host.strip("[]"), int(port)), 3))
    attempt("look a name up", resolve)


def resolve():
    try:
        return socket.getaddrinfo("example.com", 80)
    except socket.gaierror as e:
        raise Refused(e)


def escape(o):
    for name, flag in [("user", 0x10000000), ("mount", 0x00020000), ("network", 0x40000000), ("pid", 0x20000000)]:
        attempt("a new %s namespace" % name, lambda: c("unshare", flag))
    attempt("mount", lambda: c("mount", b"none", b"/tmp", b"tmpfs", 0, None))
    attempt("chroot", lambda: os.chroot("/tmp"))
    attempt("become root", lambda: os.setuid(0))
    attempt("the root of PID 1", lambda: os.listdir("/proc/1/root"))
    attempt("core_pattern", lambda: overwrite("/proc/sys/kernel/core_pattern"))
    attempt("sysrq", lambda: overwrite("/proc/sysrq-trigger"))
    home = os.environ["HOME"]

    def device():
        os.mknod(os.path.join(home, "disk"), 0o600 | stat.S_IFBLK, os.makedev(254, 0))

    attempt("a block device", device)

    def setuid():
        with open(os.path.join(home, "setuid"), "w"):
            pass
        os.chmod(os.path.join(home, "setuid"), 0o4755)

    attempt("a set-user-id file", setuid)
    attempt("write /usr", lambda: create("/usr/bin/hostile"))
    attempt("write /etc", lambda: create("/etc/hostile"))
    attempt("the shadow file", lambda: open("/etc/shadow", "rb").read(1))


# --- its state directory -----------------------------------------------------


def fill(o):
    home = os.environ["HOME"]
    block = b"x" * (1 << 16)
    written, number = 0, 0
    try:
        while written < o.bytes:
            with open(os.path.join(home, "fill-%d" % number), "wb") as f:
                while written < o.bytes and f.tell() < 8 << 20:
                    written += f.write(block[: o.bytes - written])
            number += 1
    except OSError as e:
        tell(attempt="fill", written=written, stopped_by=e.strerror)
        return
    tell(attempt="fill", written=written)


def trap(o):
    """Makes what a careless copy run by root would fall for."""
    home = os.environ["HOME"]
    os.chdir(home)
    for target in o.target or ["/etc/shadow"]:
        os.symlink(target, "link-%d" % len(os.listdir(home)))
    os.symlink("/etc", "etc")
    os.symlink("..", "up")
    os.mkfifo("fifo")
    s = socket.socket(socket.AF_UNIX)
    s.bind("socket")
    with open("script", "w") as f:
        f.write("#!/bin/sh\n")
    os.chmod("script", 0o755)
    with open("sparse", "wb") as f:
        f.truncate(1 << 30)
    for i in range(o.count):
        with open("many-%06d" % i, "w"):
            pass
    for _ in range(400):
        os.mkdir("deep")
        os.chdir("deep")
    os.chdir(home)
    tell(trap="set")


# --- ways to live ------------------------------------------------------------


def fork_bomb(o):
    """Children until there are no more. They stay, and so does this one."""
    made, why = 0, ""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while made < 100000:
        try:
            if os.fork() == 0:
                os.setsid()
                ignore()
                while True:
                    signal.pause()
            made += 1
        except OSError as e:
            why = e.strerror
            break
    tell(attempt="fork-bomb", made=made, stopped_by=why)
    stay(o)


def ignore():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def stubborn(o):
    ignore()
    child = subprocess.Popen([sys.executable, __file__, "stay"], start_new_session=True)
    tell(stubborn=True, child=child.pid)
    stay(o)


def stay(o):
    tell(stay=True)
    while True:
        signal.pause()


def halt(o):
    tell(stay=True)
    os.kill(os.getpid(), signal.SIGSTOP)


def eat(o):
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)))


def serve(o):
    host, _, port = o.listen.rpartition(":")
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host.strip("[]"), int(port)))
    server.listen(64)
    tell(serve=o.listen)
    while True:
        client, _ = server.accept()
        threading.Thread(target=answer, args=(client,), daemon=True).start()


def answer(client):
    with client:
        client.settimeout(PATIENCE)
        request = b""
        while b"\r\n\r\n" not in request and len(request) < 65536:
            part = client.recv(4096)
            if not part:
                return
            request += part
        path = request.split(b" ")[1].decode()
        status, body = "200 OK", "ok\n"
        if path == "/pid":
            body = "%d\n" % os.getpid()
        elif path.startswith("/fetch?"):
            host, _, port = path[len("/fetch?") :].rpartition(":")
            try:
                with socket.create_connection((host.strip("[]"), int(port)), PATIENCE) as peer:
                    body = peer.makefile().read(4096)
            except OSError as e:
                status, body = "502 Bad Gateway", str(e)
        elif path != "/readyz":
            status, body = "404 Not Found", "no\n"
        client.sendall(("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)).encode())


def leave(o):
    sys.stdout.flush()
    os._exit(o.status)


ATTACKS = {
    "approve": approve,
    "policy": policy,
    "receipts": receipts,
    "workspace": workspace,
    "hook": hook,
    "signal": signals,
    "trace": trace,
    "sockets": sockets,
    "network": network,
    "escape": escape,
    "approved": approved,
    "foreign": foreign,
    "wash": wash,
    "forge": forge,
}
NEEDS_SOCKET = {"approved", "foreign", "wash", "forge"}
OTHERS = {
    "polite": polite,
    "flood": flood,
    "fill": fill,
    "trap": trap,
    "fork-bomb": fork_bomb,
    "stubborn": stubborn,
    "halt": halt,
    "eat": eat,
    "serve": serve,
    "stay": stay,
    "exit": leave,
}


def attack(o):
    for name, action in ATTACKS.items():
        if name in NEEDS_SOCKET and not os.path.exists(o.socket):
            continue
        action(o)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("modes", nargs="+", choices=sorted(["attack", *ATTACKS, *OTHERS]))
    p.add_argument("--socket", default="/run/clawsup/call.sock")
    p.add_argument("--profile", default="strict", help="one under which a person is asked")
    p.add_argument("--approval", action="append", default=[], help="a socket of people, by its path on the host")
    p.add_argument("--policy", action="append", default=[], help="a file of the policy, by its path on the host")
    p.add_argument("--receipts", action="append", default=[], help="a file or directory of the log, or the key")
    p.add_argument("--workspace", action="append", default=[])
    p.add_argument("--target", action="append", default=[], help="HOST:PORT or @NAME (abstract) for network, a path for trap")
    p.add_argument("--foreign", action="append", default=[], help="a call of somebody else")
    p.add_argument("--pid", action="append", default=[], type=int, help="a process of the host")
    p.add_argument("--count", default=200, type=int, help="for flood and trap")
    p.add_argument("--bytes", default=1 << 20, type=int, help="for fill")
    p.add_argument("--patience", default=600, type=float, help="seconds that polite waits")
    p.add_argument("--listen", default="127.0.0.1:18789")
    p.add_argument("--status", default=0, type=int)
    o = p.parse_args()
    for mode in o.modes:
        {"attack": attack, **ATTACKS, **OTHERS}[mode](o)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
