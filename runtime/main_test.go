// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/programs"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/runtime/seccomp"
)

// testFilter is the filter of the default profile, strictFilter the one of a
// box without its own loopback.
var testFilter, strictFilter []byte

// initProgram is the clawsup-init that the tests' boxes run.
var initProgram string

func TestMain(m *testing.M) {
	if name := os.Getenv(probeEnv); name != "" {
		os.Exit(runProbe(name))
	}
	Reexec()
	if dir := os.Getenv(victimEnv); dir != "" {
		if err := compileFilters(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(runVictim(dir))
	}
	if dir := os.Getenv(parentEnv); dir != "" {
		if err := compileFilters(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(runParent(dir))
	}
	if dir := os.Getenv(starterEnv); dir != "" {
		if err := compileFilters(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(runStarter(dir))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if initProgram = os.Getenv("CLAWSUP_INIT"); initProgram == "" {
		dir, err := programs.Directory(programs.Box...)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		initProgram = filepath.Join(dir, "clawsup-init")
	}
	if err := compileFilters(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func compileFilters() error {
	for filter, groups := range map[*[]byte][]string{&testFilter: {"loopback", "unix"}, &strictFilter: nil} {
		f, err := seccomp.Compile(groups)
		if err != nil {
			return err
		}
		*filter = f.Bytes()
	}
	return nil
}

// openDir is a temporary directory that the users of boxes can get to.
func openDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// testHost opens a host of the test's own.
func testHost(t testing.TB) *Host {
	t.Helper()
	dir := openDir(t)
	h, err := Open(context.Background(), Config{
		RunDir:  filepath.Join(dir, "run"),
		Init:    initProgram,
		Group:   fmt.Sprintf("/clawsup-test-%d.slice", os.Getpid()),
		UIDBase: DefaultUIDBase,
		Slots:   64,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// wholePlan enforces everything that this host can.
func wholePlan(t testing.TB, h *Host, without ...layer.Layer) layer.Plan {
	t.Helper()
	wish := layer.All.Without(layer.LandlockTCP, layer.LandlockUDP, layer.LandlockUnix)
	plan, err := layer.Lower(wish, h.Layers, layer.Of(without...))
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// testSpec is a box as the default profile would have it.
func testSpec(t testing.TB, h *Host, without ...layer.Layer) Spec {
	return Spec{
		Layers: wholePlan(t, h, without...),
		Tmpfs: []rootfs.Tmpfs{
			{Target: rootfs.TmpDir, Size: 16 << 20, Files: 1024, Exec: true},
			{Target: rootfs.ShmDir, Size: 4 << 20, Files: 64},
			{Target: rootfs.WorkspaceDir, Size: 16 << 20, Files: 1024, Exec: true},
		},
		Group:   Group{Memory: 128 << 20, Pids: 64, CPU: 1, DiskRead: 1 << 30, DiskWrite: 1 << 30},
		Filter:  testFilter,
		CPUTime: time.Minute, FileSize: 1 << 30, OpenFiles: 256, Stack: 8 << 20,
	}
}

// testCall runs argv with generous bounds.
func testCall(argv ...string) Call {
	return Call{
		Argv: argv, Dir: rootfs.WorkspaceDir,
		Env:       []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8"},
		WallTime:  time.Minute,
		StdoutMax: 1 << 20, StderrMax: 1 << 20,
	}
}

// output is what a finished call said.
type output struct {
	Result
	out, err string
}

// runCall prepares a box, runs the call in it, and closes it.
func runCall(t testing.TB, h *Host, spec Spec, call Call, stdin string) output {
	t.Helper()
	box, err := h.Prepare(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	o := giveCall(t, box, call, stdin)
	if err := box.Close(); err != nil {
		t.Error(err)
	}
	return o
}

func giveCall(t testing.TB, box *Sandbox, call Call, stdin string) output {
	t.Helper()
	var fds [3][2]*os.File
	for i := range fds {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = [2]*os.File{r, w}
	}
	var streams sync.WaitGroup
	streams.Go(func() {
		_, _ = io.WriteString(fds[0][1], stdin)
		_ = fds[0][1].Close()
	})
	var bufs [3]bytes.Buffer
	for _, i := range []int{1, 2} {
		streams.Go(func() {
			_, _ = io.Copy(&bufs[i], fds[i][0])
			_ = fds[i][0].Close()
		})
	}
	result := box.Run(context.Background(), call, Stdio{In: fds[0][0], Out: fds[1][1], Err: fds[2][1]}, nil)
	for _, f := range []*os.File{fds[0][0], fds[1][1], fds[2][1]} {
		_ = f.Close()
	}
	streams.Wait()
	return output{result, bufs[1].String(), bufs[2].String()}
}
