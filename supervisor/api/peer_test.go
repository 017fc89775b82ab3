// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// whoFrame asks the server's "who".
const whoFrame = `{"jsonrpc":"2.0","id":1,"method":"who"}` + "\n"

// whoServer tells each request's peer, and ends the connection's half after it.
func whoServer(asked chan<- *Request, end bool) *Server {
	return &Server{Methods: map[string]Handler{"who": func(_ context.Context, r *Request) (any, error) {
		asked <- r
		if end {
			r.conn.socket.CloseRead() // so that who was handed the connection comes to its end
		}
		return nil, nil
	}}}
}

// own makes a cgroup for one test, and gives its directory and path.
func own(t *testing.T) (dir, path string) {
	t.Helper()
	for _, hierarchy := range []string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup"} {
		dir = filepath.Join(hierarchy, fmt.Sprintf("clawsup-api-test-%d", os.Getpid()))
		if _, err := os.Stat(filepath.Join(hierarchy, "cgroup.procs")); err != nil {
			continue
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		return dir, "/" + filepath.Base(dir)
	}
	t.Fatal("no cgroup hierarchy is mounted")
	return "", ""
}

// TestPeerOfAStranger: who connects is who it is, and in which cgroup it is.
func TestPeerOfAStranger(t *testing.T) {
	asked := make(chan *Request, 1)
	v := serve(t, whoServer(asked, true))
	dir, path := own(t)
	cmd := child(t, "connect", stranger, v.path)
	in, out := pipes(t, cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(fmt.Sprint(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(in, whoFrame)
	in.Close()
	r := await(t, asked, "request")
	text, err := io.ReadAll(out)
	if err := errors.Join(err, cmd.Wait()); err != nil || string(text) != `{"jsonrpc":"2.0","id":1,"result":{}}`+"\n" {
		t.Errorf("%q, %v", text, err)
	}
	if r.Peer.UID != stranger || r.Peer.GID != stranger || int(r.Peer.PID) != cmd.Process.Pid || !strings.Contains(r.Peer.Cgroup, path+"\n") {
		t.Errorf("peer %+v, not in %s", r.Peer, path)
	}
	if r.Opener.UID != stranger || r.Opener.PID != r.Peer.PID {
		t.Errorf("opener %+v", r.Opener)
	}
}

func pipes(t *testing.T, cmd *exec.Cmd) (io.WriteCloser, io.Reader) {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	return in, out
}

// TestPassedConnection: frames are whose they are, whoever connected. Another
// user's are refused: as root here opens a connection and a stranger writes,
// so a stranger could open one and have root write.
func TestPassedConnection(t *testing.T) {
	asked := make(chan *Request, 1)
	admitted := make(chan Peer, 9)
	s := whoServer(asked, true)
	s.Admit = func(p Peer) error { admitted <- p; return nil }
	v := serve(t, s)
	c := v.bare(t)
	if got := hand(t, c, 0, whoFrame); got != `{"jsonrpc":"2.0","id":1,"result":{}}`+"\n" {
		t.Errorf("answer %q", got)
	}
	r := await(t, asked, "request")
	if r.Opener.PID != int32(os.Getpid()) || r.Peer.PID == r.Opener.PID || r.Peer.PID == 0 || r.Peer.UID != 0 || r.Peer.Cgroup == "" {
		t.Errorf("peer %+v, opener %+v", r.Peer, r.Opener)
	}
	if first, then := await(t, admitted, "admission"), await(t, admitted, "admission"); first != r.Opener || then != r.Peer {
		t.Errorf("admitted %+v and %+v", first, then)
	}

	c = v.bare(t)
	// each bad frame is one of many that are allowed; then the end
	got := hand(t, c, stranger, strings.Repeat(whoFrame, 2)+strings.Repeat("\n", MaxFaults+1))
	if !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"the frame is of another user`) {
		t.Errorf("answer %q", got)
	}
	for range 2 {
		if r := await(t, v.refused, "refusal"); r.peer.UID != stranger || r.method != "who" || CodeOf(r.err) != CodeDenied {
			t.Errorf("refused %+v", r)
		}
	}
	if len(asked) != 0 {
		t.Error("a stranger's frame was a request")
	}
}

// TestTwoSenders: nobody finishes another's frame.
func TestTwoSenders(t *testing.T) {
	asked := make(chan *Request, 1)
	v := serve(t, whoServer(asked, true))
	c := v.bare(t)
	if _, err := c.Write([]byte(`{"jsonrpc":"2.0","id":1,"params":{"as`)); err != nil {
		t.Fatal(err)
	}
	if got := hand(t, c, 0, `k":1},"method":"who"}`+"\n"); !strings.Contains(got, `"id":null,"error":{"code":-32600,"message":"a frame came from two senders"`) {
		t.Errorf("answer %q", got)
	}
	if len(asked) != 0 {
		t.Error("it was a request")
	}
}

// TestGone: of a process that has ended the user is known, and no cgroup.
func TestGone(t *testing.T) {
	dir := t.TempDir()
	l, err := Listen(filepath.Join(dir, "s"), 0o600, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := child(t, "leave", 0, filepath.Join(dir, "s"))
	cmd.Stdin = strings.NewReader(whoFrame)
	output(t, cmd)
	asked := make(chan *Request, 1)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- whoServer(asked, false).Serve(ctx, l) }()
	r := await(t, asked, "request")
	want := Peer{PID: int32(cmd.Process.Pid)}
	if r.Peer != want || r.Opener != want {
		t.Errorf("peer %+v, opener %+v, want %+v", r.Peer, r.Opener, want)
	}
	stop()
	if err := await(t, served, "end"); err != nil {
		t.Error(err)
	}
}

// TestNobody: what came before the kernel was asked who sends is nobody's. It
// is so with a socket unit without PassCredentials=.
func TestNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// accepted already, or the kernels before 6.16 would say it
	early, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, whoFrame); err != nil {
		t.Fatal(err)
	}
	asked := make(chan *Request, 1)
	s := whoServer(asked, false)
	v := &service{Server: s, ctx: t.Context(), users: make(map[uint32]*share), connections: 1, userConnections: 1,
		userBytes: MaxUserBytes, queue: MaxQueue, writeTime: WriteTime}
	v.take(early)
	if got := rest(t, c); !strings.Contains(got, `"id":null,"error":{"code":8,"message":"the kernel does not say who sent this"`) {
		t.Errorf("answer %q", got)
	}
	v.all.Wait()
	if len(asked) != 0 {
		t.Error("it was a request")
	}
}

// TestSenderByNumber is how it is before Linux 6.5.
func TestSenderByNumber(t *testing.T) {
	mine, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(self)
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(gone)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		conn  *conn
		pid   int
		pidfd int
		want  string
	}{
		{"the opener", &conn{opener: Peer{PID: int32(os.Getpid())}, pidfd: self}, os.Getpid(), -1, string(mine)},
		{"the opener's number, which is another's now", &conn{opener: Peer{PID: int32(os.Getpid())}, pidfd: gone}, os.Getpid(), -1, ""},
		{"the opener, who could not be had", &conn{opener: Peer{PID: int32(os.Getpid())}, pidfd: -1}, os.Getpid(), -1, ""},
		{"another", &conn{opener: Peer{PID: 1}, pidfd: gone}, os.Getpid(), -1, string(mine)},
		{"another, gone", &conn{opener: Peer{PID: 1}, pidfd: self}, cmd.Process.Pid, -1, ""},
		{"the kernel's word", &conn{pidfd: -1}, os.Getpid(), self, string(mine)},
		{"the kernel's word, gone", &conn{pidfd: -1}, os.Getpid(), gone, ""},
		{"nobody", &conn{pidfd: -1}, 0, self, ""},
	} {
		p := test.conn.sender(sender{Pid: int32(test.pid), Uid: 7, Gid: 8}, test.pidfd)
		if p.Cgroup != test.want || p.UID != 7 || p.GID != 8 || int(p.PID) != test.pid {
			t.Errorf("%s: %+v", test.name, p)
		}
	}
}

func TestAdmit(t *testing.T) {
	v := serve(t, &Server{
		Methods: map[string]Handler{"echo": echo},
		Admit: func(p Peer) error {
			if p.UID == stranger {
				return errors.New("user 4242 has no role")
			}
			return nil
		},
	})
	if err := v.dial(t).Call(t.Context(), "echo", word{"x"}, nil); err != nil {
		t.Error(err)
	}
	cmd := child(t, "connect", stranger, v.path)
	cmd.Stdin = strings.NewReader("")
	if got := output(t, cmd); got != `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"user 4242 has no role"}}`+"\n" {
		t.Errorf("answer %q", got)
	}
	if r := await(t, v.refused, "refusal"); r.peer.UID != stranger || r.method != "" || CodeOf(r.err) != CodeDenied {
		t.Errorf("refused %+v", r)
	}
}
