// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/runtime"
	built "github.com/clawsup/clawsup/runtime/programs"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// programs is the folder with clawsup's own programs, built from this tree.
var programs string

func TestMain(m *testing.M) {
	runtime.Reexec()
	if os.Getenv(peerEnv) != "" {
		os.Exit(peer())
	}
	os.Exit(prepare(m))
}

func prepare(m *testing.M) int {
	logrus.SetOutput(io.Discard)
	dir, err := built.Directory("clawsup-init", "clawsup-template", "clawsup-inspect", "clawsup-egress")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	return m.Run()
}

// host is a daemon with places of its own.
type host struct {
	t      testing.TB
	dir    string
	broker *Broker
	stop   func() // ends the daemon, once
}

// newHost makes the places; start starts the daemon.
func newHost(t testing.TB, config string) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp(programs, "")
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(dir, 0o755)
	h := &host{t: t, dir: dir, stop: func() {}}
	for _, d := range []string{"profiles", "skills", "work", "clawsup.d"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.configure(config)
	h.write("profiles/ask.toml", "extends = \"python\"\n[effects]\nexec = \"ask\"\n")
	h.write("profiles/rw.toml", "extends = \"build\"\n[workspace]\nmode = \"rw\"\n")
	h.write("profiles/askrw.toml", "extends = \"rw\"\n[effects]\nexec = \"ask\"\n")
	h.write("profiles/no.toml", "extends = \"python\"\n[effects]\nexec = \"deny\"\n")
	t.Cleanup(func() {
		h.stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return h
}

// group is the parent of a host's boxes.
func (h *host) group() string {
	return fmt.Sprintf("/clawsupbroker%d%s.slice", os.Getpid(), filepath.Base(h.dir))
}

// configure writes the configuration: the places, and more.
func (h *host) configure(more string) {
	h.t.Helper()
	h.write("clawsup.toml", fmt.Sprintf(`
state_dir = %q
run_dir = %q
cgroup_parent = %q
slots = 96
skill_paths = [%q]
profile_paths = [%q]
init = %q
inspect = %q
egress = %q
`, h.dir+"/state", h.dir+"/run", h.group(), h.dir+"/skills", h.dir+"/profiles",
		programs+"/clawsup-init", programs+"/clawsup-inspect", programs+"/clawsup-egress")+
		strings.ReplaceAll(more, "DIR", h.dir)+fmt.Sprintf("\n[audit]\nkey = %q\n", h.dir+"/audit.key"))
}

func (h *host) write(name, text string) string {
	h.t.Helper()
	file := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
	return file
}

func (h *host) read(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// start starts the daemon in this process.
func (h *host) start() *host {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b, err := Open(ctx, Options{Config: h.dir + "/clawsup.toml", Version: "test"})
	if err != nil {
		cancel()
		h.t.Fatal(err)
	}
	h.broker = b
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx) }()
	h.stop = func() {
		h.stop = func() {}
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
		if err := b.Close(); err != nil {
			h.t.Error(err)
		}
	}
	return h
}

// begin makes a host and starts its daemon.
func begin(t testing.TB, config string) *host { return newHost(t, config).start() }

// dial connects to one of the sockets: call, approval, admin.
func (h *host) dial(name string) *api.Client {
	h.t.Helper()
	c, err := api.Dial(context.Background(), filepath.Join(h.dir, "run", name+".sock"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// patience bounds what a test waits for: a host that is busy takes long, and
// what never comes fails.
const patience = 60 * time.Second

// ask asks for a method and gives its result, or fails the test.
func ask[T any](t testing.TB, c *api.Client, method string, params any, files ...*os.File) T {
	t.Helper()
	v, err := try[T](c, method, params, files...)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return v
}

func try[T any](c *api.Client, method string, params any, files ...*os.File) (T, error) {
	var v T
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := c.Call(ctx, method, params, &v, files...)
	return v, err
}

// args is a command as a request has it.
func args(list ...string) []raw.String { return raw.Of(list) }

// shell is a request for a shell script.
func shell(script string) api.Submit { return api.Submit{Args: args("sh", "-c", script)} }

// nextTicket waits until the daemon asks about a call, and gives the ticket.
func nextTicket(t testing.TB, watcher *api.Client, call string) approval.Ticket {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case n, ok := <-watcher.Notifications():
			if !ok {
				t.Fatal("the daemon hung up")
			}
			if n.Method != api.TicketChanged {
				continue
			}
			var k approval.Ticket
			if err := json.Unmarshal(n.Params, &k); err != nil {
				t.Fatal(err)
			}
			if k.State == approval.Pending && (call == "" || contains(k.Calls, call)) {
				return k
			}
		case <-limit:
			t.Fatal("nobody was asked")
		}
	}
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

// watch begins to watch tickets, and returns when the present is told.
func (h *host) watch(c *api.Client) *api.Client {
	h.t.Helper()
	go func() { _ = c.Call(context.Background(), api.TicketWatch, api.Nothing{}, nil) }()
	for n := range c.Notifications() {
		if n.Method == api.Ready {
			return c
		}
	}
	h.t.Fatal("the daemon hung up")
	return nil
}
