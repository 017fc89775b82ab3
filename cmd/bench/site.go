// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// siteIDs is the first uid of the first site's boxes: well apart from those of
// a clawsup that is installed. Each site has a range of its own.
const (
	siteIDs   = 0x78000000
	siteSlots = 2048
)

// site is a place for a clawsupd of the benchmark's own: all layers, receipts
// on, and no bound that a measurement would run into.
type site struct {
	dir      string // state, run, profiles, configuration
	programs string // folder of clawsupd
	slice    string // parent of the boxes' control groups
	daemon   *server
	start    time.Duration // from the spawn to the first answer
}

var sites int

// newSite writes the configuration of a site below dir; more is added to it.
func newSite(dir, programs, more string) (*site, error) {
	sites++
	s := &site{dir: filepath.Join(dir, fmt.Sprintf("site%d", sites)), programs: programs, slice: fmt.Sprintf("/clawsupbench%dn%d.slice", os.Getpid(), sites)}
	text := fmt.Sprintf(`state_dir = %q
run_dir = %q
cgroup_parent = %q
uid_base = %d
slots = %d
profile_paths = [%q]
daemon = true
%s
[calls]
concurrency = 1024
queue = 4096
per_session = 1024
per_skill = 1024
rate = 1000000
skill_rate = 1000000
[approvals]
burst = 1000000
pending = 1000
pending_per_session = 1000
[audit]
key = %q
`, s.state(), filepath.Join(s.dir, "run"), s.slice, siteIDs+sites%16*siteSlots*runtime.SlotIDs, siteSlots, s.profiles(), more, filepath.Join(s.dir, "audit.key"))
	for _, d := range []string{s.profiles(), s.state()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	return s, os.WriteFile(s.config(), []byte(text), 0o644)
}

func (s *site) config() string   { return filepath.Join(s.dir, "clawsup.toml") }
func (s *site) state() string    { return filepath.Join(s.dir, "state") }
func (s *site) profiles() string { return filepath.Join(s.dir, "profiles") }

// profile writes one of the site's profiles.
func (s *site) profile(name, text string) error {
	return os.WriteFile(filepath.Join(s.profiles(), name+".toml"), []byte(text), 0o644)
}

// up starts the daemon, and returns when it has answered.
func (s *site) up() error {
	began := time.Now()
	daemon, err := serve(filepath.Join(s.dir, "log"), s.group(), filepath.Join(s.programs, "clawsupd"), "--config", s.config())
	if err != nil {
		return fmt.Errorf("clawsupd: %w", err)
	}
	s.daemon = daemon
	err = daemon.ready(func() error {
		c, err := s.dial("admin")
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Call(context.Background(), api.Status, api.Nothing{}, nil)
	})
	s.start = time.Since(began)
	if err != nil {
		return errors.Join(fmt.Errorf("clawsupd: %w", err), s.down())
	}
	return nil
}

// down ends the daemon.
func (s *site) down() error {
	if s.daemon == nil {
		return nil
	}
	err := s.daemon.stop()
	s.daemon = nil
	removeGroup(s.slice)
	return err
}

// meter is of the daemon and all that it starts.
func (s *site) meter() meter { return meter{s.group(), s.slice} }

// group is the daemon's own control group.
func (s *site) group() string { return strings.TrimSuffix(s.slice, ".slice") }

func (s *site) dial(socket string) (*api.Client, error) {
	return api.Dial(context.Background(), filepath.Join(s.dir, "run", socket+".sock"))
}

// asker has a connection of its own, over which it asks for one call after the
// other.
type asker interface {
	call(n int) error
	Close() error
}

// caller asks a clawsupd for calls over call.sock. Three descriptors go with
// each, and the answer is waited for.
type caller struct {
	client  *api.Client
	files   []*os.File // stdin, stdout, stderr
	submit  func(n int) api.Submit
	outcome func(*api.Call) error
}

// caller connects.
func (s *site) caller(submit func(n int) api.Submit) (asker, error) {
	client, err := s.dial("call")
	if err != nil {
		return nil, err
	}
	c := &caller{client: client, submit: submit, outcome: wentWell}
	for _, mode := range []int{os.O_RDONLY | os.O_CREATE, os.O_WRONLY | os.O_CREATE | os.O_APPEND, os.O_WRONLY | os.O_CREATE | os.O_APPEND} {
		f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("stream%d", len(c.files))), mode, 0o600)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.files = append(c.files, f)
	}
	return c, nil
}

func (c *caller) call(n int) error {
	var v api.Call
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.client.Call(ctx, api.CallSubmit, c.submit(n), &v, c.files...); err != nil {
		return err
	}
	return c.outcome(&v)
}

func (c *caller) Close() error {
	for _, f := range c.files {
		_ = f.Close()
	}
	return c.client.Close()
}

// wentWell is an error unless the call has ended with status 0.
func wentWell(v *api.Call) error {
	if v.Result == nil || v.Result.Status != runtime.Exited || v.Result.ExitCode != 0 {
		return fmt.Errorf("call %s of %s: %+v %s", v.ID, v.Command, v.Result, v.Reason)
	}
	return nil
}

// plain asks for a command in a profile.
func plain(profile string, argv ...string) func(int) api.Submit {
	return func(int) api.Submit { return api.Submit{Args: raw.Of(argv), Profile: profile, Wait: true} }
}
