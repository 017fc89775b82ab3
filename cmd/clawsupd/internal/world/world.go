// SPDX-License-Identifier: Apache-2.0

package world

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// World is a host and all that it can reach.
type World struct {
	Host     *Space // where a daemon of the test runs
	Internet *Space // where the servers are
	Sink     *Sink
	Log      *Log
	Roots    string // file with the certificate of the servers' authority

	// Gate lets an answer of /wait or /events go on: each value one of them by one part.
	Gate chan struct{}

	dir       string
	authority *authority
	resolver  *resolver
	servers   []io.Closer
	handlers  sync.WaitGroup // requests that are being answered
	streams   streams
	issued    issued
}

// New makes one, which ends with the test. It needs root and skips the test without.
func New(t testing.TB) *World {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	sweep()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Log: newLog(), Gate: make(chan struct{}), dir: dir, Roots: filepath.Join(dir, "roots.pem")}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
		for _, s := range w.Log.Canaries() {
			t.Errorf("a canary was touched: %v", s)
		}
	})
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	return w
}

// prefix begins the names of worlds' directories; the process whose it is follows.
const prefix = "clawsup-world-"

// sweep removes what tests left that were killed. Of their namespaces nothing is left.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), prefix+"%d-", &pid); err != nil {
			continue
		}
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = os.RemoveAll(dir)
		}
	}
}

func (w *World) open() (err error) {
	if err := os.Chmod(w.dir, 0o755); err != nil { // git's server and the daemon look into it
		return err
	}
	if w.Host, err = newSpace(); err != nil {
		return err
	}
	if w.Internet, err = newSpace(); err != nil {
		return err
	}
	if err := join(w.Host, w.Internet); err != nil {
		return err
	}
	if w.authority, err = newAuthority("authority of the test's world"); err != nil {
		return err
	}
	if err := os.WriteFile(w.Roots, w.authority.pem(), 0o644); err != nil {
		return err
	}
	if w.resolver, err = openResolver(w.Internet); err != nil {
		return err
	}
	if err := w.serve(); err != nil {
		return err
	}
	w.Sink, err = openSink(w.Host, w.Internet)
	return err
}

func (w *World) close() error {
	var errs []error
	for i := len(w.servers) - 1; i >= 0; i-- {
		errs = append(errs, w.servers[i].Close())
	}
	w.streams.close()
	w.handlers.Wait()
	if w.resolver != nil {
		errs = append(errs, w.resolver.close())
	}
	if w.Sink != nil {
		errs = append(errs, w.Sink.close())
	}
	for _, s := range []*Space{w.Host, w.Internet} {
		if s != nil {
			errs = append(errs, s.close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// Config is what a daemon's configuration has of the world.
func (w *World) Config() string {
	return fmt.Sprintf("[network]\nresolvers = [%q]\nroots = %q\n", netip.AddrPortFrom(Resolver, 53), w.Roots)
}
