// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// table is a part of the report as people read it. The first column is names,
// the last is words, those between are numbers.
type table struct {
	title string
	intro []string
	head  []string
	rows  [][]string
}

// tables are all that the report has.
func (r *report) tables() []table {
	var all []table
	for _, race := range r.Races {
		t := table{title: race.Name, head: []string{"", "p50 ms", "p99 ms", "times a spawn", "quartiles", "CPU ms", "kernel threads ms", "what it puts around the command"}}
		t.intro = []string{fmt.Sprintf("%d rounds of %d calls, a rest of %v before each call.", race.Rounds, race.Block, race.Rest)}
		if race.Noisy > 0 {
			t.intro = append(t.intro, fmt.Sprintf("NOISY: %d of these rounds were disturbed; measure again on a quieter machine.", race.Noisy))
		}
		for _, f := range race.Figures {
			t.rows = append(t.rows, []string{f.Name, milliseconds(f.P50), milliseconds(f.P99), short(f.Ratio.Median),
				short(f.Ratio.Low) + " to " + short(f.Ratio.High), milliseconds(f.CPU), milliseconds(f.Kernel), f.Gives})
		}
		all = append(all, t)
	}
	all = append(all, stageTables(r.Stages)...)
	if len(r.Rates) > 0 {
		t := table{title: "throughput of " + command, intro: []string{"Callers that never rest; replacements included."},
			head: []string{"", "callers", "calls a second", "quartiles", "CPU ms a call", "kernel threads ms", ""}}
		for _, f := range r.Rates {
			t.rows = append(t.rows, []string{f.Name, fmt.Sprint(f.Callers), short(f.Rate.Median), short(f.Rate.Low) + " to " + short(f.Rate.High),
				milliseconds(f.CPU), milliseconds(f.Kernel), ""})
		}
		all = append(all, t)
	}
	for _, f := range r.Trials {
		all = append(all, f.table())
	}
	for _, row := range r.Rows {
		if len(all) == 0 || all[len(all)-1].title != row.Name {
			all = append(all, table{title: row.Name, head: []string{"", "", "unit", ""}})
		}
		t := &all[len(all)-1]
		t.rows = append(t.rows, []string{row.Who, short(row.Value), row.Unit, row.Note})
	}
	if len(r.Verdicts) > 0 {
		t := table{title: "promises and aims", head: []string{"", "ratio", "quartiles", "bound", ""}}
		for _, v := range r.Verdicts {
			t.rows = append(t.rows, []string{v.Promise, short(v.Ratio.Median), short(v.Ratio.Low) + " to " + short(v.Ratio.High), short(v.Bound), v.word()})
		}
		all = append(all, t)
	}
	if len(r.Absent) > 0 {
		t := table{title: "left out", head: []string{"", ""}}
		for _, a := range r.Absent {
			name, why, _ := strings.Cut(a, ": ")
			t.rows = append(t.rows, []string{name, why})
		}
		all = append(all, t)
	}
	return all
}

// circumstances is the line above all tables.
func (r *report) circumstances() string {
	line := fmt.Sprintf("%s, Linux %s, %d CPUs, cgroup %s.", r.Time.Format(time.RFC3339), r.Kernel, r.CPUs, r.Cgroup)
	if r.Sync.P50 > 0 {
		line += fmt.Sprintf(" The disk takes %s ms to sync a receipt (p99 %s).", milliseconds(r.Sync.P50), milliseconds(r.Sync.P99))
	}
	return line
}

// print writes the tables for a terminal.
func (r *report) print(w io.Writer) {
	fmt.Fprintln(w, r.circumstances())
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n## %s\n\n", t.title)
		for _, line := range t.intro {
			fmt.Fprintln(w, line)
		}
		lines := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, row := range append([][]string{t.head}, t.rows...) {
			fmt.Fprintln(lines, strings.Join(row, "\t"))
		}
		_ = lines.Flush()
	}
}

// markdown writes them for a document.
func (r *report) markdown(w io.Writer) {
	fmt.Fprintln(w, r.circumstances())
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n### %s\n\n", strings.ToUpper(t.title[:1])+t.title[1:])
		for _, line := range t.intro {
			fmt.Fprintf(w, "%s\n\n", line)
		}
		rule := []string{"---"}
		for range len(t.head) - 2 {
			rule = append(rule, "---:")
		}
		for _, row := range append([][]string{t.head, append(rule, "---")}, t.rows...) {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
		}
	}
}

// tablesEnd is the line of a document before which a run's tables stand, and
// tablesBegin the one after which they do. A document can have several places,
// each for another file that -json wrote.
const tablesEnd = "<!-- end of the tables -->\n"

func tablesBegin(file string) string {
	return fmt.Sprintf("<!-- tables of %s -->\n", filepath.Base(file))
}

// into puts the tables of a run, read from file, in the place of those that a
// document has.
func (r *report) into(document, file string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	begin := []byte(tablesBegin(file))
	before, rest, begins := bytes.Cut(text, begin)
	_, after, ends := bytes.Cut(rest, []byte(tablesEnd))
	if !begins || !ends {
		return fmt.Errorf("%s has no place for tables: it lacks the line %q, or %q after it", document, bytes.TrimSpace(begin), strings.TrimSpace(tablesEnd))
	}
	var out bytes.Buffer
	out.Write(before)
	out.Write(begin)
	out.WriteByte('\n')
	r.markdown(&out)
	out.WriteString("\n" + tablesEnd)
	out.Write(after)
	return os.WriteFile(document, out.Bytes(), 0o644)
}
