// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Settle is for how long a ticket must have stood still before a key answers it.
const Settle = 500 * time.Millisecond

// model is the state of the desk.
type model struct {
	ctx    context.Context
	dial   func(context.Context) (Daemon, error)
	daemon Daemon // nil while there is no connection
	now    func() time.Time

	width, height int
	me            api.Identity
	ready         bool              // what is pending was told
	tickets       []approval.Ticket // pending, the oldest first
	calls         []api.Call        // running, the oldest first
	parents       map[string]approval.Ticket

	selected string // id of a ticket or call; empty: there is nothing
	chosen   bool   // by a person: it stays for as long as it is there
	top      int    // first line of the text that is shown
	read     int    // lines of the text that were on the screen, from the first
	shown    string // what these were of: ticket, revision and width
	still    string // what is under the cursor: ticket, revision, row, size
	since    time.Time
	whole    map[string]bool // ticket and revision that were read to the end

	busy    string // the ticket that an answer of ours is under way to
	notice  string // one line about what happened last
	alarm   bool   // the notice is a refusal or a failure
	allowed string // the call that was allowed last

	form  *form
	watch *watch
	help  bool

	sets     map[string]*changed // of tickets about change sets, by the id of these
	fetching map[string]bool     // those that are asked for
	inside   bool                // keys go through the changes of the selected ticket
	diff     *diff

	helpTop int // first row of the help that is shown

	laid    []line // the text of what is selected
	laidKey string // what that was laid out for
}

func newModel(ctx context.Context, dial func(context.Context) (Daemon, error), d Daemon, now func() time.Time) *model {
	return &model{ctx: ctx, dial: dial, daemon: d, now: now, width: 80, height: 24,
		parents: map[string]approval.Ticket{}, whole: map[string]bool{},
		sets: map[string]*changed{}, fetching: map[string]bool{}}
}

// Init is the first thing that is done.
func (m *model) Init() tea.Cmd { return tea.Batch(m.begin(), second()) }

// Update takes a message in.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	cmd := m.take(msg)
	m.look()
	if fetch := m.fetch(); fetch != nil {
		cmd = tea.Batch(cmd, fetch)
	}
	return m, cmd
}

func (m *model) take(msg tea.Msg) tea.Cmd {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		// A terminal that doesn't know its size says 0.
		m.width, m.height = cmp.Or(msg.Width, 80), cmp.Or(msg.Height, 24)
	case tick:
		if m.daemon == nil {
			return second()
		}
		return tea.Batch(second(), m.lookAtCalls())
	case connected:
		m.daemon, m.ready, m.tickets = msg.daemon, false, nil
		clear(m.whole) // what was read of another daemon's tickets counts for nothing
		clear(m.parents)
		clear(m.fetching)
		for _, c := range m.sets { // looked at anew; what is refused stays so
			c.told, c.entries, c.lines = false, nil, nil
		}
		m.say("connected again")
		return m.begin()
	case lost:
		return m.disconnected(msg.err)
	case told:
		if msg.by != m.daemon {
			return nil // of a connection that is lost
		}
		return tea.Batch(listen(m.daemon), m.take(msg.msg))
	case allTold:
		m.ready = true
	case ticketTold:
		m.ticketChanged(approval.Ticket(msg))
	case callsTold:
		m.callsChanged(msg)
	case identified:
		m.me = api.Identity(msg)
	case answered:
		m.answerTold(msg)
	case changesTold:
		m.changesCame(msg)
	case diffTold:
		m.diffCame(msg)
	case outputTold:
		if m.watch != nil && m.watch.call.ID == msg.Call {
			m.watch.write(msg.Stream, msg.Data)
		}
	case watchEnded:
		if m.watch != nil && m.watch.call.ID == msg.call.ID {
			m.watch.ended(msg)
		}
	case stopTold:
		if msg.err != nil {
			m.refuse("%s could not be stopped: %v", msg.call, msg.err)
		} else {
			m.say("%s is told to stop", msg.call)
		}
	case tea.PasteMsg:
		if m.form != nil {
			return m.form.take(msg)
		}
	case tea.KeyPressMsg:
		return m.key(msg)
	}
	return nil
}

func (m *model) disconnected(err error) tea.Cmd {
	m.hangUp()
	m.ready, m.busy, m.form, m.tickets, m.calls = false, "", nil, nil, nil
	m.inside, m.diff = false, nil
	m.refuse("no connection: %v", err)
	if m.ctx.Err() != nil {
		return tea.Quit
	}
	return m.redial()
}

func (m *model) hangUp() {
	if m.watch != nil {
		m.watch.cancel()
		m.watch = nil
	}
	if m.daemon != nil {
		_ = m.daemon.Close()
		m.daemon = nil
	}
}

func (m *model) say(format string, args ...any) {
	m.notice, m.alarm = visible.Line(fmt.Sprintf(format, args...)), false
}
func (m *model) refuse(format string, args ...any) { m.say(format, args...); m.alarm = true }

func (m *model) ticketChanged(t approval.Ticket) {
	m.laidKey = ""
	i := slices.IndexFunc(m.tickets, func(o approval.Ticket) bool { return o.ID == t.ID })
	switch {
	case t.State == approval.Pending && i >= 0:
		m.tickets[i] = t
	case t.State == approval.Pending:
		m.tickets = append(m.tickets, t)
		slices.SortStableFunc(m.tickets, func(a, b approval.Ticket) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		})
	case i >= 0:
		delete(m.whole, version(&m.tickets[i]))
		delete(m.sets, t.Changes)
		m.tickets = slices.Delete(m.tickets, i, i+1)
		m.gone(&t)
	}
	if t.State == approval.Changed {
		m.parents[t.ID] = t
	}
}

// gone says why a ticket is not in the list any more, unless we just did.
func (m *model) gone(t *approval.Ticket) {
	if m.form != nil && m.form.ticket.ID == t.ID {
		m.form = nil
	}
	by := ""
	if n := len(t.Answers); n > 0 && t.State != approval.Expired {
		by = " by " + t.Answers[n-1].By
	}
	m.say("%s %s%s", t.ID, t.State, by)
}

func (m *model) callsChanged(all []api.Call) {
	m.laidKey = ""
	m.calls = slices.DeleteFunc(slices.Clone(all), func(c api.Call) bool { return c.State != api.Running })
	slices.SortStableFunc(m.calls, func(a, b api.Call) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
}

func (m *model) answerTold(a answered) {
	m.busy = ""
	t := &a.Ticket
	switch {
	case a.err != nil:
		m.refuse("not answered: %v", a.err)
		return
	case t.State == approval.Pending:
		m.say("%s: %d of %d said yes", t.ID, yeses(t), t.Quorum)
	case t.State == approval.Changed && a.Next != nil:
		m.ticketChanged(*t)
		m.ticketChanged(*a.Next)
		m.selected, m.chosen = a.Next.ID, true
		m.say("%s is changed into %s: read it, then answer it", t.ID, a.Next.ID)
		return
	case t.State == approval.Allowed && t.Changes != "":
		m.say("%s allowed: %d refused", t.ID, len(a.refused))
	case t.State == approval.Allowed && len(t.Calls) > 0:
		m.allowed = t.Calls[0]
		m.say("%s allowed; w watches its call", t.ID)
	default:
		m.say("%s %s", t.ID, t.State)
	}
	text := m.notice
	m.ticketChanged(*t)
	m.notice = text
}

// ticket is the selected one, or nil.
func (m *model) ticket() *approval.Ticket {
	for i := range m.tickets {
		if m.tickets[i].ID == m.selected {
			return &m.tickets[i]
		}
	}
	return nil
}

// row is the place of the selected one in the list of tickets and calls.
func (m *model) row() int {
	for i := range m.tickets {
		if m.tickets[i].ID == m.selected {
			return i
		}
	}
	for i := range m.calls {
		if m.calls[i].ID == m.selected {
			return len(m.tickets) + i
		}
	}
	return -1
}

// id is what stands in a row of the list.
func (m *model) id(row int) string {
	switch {
	case row < 0:
		return ""
	case row < len(m.tickets):
		return m.tickets[row].ID
	case row < len(m.tickets)+len(m.calls):
		return m.calls[row-len(m.tickets)].ID
	}
	return ""
}

// look notes what is on the screen now: which lines were read, and since when
// what is under the cursor stands still.
func (m *model) look() {
	if m.row() < 0 || !m.chosen && m.row() >= len(m.tickets) {
		m.selected, m.top, m.chosen = m.id(0), 0, false
	}
	t := m.ticket()
	if t == nil {
		m.still, m.shown, m.inside, m.diff = "", "", false, nil
		return
	}
	lines, room := m.text(), m.layout().room
	m.top = max(0, min(m.top, len(lines)-room))
	c := m.set(t)
	whole := c == nil || c.told // the text
	if shown := fmt.Sprintf("%s %d %d %v", t.ID, t.Revision, m.width, whole); shown != m.shown {
		if m.shown != "" && m.still != "" && !sameTicket(m.shown, t) {
			m.top, m.inside, m.diff = 0, false, nil
		}
		m.shown, m.read = shown, 0
	}
	if !m.covered() {
		if m.top <= m.read {
			m.read = max(m.read, m.top+room)
		}
		if m.read >= len(lines) && whole {
			m.whole[version(t)] = true
		}
	}
	if still := fmt.Sprintf("%s row %d, %d by %d, covered %v", version(t), m.row(), m.width, m.height, m.covered()); still != m.still {
		m.still, m.since = still, m.now()
	}
}

// covered says that something else is shown in place of the ticket's text.
func (m *model) covered() bool { return m.help || m.watch != nil || m.diff != nil }

func version(t *approval.Ticket) string { return fmt.Sprintf("%s/%d", t.ID, t.Revision) }

// sameTicket says whether what was shown was this very ticket, at whatever revision.
func sameTicket(shown string, t *approval.Ticket) bool {
	var id string
	_, err := fmt.Sscan(shown, &id)
	return err == nil && id == t.ID
}

// answerable gives the selected ticket if a key may answer it now, and
// otherwise says why not.
func (m *model) answerable() *approval.Ticket {
	t := m.ticket()
	switch {
	case t == nil:
		m.refuse("no ticket is selected")
	case m.daemon == nil:
		m.refuse("there is no connection")
	case m.busy != "":
		m.refuse("the answer to %s is still under way", m.busy)
	case !m.now().Before(t.Expires):
		m.refuse("%s has expired", t.ID)
	case m.now().Sub(m.since) < Settle:
		m.refuse("this changed or moved just now: look at it, then press the key again")
	case !m.whole[version(t)]:
		m.refuse("not answered: read it to the end first (space goes on)")
	default:
		return t
	}
	return nil
}

// send answers a ticket.
func (m *model) send(a approval.Answer) tea.Cmd {
	m.busy = a.Ticket
	m.say("answering %s ...", a.Ticket)
	return ask(m.ctx, m.daemon, api.TicketAnswer, a, func(r api.Answered, err error) tea.Msg { return answered{r, err, a.Refuse} })
}
