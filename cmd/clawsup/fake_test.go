// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/clawsup/clawsup/supervisor/api"
)

// fake is a daemon that answers from a table, over real sockets, each method
// on the sockets that it is on.
type fake struct {
	*bench
	asked map[string]string // turn; the socket that a method came through last
}

type answers map[string]api.Handler

// newFake makes a bench whose configuration has calls go through the daemon.
func newFake(t *testing.T, table answers) *fake {
	t.Helper()
	f := &fake{bench: newBench(t, "daemon = true\n"), asked: map[string]string{}}
	f.serve(table)
	return f
}

func (f *fake) serve(table answers) {
	f.t.Helper()
	run := filepath.Join(f.dir, "run")
	if err := os.MkdirAll(run, 0o755); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	f.t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	for _, s := range []socket{callSocket, approvalSocket, adminSocket} {
		mode := os.FileMode(0o600)
		if s == approvalSocket {
			mode = 0o666
		}
		l, err := api.Listen(filepath.Join(run, string(s)), mode, -1, -1)
		if err != nil {
			f.t.Fatal(err)
		}
		server := &api.Server{Methods: map[string]api.Handler{}}
		for _, r := range api.Rights() {
			handler, here := table[r.Method], map[socket]bool{callSocket: r.Call, approvalSocket: r.Approval, adminSocket: r.Admin}[s]
			if handler == nil || !here {
				continue
			}
			server.Methods[r.Method] = func(ctx context.Context, q *api.Request) (any, error) {
				f.turn.Lock()
				f.asked[q.Method] = string(s)
				f.turn.Unlock()
				defer f.inTurn()
				return handler(ctx, q)
			}
		}
		all.Go(func() {
			defer l.Close()
			if err := server.Serve(ctx, l); err != nil {
				f.t.Error(err)
			}
		})
	}
}

// through says by which socket a method was asked last.
func (f *fake) through(method string) string {
	f.turn.Lock()
	defer f.turn.Unlock()
	return f.asked[method]
}

// says answers a method with a value, and keeps what it was asked in params.
func says[P any](params *P, result any) api.Handler {
	return func(_ context.Context, r *api.Request) (any, error) {
		var p P
		if err := r.Decode(&p); err != nil {
			return nil, err
		}
		if params != nil {
			*params = p
		}
		return result, nil
	}
}

// refuses answers with an error.
func refuses(code api.Code, format string, args ...any) api.Handler {
	return func(context.Context, *api.Request) (any, error) {
		return nil, &api.Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: "see elsewhere"}
	}
}
