// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fingerprint is what an untouched tree looks like.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d %d %d %d\n", path, st.Mode, st.Uid, st.Ino, st.Size, st.Ctim.Nano())
		return nil
	})
	must(t, err)
	return b.String()
}

// counting takes connections and counts them.
func counting(t *testing.T, network, address string) (net.Listener, *atomic.Int32) {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	n := new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.Add(1)
			_ = c.Close()
		}
	}()
	return l, n
}

// Everything that a lost agent tries by itself, without any call (and what it
// tries over sockets that aren't shown to it), with canaries.
func TestHostileAgent(t *testing.T) {
	h := newHouse(t)
	host := filepath.Join(h.dir, "host")
	for _, dir := range []string{"run", "etc", "audit", "workspace/.git/hooks", "sockets"} {
		must(t, os.MkdirAll(filepath.Join(host, dir), 0o755))
	}
	policy, key := filepath.Join(host, "etc", "clawsup.toml"), filepath.Join(host, "etc", "audit.key")
	log := filepath.Join(host, "audit", "receipts-1.log")
	// The files are everybody's to write: only the box keeps the agent from them.
	for _, file := range []string{policy, key, log, filepath.Join(host, "workspace", "SOUL.md"), filepath.Join(host, "workspace", ".git", "config")} {
		must(t, os.WriteFile(file, []byte("untouched"), 0o666))
		must(t, os.Chmod(file, 0o666))
	}
	workspace := filepath.Join(host, "workspace")
	for _, dir := range []string{workspace, filepath.Join(workspace, ".git", "hooks"), filepath.Join(host, "etc"), filepath.Join(host, "audit")} {
		must(t, os.Chmod(dir, 0o777))
	}
	approval := filepath.Join(host, "run", "approval.sock")
	_, asked := counting(t, "unix", approval)
	must(t, os.Chmod(approval, 0o666))
	target, connected := counting(t, "tcp", "127.0.0.1:0")
	// Abstract sockets belong to the network namespace.
	name := fmt.Sprintf("@clawsup-test-%d", os.Getpid())
	_, abstract := counting(t, "unix", name)
	outsider := exec.Command("/bin/sleep", "600")
	// One of the agent's own user: nothing but the box keeps them apart.
	outsider.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: agentID, Gid: agentID}}
	must(t, outsider.Start())
	t.Cleanup(func() { _ = outsider.Process.Kill(); _ = outsider.Wait() })
	before := fingerprint(t, host)

	o := h.options("claw", "attack", "--approval", approval, "--policy", policy, "--receipts", filepath.Dir(log), "--receipts", key, "--receipts", log,
		"--workspace", workspace, "--target", target.Addr().String(), "--target", name, "--target", "192.0.2.1:80", "--target", "[2001:db8::1]:80",
		"--pid", fmt.Sprint(outsider.Process.Pid), "--pid", fmt.Sprint(os.Getpid()))
	o.Workspaces = []Workspace{{"main", workspace}}
	o.SocketDir = filepath.Join(host, "sockets")
	a := h.settle(o)
	must(t, a.Start(h.ctx))
	s := a.await(h.ctx, Stopped, Failed)
	if s.Last != "exited with status 0" {
		t.Errorf("%+v", s)
	}
	attempts := 0
	for _, line := range a.said() {
		if line["attempt"] != nil {
			attempts++
		}
		if line["reached"] != nil {
			t.Errorf("%v: %v", line["attempt"], line["reached"])
		}
	}
	if attempts < 50 {
		text, _ := a.Logs(0)
		t.Errorf("only %d attempts: %s", attempts, text)
	}
	if after := fingerprint(t, host); after != before {
		t.Errorf("canaries before\n%safter\n%s", before, after)
	}
	for name, n := range map[string]*atomic.Int32{"approval.sock": asked, "the host's loopback": connected, "an abstract socket": abstract} {
		if n.Load() > 0 {
			t.Errorf("it got through to %s %d times", name, n.Load())
		}
	}
	if err := outsider.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the process outside: %v", err)
	}
	if left := boxed(t); len(left) > 1 { // the outsider is one
		t.Errorf("left are %v", left)
	}
}
