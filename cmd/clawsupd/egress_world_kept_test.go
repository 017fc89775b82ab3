// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
	"github.com/clawsup/clawsup/supervisor/api"
)

// store keeps descriptors as systemd does for a service (sd_pid_notify_with_fds(3)).
// That systemd itself does so is TestService's.
type store struct {
	socket *net.UnixConn
	ended  chan struct{}

	mu   sync.Mutex
	kept map[string][]*os.File // mu; by name
	err  error                 // mu
}

func newStore(t *testing.T, file string) *store {
	t.Helper()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: file})
	if err != nil {
		t.Fatal(err)
	}
	s := &store{socket: socket, ended: make(chan struct{}), kept: map[string][]*os.File{}}
	go s.read()
	t.Cleanup(func() {
		_ = socket.Close()
		<-s.ended
		for name := range s.kept {
			s.remove(name)
		}
		if s.err != nil {
			t.Error(s.err)
		}
	})
	return s
}

func (s *store) read() {
	defer close(s.ended)
	message, rights := make([]byte, 4<<10), make([]byte, unix.CmsgSpace(4*253))
	for {
		n, m, _, _, err := s.socket.ReadMsgUnix(message, rights)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.mu.Lock()
		s.err = errors.Join(s.err, err, s.take(string(message[:n]), rights[:m]))
		s.mu.Unlock()
	}
}

// take does what a notification says. s.mu is held.
func (s *store) take(text string, rights []byte) error {
	said := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		said[name] = value
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), said["FDNAME"]))
		}
	}
	switch {
	case said["FDSTORE"] == "1":
		s.kept[said["FDNAME"]] = append(s.kept[said["FDNAME"]], files...)
		return nil
	case said["FDSTOREREMOVE"] == "1":
		s.remove(said["FDNAME"])
	}
	for _, f := range files { // of a barrier
		_ = f.Close()
	}
	return nil
}

func (s *store) remove(name string) {
	for _, f := range s.kept[name] {
		_ = f.Close()
	}
	delete(s.kept, name)
}

// beginKept starts the daemon in the world as systemd would: with what is kept.
func (o *outside) beginKept(s *store) {
	o.t.Helper()
	// The shell has the daemon's number.
	c := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" --config "$1"`, programs+"/clawsupd", o.dir+"/clawsup.toml")
	s.mu.Lock()
	var names []string
	for name, files := range s.kept {
		for _, f := range files {
			c.ExtraFiles, names = append(c.ExtraFiles, f), append(names, name)
		}
	}
	c.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.socket.LocalAddr().String(),
		fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	leave := o.enter()
	o.daemon = o.follow(c)
	s.mu.Unlock()
	o.daemon.await("ready: ")
	leave()
	o.caller, o.people = o.connect("call"), o.connect("approval")
}

// TestAgentKept: an agent that outlives the daemon has its way out from the next
// one, with the same placeholders, those of tokens too, under the same authority.
func TestAgentKept(t *testing.T) {
	o := newHouse(t, func(o *outside) string { return o.clawConfig("claw", clawID, "") })
	if err := o.daemon.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	o.writeGateway(gatewayRules + "CLIENT = \"client\"\n" + rule("other.test", "allow"))
	s := newStore(t, filepath.Join(o.dir, "notify"))
	o.beginKept(s)
	c := o.bring(t, "claw", clawID)
	const secrets = `echo "$RUN $API_KEY $BOT_TOKEN $CLIENT"; sha256sum /etc/ssl/certs/clawsup-egress.pem`
	before := c.do(t, secrets)
	c.reaches(t, "/echo/0")
	token := c.do(t, `curl -sS --fail https://other.test/token -d grant_type=x -d "client_secret=$CLIENT" >token`)
	if token.status != 0 || len(o.world.Issued()) != 1 {
		t.Fatalf("%+v", token)
	}
	useToken := func(path string) {
		t.Helper()
		d := c.do(t, `curl -sS -i -H "Authorization: Bearer $(grep -o 'clawsup-secret[^"]*' token)" https://other.test`+path)
		if seen := o.came(world.Other, path); d.status != 0 || len(seen) != 1 || seen[0].Header.Get("Authorization") != "Bearer "+o.world.Issued()[0] {
			t.Errorf("the token: %+v, the server saw %v", d, seen)
		}
	}
	useToken("/echo/token")

	for i, sig := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		held := c.tell(t, "curl -sS -i https://git.test/held")
		k := o.ticket(t, "agent claw")
		_ = o.daemon.end(sig)
		mark := o.world.Sink.Mark(t)
		if d := c.get(t, held); d.status == 0 {
			t.Errorf("what was held said %+v", d)
		}
		if d := c.do(t, withKey+"-m 0.5 https://api.test/echo/nobody"); d.status == 0 {
			t.Errorf("while there is no daemon: %+v", d)
		}
		o.world.Sink.Silent(t, mark, at(world.API, world.Other, world.Git)) // the ends of connections
		o.beginKept(s)
		if now := c.do(t, secrets); now != before {
			t.Errorf("%v: before %+v, now %+v", sig, before, now)
		}
		c.reaches(t, fmt.Sprint("/echo/after/", i))
		useToken(fmt.Sprint("/echo/token/", i))
		if d := c.do(t, "getent hosts packages.test"); d.status == 0 {
			t.Errorf("%v: %+v", sig, d)
		}
		if k = o.gone(t, k.ID); k.State == "allowed" {
			t.Errorf("the ticket is %s", k.State)
		}
		held = c.tell(t, "curl -sS -i https://git.test/asked")
		o.approve(t, o.ticket(t, "agent claw"))
		if d := c.get(t, held); d.status != 0 || len(o.came(world.Git, "/asked")) != i+1 {
			t.Errorf("%v: %+v", sig, d)
		}
		if seen := o.came(world.Git, "/held"); len(seen) > 0 {
			t.Errorf("%v: the server saw %v", sig, seen)
		}
	}
	c.act(t, api.AgentStop)
	if left := c.outfit(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := o.daemon.end(unix.SIGTERM); err != nil {
		t.Error(err)
	}
	if s.mu.Lock(); s.kept["agent-claw"] != nil {
		t.Errorf("kept: %v", s.kept)
	}
	s.mu.Unlock()
}
