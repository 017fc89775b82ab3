// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRealPrograms runs what people run, all layers on, in the profile made
// for it. A program that this machine lacks is skipped by name.
func TestRealPrograms(t *testing.T) {
	tests := []struct {
		name    string
		needs   []string
		profile string
		script  string
		want    string
	}{
		{"python", []string{"python3"}, "python", `
python3 - <<'END'
import json, sqlite3, ssl, hashlib, subprocess, threading, tempfile, multiprocessing, asyncio, socket, zlib, os
def square(n): return n * n
with multiprocessing.Pool(2) as p: assert p.map(square, range(5)) == [0, 1, 4, 9, 16]
c = sqlite3.connect(os.path.join(tempfile.mkdtemp(), "d")); c.execute("create table t(x)"); c.execute("insert into t values(1)"); c.commit()
assert subprocess.run(["echo", "x"], capture_output=True).stdout == b"x\n"
async def main():
    async def serve(r, w): w.write(await r.readline()); await w.drain(); w.close()
    s = await asyncio.start_server(serve, "127.0.0.1", 0)
    r, w = await asyncio.open_connection(*s.sockets[0].getsockname())
    w.write(b"echo\n"); assert await r.readline() == b"echo\n"; w.close(); s.close()
asyncio.run(main())
t = threading.Thread(target=lambda: None); t.start(); t.join()
print("python works")
END`, "python works"},
		{"node", []string{"node"}, "node", `
cat > /tmp/t.js <<'END'
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (!isMainThread) { parentPort.postMessage(1); } else {
  const w = new Worker(__filename); w.on('message', () => {
    require('child_process').execFile('echo', ['x'], (e, out) => {
      const s = require('http').createServer((q, r) => r.end('served')).listen(0, '127.0.0.1', () => {
        require('http').get({ port: s.address().port, host: '127.0.0.1' }, r => { r.on('data', d => console.log('node works,', String(d))); r.on('end', () => s.close()); });
      });
    });
  });
}
END
node /tmp/t.js`, "node works, served"},
		{"c", []string{"gcc", "make"}, "making", `
printf '#include <stdio.h>\n#include <pthread.h>\nvoid *f(void *x){return x;}\nint main(){pthread_t t;pthread_create(&t,0,f,0);pthread_join(t,0);puts("c works");}\n' > m.c
printf 'm: m.c\n\tgcc -O1 -pthread -o m m.c\n' > Makefile
make -s && ./m`, "c works"},
		{"c++", []string{"g++"}, "making", `
printf '#include <iostream>\n#include <filesystem>\nint main(){std::cout<<"c++ works "<<std::filesystem::exists("m.cc")<<std::endl;}\n' > m.cc
g++ -std=c++17 -o mm m.cc && ./mm`, "c++ works 1"},
		{"go compiler", []string{"/usr/local/go/bin/go"}, "making", `
export GOCACHE=/tmp/cache GOPATH=/tmp/go GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0
printf 'module g\n' > go.mod && printf 'package main\nfunc main(){ println("go compiles") }\n' > m.go
/usr/local/go/bin/go run . 2>&1`, "go compiles"},
		{"go program", []string{"/usr/local/go/bin/go"}, "making", "./go-program", "go works"},
		{"rust program", nil, "making", "./rust-program", "rust works 5"},
		{"git", []string{"git"}, "making", `
git init -q -b main r && cd r && git config user.email a@b && git config user.name n
for i in 1 2 3; do echo $i > f && git add f && git commit -qm "commit $i"; done
git gc -q && git checkout -qb side HEAD~1 && echo 4 > g && git add g && git commit -qm side && git merge -q main -m merged && git log --oneline | wc -l && git clone -q . /tmp/clone && git -C /tmp/clone fsck && echo git works`, "git works"},
		{"tar", []string{"tar", "gzip", "xz"}, "making", `
mkdir d && seq 1000 > d/a && ln -s a d/l && ln d/a d/h && tar czf t.gz d && tar cJf t.xz d && mkdir o && tar xzf t.gz -C o && tar xJf t.xz -C o && cmp d/a o/d/a && rm -r o && echo tar works`, "tar works"},
		{"perl", []string{"perl"}, "default", `perl -MPOSIX -MIO::Socket -e 'my $p = open(my $f, "-|", "echo works"); print "perl ", <$f>'`, "perl works"},
		{"java", []string{"java"}, "making", `
printf 'public class M { public static void main(String[] a) throws Exception { Thread t = new Thread(() -> System.out.println("java works")); t.start(); t.join(); } }\n' > M.java
java -XX:+UseSerialGC M.java`, "java works"},
		{"shell tools", []string{"awk", "sed", "sort", "find", "jq"}, "default", `
seq 100 | awk '{s+=$1} END {print s}' | sed s/5050/sum/ | sort && find /usr/share/doc -maxdepth 1 | head -1 >/dev/null && echo '{"a":[1]}' | jq -c .a && date +%Y >/dev/null && mktemp >/dev/null && echo tools work`, "tools work"},
	}
	b := newBench(t, "")
	// Makefiles and repositories are a question in a layer, also new ones.
	b.profile("making", "extends = \"build\"\n[workspace]\nmode = \"rw\"\n")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, program := range test.needs {
				if !inBox(program) {
					t.Skipf("%s is not among this machine's programs below /usr", program)
				}
			}
			dir, err := os.MkdirTemp(b.dir, "work-")
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, 4242, 4242); err != nil {
				t.Fatal(err)
			}
			if compile := compilers[test.name]; compile != nil {
				compile(t, dir)
			}
			got := b.run("", "run", "--profile", test.profile, "--workspace", dir, "--", "sh", "-ec", test.script)
			if got.status != 0 || !strings.Contains(got.out, test.want) {
				t.Errorf("status %d\n%s%s", got.status, got.out, got.err)
			}
		})
	}
}

// inBox tells whether a box that shows this machine's /usr has the program.
func inBox(program string) bool {
	candidates := []string{program}
	if !strings.Contains(program, "/") {
		candidates = []string{"/usr/local/bin/" + program, "/usr/bin/" + program}
	}
	for _, file := range candidates {
		file, err := filepath.EvalSymlinks(file)
		if err == nil && (strings.HasPrefix(file, "/usr/") || strings.HasPrefix(file, "/etc/alternatives/")) {
			return true
		}
	}
	return false
}

// compilers make programs outside, where their caches are warm, or where the
// compiler lies in somebody's home.
var compilers = map[string]func(t *testing.T, dir string){
	"go program": func(t *testing.T, dir string) {
		source := filepath.Join(t.TempDir(), "m.go")
		if err := os.WriteFile(source, []byte(goProgram), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "go-program"), source).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	},
	"rust program": func(t *testing.T, dir string) {
		rustc, err := exec.LookPath("rustc")
		if err != nil {
			t.Skip("this machine has no rustc")
		}
		source := filepath.Join(t.TempDir(), "m.rs")
		if err := os.WriteFile(source, []byte(rustProgram), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(rustc, "-o", filepath.Join(dir, "rust-program"), source).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	},
}

const goProgram = `package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	go func() {
		c, err := l.Accept()
		must(err)
		c.Write([]byte("x"))
		c.Close()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	must(err)
	_, err = io.ReadAll(c)
	must(err)
	r, err := os.OpenRoot(".")
	must(err)
	f, err := r.Create("f")
	must(err)
	must(f.Close())
	out, err := exec.Command("echo", "works").Output()
	must(err)
	fmt.Print("go ", string(out))
}
`

const rustProgram = `use std::{fs, io::prelude::*, net, process::Command, thread};
fn main() {
    let l = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let a = l.local_addr().unwrap();
    let t = thread::spawn(move || l.accept().unwrap().0.write_all(b"x").unwrap());
    let mut s = String::new();
    net::TcpStream::connect(a).unwrap().read_to_string(&mut s).unwrap();
    t.join().unwrap();
    fs::write("r", &s).unwrap();
    assert!(Command::new("true").status().unwrap().success());
    println!("rust works {}", s.len() + 4);
}
`
