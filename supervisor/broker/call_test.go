// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/record"
)

func TestCallRuns(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	s := shell("exit 7")
	s.Wait = true
	v := ask[api.Call](t, c, api.CallSubmit, s)
	if v.State != api.Ended || v.Result == nil || v.Result.Status != runtime.Exited || v.Result.ExitCode != 7 || v.Decision != "allow" || v.Plan == "" {
		t.Errorf("%+v %+v", v, v.Result)
	}
	if got := ask[[]api.Call](t, c, api.CallList, api.CallFilter{}); len(got) != 1 || got[0].ID != v.ID {
		t.Errorf("%+v", got)
	}
	if got := ask[api.Call](t, c, api.CallShow, api.CallRef{Call: v.ID[:8]}); got.ID != v.ID {
		t.Errorf("by the beginning of its id: %+v", got)
	}
	kinds := map[string][]audit.Kind{}
	for r, err := range audit.Read(h.dir+"/state/audit", 1) {
		if err != nil {
			t.Fatal(err)
		}
		kinds[r.Call] = append(kinds[r.Call], r.Kind)
	}
	if got := kinds[v.ID]; len(got) != 2 || got[0] != audit.Decision || got[1] != audit.Outcome {
		t.Errorf("its receipts: %v", got)
	}
}

func TestOutputIsFollowed(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	s := shell("cat; echo err >&2; head -c 600000 /dev/zero")
	s.Stdin = []byte("from the caller\n")
	v := ask[api.Call](t, c, api.CallSubmit, s)
	for _, from := range []int64{0, 5} {
		follower := h.dial("call")
		done := make(chan error, 1)
		var end api.Call
		go func() {
			done <- follower.Call(context.Background(), api.CallFollow, api.Follow{Call: v.ID, Stdout: from}, &end)
		}()
		var out [3]bytes.Buffer
		var states []api.CallState
		collect := func(n api.Notification) {
			switch n.Method {
			case api.Output:
				var p api.OutputPart
				if err := json.Unmarshal(n.Params, &p); err != nil {
					t.Fatal(err)
				}
				base := int64(0)
				if p.Stream == 1 {
					base = from
				}
				if p.Offset != base+int64(out[p.Stream].Len()) {
					t.Fatalf("stream %d at %d, had %d", p.Stream, p.Offset, out[p.Stream].Len())
				}
				out[p.Stream].Write(p.Data)
			case api.CallChanged:
				var p api.Call
				if err := json.Unmarshal(n.Params, &p); err != nil {
					t.Fatal(err)
				}
				states = append(states, p.State)
			}
		}
		for running := true; running; {
			select {
			case n := <-follower.Notifications():
				collect(n)
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				running = false
			}
		}
		for len(follower.Notifications()) > 0 {
			collect(<-follower.Notifications())
		}
		want := "from the caller\n"[from:] + string(make([]byte, 600000))
		if end.State != api.Ended || out[1].String() != want || out[2].String() != "err\n" {
			t.Errorf("from %d: %d bytes, %q; %+v, states %v", from, out[1].Len(), out[2].String(), end.Result, states)
		}
	}
}

func TestDescriptorsAreTheCalls(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	var pipes [3][2]*os.File
	for i := range pipes {
		var err error
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			t.Fatal(err)
		}
	}
	s := shell("tr a-z A-Z; echo err >&2")
	go func() {
		_, _ = io.WriteString(pipes[0][1], "hello\n")
		_ = pipes[0][1].Close()
	}()
	v := ask[api.Call](t, c, api.CallSubmit, s, pipes[0][0], pipes[1][1], pipes[2][1])
	for _, f := range []*os.File{pipes[0][0], pipes[1][1], pipes[2][1]} {
		_ = f.Close()
	}
	out, err := io.ReadAll(pipes[1][0])
	if err != nil || string(out) != "HELLO\n" {
		t.Errorf("%q %v", out, err)
	}
	if out, err = io.ReadAll(pipes[2][0]); err != nil || string(out) != "err\n" {
		t.Errorf("%q %v", out, err)
	}
	if v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID}); v.Result.Status != runtime.Exited {
		t.Errorf("%+v", v.Result)
	}
}

func TestHostileDescriptors(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(h.dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := os.Open(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][3]*os.File{
		"a directory":           {dir, file, file},
		"a device":              {null, file, file},
		"read-only as output":   {file, wrong, file},
		"a directory as output": {file, file, dir},
	} {
		s := shell("touch /workspace/canary")
		s.Wait = true
		if v, err := try[api.Call](c, api.CallSubmit, s, files[0], files[1], files[2]); api.CodeOf(err) != api.CodeParams {
			t.Errorf("%s: %v %+v", name, err, v)
		}
	}
	if list := ask[[]api.Call](t, c, api.CallList, api.CallFilter{}); len(list) != 0 {
		t.Errorf("calls began: %+v", list)
	}
}

// TestKeyFindsTheCall: whoever lost its connection finds its call, and never
// runs it twice.
func TestKeyFindsTheCall(t *testing.T) {
	h := begin(t, "")
	s := api.Submit{Args: args("sh", "-c", "echo ran >>/workspace/canary"), Profile: "rw", Workspace: "DIR", Key: "k1", Wait: true}
	s.Workspace = args(h.dir + "/work")[0]
	first := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if first.Result.Status != runtime.Exited || first.Result.ExitCode != 0 {
		t.Fatalf("%+v", first.Result)
	}
	for range 2 { // before and after a restart
		again := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
		if again.ID != first.ID || !again.Known || again.Result == nil || again.Result.Status != runtime.Exited {
			t.Errorf("%+v", again)
		}
		if got := h.read("work/canary"); got != "ran\n" {
			t.Fatalf("it ran more than once: %q", got)
		}
		// Over is over, also for a call that only the log knows any more.
		if v := ask[api.Call](t, h.dial("call"), api.CallCancel, api.CallRef{Call: first.ID}); v.Result.Status != runtime.Exited {
			t.Errorf("cancelled after its end: %+v", v.Result)
		}
		h.stop()
		h.start()
	}
	other := s
	other.Args = args("touch", "/workspace/other")
	if v, err := try[api.Call](h.dial("call"), api.CallSubmit, other); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("another request under the same key: %v %+v", err, v)
	}
	s.Key = "k2"
	if other := ask[api.Call](t, h.dial("call"), api.CallSubmit, s); other.ID == first.ID || other.Known {
		t.Errorf("another key: %+v", other)
	}
	if got := h.read("work/canary"); got != "ran\nran\n" {
		t.Errorf("%q", got)
	}
}

func TestStops(t *testing.T) {
	h := begin(t, "")
	for name, stop := range map[string]func(id string, c *api.Client){
		"cancelled by who asked": func(id string, c *api.Client) { ask[api.Call](t, c, api.CallCancel, api.CallRef{Call: id}) },
		"stopped by an approver": func(id string, _ *api.Client) {
			ask[api.Stopped](t, h.dial("approval"), api.CallStop, api.Stop{Call: id, Reason: "enough"})
		},
		"stopped with all": func(string, *api.Client) {
			ask[api.Stopped](t, h.dial("admin"), api.CallStop, api.Stop{All: true})
		},
	} {
		c := h.dial("call")
		v := ask[api.Call](t, c, api.CallSubmit, shell("trap '' TERM INT; echo up; while :; do sleep 100; done"))
		h.awaitOutput(c, v.ID)
		stop(v.ID, c)
		v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
		if v.Result.Status != runtime.Stopped || strings.Contains(name, "approver") && !strings.Contains(v.Result.Message, "enough") {
			t.Errorf("%s: %+v", name, v.Result)
		}
	}
}

// awaitOutput waits until a call has written something.
func (h *host) awaitOutput(c *api.Client, id string) {
	h.t.Helper()
	follower := h.dial("call")
	defer follower.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ended := make(chan string, 1)
	go func() {
		var v api.Call
		err := follower.Call(ctx, api.CallFollow, api.Follow{Call: id}, &v)
		ended <- fmt.Sprintf("%v %+v %+v", err, v, v.Result)
	}()
	for {
		select {
		case how := <-ended:
			h.t.Fatal("it ended without a word: ", how)
		case n := <-follower.Notifications():
			if n.Method == api.Output {
				return
			}
		case <-ctx.Done():
			h.t.Fatal("it wrote nothing")
		}
	}
}

// TestGoneCallers: without a key nobody could find the call again, so it ends.
func TestGoneCallers(t *testing.T) {
	h := begin(t, "")
	for _, key := range []string{"", "kept"} {
		c := h.dial("call")
		s := shell("echo up; sleep 600")
		s.Key, s.Wait = key, true
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan error, 1)
		go func() { gone <- c.Call(ctx, api.CallSubmit, s, nil) }()
		other := h.dial("call")
		id := h.awaitCall(other)
		h.awaitOutput(other, id)
		cancel()
		_ = c.Close()
		<-gone
		if key == "" {
			if v := ask[api.Call](t, other, api.CallWait, api.CallRef{Call: id}); v.Result.Status != runtime.Stopped {
				t.Errorf("%+v", v.Result)
			}
			continue
		}
		if v := ask[api.Call](t, other, api.CallShow, api.CallRef{Call: id}); v.State != api.Running {
			t.Errorf("with a key: %+v", v)
		}
		ask[api.Call](t, other, api.CallCancel, api.CallRef{Call: id})
	}
}

// awaitCall gives the id of the one call that lives, once there is one.
func (h *host) awaitCall(c *api.Client) string {
	h.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if list := ask[[]api.Call](h.t, c, api.CallList, api.CallFilter{Live: true}); len(list) == 1 {
			return list[0].ID
		}
	}
	h.t.Fatal("there is no call")
	return ""
}

func TestQueueIsFull(t *testing.T) {
	h := begin(t, "[calls]\nconcurrency = 1\nqueue = 2\n")
	c := h.dial("call")
	var ids []string
	for range 3 {
		ids = append(ids, ask[api.Call](t, c, api.CallSubmit, shell("sleep 600")).ID)
	}
	// One at work, two waiting, when the first has left the queue.
	if _, err := try[api.Call](c, api.CallSubmit, shell("true")); api.CodeOf(err) != api.CodeFull {
		t.Errorf("the fourth: %v", err)
	}
	ask[api.Stopped](t, h.dial("admin"), api.CallStop, api.Stop{All: true})
	for _, id := range ids {
		if v := ask[api.Call](t, c, api.CallWait, api.CallRef{Call: id}); v.Result.Status != runtime.Stopped {
			t.Errorf("%+v", v.Result)
		}
	}
}

// TestQuestionsCanBeRead: what nobody can read whole, nobody is asked.
func TestQuestionsCanBeRead(t *testing.T) {
	h := begin(t, "")
	s := h.asking("touch canary")
	s.Args = append(s.Args, args(strings.Repeat("x", maxQuestion))...)
	s.Wait = true
	if v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s); v.Result.Status != runtime.Denied || !strings.Contains(v.Reason, "asked to read") || h.ran() {
		t.Errorf("%+v", v)
	}
}

// TestLogIsReadFromWhereItMatters: the place is kept, and a daemon that starts
// finds the calls that still matter from there on.
func TestLogIsReadFromWhereItMatters(t *testing.T) {
	h := begin(t, "[calls]\nkeep = \"1h\"\n")
	c := h.dial("call")
	s := shell("true")
	s.Wait = true
	first := ask[api.Call](t, c, api.CallSubmit, s)
	if err := h.broker.checkpoint(); err != nil {
		t.Fatal(err)
	}
	var at place
	if err := record.Read(h.dir+"/state/calls.json", &at); err != nil || at.From == 0 {
		t.Fatalf("%+v %v", at, err)
	}
	found := false
	for r, err := range audit.Read(h.dir+"/state/audit", at.From) {
		if err != nil {
			t.Fatal(err)
		}
		found = found || r.Call == first.ID && r.Kind == audit.Decision
	}
	if !found {
		t.Errorf("from %d on the log has not all of the call", at.From)
	}
	h.stop()
	h.start()
	if v := ask[api.Call](t, h.dial("call"), api.CallShow, api.CallRef{Call: first.ID}); v.Result.Status != runtime.Exited {
		t.Errorf("%+v", v)
	}
	h.broker.calls.tidy(time.Now().Add(2*time.Hour), time.Hour)
	if _, err := try[api.Call](h.dial("call"), api.CallShow, api.CallRef{Call: first.ID}); api.CodeOf(err) != api.CodeNotFound {
		t.Errorf("after its time: %v", err)
	}
	if err := h.broker.checkpoint(); err != nil {
		t.Fatal(err)
	}
	before := at.From
	if err := record.Read(h.dir+"/state/calls.json", &at); err != nil || at.From <= before {
		t.Errorf("%+v %v", at, err)
	}
}

func TestRate(t *testing.T) {
	h := begin(t, "[calls]\nrate = 2\n")
	c := h.dial("call")
	s := shell("true")
	for range 2 {
		ask[api.Call](t, c, api.CallSubmit, s)
	}
	if _, err := try[api.Call](c, api.CallSubmit, s); api.CodeOf(err) != api.CodeFlood {
		t.Errorf("the third in a minute of two: %v", err)
	}
}

func TestWatchSeesPassedDescriptors(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(h.dir + "/out")
	if err != nil {
		t.Fatal(err)
	}
	v := ask[api.Call](t, c, api.CallSubmit, shell("cat"), in, file, file)
	watcher := h.dial("approval")
	done := make(chan error, 1)
	var end api.Call
	go func() { done <- watcher.Call(context.Background(), api.CallWatch, api.CallRef{Call: v.ID}, &end) }()
	if _, err := io.WriteString(feed, "for everybody\n"); err != nil {
		t.Fatal(err)
	}
	var seen bytes.Buffer
	for !strings.Contains(seen.String(), "everybody") {
		select {
		case n := <-watcher.Notifications():
			var p api.OutputPart
			if n.Method == api.Output && json.Unmarshal(n.Params, &p) == nil {
				seen.Write(p.Data)
			}
		case <-time.After(patience):
			t.Fatal("the watcher saw nothing")
		}
	}
	_ = feed.Close()
	if err := <-done; err != nil || end.State != api.Ended {
		t.Errorf("%v %+v", err, end)
	}
	if got := h.read("out"); got != "for everybody\n" {
		t.Errorf("%q", got)
	}
}

func TestBadRequests(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	for name, p := range map[string]string{
		"approved":         `{"args": ["true"], "approved": true}`,
		"a decision":       `{"args": ["true"], "decision": "allow"}`,
		"a result":         `{"args": ["true"], "result": {"status": "exited"}}`,
		"another approver": `{"args": ["true"], "approver": "me"}`,
		"a negative time":  `{"args": ["true"], "timeout": "-1s"}`,
		"a bad key":        `{"args": ["true"], "key": "a\u0007"}`,
		"a bad session":    `{"args": ["true"], "session": "../x"}`,
	} {
		if v, err := try[api.Call](c, api.CallSubmit, json.RawMessage(p)); api.CodeOf(err) != api.CodeParams {
			t.Errorf("%s: %v %+v", name, err, v)
		}
	}
	for name, p := range map[string]string{
		"no command":        `{"wait": true}`,
		"no such profile":   `{"wait": true, "args": ["true"], "profile": "nobodys"}`,
		"no such workspace": `{"wait": true, "args": ["true"], "workspace": "/nowhere/at/all"}`,
		"no such skill":     `{"wait": true, "skill": "nobodys"}`,
	} {
		v, err := try[api.Call](c, api.CallSubmit, json.RawMessage(p))
		if err != nil || v.Result.Status != runtime.SandboxError && v.Result.Status != runtime.Denied || v.Result.Message == "" {
			t.Errorf("%s: %v %+v", name, err, v.Result)
		}
	}
}
