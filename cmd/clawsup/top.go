// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"github.com/clawsup/clawsup/cmd/clawsup/internal/desk"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/stdio"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const topUsage = `usage: clawsup top [--no-color]

Shows, once a second, the daemon, its agents and the calls that have not ended,
until q. 'clawsup ps' and 'clawsup agent status' say the same once.

  --no-color  no colours; so does the variable NO_COLOR

Exit status: 0; 1 if the daemon refuses; 3 if there is no daemon.
`

func topCommand() *command {
	return &command{name: "top", synopsis: "watch calls and agents", usage: topUsage, execute: executeTop}
}

func executeTop(p *program, args []string) int {
	c := topCommand()
	s := p.flags("top")
	plain := s.Bool("no-color", false, "")
	_, err := arguments(c, s, args, 0, 0, "")
	if err == nil {
		err = p.top(*plain)
	}
	return p.ended(c, err)
}

func (p *program) top(plain bool) error {
	config, err := p.ready()
	if err != nil {
		return err
	}
	if !stdio.IsTerminal(p.stdin) || !stdio.IsTerminal(p.stdout) {
		return errors.New("top needs a terminal; 'clawsup ps' and 'clawsup agent status' print the same once")
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	client, err := dial(ctx, config, api.CallList)
	if err != nil {
		return err
	}
	defer client.Close()
	go func() { // none is expected; unread ones would hold up the answers
		for range client.Notifications() {
		}
	}()
	options := []tea.ProgramOption{tea.WithContext(ctx), tea.WithInput(p.stdin), tea.WithOutput(p.stdout)}
	if _, without := os.LookupEnv("NO_COLOR"); plain || without {
		options = append(options, tea.WithColorProfile(colorprofile.ASCII))
	}
	last, err := tea.NewProgram(&topScreen{look: func() topView { return lookAt(ctx, client) }, now: time.Now, width: 80, height: 24}, options...).Run()
	if err == nil || errors.Is(err, tea.ErrInterrupted) {
		return last.(*topScreen).view.err
	}
	return err
}

// topView is what there is to see at one moment.
type topView struct {
	daemon api.Daemon
	agents []api.Agent
	calls  []api.Call
	err    error
}

// lookAt asks for all of it.
func lookAt(ctx context.Context, client *api.Client) topView {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var v topView
	v.err = client.Call(ctx, api.Status, api.Nothing{}, &v.daemon)
	if v.err == nil {
		v.err = client.Call(ctx, api.AgentStatus, api.AgentRef{}, &v.agents)
	}
	if v.err == nil {
		v.err = client.Call(ctx, api.CallList, api.CallFilter{Live: true}, &v.calls)
	}
	return v
}

// topScreen is the state of the screen.
type topScreen struct {
	look          func() topView
	now           func() time.Time
	view          topView
	seen          bool
	width, height int
}

type topTick struct{}

func (s *topScreen) refresh() tea.Msg { return s.look() }

// Init takes the first look.
func (s *topScreen) Init() tea.Cmd { return s.refresh }

// Update takes a look in, or a key. The next look comes a second after the
// last one, however long that took.
func (s *topScreen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		if msg.Width > 0 && msg.Height > 0 { // a terminal that doesn't know its size says 0
			s.width, s.height = msg.Width, msg.Height
		}
	case topView:
		s.view, s.seen = msg, true
		if msg.err != nil {
			return s, tea.Quit
		}
		return s, tea.Tick(time.Second, func(time.Time) tea.Msg { return topTick{} })
	case topTick:
		return s, s.refresh
	case tea.KeyPressMsg:
		if slices.Contains([]string{"q", "esc", "ctrl+c"}, msg.String()) {
			return s, tea.Quit
		}
	}
	return s, nil
}

// View is the screen.
func (s *topScreen) View() tea.View {
	v := tea.NewView(strings.Join(s.rows(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "clawsup top"
	return v
}

// poolText is what there is of boxes that wait, in a line.
func poolText(p *api.Pool) string {
	if p.Stopped {
		return "boxes: none wait"
	}
	t := &p.Total
	text := fmt.Sprintf("boxes: %d of %d wait, %s, templates: %d", t.Waiting, t.Wanted, bytesText(t.Memory), p.Templates)
	if calls := t.Hits + t.Misses; calls > 0 {
		text += fmt.Sprintf("; of %d calls %.0f%% found one", calls, 100*float64(t.Hits)/float64(calls))
	}
	for _, more := range []struct {
		n    int
		what string
	}{{p.Making, "have theirs made"}, {p.Queued, "wait for room on the host"}, {int(t.Refused), "were refused for want of it"}} {
		if more.n > 0 {
			text += fmt.Sprintf("; %d %s", more.n, more.what)
		}
	}
	return text
}

// rows fit the screen; the oldest calls come first and the youngest may not fit.
func (s *topScreen) rows() []string {
	if !s.seen {
		return []string{"looking ..."}
	}
	now, d := s.now(), &s.view.daemon
	rows := []string{fmt.Sprintf("clawsupd %s, up %s: %d running, %d queued, %d tickets, %d grants, receipt %d",
		visible.Line(d.Version), desk.Span(now.Sub(d.Started)), d.Calls, d.Queue, d.Tickets, d.Grants, d.Receipts)}
	rows = append(rows, poolText(&d.Pool))
	if d.Locked != "" {
		rows = append(rows, "\x1b[1;31m"+desk.Cut("LOCKED DOWN for "+desk.Span(now.Sub(d.LockedAt))+": "+visible.Line(d.Locked), s.width)+"\x1b[m")
	}
	for _, n := range d.Notes {
		rows = append(rows, "note: "+visible.Line(n))
	}
	for i := range s.view.agents {
		a := &s.view.agents[i]
		labels := labelsText(a.Labels.Untrusted, a.Labels.Private)
		if labels != "" {
			labels = ", " + labels
		}
		rows = append(rows, fmt.Sprintf("agent %s %s for %s, memory %s, %d processes, processor %v%s", visible.Text(a.Name), visible.Line(a.State),
			desk.Span(now.Sub(a.Since)), bytesText(a.Memory), a.Pids, a.CPU.Round(time.Second), labels))
	}
	rows = append(rows, "", fmt.Sprintf("%-20s %-16s %7s  %-22s %s", "CALL", "STATE", "AGE", "ASKED BY", "COMMAND"))
	for _, c := range slices.Backward(s.view.calls) { // the daemon has the newest first
		since := c.Created
		if !c.Started.IsZero() {
			since = c.Started
		}
		rows = append(rows, fmt.Sprintf("%-20s %-16s %7s  %-22s %s", visible.Line(c.ID), visible.Line(callState(&c)), desk.Span(now.Sub(since)), visible.Line(c.Requester), visible.Line(c.Command)))
	}
	if hidden := len(rows) - (s.height - 1); hidden > 0 {
		rows = append(rows[:max(0, s.height-2)], fmt.Sprintf("and %d more", hidden+1))
	}
	rows = append(rows, "q quit")
	for i, r := range rows {
		if !strings.HasPrefix(r, "\x1b[") {
			rows[i] = desk.Cut(r, s.width)
		}
	}
	return rows
}
