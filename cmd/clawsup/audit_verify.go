// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// verified is what verify found, and what it stood on.
type verified struct {
	*audit.Report
	anchor *audit.Anchor // nil: the end is not vouched for
}

// verifications is how often a log is looked at that ends in half a line: one
// that is being written shows that, and the next look rarely does.
const verifications = 5

// verify checks a log. The anchor is read first: one read later could be ahead
// of what was seen.
func verify(places auditPlaces, public ed25519.PublicKey) (*verified, error) {
	for n := 1; ; n++ {
		var anchor *audit.Anchor
		if places.anchor != "" {
			var err error
			if anchor, err = audit.ReadAnchor(places.anchor); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("the anchor: %w", err)
			}
		}
		report, err := audit.Verify(places.dir, public, anchor)
		if err != nil {
			return nil, err
		}
		if n < verifications && len(report.Problems) == 1 && report.Problems[0].Fault == audit.Torn {
			continue
		}
		return &verified{report, anchor}, nil
	}
}

// write is for people.
func (v *verified) write(w io.Writer) error {
	say := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	switch {
	case v.Intact() && v.Entries == 0:
		say("intact: there is no receipt yet")
	case v.Intact():
		say("intact: %d receipts, %d to %d, the last of %s", v.Entries, v.First, v.Last, v.Latest.Format(time.RFC3339))
	default:
		say("NOT INTACT: %d good receipts, %d to %d", v.Entries, v.First, v.Last)
	}
	for _, p := range v.Problems {
		say("  %s", visible.Line(p.Error()))
	}
	if v.More > 0 {
		say("  and %d problems more", v.More)
	}
	switch {
	case v.Anchored > 0:
		say("the anchor vouches for everything up to receipt %d", v.Anchored)
	case v.anchor == nil:
		say("without an anchor: a log whose end was cut off looks the same")
	}
	if v.First > 1 {
		say("receipts before %d are not here; without them the chain begins in the middle", v.First)
	}
	if v.Repairs > 0 {
		say("%d times a crash left half a line, which was cut off and said", v.Repairs)
	}
	if v.Set > 0 {
		say("the clock was behind in %d receipts, by %v at most", v.Set, v.Behind)
	}
	if v.Entries > 0 && v.Intact() {
		_, err := fmt.Fprintln(w, "every signature is good, and every receipt knows the one before it")
		return err
	}
	return nil
}

// verifiedObject is what --json prints.
type verifiedObject struct {
	Intact   bool            `json:"intact"`
	Entries  uint64          `json:"entries"`
	First    uint64          `json:"first"`
	Last     uint64          `json:"last"`
	Latest   time.Time       `json:"latest,omitzero"`
	Anchored uint64          `json:"anchored"`
	Repairs  int             `json:"repairs"`
	Behind   int             `json:"clock_behind"`
	Problems []problemObject `json:"problems"`
	More     int             `json:"more_problems"`
}

type problemObject struct {
	Fault  string `json:"fault"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	From   uint64 `json:"from,omitempty"`
	To     uint64 `json:"to,omitempty"`
	Detail string `json:"detail"`
}

func (v *verified) object() verifiedObject {
	o := verifiedObject{Intact: v.Intact(), Entries: v.Entries, First: v.First, Last: v.Last, Latest: v.Latest,
		Anchored: v.Anchored, Repairs: v.Repairs, Behind: v.Set, Problems: []problemObject{}, More: v.More}
	for _, p := range v.Problems {
		o.Problems = append(o.Problems, problemObject{p.Fault.String(), p.File, p.Line, p.From, p.To, p.Detail})
	}
	return o
}
