// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// childEnv names what the test binary does instead of tests.
const childEnv = "CLAWSUP_API_TEST"

// stranger is a user that is nobody else's.
const stranger = 4242

func TestMain(m *testing.M) {
	if name := os.Getenv(childEnv); name != "" {
		if err := children[name](); err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var children = map[string]func() error{
	// write writes standard input to the connection it was handed, prints what
	// it is answered, and ends when that ends.
	"write": func() error {
		if _, err := io.Copy(os.NewFile(3, "connection"), os.Stdin); err != nil {
			return err
		}
		_, err := io.Copy(os.Stdout, os.NewFile(3, "connection"))
		return err
	},
	// connect connects by itself, and goes on as write.
	"connect": func() error {
		c, err := net.Dial("unix", os.Args[1])
		if err != nil {
			return err
		}
		if _, err := io.Copy(c, os.Stdin); err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, c)
		return err
	},
	// leave connects, writes, and ends without an answer.
	"leave": func() error {
		c, err := net.Dial("unix", os.Args[1])
		if err != nil {
			return err
		}
		_, err = io.Copy(c, os.Stdin)
		return err
	},
	// panic serves a handler that panics.
	"panic": func() error {
		l, err := Listen(os.Args[1], 0o600, -1, -1)
		if err != nil {
			return err
		}
		fmt.Println("ready")
		s := &Server{Methods: map[string]Handler{"panic": func(context.Context, *Request) (any, error) { panic("half done") }}}
		return s.Serve(context.Background(), l)
	},
	// impostor listens as somebody else.
	"impostor": func() error {
		l, err := net.Listen("unix", os.Args[1])
		if err != nil {
			return err
		}
		fmt.Println("ready")
		_, err = l.Accept()
		io.Copy(io.Discard, os.Stdin)
		return err
	},
	// dial connects as a client, and prints the error.
	"dial": func() error {
		_, err := Dial(context.Background(), os.Args[1])
		fmt.Println(CodeOf(err), err)
		return nil
	},
}

// child is the test binary as another program.
func child(t testing.TB, name string, uid int, arg string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"child", arg}
	cmd.Env = append(os.Environ(), childEnv+"="+name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	cmd.Stderr = os.Stderr
	return cmd
}

// ready starts a child and returns when it says that it is.
func ready(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
}

// hand runs a child that writes text to a connection, and gives what it was
// answered until the connection ended.
func hand(t testing.TB, c *net.UnixConn, uid int, text string) string {
	t.Helper()
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := child(t, "write", uid, "")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stdin = strings.NewReader(text)
	return output(t, cmd)
}

// output runs a child to its end.
func output(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	timer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
