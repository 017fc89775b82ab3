// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/dotenv"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/secrets"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// imported says what became of one line.
type imported struct {
	Key   string   `json:"key"`
	Taken bool     `json:"taken"`
	Why   string   `json:"why,omitempty"`   // not
	Hosts []string `json:"hosts,omitempty"` // of one that was taken
}

func (p *program) secretImport(f *secretFlags, words []string) error {
	in := io.Reader(p.stdin)
	if len(words) == 1 {
		file, err := os.Open(words[0])
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	if err := keepUnseen(); err != nil {
		return err
	}
	text, err := io.ReadAll(io.LimitReader(in, dotenv.MaxText+1))
	if err != nil {
		return err
	}
	defer clear(text)
	lines, err := dotenv.Parse(text)
	if err != nil {
		return fmt.Errorf("nothing was taken: %w", err)
	}
	bound := f.provider != "" || f.hosts != nil
	if !bound && (f.places != nil || f.shape != "") {
		return usagef("--place and --shape are for what --host or --provider binds")
	}
	taken := 0
	var report []imported
	for _, l := range lines {
		one := imported{Key: l.Key}
		s, err := f.forKey(l.Key, bound)
		if err == nil {
			s, err = ask[secrets.Secret](p, api.SecretSet, newSecret(&s, l.Value))
		}
		clear(l.Value)
		switch code := api.CodeOf(err); {
		case code == api.CodeUnavailable || code == api.CodeStopped:
			return err
		case err != nil:
			one.Why = err.Error()
		default:
			one.Taken, one.Hosts = true, s.Hosts
			taken++
		}
		report = append(report, one)
	}
	if f.json {
		err = p.printJSON(orEmpty(report))
	} else {
		err = p.writeImported(report)
	}
	if taken == 0 {
		err = errors.Join(err, errors.New("nothing was taken"))
	} else if !f.json && len(words) == 1 {
		fmt.Fprintf(p.stderr, "clawsup: %s still has the values: remove those that were taken\n", visible.Text(words[0]))
	}
	return err
}

func (p *program) writeImported(report []imported) error {
	t := newTable(p.stdout, "KEY", "TAKEN", "NOTE")
	for i := range report {
		one := &report[i]
		is, note := "no", one.Why
		if one.Taken {
			is, note = "yes", "goes to "+clipped(strings.Join(one.Hosts, ", "))
		}
		t.row(one.Key, is, note)
	}
	return t.flush()
}

// forKey is what a line's secret is bound to: what the flags say, or the provider
// that its key is known by.
func (f *secretFlags) forKey(key string, bound bool) (secrets.Secret, error) {
	g := *f
	if !bound {
		if g.provider = secrets.ProviderOf(key); g.provider == "" {
			return secrets.Secret{}, errors.New("nobody knows where it may go; if it is a secret: --host or --provider")
		}
	}
	return g.metadata(key)
}
