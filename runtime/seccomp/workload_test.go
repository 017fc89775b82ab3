// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// workload is a real program doing what such programs do. It runs in an empty
// directory, and is a failure if it exits with anything but 0 or doesn't print
// what it should.
type workload struct {
	name   string
	needs  []string // programs; without them the test is skipped
	groups string
	argv   []string
	files  map[string]string
	want   string // in the output
}

var workloads = []workload{
	{name: "python", needs: []string{"/usr/bin/python3"}, groups: "loopback,unix", argv: []string{"/usr/bin/python3", "w.py"},
		want: "python done", files: map[string]string{"w.py": `
import asyncio, ctypes, hashlib, json, mmap, multiprocessing, os, pty, resource, select, shutil, signal, socket
import sqlite3, ssl, stat, subprocess, sys, tarfile, tempfile, threading, time, urllib.request, venv, zipfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

def square(n): return n * n

async def loop_server():
    async def echo(r, w):
        w.write(await r.read(100)); await w.drain(); w.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    r, w = await asyncio.open_connection(*server.sockets[0].getsockname())
    w.write(b"ping"); w.write_eof()
    assert await r.read() == b"ping"
    server.close()
    p = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert (await p.communicate(b"x"))[0] == b"x"

class Hello(BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(b"hello")
    def log_message(self, *a): pass

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as p: assert p.map(square, range(5)) == [0, 1, 4, 9, 16]
    q = multiprocessing.Queue(); q.put(1); assert q.get() == 1
    shm = multiprocessing.shared_memory.SharedMemory(create=True, size=100) if hasattr(multiprocessing, "shared_memory") else None
    if shm: shm.close(); shm.unlink()
    with ProcessPoolExecutor(2) as e: assert list(e.map(square, [3])) == [9]
    with ThreadPoolExecutor(2) as e: assert list(e.map(square, [3])) == [9]
    assert subprocess.run("echo hi | tr a-z A-Z", shell=True, capture_output=True, start_new_session=True).stdout == b"HI\n"
    db = sqlite3.connect("t.db"); db.execute("pragma journal_mode=wal"); db.execute("create table t(a)")
    db.executemany("insert into t values(?)", [(i,) for i in range(100)]); db.commit(); db.execute("vacuum")
    assert db.execute("select count(*) from t").fetchone() == (100,); db.close()
    ssl.create_default_context()
    asyncio.run(loop_server())
    h = ThreadingHTTPServer(("127.0.0.1", 0), Hello); threading.Thread(target=h.serve_forever, daemon=True).start()
    assert urllib.request.urlopen("http://127.0.0.1:%d/" % h.server_port).read() == b"hello"; h.shutdown()
    u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(("::1", 0)); u.close()
    socket.getaddrinfo("localhost", 80)
    pid, fd = pty.fork()
    if pid == 0: os.execvp("tty", ["tty"])
    os.read(fd, 100); os.waitpid(pid, 0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as d:
        shutil.copy2("w.py", d); shutil.copytree(d, d + "/c"); os.chmod(d + "/w.py", 0o755)
        with tarfile.open(d + "/t.tar.gz", "w:gz") as t: t.add("w.py")
        with tarfile.open(d + "/t.tar.gz") as t: t.extractall(d + "/x", filter="data") if sys.version_info >= (3, 12) else t.extractall(d + "/x")
        with zipfile.ZipFile(d + "/z.zip", "w") as z: z.write("w.py")
        m = mmap.mmap(-1, 4096); m[0] = 1; m.close()
    signal.setitimer(signal.ITIMER_REAL, 0.01); signal.sigwait([signal.SIGALRM]) if signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM]) is not None else None
    venv.create("env", with_pip=False); assert subprocess.run(["env/bin/python", "-c", "print(1)"], capture_output=True).stdout == b"1\n"
    try: os.chmod("w.py", 0o4755); sys.exit("set-user-id")
    except PermissionError: pass
    print("python done")
`}},
	{name: "node", needs: []string{"node"}, groups: "loopback,unix,inotify", argv: []string{"node", "w.mjs"}, want: "node done", files: map[string]string{"w.mjs": `
import { Worker, isMainThread, parentPort } from 'node:worker_threads'
import { execFileSync, spawn, fork } from 'node:child_process'
import http from 'node:http'
import dgram from 'node:dgram'
import net from 'node:net'
import fs from 'node:fs'
import os from 'node:os'
import crypto from 'node:crypto'
import zlib from 'node:zlib'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
const self = fileURLToPath(import.meta.url)
if (!isMainThread) { parentPort.postMessage(42) }
else if (process.argv[2] === 'child') { process.send('up'); process.disconnect() }
else {
  const [answer] = await once(new Worker(self), 'message')
  if (answer !== 42) throw new Error('worker')
  const kid = fork(self, ['child']); await once(kid, 'message'); await once(kid, 'exit')
  if (execFileSync('echo', ['hi']).toString() !== 'hi\n') throw new Error('exec')
  const cat = spawn('cat'); cat.stdin.end('x'); await once(cat, 'close')
  const server = http.createServer((_, r) => r.end('hello')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const body = await (await fetch('http://127.0.0.1:' + server.address().port)).text()
  if (body !== 'hello') throw new Error(body)
  server.closeAllConnections(); server.close()
  const unix = net.createServer().listen('sock'); await once(unix, 'listening'); unix.close()
  const udp = dgram.createSocket('udp4'); udp.bind(0, '127.0.0.1'); await once(udp, 'listening'); udp.close()
  fs.writeFileSync('watched', 'a')
  const watcher = fs.watch('watched'); const changed = once(watcher, 'change')
  fs.writeFileSync('watched', 'b'); await changed; watcher.close()
  await fs.promises.cp('w.mjs', 'copy.mjs'); await fs.promises.mkdir('d/e', { recursive: true }); await fs.promises.rm('d', { recursive: true })
  await Promise.all(Array.from({ length: 50 }, (_, i) => fs.promises.writeFile('f' + i, 'x')))
  zlib.gunzipSync(zlib.gzipSync('x')); crypto.generateKeyPairSync('rsa', { modulusLength: 1024 })
  os.cpus(); os.setPriority(1)
  await WebAssembly.instantiate(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))
  console.log('node done')
}
`}},
	{name: "node with io_uring asked for", needs: []string{"node"}, argv: []string{"env", "UV_USE_IO_URING=1", "node", "-e",
		"require('fs').promises.readFile('/etc/passwd').then(() => console.log('read'))"}, want: "read"},
	{name: "go", needs: []string{"go"}, groups: "loopback", argv: []string{"sh", "-ec", "go build -o w w.go && ./w"}, want: "go done", files: map[string]string{
		"go.mod": "module w\n", "w.go": `package main
import ("context"; "fmt"; "io"; "net"; "net/http"; "os"; "os/exec"; "os/signal"; "runtime/pprof"; "sync"; "syscall"; "time")
func check(err error) { if err != nil { panic(err) } }
func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0"); check(err)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	r, err := http.Get("http://" + l.Addr().String()); check(err)
	b, err := io.ReadAll(r.Body); check(err)
	if string(b) != "hello" { panic(string(b)) }
	u, err := net.ListenPacket("udp", "[::1]:0"); check(err); u.Close()
	_, err = net.DefaultResolver.LookupHost(context.Background(), "localhost"); check(err)
	check(os.Mkdir("d", 0o755))
	root, err := os.OpenRoot("d"); check(err)
	check(root.MkdirAll("a/b", 0o755)); check(root.WriteFile("a/b/f", []byte("x"), 0o644)); check(root.Chmod("a/b/f", 0o600))
	check(root.Symlink("/etc/passwd", "l")); if _, err := root.Open("l"); err == nil { panic("escaped") }; check(root.Remove("l"))
	if err := root.Chmod("a/b/f", 0o755|os.ModeSetuid); err == nil { panic("set-user-id") }
	check(root.RemoveAll("a"))
	o, err := exec.Command("echo", "hi").Output(); check(err)
	if string(o) != "hi\n" { panic(string(o)) }
	check(os.WriteFile("d/f", []byte("x"), 0o644)); check(os.CopyFS("copy", os.DirFS("d")))
	var w sync.WaitGroup
	for range 100 { w.Go(func() { time.Sleep(time.Millisecond); os.Stat("/") }) }
	w.Wait()
	c := make(chan os.Signal, 1); signal.Notify(c, syscall.SIGUSR1)
	p, err := os.FindProcess(os.Getpid()); check(err); check(p.Signal(syscall.SIGUSR1)); <-c
	f, err := os.Create("profile"); check(err); check(pprof.StartCPUProfile(f)); pprof.StopCPUProfile()
	fmt.Println("go done")
}
`}},
	{name: "c", needs: []string{"gcc"}, groups: "loopback", argv: []string{"sh", "-ec", "gcc -O2 -pthread -flto -o w w.c && ./w && g++ -o v v.cc && ./v && objdump -d w >/dev/null && strip w && ./w"},
		want: "c done", files: map[string]string{
			"v.cc": "#include <thread>\n#include <iostream>\n#include <filesystem>\nint main() { std::thread t([] {}); t.join(); std::filesystem::copy_file(\"v.cc\", \"v2\", std::filesystem::copy_options::overwrite_existing); }\n",
			"w.c": `#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static void *thread(void *p) { sem_post(p); return 0; }
int main(void) {
	sem_t s; pthread_t t; pid_t p; int st;
	if (sem_init(&s, 0, 0) || pthread_create(&t, 0, thread, &s) || sem_wait(&s) || pthread_join(t, 0)) return 1;
	char *argv[] = {"true", 0};
	if (posix_spawnp(&p, "true", 0, 0, argv, environ) || waitpid(p, &st, 0) != p || st) return 2;
	if (system("true") || !popen("true", "r")) return 3;
	if (!(p = vfork())) _exit(0);
	if (waitpid(p, &st, 0) != p) return 4;
	if (memfd_create("m", MFD_CLOEXEC) < 0 || shm_open("/w-none", O_RDONLY, 0) != -1) return 5;
	char name[] = "tmpXXXXXX"; if (mkstemp(name) < 0 || !tmpfile()) return 6;
	puts("c done"); return 0;
}
`}},
	{name: "git", needs: []string{"git"}, argv: []string{"sh", "-ec", `
export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main r; cd r; for i in 1 2 3; do echo $i >f; git add f; git commit -qm "c$i"; done
git checkout -qb side HEAD~1; echo x >g; git add g; git commit -qm side; git checkout -q main; git merge -q -m merge side
git log --oneline | wc -l; git diff HEAD~1; git gc -q --aggressive; git fsck --no-progress; git stash list; git blame f; git archive HEAD | tar t
git worktree add -q ../wt; git clone -q . ../clone; git -C ../clone log -1 --format=%s; git grep -q x; git bundle create -q ../b HEAD; git repack -adq; git submodule status
echo git done`}, want: "git done"},
	{name: "tar and friends", needs: []string{"tar", "gzip", "xz", "bzip2"}, argv: []string{"sh", "-ec", `
umask 022; mkdir -p d/e; mkfifo d/p; ln -s e d/l; ln d/p d/q; seq 10000 >d/e/f; chmod 640 d/e/f; touch -d 2020-01-01 d/e/f
for z in gzip xz bzip2; do tar cf a.tar --$z d; mkdir $z; tar xpf a.tar -C $z; test "$(stat -c %a.%Y $z/d/e/f)" = 640.1577836800; done
tar cf a.tar --xattrs --acls d 2>/dev/null || tar cf a.tar d
cp -a d d2; cp --reflink=auto d/e/f f; mv f g; install -m 755 g h; sort -S 1M -R g | sort -n | cmp - g; xz -T2 -k g; split -n 4 g; cat x?? | cmp - g
find . -name f -exec grep -c 9999 {} +; dd if=/dev/zero of=z bs=1M count=2 conv=fsync status=none; truncate -s 10M z; fallocate -l 1M y || true
nice true; nohup true; timeout 5 true; env -i true; id; df . ; du -s . ; ls -laR >/dev/null; stat z; touch t; date; nproc; free || true; shuf g | head -1; mktemp; sync z; stdbuf -oL true
if chmod u+s g; then exit 1; fi; if chmod 2755 d; then exit 1; fi; test "$(stat -c %a g)" = 640
echo tar done`}, want: "tar done"},
	{name: "make, perl, shell", needs: []string{"make", "perl"}, groups: "loopback", argv: []string{"bash", "-ec", `
printf 'all: a b c\n%%:\n\t@sleep 0.01; touch $@\n' >Makefile; make -j4 -s; make -s
perl -MIO::Socket::INET -MSocket -MFcntl=:flock -MPOSIX -MFile::Temp -MStorable -e '
  $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die $!; IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $s->sockport) or die $!;
  socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or die; open F, ">f"; flock F, LOCK_EX or die $!; if (!($p = fork)) { exit 3 } waitpid $p, 0; die unless $? >> 8 == 3;
  $0 = "renamed"; select undef, undef, undef, .01; alarm 1; print qx(echo perl);'
coproc cat; echo x >&"${COPROC[1]}"; read -r y <&"${COPROC[0]}"; kill %1
diff <(echo a) <(echo a); trap : USR1; kill -USR1 $$; ulimit -n 64; awk 'BEGIN { "date" | getline d; exit d == "" }'; sed -i s/a/b/ Makefile; echo a | xargs -P2 -n1 echo; (sleep 0.01 & wait)
echo shell done`}, want: "shell done"},
	{name: "rust", needs: []string{"cargo"}, groups: "loopback", argv: []string{"sh", "-ec", "cargo run -q --offline"}, want: "rust done", files: map[string]string{
		"Cargo.toml": "[package]\nname = \"w\"\nversion = \"0.1.0\"\nedition = \"2021\"\n", "src/main.rs": `
use std::{fs, io::{self, Read, Write}, net::*, os::unix::net::UnixStream, process::Command, thread};
fn main() -> io::Result<()> {
    let l = TcpListener::bind("127.0.0.1:0")?; let a = l.local_addr()?;
    let t = thread::spawn(move || { let (mut s, _) = l.accept().unwrap(); s.write_all(b"hi").unwrap() });
    let mut s = String::new(); let mut c = TcpStream::connect(a)?; c.set_nodelay(true)?; c.read_to_string(&mut s)?; assert_eq!(s, "hi"); t.join().unwrap();
    UnixStream::pair()?; UdpSocket::bind("[::1]:0")?;
    assert!(Command::new("true").status()?.success());
    fs::write("f", "x")?; fs::copy("f", "g")?; fs::rename("g", "h")?; fs::create_dir_all("a/b")?; fs::remove_dir_all("a")?;
    io::copy(&mut fs::File::open("f")?, &mut fs::File::create("k")?)?;
    println!("rust done"); Ok(())
}
`}},
	{name: "java", needs: []string{"java", "javac"}, groups: "loopback", argv: []string{"sh", "-ec", "javac W.java && java -Xmx64m W"}, want: "java done", files: map[string]string{"W.java": `
import java.net.*; import java.nio.file.*; import java.util.concurrent.*; import java.nio.channels.*;
public class W { public static void main(String[] a) throws Exception {
  var s = new ServerSocket(0, 1, InetAddress.getLoopbackAddress()); new Thread(() -> { try { s.accept().getOutputStream().write(1); } catch (Exception e) { throw new RuntimeException(e); } }).start();
  if (new Socket(InetAddress.getLoopbackAddress(), s.getLocalPort()).getInputStream().read() != 1) throw new Error();
  if (new ProcessBuilder("true").start().waitFor() != 0) throw new Error();
  Files.writeString(Path.of("f"), "x"); Files.copy(Path.of("f"), Path.of("g")); Selector.open().close(); new java.security.SecureRandom().nextInt();
  var p = Executors.newFixedThreadPool(4); p.submit(() -> 1).get(); p.shutdown(); Runtime.getRuntime().availableProcessors(); System.gc();
  System.out.println("java done"); } }
`}},
	{name: "java, alone", needs: []string{"java"}, argv: []string{"java", "-Xmx64m", "-version"}},
	{name: "gdb and strace in their group", needs: []string{"gdb", "strace"}, groups: "ptrace", argv: []string{"sh", "-ec", "strace -f -o t sh -c true; grep -q execve t; gdb -q -batch -ex starti -ex 'info registers' -ex kill /bin/true; echo debug done"}, want: "debug done"},
	{name: "man with filters of its own", needs: []string{"man"}, groups: "nested", argv: []string{"sh", "-ec", "echo '.TH X 1' >x.1; man -l x.1; echo man done"}, want: "man done"},
	{name: "man without", needs: []string{"man"}, argv: []string{"sh", "-ec", "echo '.TH X 1' >x.1; man -l x.1; echo man done"}, want: "man done"},
}

func TestWorkloads(t *testing.T) {
	for _, w := range workloads {
		t.Run(w.name, func(t *testing.T) {
			for _, program := range w.needs {
				if _, err := exec.LookPath(program); err != nil {
					t.Skip(err)
				}
			}
			cmd := child(t, "exec", w.groups, w.argv...)
			for name, text := range w.files {
				path := filepath.Join(cmd.Dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd.Env = append(cmd.Env, "TMPDIR="+cmd.Dir, "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			err := cmd.Run()
			// Whatever of it is left goes with its session's group.
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			if err != nil || !strings.Contains(out.String(), w.want) {
				t.Errorf("%v\n%s", err, out.Bytes())
			}
		})
	}
}
