// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/policy"
)

func TestTopScreen(t *testing.T) {
	now := time.Date(2026, 5, 31, 12, 0, 0, 0, time.UTC)
	view := topView{
		daemon: api.Daemon{Version: "v1", Started: now.Add(-time.Hour), Calls: 1, Tickets: 2, Locked: "drill\x1b", LockedAt: now, Notes: []string{"the disk is full"}},
		agents: []api.Agent{{Name: "main", State: "ready", Since: now, Memory: 1 << 20, Labels: policy.Labels{Private: true}}},
		calls: []api.Call{
			{ID: "c-new", State: api.Asking, Ticket: "ABCD1234", Created: now, Command: `"ls"`},
			{ID: "c-old", State: api.Running, Created: now.Add(-time.Hour), Started: now.Add(-time.Minute), Requester: "uid 0", Command: strings.Repeat("x\u202e", 200)},
		},
	}
	for _, size := range [][2]int{{80, 24}, {40, 15}, {200, 50}, {80, 6}, {1, 1}} {
		s := &topScreen{now: func() time.Time { return now }}
		s.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		if _, cmd := s.Update(view); cmd == nil {
			t.Error("no next look")
		}
		rows := s.rows()
		if len(rows) > max(2, size[1]) {
			t.Errorf("%v: %d rows", size, len(rows))
		}
		for _, r := range rows {
			if ansi.StringWidth(r) > size[0] || strings.ContainsAny(ansi.Strip(r), "\x1b\u202e") {
				t.Errorf("%v: %q", size, r)
			}
		}
		all := ansi.Strip(strings.Join(rows, "\n"))
		if size[0] >= 80 && size[1] >= 24 {
			for _, text := range []string{"up 1h00m: 1 running", `LOCKED DOWN for 0s: drill\x1b`, "note: the disk is full", "agent main ready", "private", "asking ABCD1234", "1m00s  uid 0"} {
				if !strings.Contains(all, text) {
					t.Errorf("%v: no %q in\n%s", size, text, all)
				}
			}
			if strings.Index(all, "c-old") > strings.Index(all, "c-new") {
				t.Errorf("the oldest is not the first:\n%s", all)
			}
		}
	}
	s := &topScreen{}
	if _, cmd := s.Update(tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd == nil {
		t.Error("q doesn't end it")
	}
	if _, cmd := s.Update(topView{err: &api.Error{Code: api.CodeStopped}}); cmd == nil || s.view.err == nil {
		t.Error("a lost connection doesn't end it")
	}
}
