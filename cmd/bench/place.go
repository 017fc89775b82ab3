// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// place is where contestants run: a daemon for those that ask one, another for
// profiles that are never used twice, a configuration without a daemon.
type place struct {
	programs  string // folder with clawsup's own
	alone     string // configuration without a daemon
	site      *site
	strangers *site
	judge     *goJudge
}

// strangerProfiles are enough for twice the rounds of a whole run.
const strangerProfiles = 700

// newPlace starts all of it below dir.
func newPlace(dir, programs string, b *bundle) (p place, err error) {
	p.programs = programs
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.alone, err = b.config(); err != nil {
		return p, err
	}
	if p.site, err = newSite(dir, programs, ""); err != nil {
		return p, err
	}
	if p.strangers, err = newSite(dir, programs, ""); err != nil {
		return p, err
	}
	for name, text := range workProfiles {
		if err = p.site.profile(name, text); err != nil {
			return p, err
		}
	}
	for n := range strangerProfiles {
		// what the root holds differs, and what the limits are
		text := fmt.Sprintf("extends = \"default\"\n[limits]\nmemory = \"%dK\"\ntmp = \"%dK\"\nopen_files = %d\n", 200_000+4*n, 32_000+4*n, 100+n%100)
		if err = p.strangers.profile("stranger"+strconv.Itoa(n), text); err != nil {
			return p, err
		}
	}
	for _, s := range []*site{p.site, p.strangers} {
		if err = s.up(); err != nil {
			return p, err
		}
	}
	p.judge = startJudge(filepath.Join(dir, "go-judge"))
	return p, nil
}

// stranger is call n, in a profile of its own.
func stranger(n int) api.Submit {
	return api.Submit{Args: raw.Of([]string{command}), Profile: "stranger" + strconv.Itoa(n%strangerProfiles), Wait: true}
}

// close ends what runs.
func (p place) close() error {
	var all []error
	for _, s := range []*site{p.site, p.strangers} {
		if s != nil {
			all = append(all, s.down())
		}
	}
	if p.judge != nil {
		all = append(all, p.judge.stop())
	}
	return errors.Join(all...)
}

// calls gives connections over which a call each is asked for.
func (s *site) calls(submit func(n int) api.Submit) func() (asker, error) {
	return func() (asker, error) { return s.caller(submit) }
}
