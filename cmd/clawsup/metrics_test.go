// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/api"
)

// TestMetricsText: each metric has its help and kind once, right before its
// values, as the text format wants it, and no name comes twice.
func TestMetricsText(t *testing.T) {
	d := api.Daemon{Started: time.Unix(1_700_000_000, 0), Locked: "why", Receipts: 1 << 40, Pool: api.Pool{Profiles: []api.PoolLine{
		{Profile: "default", Waiting: 2, Hits: 7}, {Profile: "build"},
	}}}
	text := metricsText(&d)
	value := regexp.MustCompile(`^(clawsup_[a-z_]+)(\{profile="[a-z]+"\})? [0-9.e+]+$`)
	seen, now, helped := map[string]bool{}, "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "# HELP "):
			if now = words[2]; seen[now] || len(words) < 4 {
				t.Errorf("%q", line)
			}
			seen[now], helped = true, ""
		case strings.HasPrefix(line, "# TYPE "):
			if helped = words[2]; helped != now || words[3] != "gauge" && words[3] != "counter" || (words[3] == "counter") != strings.HasSuffix(now, "_total") {
				t.Errorf("%q", line)
			}
		default:
			if m := value.FindStringSubmatch(line); m == nil || m[1] != now || helped != now {
				t.Errorf("%q under %s", line, now)
			}
		}
	}
	for _, want := range []string{
		"clawsup_up_since_seconds 1.7e+09\n", "clawsup_locked 1\n", "clawsup_receipts_total 1.099511627776e+12\n",
		"clawsup_pool_waiting{profile=\"default\"} 2\n", "clawsup_pool_hits_total{profile=\"default\"} 7\n", "clawsup_pool_hits_total{profile=\"build\"} 0\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestPoolText(t *testing.T) {
	for want, p := range map[string]api.Pool{
		"boxes: none wait":                     {Stopped: true},
		"boxes: 0 of 0 wait, 0B, templates: 0": {},
		"boxes: 2 of 3 wait, 2.0M, templates: 1; of 4 calls 75% found one; 1 have theirs made; 2 wait for room on the host; 5 were refused for want of it": {
			Total: api.PoolLine{Waiting: 2, Wanted: 3, Memory: 2 << 20, Hits: 3, Misses: 1, Refused: 5}, Templates: 1, Making: 1, Queued: 2,
		},
	} {
		if got := poolText(&p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
