// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/relay/relaytest"
)

// programs is the directory of those that run in boxes.
var programs string

func TestMain(m *testing.M) { os.Exit(relaytest.Main(m, &programs)) }

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

// The helper in its box: what it relays, that it is started again when it is
// killed or stopped, and that nobody is refused meanwhile.
func TestBoxedHelper(t *testing.T) {
	dir := openDir(t)
	s := relaytest.Supervisor(t, dir, programs)
	why := make(chan error, 16)
	h, err := Open(Options{Supervisor: s, Dir: filepath.Join(dir, "egress"), Report: func(err error) { why <- err }})
	if err != nil {
		t.Fatal(err)
	}
	h.interval = time.Second
	ctx, cancel := context.WithCancel(testContext(t))
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	server := echo(t)
	file, at := listener(t)
	if _, err := h.Relay(file, func() (*os.File, error) { return Connect(server) }); err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("relayed "), 8<<10)
	if back := exchange(t, dial(t, at), text); !bytes.Equal(back, text) {
		t.Errorf("%d of %d bytes came back", len(back), len(text))
	}
	for name, harm := range map[string]func(*runtime.Service) error{
		"killed": func(v *runtime.Service) error { return v.Kill(ctx) },
		"hung":   func(v *runtime.Service) error { return v.Freeze(ctx) },
		"dead": func(v *runtime.Service) error {
			err := v.Signal(unix.SIGKILL)
			<-v.Done()
			return err
		},
	} {
		h.mu.Lock()
		v := h.service
		h.mu.Unlock()
		if err := harm(v); err != nil {
			t.Fatal(err)
		}
		// Before anybody noticed.
		if back := exchange(t, dial(t, at), text); !bytes.Equal(back, text) {
			t.Errorf("%s: %d of %d bytes came back", name, len(back), len(text))
		}
		select {
		case err := <-why:
			t.Logf("%s: %v", name, err)
		case <-ctx.Done():
			t.Fatalf("%s: nobody noticed", name)
		}
	}
	socket, err := Connect(server)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Probe(ctx, socket, Probe{Timeout: patience}); err != nil {
		t.Error(err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// A program that isn't the helper, and says nothing, is reported with what it wrote.
func TestWrongProgram(t *testing.T) {
	dir := openDir(t)
	s := relaytest.Supervisor(t, dir, programs)
	s.Config.Egress = programs + "/clawsup-init"
	h, err := Open(Options{Supervisor: s, Dir: filepath.Join(dir, "egress")})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.once(testContext(t)); err == nil {
		t.Error("it ended without a reason")
	} else {
		t.Log(err)
	}
	if h.Running() {
		t.Error("it is taken to be running")
	}
}

// BenchmarkRelay measures a connection through the boxed helper: made, 16 MiB
// there and back, ended.
func BenchmarkRelay(b *testing.B) {
	dir := openDir(b)
	h, err := Open(Options{Supervisor: relaytest.Supervisor(b, dir, programs), Dir: filepath.Join(dir, "egress")})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	server := echo(b)
	for _, size := range []int{1, 16 << 20} {
		file, at := listener(b)
		if _, err := h.Relay(file, func() (*os.File, error) { return Connect(server) }); err != nil {
			b.Fatal(err)
		}
		text := bytes.Repeat([]byte("x"), size)
		b.Run(fmt.Sprintf("%d bytes", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if back := exchange(b, dial(b, at), text); len(back) != size {
					b.Fatalf("%d of %d bytes came back", len(back), size)
				}
			}
		})
	}
}
