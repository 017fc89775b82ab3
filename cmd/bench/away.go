// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// away is a peer at the other end of two pipes, in a box or not. One errand is
// done at a time.
type away struct {
	name  string
	in    *os.File
	out   *os.File
	lines *bufio.Reader
	end   func() error // waits for its end, its stdin being closed
}

// ask has it do an errand.
func (a *away) ask(e errand) (result, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return result{}, err
	}
	if _, err := a.in.Write(append(text, '\n')); err != nil {
		return result{}, fmt.Errorf("%s: %w", a.name, err)
	}
	if err := a.out.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return result{}, err
	}
	line, err := a.lines.ReadBytes('\n')
	if err != nil {
		return result{}, fmt.Errorf("%s: %w", a.name, err)
	}
	var r result
	if err := json.Unmarshal(line, &r); err != nil {
		return result{}, fmt.Errorf("%s: %w", a.name, err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("%s: %s %s: %s", a.name, e.Do, e.URL, r.Error)
	}
	return r, nil
}

// close ends it.
func (a *away) close() error {
	if a == nil {
		return nil
	}
	return errors.Join(a.in.Close(), a.end(), a.out.Close())
}

// newAway starts a peer by what it is given: its ends of the pipes.
func newAway(name string, start func(in, out *os.File) (end func() error, err error)) (*away, error) {
	theirs, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	out, result, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer result.Close()
	end, err := start(theirs, result)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), in.Close(), out.Close())
	}
	return &away{name, in, out, bufio.NewReader(out), end}, nil
}

// outside starts a peer on the host. It is a server if it has a certificate.
func outside(name, log, roots string, args ...string) (*away, error) {
	return newAway(name, func(in, out *os.File) (func() error, error) {
		said, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		defer said.Close()
		c := exec.Command("/proc/self/exe", append([]string{peerName}, args...)...)
		c.Stdin, c.Stdout, c.Stderr = in, out, said
		c.Env = append(os.Environ(), "SSL_CERT_FILE="+roots)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			return nil, err
		}
		servers.Store(c.Process.Pid, &server{})
		return func() error {
			defer servers.Delete(c.Process.Pid)
			return c.Wait()
		}, nil
	})
}

// boxed starts a peer as a call of a site's; program is where boxes see this one.
func (s *site) boxed(profile, program string) (*away, error) {
	client, err := s.dial("call")
	if err != nil {
		return nil, err
	}
	a, err := newAway("the box", func(in, out *os.File) (func() error, error) {
		said, err := os.OpenFile(filepath.Join(s.dir, "boxed"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return nil, err
		}
		defer said.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var v api.Call
		submit := api.Submit{Args: raw.Of([]string{program, peerName}), Profile: profile}
		if err := client.Call(ctx, api.CallSubmit, submit, &v, in, out, said); err != nil {
			return nil, err
		}
		return func() error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err := client.Call(ctx, api.CallWait, api.CallRef{Call: v.ID}, &v)
			if err == nil {
				err = wentWell(&v)
			}
			if err != nil {
				text, _ := os.ReadFile(said.Name())
				err = fmt.Errorf("%w: %s", err, text)
			}
			return errors.Join(err, client.Close())
		}, nil
	})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return a, nil
}

// copyProgram copies this program to where boxes see it.
func copyProgram(to string) (err error) {
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}
