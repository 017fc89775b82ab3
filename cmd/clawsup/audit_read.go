// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// receiptFilter says which receipts are wanted. What is empty wants all.
type receiptFilter struct {
	text, call   string
	kind         audit.Kind
	since, until time.Time
}

// receiptKinds are all there are, in the order of the log.
var receiptKinds = []audit.Kind{audit.Decision, audit.Outcome, audit.Administration, audit.Agent, audit.Generation, audit.Network}

func (f *receiptFilter) setKind(name string) error {
	names := make([]string, len(receiptKinds))
	for i, k := range receiptKinds {
		if names[i] = k.String(); names[i] == name {
			f.kind = k
			return nil
		}
	}
	return usagef("there is no kind %s; the kinds are %s", visible.Text(name), strings.Join(names, ", "))
}

// moment reads a date, a time, or an age before now.
func moment(text string, now time.Time) (time.Time, error) {
	if d, err := profiles.ParseDuration(text); err == nil {
		return now.Add(-time.Duration(d)), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%s is no time: write 2026-05-31, 2026-05-31T17:00:00Z, or an age as 90m", visible.Text(text))
}

func (f *receiptFilter) wants(r *audit.Receipt) bool {
	switch {
	case f.call != "" && !strings.HasPrefix(r.Call, f.call),
		f.kind != 0 && r.Kind != f.kind,
		!f.since.IsZero() && r.Time.Before(f.since),
		!f.until.IsZero() && !r.Time.Before(f.until):
		return false
	case f.text == "":
		return true
	}
	for _, part := range receiptParts(r) {
		if strings.Contains(part, f.text) {
			return true
		}
	}
	return false
}

// receiptParts are all texts of a receipt.
func receiptParts(r *audit.Receipt) []string {
	parts := []string{r.Kind.String(), r.Call, r.Plan, r.Profile, r.Skill, r.Requester, r.Effect, r.Decision, r.Rule, r.Status}
	for _, f := range r.Facts {
		parts = append(parts, f.Name, f.Value)
	}
	return parts
}

// printer writes receipts, for people or as JSON lines.
type printer struct {
	out  *bufio.Writer
	json bool
}

func (p *printer) print(r *audit.Receipt) error {
	if p.json {
		return json.NewEncoder(p.out).Encode(receiptOf(r))
	}
	fmt.Fprintf(p.out, "%6d  %s  %s", r.Seq, r.Time.Local().Format(time.DateTime), r.Kind)
	for _, word := range []string{r.Effect, r.Decision, r.Status} {
		if word != "" {
			fmt.Fprintf(p.out, " %s", visible.Line(word))
		}
	}
	if r.Exit != nil {
		fmt.Fprintf(p.out, " with status %d", *r.Exit)
	}
	fmt.Fprintln(p.out)
	if r.Behind > 0 {
		p.line("clock", fmt.Sprintf("behind by %v", r.Behind))
	}
	for _, s := range []struct{ name, value string }{
		{"call", r.Call}, {"asked by", r.Requester}, {"rule", r.Rule},
		{"skill", r.Skill}, {"profile", r.Profile}, {"plan", r.Plan},
	} {
		p.line(s.name, s.value)
	}
	if u := r.Usage; u != nil {
		p.line("used", fmt.Sprintf("%v, processor %v, memory %s, %d processes, disk %s, output %s",
			u.Wall.Round(time.Millisecond), (u.User+u.System).Round(time.Millisecond), bytesText(u.Memory), u.Pids, bytesText(u.Written), bytesText(u.Output)))
	}
	for _, f := range r.Facts {
		p.line(visible.Line(f.Name), f.Value)
	}
	_, err := fmt.Fprintln(p.out)
	return err
}

func (p *printer) line(name, value string) {
	if value != "" {
		fmt.Fprintf(p.out, "        %-12s %s\n", name, visible.Line(value))
	}
}

// receiptObject is a receipt in JSON, under the names that the log has.
type receiptObject struct {
	Seq       uint64        `json:"seq"`
	Time      time.Time     `json:"time"`
	Behind    time.Duration `json:"behind_ns,omitempty"`
	Kind      string        `json:"kind"`
	Call      string        `json:"call,omitempty"`
	Plan      string        `json:"plan,omitempty"`
	Profile   string        `json:"profile,omitempty"`
	Skill     string        `json:"skill,omitempty"`
	Requester string        `json:"requester,omitempty"`
	Effect    string        `json:"effect,omitempty"`
	Decision  string        `json:"decision,omitempty"`
	Rule      string        `json:"rule,omitempty"`
	Status    string        `json:"status,omitempty"`
	Exit      *int          `json:"exit,omitempty"`
	Usage     *audit.Usage  `json:"usage,omitempty"`
	Facts     []factObject  `json:"facts,omitempty"`
}

type factObject struct {
	Name  string     `json:"name"`
	Value raw.String `json:"value"`
}

func receiptOf(r *audit.Receipt) receiptObject {
	o := receiptObject{Seq: r.Seq, Time: r.Time, Behind: r.Behind, Kind: r.Kind.String(), Call: r.Call, Plan: r.Plan,
		Profile: r.Profile, Skill: r.Skill, Requester: r.Requester, Effect: r.Effect, Decision: r.Decision,
		Rule: r.Rule, Status: r.Status, Exit: r.Exit, Usage: r.Usage}
	for _, f := range r.Facts {
		o.Facts = append(o.Facts, factObject{f.Name, raw.String(f.Value)})
	}
	return o
}

func (p *program) auditShow(f *auditFlags, _ []string) error {
	if f.last < 1 {
		return usagef("--last: it is a number from 1 on")
	}
	places, err := p.auditPlaces(f)
	if err != nil {
		return err
	}
	if f.filter.call != "" {
		return p.printReceipts(places.dir, 1, f)
	}
	// The anchor says where the end is about, so that not all is read.
	from := uint64(1)
	if a, err := audit.ReadAnchor(places.anchor); err == nil && a.Seq > uint64(f.last) {
		from = a.Seq - uint64(f.last) + 1
	}
	var last []audit.Receipt
	for r, err := range audit.Read(places.dir, from) {
		if err != nil {
			return logFault(err, places.dir)
		}
		if last = append(last, r); len(last) > f.last {
			last = last[1:]
		}
	}
	out := &printer{bufio.NewWriter(p.stdout), f.json}
	for i := range last {
		if err := out.print(&last[i]); err != nil {
			return err
		}
	}
	return out.out.Flush()
}

func (p *program) auditSearch(f *auditFlags, words []string) error {
	if len(words) > 0 {
		f.filter.text = words[0]
	}
	places, err := p.auditPlaces(f)
	if err != nil {
		return err
	}
	return p.printReceipts(places.dir, 1, f)
}

func (p *program) auditExport(f *auditFlags, _ []string) error {
	f.json = true
	return p.auditSearch(f, nil)
}

// printReceipts prints what the filter wants.
func (p *program) printReceipts(dir string, from uint64, f *auditFlags) error {
	out := &printer{bufio.NewWriter(p.stdout), f.json}
	_, err := out.printFrom(dir, from, &f.filter)
	return errors.Join(err, out.out.Flush())
}

// printFrom prints what the filter wants of a log from a number on, and gives
// the number of the next receipt.
func (p *printer) printFrom(dir string, from uint64, filter *receiptFilter) (uint64, error) {
	for r, err := range audit.Read(dir, from) {
		if err != nil {
			return from, logFault(err, dir)
		}
		from = r.Seq + 1
		if filter.wants(&r) {
			if err := p.print(&r); err != nil {
				return from, err
			}
		}
	}
	return from, nil
}

// auditFollow prints what is written from now on. The kernel tells when the
// log grows (inotify(7)).
func (p *program) auditFollow(f *auditFlags, _ []string) error {
	places, err := p.auditPlaces(f)
	if err != nil {
		return err
	}
	grown, err := watchFolder(places.dir)
	if err != nil {
		return logFault(err, places.dir)
	}
	defer grown.Close()
	from := uint64(1)
	if a, err := audit.ReadAnchor(places.anchor); err == nil {
		from = a.Seq
	}
	// What is there already is passed over.
	if from, err = (&printer{bufio.NewWriter(io.Discard), true}).printFrom(places.dir, from, &f.filter); err != nil {
		return err
	}
	out := &printer{bufio.NewWriter(p.stdout), f.json}
	events := make([]byte, 4096)
	for {
		if from, err = out.printFrom(places.dir, from, &f.filter); err != nil {
			return err
		}
		if err := out.out.Flush(); err != nil {
			return err
		}
		if _, err := grown.Read(events); err != nil {
			return fmt.Errorf("waiting for the log to grow: %w", err)
		}
	}
}

// watchFolder gives what can be read whenever a file in dir was written or made.
func watchFolder(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "watch", Path: dir, Err: err}
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}
