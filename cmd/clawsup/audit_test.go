// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/audit"
)

// receipts is a bench with a log of receipts at the configured places.
type receipts struct {
	*bench
	dir, anchor, key string
	log              *audit.Log
}

func newReceipts(t *testing.T) *receipts {
	b := newBench(t, "")
	r := &receipts{bench: b, dir: b.dir + "/receipts", anchor: b.dir + "/receipts.head", key: b.dir + "/receipts.key"}
	b.write("clawsup.toml", fmt.Sprintf("state_dir = %q\nrun_dir = %q\ncgroup_parent = %q\n[audit]\ndir = %q\nanchor = %q\nkey = %q\n",
		b.dir+"/state", b.dir+"/run", b.group, r.dir, r.anchor, r.key))
	return r
}

func (r *receipts) open() {
	r.t.Helper()
	key, err := audit.LoadKey(r.key)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.log, err = audit.Open(audit.Options{Dir: r.dir, Anchor: r.anchor, Key: key}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.close)
}

func (r *receipts) close() {
	if r.log != nil {
		if err := r.log.Close(); err != nil {
			r.t.Error(err)
		}
		r.log = nil
	}
}

func (r *receipts) append(list ...audit.Receipt) {
	r.t.Helper()
	for _, e := range list {
		if _, err := r.log.Append(r.t.Context(), e); err != nil {
			r.t.Fatal(err)
		}
	}
}

// fill writes a few of each kind.
func (r *receipts) fill() {
	r.open()
	three := 3
	r.append(
		audit.Receipt{Kind: audit.Decision, Call: "c0ffee", Effect: "exec", Decision: "deny", Rule: "profile strict"},
		audit.Receipt{Kind: audit.Outcome, Call: "c0ffee", Status: "denied"},
		audit.Receipt{Kind: audit.Decision, Call: "beef", Effect: "exec", Decision: "allow", Requester: "uid 0"},
		audit.Receipt{Kind: audit.Outcome, Call: "beef", Status: "exited", Exit: &three, Usage: &audit.Usage{Wall: time.Second, Memory: 1 << 20},
			Facts: []audit.Fact{{Name: "command", Value: "\x1b[2Jrm \xff"}}},
		audit.Receipt{Kind: audit.Administration, Rule: "session.clear"},
	)
	r.close()
}

func TestAuditReads(t *testing.T) {
	r := newReceipts(t)
	if got := r.run("", "audit", "show"); got.status != 1 || !strings.Contains(got.err, "there is no log of receipts at "+r.dir) {
		t.Errorf("no log yet: %+v", got)
	}
	if got := r.run("", "audit", "public"); got.status != 1 || !strings.Contains(got.err, "clawsupd makes it") {
		t.Errorf("no key yet: %+v", got)
	}
	if _, err := os.Lstat(r.key); err == nil {
		t.Error("looking for the key made one")
	}
	r.fill()
	for _, c := range []struct {
		args     string
		has, not []string
	}{
		{"show", []string{"exec deny", "exited with status 3", `\x1b[2Jrm \xff`, "memory 1.0M"}, []string{"\x1b"}},
		{"show --last 2", []string{"exited", "session.clear"}, []string{"beef  ", "exec"}},
		{"show --call beef", []string{"exec allow", "exited"}, []string{"deny"}},
		{"search deny", []string{"exec deny"}, []string{"allow"}},
		{"search --kind outcome", []string{"denied", "exited"}, []string{"allow"}},
		{"search --until 1h", nil, []string{"decision"}},
		{"search --since 1h exec", []string{"exec deny", "exec allow"}, []string{"outcome"}},
	} {
		got := r.run("", append([]string{"audit"}, strings.Fields(c.args)...)...)
		if got.status != 0 || got.err != "" {
			t.Errorf("%s: %+v", c.args, got)
		}
		for _, text := range c.has {
			if !strings.Contains(got.out, text) {
				t.Errorf("%s: no %q in %s", c.args, text, got.out)
			}
		}
		for _, text := range c.not {
			if strings.Contains(got.out, text) {
				t.Errorf("%s: %q in %s", c.args, text, got.out)
			}
		}
	}
	got := r.run("", "audit", "export")
	var last struct {
		Seq   uint64
		Kind  string
		Exit  *int
		Facts []struct {
			Name  string
			Value json.RawMessage
		}
	}
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	if err := json.Unmarshal([]byte(lines[4]), &last); err != nil || len(lines) != 6 {
		t.Fatalf("%d lines, %v: %s", len(lines), err, got.out)
	}
	if last.Seq != 5 || last.Kind != "outcome" || *last.Exit != 3 || string(last.Facts[0].Value) != `{"base64":"G1sySnJtIP8="}` {
		t.Errorf("%s", lines[4])
	}
	if got := r.nobody("audit", "show"); got.status != 1 || !strings.Contains(got.err, "use sudo") {
		t.Errorf("not root: %+v", got)
	}
}

// TestAuditVerify: what was done to a log is told apart, here and with the
// public key alone.
func TestAuditVerify(t *testing.T) {
	r := newReceipts(t)
	r.fill()
	public := strings.TrimSpace(r.run("", "audit", "public").out)
	anchor := r.write("anchor", r.run("", "audit", "anchor").out)
	if got := r.run("", "audit", "verify"); got.status != 0 || !strings.Contains(got.out, "intact: 6 receipts, 1 to 6") || !strings.Contains(got.out, "vouches for everything up to receipt 6") {
		t.Errorf("%+v", got)
	}
	files, err := filepath.Glob(r.dir + "/receipts-*.log")
	if err != nil || len(files) != 1 {
		t.Fatalf("%q, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, c := range []struct {
		name  string
		text  []byte
		fault string
	}{
		{"as it was", text, ""},
		{"edited", bytes.Replace(text, []byte(`"deny"`), []byte(`"allow"`), 1), "edited"},
		{"reordered", join(lines[0], lines[2], lines[1], lines[3], lines[4], lines[5]), "reordered"},
		{"missing", join(lines[0], lines[1], lines[2], lines[4], lines[5]), "missing"},
		{"truncated", join(lines[:4]...), "truncated"},
		{"torn", text[:len(text)-10], "torn"},
	} {
		copied := filepath.Join(r.dir, "..", strings.ReplaceAll(c.name, " ", "-"))
		if err := os.Mkdir(copied, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, filepath.Base(files[0])), c.text, 0o644); err != nil {
			t.Fatal(err)
		}
		got := r.nobody("audit", "verify", "--json", "--dir", copied, "--public", public, "--anchor", anchor)
		var report verifiedObject
		if err := json.Unmarshal([]byte(got.out), &report); err != nil {
			t.Errorf("%s: %v: %+v", c.name, err, got)
			continue
		}
		if c.fault == "" {
			if got.status != 0 || !report.Intact || report.Anchored != 6 || report.Entries != 6 {
				t.Errorf("%s: %+v", c.name, got)
			}
			continue
		}
		if got.status != 1 || report.Intact || len(report.Problems) == 0 || report.Problems[0].Fault != c.fault {
			t.Errorf("%s: %+v", c.name, got)
		}
		if got := r.nobody("audit", "verify", "--dir", copied, "--public", r.write("key.pub", public+"\n"), "--anchor", anchor); got.status != 1 || !strings.Contains(got.out, "NOT INTACT") || !strings.Contains(got.out, "  "+c.fault) {
			t.Errorf("%s, for people: %+v", c.name, got)
		}
	}
	other := "ed25519:" + strings.Repeat("0", 64)
	if got := r.run("", "audit", "verify", "--public", other); got.status != 1 || !strings.Contains(got.out, "foreign key") {
		t.Errorf("another key: %+v", got)
	}
}

// TestAuditFollow: a receipt is shown when it is written.
func TestAuditFollow(t *testing.T) {
	r := newReceipts(t)
	r.fill()
	r.open()
	cmd := r.command("audit", "follow", "--json", "--kind", "agent")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It begins at some moment; what is written before that is passed over.
	done := make(chan string, 1)
	go func() { done <- until(t, out, "\n") }()
	for n := 0; ; n++ {
		r.append(audit.Receipt{Kind: audit.Agent, Status: "ready"}, audit.Receipt{Kind: audit.Generation})
		select {
		case seen := <-done:
			if !strings.Contains(seen, `"kind":"agent"`) || strings.Contains(seen, "generation") {
				t.Errorf("%s", seen)
			}
			if err := cmd.Process.Signal(unix.SIGINT); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait()
			if got := status(cmd); got != 130 {
				t.Errorf("status %d", got)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}
