// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// watched runs a call whose outputs are watched and gives the result. out
// makes the caller's stdout.
func watched(t *testing.T, h *Host, call Call, out *os.File, watch [2]*os.File) Result {
	t.Helper()
	box, err := h.Prepare(context.Background(), testSpec(t, h))
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	in, inw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = inw.Close()
	defer in.Close()
	null, err := os.Create(filepath.Join(t.TempDir(), "err"))
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	r := box.Run(context.Background(), call, Stdio{In: in, Out: out, Err: null, Watch: watch}, nil)
	for _, f := range watch {
		_ = f.Close()
	}
	return r
}

type pipes struct {
	reader, writer [2]*os.File
}

func watchPipes(t *testing.T) pipes {
	t.Helper()
	var p pipes
	for i := range p.reader {
		var err error
		if p.reader[i], p.writer[i], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = p.reader[i].Close() })
	}
	return p
}

// TestWatch shows what a call writes, wherever it goes.
func TestWatch(t *testing.T) {
	h := testHost(t)
	call := testCall("sh", "-c", "for i in 1 2 3; do echo out$i; echo err$i >&2; done")
	for _, kind := range []string{"pipe", "file", "appended"} {
		t.Run(kind, func(t *testing.T) {
			p := watchPipes(t)
			var seen [2]bytes.Buffer
			var readers sync.WaitGroup
			for i := range seen {
				readers.Go(func() { _, _ = io.Copy(&seen[i], p.reader[i]) })
			}
			file, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if kind == "appended" {
				_ = file.Close()
				if file, err = os.OpenFile(file.Name(), os.O_RDWR|os.O_APPEND, 0); err != nil {
					t.Fatal(err)
				}
			}
			defer file.Close()
			out := file
			var got bytes.Buffer
			if kind == "pipe" {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				out = w
				readers.Go(func() { _, _ = io.Copy(&got, r) })
			}
			r := watched(t, h, call, out, p.writer)
			if kind == "pipe" {
				_ = out.Close()
			}
			readers.Wait()
			if kind != "pipe" {
				_, _ = io.Copy(&got, io.NewSectionReader(file, 0, 1<<20))
			}
			if r.Status != Exited || got.String() != "out1\nout2\nout3\n" {
				t.Errorf("%q %+v", got.String(), r)
			}
			if seen[0].String() != "out1\nout2\nout3\n" || seen[1].String() != "err1\nerr2\nerr3\n" {
				t.Errorf("seen %q and %q", seen[0].String(), seen[1].String())
			}
		})
	}
}

// TestWatchHoldsNobodyUp: 64 MiB pass a watch that nobody reads, and what was
// shown before it was full is their beginning.
func TestWatchHoldsNobodyUp(t *testing.T) {
	h := testHost(t)
	const size = 64 << 20
	call := testCall("sh", "-c", "yes 0123456789abcdef | head -c 67108864")
	call.StdoutMax = size
	for _, leave := range []bool{false, true} {
		p := watchPipes(t)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		count := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, r)
			count <- n
		}()
		if leave { // who watched is gone
			_ = p.reader[0].Close()
		}
		result := watched(t, h, call, w, p.writer)
		_ = w.Close()
		if n := <-count; n != size || result.Status != Exited || result.Usage.Stdout != size {
			t.Errorf("%d bytes: %+v", n, result)
		}
		_ = r.Close()
		if leave {
			continue
		}
		seen, err := io.ReadAll(p.reader[0])
		if want := strings.Repeat("0123456789abcdef\n", len(seen)/17+1); err != nil || len(seen) < 4096 || string(seen[:4096]) != want[:4096] {
			t.Errorf("%d bytes were shown, %.20q %v", len(seen), seen, err)
		}
	}
}

// TestWatchIsAPipe and both of them are.
func TestWatchIsAPipe(t *testing.T) {
	h := testHost(t)
	p := watchPipes(t)
	defer p.writer[0].Close()
	defer p.writer[1].Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, watch := range [][2]*os.File{{p.writer[0], nil}, {nil, p.writer[1]}, {p.writer[0], file}, {p.reader[0], p.writer[1]}} {
		box, err := h.Prepare(context.Background(), testSpec(t, h))
		if err != nil {
			t.Fatal(err)
		}
		r := box.Run(context.Background(), testCall("true"), Stdio{In: p.reader[0], Out: p.writer[0], Err: p.writer[0], Watch: watch}, nil)
		if r.Status != SandboxError || r.Step != StepCall {
			t.Errorf("%+v", r)
		}
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	}
}
