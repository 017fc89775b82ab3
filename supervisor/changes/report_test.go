// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/record"
)

// TestLongReport: a record has room for the worst of reports, and says what it
// leaves out.
func TestLongReport(t *testing.T) {
	left := func(n, size int) []commit.Left {
		list := make([]commit.Left, n)
		for i := range list {
			list[i] = commit.Left{Path: raw.String(strings.Repeat("\xff", size)), Kind: changeset.Deleted, Why: "x"}
		}
		return list
	}
	for _, c := range []struct{ conflicts, failed, refused, size, out int }{
		{1, 2, 3, 10, 0},
		{100, 100, 100, 4000, 300 - 16},
		{0, 0, 100_000, 1, -1},
	} {
		r := &commit.Report{Applied: 7, Conflicts: left(c.conflicts, c.size), Failed: left(c.failed, c.size), Refused: left(c.refused, c.size)}
		short, out := shortened(r)
		have := len(short.Conflicts) + len(short.Failed) + len(short.Refused)
		if short.Applied != 7 || have+out != c.conflicts+c.failed+c.refused || c.out >= 0 && out != c.out || have == 0 {
			t.Errorf("%+v: %d are there, %d are not", c, have, out)
		}
		if text, err := json.MarshalIndent(short, "", "  "); err != nil || len(text) > record.Max/2 {
			t.Errorf("%+v: %d bytes, %v", c, len(text), err)
		}
	}
}
