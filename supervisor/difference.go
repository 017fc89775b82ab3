// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/difference"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Difference says how a path of a change set differs: first what is known of it
// (root's own words, each behind '@'), then the difference of the contents, made
// by clawsup-inspect in a box of its own, where before or after is there: nil is
// no regular file. The lines are made visible; package difference says what they
// are. cut: not all is shown.
//
// That the contents could not be compared, by their own fault or clawsup-inspect's,
// is no error but a line. The files are read from their beginning, and left open.
func (s *Supervisor) Difference(ctx context.Context, before, after *os.File, e *changeset.Entry) (lines []string, cut bool, err error) {
	lines = entryLines(e)
	if before == nil && after == nil {
		return lines, false, nil
	}
	var contents [2]difference.Content
	for i, f := range []*os.File{before, after} {
		if f == nil {
			continue
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("it is no regular file")
		}
		if err == nil {
			contents[i], err = difference.ReadContent(f, info.Size())
		}
		if err != nil {
			return nil, false, fmt.Errorf("a content of %s could not be read: %w", visible.Quote(string(e.Path)), err)
		}
	}
	answer, failed, err := s.compare(ctx, contents[0], contents[1])
	switch {
	case err != nil:
		return nil, false, err
	case failed != nil:
		return append(lines, "@the contents can't be shown: "+visible.Line(failed.Error())), true, nil
	}
	return append(lines, answer.Lines...), answer.Cut, nil
}

// compare has clawsup-inspect compare two contents. failed is about them, or
// about what came of it; err about the host.
func (s *Supervisor) compare(ctx context.Context, before, after difference.Content) (a difference.Answer, failed, err error) {
	spec, err := s.inspectSpec()
	if err != nil {
		return a, nil, err
	}
	box, err := s.host.Prepare(ctx, spec)
	if err != nil {
		return a, nil, err
	}
	call := runtime.Call{
		Argv: []string{inspectPath, "diff"}, Dir: "/",
		WallTime: 5 * time.Second, StdoutMax: difference.MaxAnswer, StderrMax: inspectMessage,
	}
	result, out, said, err := question(ctx, box, call, func(w io.Writer) error { return difference.Send(w, before, after) })
	if err := errors.Join(err, box.Close(), ctx.Err()); err != nil {
		return a, nil, fmt.Errorf("clawsup-inspect: %w", err)
	}
	switch {
	case result.Status == runtime.SandboxError:
		return a, nil, fmt.Errorf("clawsup-inspect: %s", result.Message)
	case result.Status == runtime.Exited && result.ExitCode != 0:
		return a, fmt.Errorf("clawsup-inspect ended with status %d%s", result.ExitCode, aside(said)), nil
	case result.Status != runtime.Exited:
		text := fmt.Sprintf("clawsup-inspect ended %s", result.Status)
		if result.Message != "" {
			text += ": " + result.Message
		}
		return a, errors.New(text + aside(said)), nil
	}
	a, failed = difference.DecodeAnswer(out)
	return a, failed, nil
}

// entryLines is what is known of an entry without reading any content.
func entryLines(e *changeset.Entry) []string {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, "@"+visible.Line(fmt.Sprintf(format, args...)))
	}
	add("%s %s", e.Kind, visible.Quote(string(e.Path)))
	if e.From != "" {
		add("it was %s", visible.Quote(string(e.From)))
	}
	if e.Link != "" {
		add("it is another name of %s", visible.Quote(string(e.Link)))
	}
	for _, side := range []struct {
		when string
		*changeset.State
	}{{"before", &e.Before}, {"after", &e.After}} {
		if side.Type != changeset.None {
			add("%s: %s", side.when, stateText(side.State))
		}
	}
	if e.After.Type == changeset.Symlink {
		add("it leads to %s", visible.Quote(string(e.Target)))
	}
	return append(lines, xattrLines(e)...)
}

// stateText is a file's state in words.
func stateText(s *changeset.State) string {
	text := fmt.Sprintf("%s, mode %04o", s.Type, s.Mode)
	if s.Type == changeset.Regular {
		text += fmt.Sprintf(", %d bytes", s.Size)
	}
	return text + ", of " + time.Unix(0, s.Modified).UTC().Format(time.RFC3339)
}

// xattrLines says which extended attributes came, went or changed.
func xattrLines(e *changeset.Entry) []string {
	var lines []string
	find := func(s *changeset.State, name raw.String) *changeset.Xattr {
		for i := range s.Xattrs {
			if s.Xattrs[i].Name == name {
				return &s.Xattrs[i]
			}
		}
		return nil
	}
	for i := range e.After.Xattrs {
		x := &e.After.Xattrs[i]
		switch was := find(&e.Before, x.Name); {
		case was == nil:
			lines = append(lines, "@new attribute "+visible.Quote(string(x.Name)))
		case !bytes.Equal(was.Value, x.Value):
			lines = append(lines, "@other value of attribute "+visible.Quote(string(x.Name)))
		}
	}
	for i := range e.Before.Xattrs {
		if x := &e.Before.Xattrs[i]; e.After.Type != changeset.None && find(&e.After, x.Name) == nil {
			lines = append(lines, "@attribute gone: "+visible.Quote(string(x.Name)))
		}
	}
	return lines
}
