// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/relay/relaytest"
)

// programs is the directory of those that run in boxes.
var programs string

func TestMain(m *testing.M) { os.Exit(relaytest.Main(m, &programs)) }

// agentID is the agent's uid and gid: of no account.
const agentID = 54321

// patience is how long a test waits for what must come.
const patience = time.Minute

// house is where a test's agents live.
type house struct {
	t          *testing.T
	dir        string
	supervisor *supervisor.Supervisor
	relay      *relay.Helper
	ctx        context.Context
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir := t.TempDir()
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		must(t, os.Chmod(d, 0o755))
	}
	h := &house{t: t, dir: dir, supervisor: relaytest.Supervisor(t, dir, programs)}
	var err error
	h.relay, err = relay.Open(relay.Options{Supervisor: h.supervisor, Dir: filepath.Join(dir, "egress")})
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	h.ctx = ctx
	ended := make(chan struct{})
	go func() { defer close(ended); h.relay.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// resident is an agent of a test, with what was told of it.
type resident struct {
	*Agent
	t       *testing.T
	changed chan struct{}

	mu       sync.Mutex
	receipts []audit.Receipt // mu
}

// script is what the test agents run.
func script(t *testing.T) string {
	t.Helper()
	file, err := filepath.Abs("../../testdata/agent/hostile.py")
	must(t, err)
	return file
}

// options are those of an agent called name that runs the script.
func (h *house) options(name string, args ...string) Options {
	h.t.Helper()
	profile, err := profiles.Load("agent", nil)
	must(h.t, err)
	file := script(h.t)
	return Options{
		Config: supervisor.AgentConfig{
			Name: name, Command: append([]string{"/usr/bin/python3", file}, args...),
			User: "tester", UID: agentID, GID: agentID,
			Dir: filepath.Join(h.dir, name), StateDir: filepath.Join(h.dir, name), Snapshots: 3,
			Read: []string{filepath.Dir(file)}, Environment: map[string]string{"PYTHONDONTWRITEBYTECODE": "1"},
			Limits:  supervisor.AgentLimits{Memory: 256 << 20, Pids: 64, CPU: 1},
			Network: supervisor.AgentNetworkNone,
			Restart: supervisor.RestartNever, Backoff: profiles.Duration(time.Millisecond), BackoffMax: profiles.Duration(time.Hour),
			NoRestart:  []int{78},
			Ready:      supervisor.AgentReady{Every: profiles.Duration(20 * time.Millisecond), Timeout: profiles.Duration(patience)},
			StopSignal: "SIGTERM", StopTimeout: profiles.Duration(patience), LogMax: 1 << 20,
		},
		Supervisor: h.supervisor, Profile: profile, Dir: filepath.Join(h.dir, "state", "agents", name), Relay: h.relay,
	}
}

// settle makes the agent, and sees to it that nothing of it stays.
func (h *house) settle(o Options) *resident {
	h.t.Helper()
	r := &resident{t: h.t, changed: make(chan struct{}, 1)}
	o.Receipt = func(e audit.Receipt) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.receipts = append(r.receipts, e)
	}
	o.Changed = func(api.Agent) {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	o.Report = func(text string, err error) { h.t.Logf("%s: %v", text, err) }
	var err error
	r.Agent, err = New(o)
	must(h.t, err)
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if r.life.Err() == nil {
			if err := r.Kill(ctx, "the test is over"); err != nil {
				h.t.Error(err)
			}
			if err := r.Leave(ctx); err != nil {
				h.t.Error(err)
			}
		}
	})
	return r
}

// await waits for a state.
func (r *resident) await(ctx context.Context, states ...State) api.Agent {
	r.t.Helper()
	for {
		s := r.Status()
		for _, want := range states {
			if s.State == want.String() {
				return s
			}
		}
		select {
		case <-r.changed:
		case <-ctx.Done():
			logs, _ := r.Logs(0)
			r.t.Fatalf("waited for %v, it is %+v; it wrote %s", states, s, logs)
		}
	}
}

// said reads the lines of JSON that it wrote so far.
func (r *resident) said() (lines []map[string]any) {
	r.t.Helper()
	text, err := r.Logs(maxLogs)
	must(r.t, err)
	for line := range bytes.Lines(text) {
		var m map[string]any
		if json.Unmarshal(line, &m) == nil {
			lines = append(lines, m)
		}
	}
	return lines
}

// steps are the rules of its receipts, in their order, with their status.
func (r *resident) steps() (steps []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.receipts {
		steps = append(steps, strings.TrimSpace(strings.TrimPrefix(e.Rule, "agent.")+" "+e.Status))
		if e.Kind != audit.Agent {
			r.t.Errorf("a receipt of kind %v", e.Kind)
		}
	}
	return steps
}

// freePort is one that nobody listened on a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port)
}
