// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/stdio"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// line prints a line in which everything is visible.
func (p *program) line(format string, args ...any) error {
	_, err := fmt.Fprintln(p.stdout, visible.Line(fmt.Sprintf(format, args...)))
	return err
}

// output is standard output for what a tool or an agent wrote: on a terminal
// made visible, unless raw is asked for.
func (p *program) output(raw bool) io.WriteCloser { return toolOutput(p.stdout, raw) }

func toolOutput(f *os.File, raw bool) io.WriteCloser {
	if stdio.IsTerminal(f) && !raw {
		return visible.NewWriter(f)
	}
	return asIs{f}
}

// asIs passes everything on and leaves the file open.
type asIs struct{ io.Writer }

func (asIs) Close() error { return nil }

// sizeOf reads a size as profiles have them: 64K, 1M.
func sizeOf(text string) (int64, error) {
	n, err := profiles.ParseBytes(text)
	return int64(n), err
}
