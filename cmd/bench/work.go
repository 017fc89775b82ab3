// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// workProfiles are those of the site that real work is done in.
var workProfiles = map[string]string{
	"git":  "extends = \"build\"\n[workspace]\nmode = \"ro\"\n",
	"wide": "extends = \"build\"\n[limits]\nstdout = \"2G\"\n",
}

// job is real work: the same command without a sandbox, in bwrap, and as a call.
type job struct {
	name  string
	needs string // a program
	make  func(dir string) error
	argv  func(dir string) []string // on the host; dir is what make made
	call  func(dir string) api.Submit
}

var jobs = []job{
	{"python skill", "/usr/bin/python3", copyPython,
		func(dir string) []string {
			return []string{"/usr/bin/python3", dir + "/csv-summary/scripts/summary.py", dir + "/csv-summary/testdata/orders.csv"}
		},
		func(dir string) api.Submit {
			return api.Submit{Skill: dir + "/csv-summary", Args: raw.Of([]string{"summary", "/workspace/orders.csv"}),
				Profile: "python", Workspace: raw.String(dir + "/csv-summary/testdata")}
		}},
	{"node skill", "/usr/bin/node", writeNode,
		func(dir string) []string { return []string{"/usr/bin/node", dir + "/hello/scripts/hello.js"} },
		func(dir string) api.Submit {
			return api.Submit{Skill: dir + "/hello", Args: raw.Of([]string{"hello"}), Profile: "node"}
		}},
	// The index has the uid of each file, which is another one in the box: git
	// reads all files again, unless it is told not to compare it.
	gitJob("git status, 20,000 files"),
	gitJob("git status, 20,000 files, core.checkStat=minimal", "-c", "core.checkStat=minimal"),
}

// workLength is how often each job is done.
var workLength = length{rounds: 20, block: 3, rest: 20 * time.Millisecond, most: 3 * time.Minute}

func gitJob(name string, more ...string) job {
	status := func(dir string) []string {
		line := append([]string{"/usr/bin/git", "-c", "safe.directory=*"}, more...)
		return append(line, "-C", dir, "--no-optional-locks", "status", "--short")
	}
	return job{name, "/usr/bin/git", makeRepository,
		func(dir string) []string { return status(dir + "/repository") },
		func(dir string) api.Submit {
			return api.Submit{Args: raw.Of(status("/workspace")), Profile: "git", Workspace: raw.String(dir + "/repository")}
		}}
}

// work does the jobs, and what follows them.
func (b *bench) work(ctx context.Context) error {
	for i, j := range jobs {
		if err := b.job(ctx, j, filepath.Join(b.dir, "job"+strconv.Itoa(i))); err != nil {
			return fmt.Errorf("%s: %w", j.name, err)
		}
	}
	for _, f := range []func(context.Context) error{b.many, b.stream, b.input} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) job(ctx context.Context, j job, dir string) error {
	if _, err := os.Stat(j.needs); err != nil {
		b.report.Absent = append(b.report.Absent, fmt.Sprintf("%s: %s is not installed", j.name, j.needs))
		return nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := j.make(dir); err != nil {
		return err
	}
	submit := func(int) api.Submit {
		s := j.call(dir)
		s.Wait = true
		return s
	}
	list := []contestant{
		{name: unit, gives: "nothing", argv: j.argv(dir)},
		{name: "bwrap", gives: "namespaces, root", argv: bwrap([]string{"--ro-bind", dir, dir}, j.argv(dir)...)},
		{name: "call", gives: "all layers, receipts; over call.sock", dial: b.place.site.calls(submit), server: b.place.site.meter()},
	}
	for i := range list {
		if err := list[i].try(b.spawner); err != nil {
			return err
		}
		defer list[i].close()
	}
	size := workLength
	size.rounds = max(1, size.rounds*b.size.rounds/whole.rounds)
	rounds, noisy, err := measure(ctx, b.spawner, list, size)
	if err != nil {
		return err
	}
	b.report.Races = append(b.report.Races, newRace(j.name, list, rounds, noisy, size))
	return nil
}

// copyPython copies the example skill, which the repository has.
func copyPython(dir string) error {
	return os.CopyFS(filepath.Join(dir, "csv-summary"), os.DirFS("skills/examples/csv-summary"))
}

func writeNode(dir string) error {
	return writeFiles(filepath.Join(dir, "hello"), map[string]string{
		"SKILL.md":         "---\nname: hello\ndescription: Sums up a list, for a benchmark.\n---\n\n    node scripts/hello.js\n",
		"scripts/hello.js": "#!/usr/bin/node\nconsole.log(JSON.stringify({sum: Array.from({length: 1000}, (_, i) => i).reduce((a, b) => a + b)}));\n",
	})
}

func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// makeRepository commits 20,000 small files in 200 folders.
func makeRepository(dir string) error {
	repository := filepath.Join(dir, "repository")
	for d := range 200 {
		files := make(map[string]string, 100)
		for f := range 100 {
			files[fmt.Sprintf("file%d.txt", f)] = fmt.Sprintf("%d of %d\n", f, d)
		}
		if err := writeFiles(filepath.Join(repository, fmt.Sprintf("folder%d", d)), files); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "all"}} {
		if out, err := exec.Command("/usr/bin/git", append([]string{"-C", repository}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}

// many asks for 200 calls of 50 sessions at once; all must succeed.
func (b *bench) many(context.Context) error {
	const sessions, each = 50, 4
	const name = "200 parallel calls of 50 sessions"
	var group sync.WaitGroup
	var mu sync.Mutex
	var walls []time.Duration
	var failed error
	began := time.Now()
	for s := range sessions {
		for range each {
			group.Go(func() {
				submit := func(int) api.Submit {
					return api.Submit{Args: raw.Of([]string{command}), Session: "parallel" + strconv.Itoa(s), Wait: true}
				}
				a, err := b.place.site.caller(submit)
				if err == nil {
					err = a.call(0)
					_ = a.Close()
				}
				mu.Lock()
				defer mu.Unlock()
				walls = append(walls, time.Since(began))
				failed = errors.Join(failed, err)
			})
		}
	}
	group.Wait()
	if failed != nil {
		return fmt.Errorf("%s: %w", name, failed)
	}
	b.report.tell(name, "all", float64(quantile(walls, 1))/1e6, "ms", "from the first request to the last answer")
	b.report.tell(name, "each, p50", float64(quantile(walls, 0.5))/1e6, "ms", "waiting for its turn included")
	b.report.tell(name, "each, p99", float64(quantile(walls, 0.99))/1e6, "ms", "")
	return nil
}

// streamTimes is how often a stream is measured; the median is told.
const streamTimes = 5

// flow is a command whose stdin and stdout are pipes of this program.
type flow struct {
	who string
	run func(argv []string, stdin, stdout *os.File) error
}

func (b *bench) flows() []flow {
	return []flow{
		{unit, func(argv []string, stdin, stdout *os.File) error {
			c := exec.Command(argv[0], argv[1:]...)
			c.Stdin, c.Stdout = stdin, stdout
			return c.Run()
		}},
		{"call", func(argv []string, stdin, stdout *os.File) error {
			client, err := b.place.site.dial("call")
			if err != nil {
				return err
			}
			defer client.Close()
			null, err := os.OpenFile(filepath.Join(b.dir, "said"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
			if err != nil {
				return err
			}
			defer null.Close()
			var v api.Call
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := client.Call(ctx, api.CallSubmit, api.Submit{Args: raw.Of(argv), Profile: "wide", Wait: true}, &v, stdin, stdout, null); err != nil {
				return err
			}
			return wentWell(&v)
		}},
	}
}

// stream reads 1 GB of a command's output.
func (b *bench) stream(context.Context) error {
	const size = 1 << 30
	return b.measureFlows("1 GB of output", size, func(f flow) error {
		return piped(func(stdin, stdout *os.File) error {
			return f.run([]string{"/usr/bin/head", "-c", strconv.Itoa(size), "/dev/zero"}, stdin, stdout)
		}, 0, size)
	})
}

// input writes 100 MB to a command's stdin.
func (b *bench) input(context.Context) error {
	const size = 100 << 20
	return b.measureFlows("100 MB of stdin", size, func(f flow) error {
		return piped(func(stdin, stdout *os.File) error {
			return f.run([]string{"/usr/bin/wc", "-c"}, stdin, stdout)
		}, size, int64(len(strconv.Itoa(size))+1))
	})
}

// measureFlows has the flows take turns.
func (b *bench) measureFlows(name string, size int64, once func(flow) error) error {
	walls := make(map[string][]time.Duration)
	for range streamTimes {
		for _, f := range b.flows() {
			began := time.Now()
			if err := once(f); err != nil {
				return fmt.Errorf("%s, %s: %w", name, f.who, err)
			}
			walls[f.who] = append(walls[f.who], time.Since(began))
		}
	}
	bare := quantile(walls[unit], 0.5)
	for _, f := range b.flows() {
		wall := quantile(walls[f.who], 0.5)
		b.report.tell(name, f.who, float64(size)/wall.Seconds()/1e6, "MB/s", fmt.Sprintf("%s ms, %.2f times a bare pipe", milliseconds(wall), float64(wall)/float64(bare)))
	}
	return nil
}

// piped runs with pipes: so many bytes are written to stdin, and exactly so
// many must come back.
func piped(run func(stdin, stdout *os.File) error, in, out int64) error {
	stdin, feed, err := os.Pipe()
	if err != nil {
		return err
	}
	drain, stdout, err := os.Pipe()
	if err != nil {
		return err
	}
	fed, read := make(chan error, 1), make(chan int64, 1)
	go func() {
		_, err := io.CopyN(feed, zeros{}, in)
		fed <- errors.Join(err, feed.Close())
	}()
	go func() {
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{drain}, make([]byte, 64<<10))
		read <- n
	}()
	err = run(stdin, stdout)
	_, _ = stdin.Close(), stdout.Close()
	err = errors.Join(err, <-fed)
	if n := <-read; err == nil && n != out {
		err = fmt.Errorf("%d bytes came back, not %d", n, out)
	}
	_ = drain.Close()
	return err
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
