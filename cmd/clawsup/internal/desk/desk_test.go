// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// recorder is a Daemon that keeps what it is asked.
type recorder struct {
	answers []approval.Answer
	stopped []api.Stop
	reply   func(approval.Answer) (api.Answered, error)
	notices chan api.Notification
	closed  bool

	change  changes.Change
	entries []changeset.Entry
	fails   error // what is asked of change sets
}

func (r *recorder) Call(_ context.Context, method string, params, result any, _ ...*os.File) error {
	switch method {
	case api.TicketAnswer:
		a := params.(approval.Answer)
		r.answers = append(r.answers, a)
		got, err := r.reply(a)
		*result.(*api.Answered) = got
		return err
	case api.CallStop:
		r.stopped = append(r.stopped, params.(api.Stop))
	case api.ChangesShow:
		p := params.(api.ChangesPart)
		end := min(p.From+2, len(r.entries))
		*result.(*api.ChangesEntries) = api.ChangesEntries{Change: r.change, Entries: r.entries[p.From:end], Total: len(r.entries)}
		return r.fails
	case api.ChangesDiff:
		p := params.(api.ChangesPath)
		*result.(*api.ChangesDifference) = api.ChangesDifference{Lines: []string{"@" + string(p.Path), "-old\x1b[2J", "+" + strings.Repeat("new ", 40)}, Cut: true}
		return r.fails
	}
	return nil
}

func (r *recorder) Notifications() <-chan api.Notification { return r.notices }
func (r *recorder) Close() error                           { r.closed = true; return nil }

// table is a desk with a clock that stands still until it is told.
type table struct {
	*testing.T
	*model
	daemon *recorder
	clock  time.Time
}

func newTable(t *testing.T, width, height int, tickets ...approval.Ticket) *table {
	d := &recorder{reply: func(a approval.Answer) (api.Answered, error) {
		return api.Answered{Ticket: approval.Ticket{ID: a.Ticket, State: approval.Allowed, Calls: []string{"c-1"}}}, nil
	}}
	b := &table{T: t, daemon: d, clock: time.Date(2026, 5, 31, 12, 0, 0, 0, time.UTC)}
	dial := func(context.Context) (Daemon, error) { return nil, errors.New("no") }
	b.model = newModel(t.Context(), dial, d, func() time.Time { return b.clock })
	b.send(tea.WindowSizeMsg{Width: width, Height: height})
	for _, k := range tickets {
		b.send(told{d, ticketTold(k)})
	}
	b.send(told{d, allTold{}})
	return b
}

// send takes a message in, and what the daemon answers to it.
func (b *table) send(msg tea.Msg) {
	_, cmd := b.Update(msg)
	if cmd == nil {
		return
	}
	if b.ticket() != nil && b.fetching[b.ticket().Changes] {
		if all, is := cmd().(tea.BatchMsg); is {
			cmd = all[len(all)-1]
		}
		b.Update(cmd())
		return
	}
	if _, is := msg.(tea.KeyPressMsg); !is {
		return // listening and looking at calls
	}
	if answer := cmd(); answer != nil {
		if _, quit := answer.(tea.QuitMsg); !quit {
			b.Update(answer)
		}
	}
}

func (b *table) press(keys ...string) {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "down": tea.KeyDown, "up": tea.KeyUp, "space": tea.KeySpace, "right": tea.KeyRight, "left": tea.KeyLeft}
	for _, k := range keys {
		if code, ok := special[k]; ok {
			text := ""
			if k == "space" {
				text = " "
			}
			b.send(tea.KeyPressMsg{Code: code, Text: text})
			continue
		}
		for _, r := range k {
			b.send(tea.KeyPressMsg{Code: r, Text: string(r)})
		}
	}
}

func (b *table) wait(d time.Duration) { b.clock = b.clock.Add(d) }

// readAll goes to the end of the text and lets it stand.
func (b *table) readAll() {
	for range len(b.text()) {
		b.press("space")
	}
	b.wait(Settle)
}

func (b *table) plain() string { return ansi.Strip(b.screen()) }

func (b *table) shows(text string) {
	b.Helper()
	if !strings.Contains(b.plain(), text) {
		b.Errorf("no %q on the screen:\n%s", text, b.plain())
	}
}

func (b *table) answered(n int) {
	b.Helper()
	if len(b.daemon.answers) != n {
		b.Fatalf("%d answers, want %d: %+v\n%s", len(b.daemon.answers), n, b.daemon.answers, b.plain())
	}
}

func ticket(id string, more ...approval.Fact) approval.Ticket {
	at := time.Date(2026, 5, 31, 12, 0, 0, 0, time.UTC)
	return approval.Ticket{
		ID: id, Revision: 1, State: approval.Pending, Count: 1, Calls: []string{"c-" + id}, Quorum: 1,
		Effect: policy.Exec, Plan: "sha256:" + strings.Repeat("ab", 32),
		Facts: append([]approval.Fact{{Name: "command", Value: `"rm" "-rf" "a\u202eb"`}}, more...),
		Rule:  "profile build", Requester: "agent main (uid 990)", Agent: "main", Session: "s-1", Profile: "build", ProfileDigest: "sha256:profile",
		Created: at, Expires: at.Add(10 * time.Minute),
	}
}

func long() []approval.Fact {
	var list []approval.Fact
	for i := range 100 {
		list = append(list, approval.Fact{Name: fmt.Sprintf("argument %d", i+1), Value: fmt.Sprintf(`"value %d"`, i)})
	}
	return list
}

func TestAllowOnce(t *testing.T) {
	b := newTable(t, 80, 40, ticket("AAAA"))
	b.wait(Settle)
	b.press("a")
	b.answered(1)
	if a := b.daemon.answers[0]; a.Verdict != approval.Allow || a.Ticket != "AAAA" || a.Revision != 1 {
		t.Errorf("%+v", a)
	}
	b.shows("AAAA allowed")
	b.shows("Nothing waits for an answer")
	b.press("a")
	b.answered(1)
}

// TestNotYetStill: a key that may have been meant for something else answers nothing.
func TestNotYetStill(t *testing.T) {
	changed := ticket("AAAA")
	changed.Revision, changed.Count, changed.Calls = 2, 2, []string{"c-1", "c-2"}
	gone := ticket("AAAA")
	gone.State = approval.Expired
	for name, c := range map[string]struct {
		happens tea.Msg
		answers string // afterwards, once it stood still
	}{
		"it has just come":          {nil, "AAAA"},
		"it changed":                {ticketTold(changed), "AAAA"},
		"it went, another is there": {ticketTold(gone), "BBBB"},
		"the window changed":        {tea.WindowSizeMsg{Width: 90, Height: 40}, "AAAA"},
	} {
		b := newTable(t, 80, 40, ticket("AAAA"), ticket("BBBB"))
		if c.happens != nil {
			b.wait(Settle)
			if m, is := c.happens.(ticketTold); is {
				c.happens = told{b.daemon, m}
			}
			b.send(c.happens)
		}
		for _, k := range []string{"a", "g", "d", "c"} {
			b.press(k)
			if b.form != nil {
				t.Errorf("%s: %s opened a form", name, k)
			}
		}
		b.answered(0)
		b.shows("changed or moved just now")
		b.wait(Settle - 1)
		b.press("a")
		b.answered(0)
		b.wait(1)
		b.press("a")
		b.answered(1)
		if got := b.daemon.answers[0].Ticket; got != c.answers {
			t.Errorf("%s: %s was answered", name, got)
		}
	}
}

// TestReadFirst: what was not on the screen, line by line, can't be answered.
func TestReadFirst(t *testing.T) {
	for _, size := range [][2]int{{80, 24}, {40, 15}, {200, 50}, {20, 6}} {
		b := newTable(t, size[0], size[1], ticket("AAAA", long()...))
		b.wait(Settle)
		b.press("a", "g", "d", "c")
		b.answered(0)
		if b.form != nil {
			t.Errorf("%v: a form", size)
		}
		b.readAll()
		b.press("a")
		b.answered(1)
	}
	// a new revision is to be read anew
	b := newTable(t, 80, 24, ticket("AAAA", long()...))
	b.readAll()
	again := ticket("AAAA", long()...)
	again.Revision = 2
	b.send(told{b.daemon, ticketTold(again)})
	b.press("b", "b", "b", "b", "b", "b", "b", "b", "b", "b")
	b.wait(Settle)
	b.press("a")
	b.answered(0)
	b.shows("read it to the end first")
	// one that was read behind the help was not
	b = newTable(t, 80, 24, ticket("AAAA", long()...))
	b.press("?")
	for range 100 {
		b.press("space")
	}
	b.press("x")
	b.wait(Settle)
	b.press("a")
	b.answered(0)
}

func TestExpired(t *testing.T) {
	b := newTable(t, 80, 40, ticket("AAAA"))
	b.wait(10 * time.Minute)
	b.press("a")
	b.answered(0)
	b.shows("has expired")
}

// TestOneAnswerAtATime: a second key doesn't answer before the first one's
// result is there.
func TestOneAnswerAtATime(t *testing.T) {
	b := newTable(t, 80, 40, ticket("AAAA"))
	b.wait(Settle)
	_, first := b.Update(tea.KeyPressMsg{Code: 'a', Text: "a"})
	_, second := b.Update(tea.KeyPressMsg{Code: 'a', Text: "a"})
	if first == nil || second != nil {
		t.Fatalf("%v, %v", first == nil, second == nil)
	}
	b.shows("still under way")
	b.daemon.reply = func(approval.Answer) (api.Answered, error) {
		return api.Answered{}, &api.Error{Code: api.CodeConflict, Message: "the ticket has changed\x1b"}
	}
	b.Update(first())
	b.shows(`not answered: the ticket has changed\x1b`)
	b.shows("AAAA")
}

func TestPastedTextIsNoAnswer(t *testing.T) {
	b := newTable(t, 80, 40, ticket("AAAA"))
	b.wait(Settle)
	b.send(tea.PasteMsg{Content: "aaa"})
	b.answered(0)
}

func TestDeny(t *testing.T) {
	b := newTable(t, 80, 40, ticket("AAAA"))
	b.wait(Settle)
	b.press("d", "no, a gq", "enter")
	b.answered(1)
	if a := b.daemon.answers[0]; a.Verdict != approval.Deny || a.Reason != "no, a gq" {
		t.Errorf("%+v", a)
	}
	b = newTable(t, 80, 40, ticket("AAAA"))
	b.wait(Settle)
	b.press("d", "x", "esc")
	b.answered(0)
	b.shows("nothing was answered")
}

// TestGrantSaysItsScope: all of what a grant would be for is on the screen.
func TestGrantSaysItsScope(t *testing.T) {
	k := ticket("AAAA")
	k.Skill, k.SkillDigest, k.Script, k.Workspace = "csv", "sha256:skill", "run.py", "/srv/le\u202etters"
	b := newTable(t, 200, 40, k)
	b.wait(Settle)
	b.press("g")
	b.shows("< skill csv as it is now, script run.py with any arguments, under profile build, on workspace \"/srv/le\\u202etters\" >")
	b.press("down", "down")
	b.shows("< this session >")
	b.press("right")
	b.shows("< every session of agent main >")
	b.press("down", "right")
	b.shows("< exactly this plan, under profile build, on workspace")
}

// TestFormForWhatWasRead: a form that was opened for one revision answers no other.
func TestFormForWhatWasRead(t *testing.T) {
	b := newTable(t, 80, 40, ticket("AAAA"))
	b.wait(Settle)
	b.press("g")
	changed := ticket("AAAA")
	changed.Revision = 2
	b.send(told{b.daemon, ticketTold(changed)})
	b.press("enter")
	b.answered(0)
	b.shows("the ticket changed in the meantime")
}

func TestGrant(t *testing.T) {
	skill := ticket("AAAA")
	skill.Skill, skill.SkillDigest, skill.Script = "csv", "sha256:skill", "run.py"
	beside := skill // a command of its own, with the skill's files
	beside.Script = ""
	alone := ticket("AAAA")
	alone.Session, alone.Agent = "", ""
	destination := ticket("AAAA")
	destination.Effect, destination.Target = policy.NetRequest, "GET https://api.example.com:443/v1/list"
	destination.Targets = policy.Widen(destination.Effect, destination.Target)
	for _, c := range []struct {
		name   string
		ticket approval.Ticket
		keys   []string
		want   approval.Answer
		says   string // a refusal
	}{
		{"as it is", ticket("AAAA"), []string{"enter"}, approval.Answer{For: time.Hour, Exact: true}, ""},
		{"bounded", ticket("AAAA"), []string{"down", "3", "tab", "right", "enter"}, approval.Answer{For: time.Hour, Uses: 3, Wide: true, Exact: true}, ""},
		{"skill", skill, []string{"enter"}, approval.Answer{For: time.Hour}, ""},
		{"beside a skill", beside, []string{"enter"}, approval.Answer{For: time.Hour, Exact: true}, ""},
		{"exact skill", skill, []string{"up", "space", "enter"}, approval.Answer{For: time.Hour, Exact: true}, ""},
		{"a destination", destination, []string{"enter"}, approval.Answer{For: time.Hour}, ""},
		{"every path", destination, []string{"up", "right", "right", "enter"}, approval.Answer{For: time.Hour, Target: "GET https://api.example.com:443/**"}, ""},
		{"every method, of this plan", destination, []string{"up", "left", "up", "right", "enter"}, approval.Answer{For: time.Hour, Exact: true, Target: "* https://api.example.com:443/**"}, ""},
		{"no time", ticket("AAAA"), []string{"x", "enter"}, approval.Answer{}, "how long is a time"},
		{"no count", ticket("AAAA"), []string{"down", "0", "enter"}, approval.Answer{}, "how often is a number"},
		{"nobody's", alone, nil, approval.Answer{}, "allow it once"},
	} {
		b := newTable(t, 80, 40, c.ticket)
		b.wait(Settle)
		b.press("g")
		b.press(c.keys...)
		if c.says != "" {
			b.answered(0)
			b.shows(c.says)
			continue
		}
		b.answered(1)
		c.want.Ticket, c.want.Revision, c.want.Verdict = "AAAA", 1, approval.Grant
		if got := b.daemon.answers[0]; fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestChange: the new ticket is selected, shown with what it was, and read
// before it can be answered.
func TestChange(t *testing.T) {
	b := newTable(t, 80, 40, ticket("AAAA"))
	b.wait(Settle)
	b.press("c")
	b.shows(`rm -rf "a\u202eb"`)
	b.press("enter")
	b.answered(0)
	b.shows("nothing is changed")
	b.daemon.reply = func(a approval.Answer) (api.Answered, error) {
		old, next := ticket("AAAA"), ticket("BBBB")
		old.State, next.Parent = approval.Changed, "AAAA"
		next.Facts[0].Value = `"rm" "-rf" "a\u202eb" "c d"`
		return api.Answered{Ticket: old, Next: &next}, nil
	}
	b.press(` "c d"`, "enter")
	b.answered(1)
	if got := b.daemon.answers[0]; got.Verdict != approval.Change || !slices.Equal(got.Args, []raw.String{"rm", "-rf", "a\u202eb", "c d"}) {
		t.Errorf("%+v", got)
	}
	b.shows("changed into BBBB")
	b.shows(`was          "rm" "-rf" "a\u202eb"`)
	b.press("a")
	b.answered(1)
	b.wait(Settle)
	b.press("a")
	b.answered(2)
	if b.daemon.answers[1].Ticket != "BBBB" {
		t.Errorf("%+v", b.daemon.answers[1])
	}
}

func TestQuorum(t *testing.T) {
	k := ticket("AAAA")
	k.Quorum, k.Count, k.Calls = 2, 3, []string{"c-1", "c-2", "c-3"}
	b := newTable(t, 80, 40, k)
	b.shows("0/2 x3")
	b.shows("a yes takes 2, 0 said so")
	b.shows("3 calls that are the same, one yes for all: c-1, c-2, c-3")
	b.daemon.reply = func(a approval.Answer) (api.Answered, error) {
		k.Revision++
		k.Answers = append(k.Answers, approval.Given{By: "uid 0 (root)", Via: "approval.sock", Verdict: a.Verdict, At: b.clock})
		return api.Answered{Ticket: k}, nil
	}
	b.wait(Settle)
	b.press("a")
	b.shows("AAAA: 1 of 2 said yes")
	b.shows("1/2 x3")
}

// TestWatch: what a call writes can't touch the screen, and one key stops it.
func TestWatch(t *testing.T) {
	b := newTable(t, 80, 24)
	b.send(callsTold{{ID: "c-1", State: api.Running, Command: `"make"`, Started: b.clock}, {ID: "c-2", State: api.Asking}})
	b.shows("1 running")
	if _, cmd := b.Update(tea.KeyPressMsg{Code: 'w', Text: "w"}); cmd == nil || b.watch == nil {
		t.Fatal("nothing is watched")
	}
	for _, part := range []string{"one\x1b[2", "J\r\ntwo \xff\u202e\n", "a\tb", "c\n"} {
		b.send(told{b.daemon, outputTold{Call: "c-1", Stream: 1, Data: []byte(part)}})
		b.send(told{b.daemon, outputTold{Call: "c-1", Stream: 2, Data: []byte("E")}})
		b.send(told{b.daemon, outputTold{Call: "c-9", Stream: 1, Data: []byte("another")}})
	}
	b.shows(`  one\x1b[2J` + "\n")
	b.shows(`  two \xff\u202e` + "\n")
	b.shows("  a    bc\n")
	b.shows("! EEEE\n")
	if seen := b.plain(); strings.ContainsAny(seen, "\x1b\u202e\r\t") || strings.Contains(seen, "another") {
		t.Errorf("%q", seen)
	}
	b.press("k")
	if len(b.daemon.stopped) != 1 || b.daemon.stopped[0].Call != "c-1" || b.daemon.stopped[0].All {
		t.Errorf("%+v", b.daemon.stopped)
	}
	b.send(watchEnded{call: api.Call{ID: "c-1", Result: &runtime.Result{Status: runtime.Stopped, ExitCode: -1, Message: "by alice"}}})
	b.shows("it is over: stopped, by alice")
	b.press("q")
	if b.watch != nil {
		t.Error("still watching")
	}
}

// TestOutputIsBounded: a flood of lines, and of one line, stays in its bounds.
func TestOutputIsBounded(t *testing.T) {
	w := newWatch(api.Call{ID: "c-1"}, func() {})
	for range 100 {
		w.write(1, []byte(strings.Repeat("x\n", 1000)))
		w.write(2, []byte(strings.Repeat("y", 10_000)))
	}
	size := 0
	for _, l := range w.lines {
		size += len(l)
	}
	if len(w.lines) > 2*maxOutput || size > 2*maxOutput*maxLine || w.missed == 0 {
		t.Errorf("%d lines, %d bytes", len(w.lines), size)
	}
	if rows := w.rows(40, 10); len(rows) != 10 {
		t.Errorf("%d rows", len(rows))
	}
}

// TestLostConnection: nothing of the old one is kept, or answered.
func TestLostConnection(t *testing.T) {
	b := newTable(t, 80, 24, ticket("AAAA"))
	b.wait(Settle)
	b.send(lost{errors.New("the daemon closed it")})
	b.shows("no connection")
	b.press("a")
	b.answered(0)
	if !b.daemon.closed || len(b.tickets) != 0 {
		t.Errorf("%v, %d tickets", b.daemon.closed, len(b.tickets))
	}
	b.send(told{b.daemon, ticketTold(ticket("BBBB"))})
	if len(b.tickets) != 0 {
		t.Error("a ticket of the lost connection")
	}
	again := &recorder{}
	b.send(connected{again})
	b.send(told{again, ticketTold(ticket("CCCC"))})
	b.shows("CCCC")
	if b.whole["AAAA/1"] { // of the lost connection
		t.Errorf("read: %v", b.whole)
	}
}

// TestSelectionStays: it follows the ticket, not the row, and comes to tickets
// by itself.
func TestSelectionStays(t *testing.T) {
	old, young := ticket("AAAA"), ticket("BBBB")
	young.Created = young.Created.Add(time.Second)
	b := newTable(t, 80, 24)
	b.send(callsTold{{ID: "c-1", State: api.Running}})
	b.send(told{b.daemon, ticketTold(young)})
	if b.selected != "BBBB" {
		t.Errorf("%s is selected", b.selected)
	}
	b.send(told{b.daemon, ticketTold(old)})
	if b.selected != "BBBB" || b.row() != 1 {
		t.Errorf("%s is selected, in row %d", b.selected, b.row())
	}
	b.press("up")
	if b.selected != "AAAA" {
		t.Errorf("%s is selected", b.selected)
	}
	b.press("down", "down")
	b.send(told{b.daemon, ticketTold(old)})
	if b.selected != "c-1" {
		t.Errorf("%s is selected", b.selected)
	}
}

// TestScreens: at any size, in any state, the screen has its size exactly, and
// nothing that a terminal obeys but colours.
func TestScreens(t *testing.T) {
	k := ticket("AAAA", long()...)
	k.Claim, k.Skill, k.Quorum, k.Count = "\x1b[2J"+strings.Repeat("日本語 ", 50)+"\nDecision: allowed", "csv", 2, 9
	k.Labels = policy.Labels{Untrusted: true, Private: true}
	for _, size := range [][2]int{{80, 24}, {40, 15}, {200, 50}, {110, 30}, {20, 6}, {1, 1}} {
		for _, keys := range [][]string{nil, {"?"}, {"d"}, {"g"}, {"c"}, {"down", "w"}} {
			b := newTable(t, size[0], size[1], k)
			b.send(callsTold{{ID: "c-1", State: api.Running, Command: "日本語" + strings.Repeat("x", 300)}})
			b.readAll()
			for _, key := range keys {
				b.Update(tea.KeyPressMsg{Code: rune(key[0]), Text: key[:1]})
			}
			rows := strings.Split(b.screen(), "\n")
			if len(rows) > max(3, size[1]) {
				t.Errorf("%v %v: %d rows", size, keys, len(rows))
			}
			for _, r := range rows {
				if w := ansi.StringWidth(r); size[0] >= 20 && w > size[0] {
					t.Errorf("%v %v: %d columns: %q", size, keys, w, r)
				}
				if strings.ContainsAny(ansi.Strip(r), "\x1b\r\t\u202e") {
					t.Errorf("%v %v: %q", size, keys, r)
				}
			}
		}
	}
}

// TestText: all of a ticket is there at every width, and only clawsup's words
// stand at the left edge.
func TestText(t *testing.T) {
	k := ticket("AAAA", approval.Fact{Name: "environment", Value: strings.Repeat(`KEY="value" `, 30), Digest: "sha256:" + strings.Repeat("cd", 32)})
	k.Claim = "trust me\nanswer       allow by uid 0 (root)"
	for _, width := range []int{20, 39, 59, 60, 80, 200} {
		lines := Text(&k, width, k.Created)
		var all strings.Builder
		for _, l := range lines {
			if visible.Columns(l) > width {
				t.Errorf("width %d: %q", width, l)
			}
			if strings.HasPrefix(l, "answer") || strings.HasPrefix(l, "trust") {
				t.Errorf("width %d: the requester's words at the left: %q", width, l)
			}
			for _, mark := range []string{"| ", "+ ", "  > ", "  "} {
				l = strings.TrimPrefix(strings.TrimLeft(l, " "), mark)
			}
			all.WriteString(strings.ReplaceAll(strings.TrimLeft(l, "> |+"), " ", ""))
		}
		for _, text := range []string{strings.Repeat("cd", 32), strings.Repeat("ab", 32), `rm""-rf""a\u202eb"`, "allowbyuid0(root)", strings.Repeat(`KEY="value"`, 30)} {
			if !strings.Contains(all.String(), strings.ReplaceAll(text, " ", "")) {
				t.Errorf("width %d: no %s in\n%s", width, text, all.String())
			}
		}
	}
}

// FuzzWords: what is spelled is split into the same again, as is what a fact quotes.
func FuzzWords(f *testing.F) {
	f.Add("rm", "a b")
	f.Add("", "\x1b\xff\u202e")
	f.Add(`"\`, "  ")
	f.Add("'", "аdmin")
	f.Fuzz(func(t *testing.T, a, b string) {
		words := []string{a, b}
		if got, err := split(spell(words)); err != nil || !slices.Equal(got, words) {
			t.Errorf("%q: %q, %v by %s", words, got, err, spell(words))
		}
		k := approval.Ticket{Facts: []approval.Fact{{Name: "command", Value: visible.Quote(a)}, {Name: "program", Value: "x"}, {Name: "argument 1", Value: visible.Quote(b)}}}
		if got, err := command(&k); err != nil || !slices.Equal(got, words) {
			t.Errorf("%q: %q, %v", words, got, err)
		}
	})
}

func TestSplitRefuses(t *testing.T) {
	for _, text := range []string{`"a`, `a"b"`, `"a"b`, `a\b`, `"\q"`} {
		if words, err := split(text); err == nil {
			t.Errorf("%s: %q", text, words)
		}
	}
	if words, err := split("  a   b "); err != nil || !slices.Equal(words, []string{"a", "b"}) {
		t.Errorf("%q, %v", words, err)
	}
}
