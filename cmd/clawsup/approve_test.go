// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/policy"
)

func testTicket() approval.Ticket {
	return approval.Ticket{
		ID: "ABCD1234", Revision: 2, State: approval.Pending, Count: 1, Calls: []string{"c-1"},
		Effect: policy.Exec, Plan: "sha256:" + strings.Repeat("ab", 32),
		Facts: []approval.Fact{{Name: "command", Value: `"rm" "-rf" "a\u202eb"`}, {Name: "NOT ENFORCED", Value: "seccomp: given up"}},
		Claim: "please\x1b[2J\nsay yes", Labels: policy.Labels{Untrusted: true}, Rule: "profile build has effects.exec",
		Requester: "agent main (uid 990)", Agent: "main", Session: "s-1", SessionName: "tg", Profile: "build", ProfileDigest: "sha256:profile",
		Created: time.Now(), Expires: time.Now().Add(10 * time.Minute), Quorum: 1,
	}
}

// book is a fake's one ticket, which takes answers to the revision it has.
type book struct {
	ticket, next approval.Ticket
	given        []approval.Answer
	conflicts    int    // answers that find the ticket changed
	role         string // of who asks; empty: admin
}

func (b *book) table() answers {
	return answers{
		api.WhoAmI:     says[api.Nothing](nil, api.Identity{UID: 1000, Name: "alice", Role: cmp.Or(b.role, "admin")}),
		api.TicketList: says[api.TicketFilter](nil, []approval.Ticket{b.ticket}),
		api.TicketShow: func(_ context.Context, r *api.Request) (any, error) {
			var ref api.TicketRef
			if err := r.Decode(&ref); err != nil {
				return nil, err
			}
			if !strings.HasPrefix(b.ticket.ID, ref.Ticket) {
				return nil, &api.Error{Code: api.CodeNotFound, Message: "there is no ticket " + ref.Ticket}
			}
			return b.ticket, nil
		},
		api.TicketAnswer: func(_ context.Context, r *api.Request) (any, error) {
			var a approval.Answer
			if err := r.Decode(&a); err != nil {
				return nil, err
			}
			if b.conflicts > 0 {
				b.conflicts--
				b.ticket.Revision++
			}
			if a.Revision != b.ticket.Revision {
				return nil, &api.Error{Code: api.CodeConflict, Message: "the ticket has changed"}
			}
			b.given = append(b.given, a)
			t := b.ticket
			t.State = map[approval.Verdict]approval.State{approval.Allow: approval.Allowed, approval.Grant: approval.Allowed, approval.Deny: approval.Denied, approval.Change: approval.Changed}[a.Verdict]
			if a.Verdict != approval.Change {
				return api.Answered{Ticket: t}, nil
			}
			b.ticket = b.next
			return api.Answered{Ticket: t, Next: &b.next}, nil
		},
		api.TicketWatch: func(ctx context.Context, r *api.Request) (any, error) {
			_ = r.Notify(api.TicketChanged, b.ticket)
			_ = r.Notify(api.Ready, api.Nothing{})
			return nil, &api.Error{Code: api.CodeStopped, Message: "the daemon ends"}
		},
	}
}

func TestApprovals(t *testing.T) {
	b := &book{ticket: testTicket()}
	f := newFake(t, b.table())
	got := f.run("", "approvals")
	if got.status != 0 || !strings.Contains(got.out, "ABCD1234  9m59s left  agent main (uid 990)  exec rm -rf \"a\\u202eb\"  untrusted") {
		t.Errorf("%+v", got)
	}
	var list []approval.Ticket
	if got := f.run("", "approvals", "--json"); json.Unmarshal([]byte(got.out), &list) != nil || len(list) != 1 || list[0].Claim != b.ticket.Claim {
		t.Errorf("%+v", got)
	}
	got = f.run("", "approval", "show", "ABC")
	for _, text := range []string{`a\u202eb`, "NOT ENFORCED", `  > please\x1b[2J`, "  > say yes", "sha256:" + strings.Repeat("ab", 32), "in words that nobody has checked"} {
		if !strings.Contains(got.out, text) {
			t.Errorf("no %q in %s", text, got.out)
		}
	}
	if strings.ContainsAny(got.out, "\x1b\u202e") {
		t.Errorf("a control character: %q", got.out)
	}
	if got := f.run("", "approval", "show", "X"); got.status != 1 || !strings.Contains(got.err, "there is no ticket X") {
		t.Errorf("%+v", got)
	}
	var told approval.Ticket
	if got := f.run("", "approvals", "--watch", "--json"); got.status != 1 || json.Unmarshal([]byte(got.out), &told) != nil || told.ID != "ABCD1234" || strings.Count(got.out, "\n") != 1 {
		t.Errorf("%+v", got)
	}
	if got := f.run("", "approvals", "--watch"); got.status != 1 || !strings.Contains(got.err, "needs a terminal") {
		t.Errorf("%+v", got)
	}
}

// TestApprove: nothing is answered but by the word yes to the whole ticket, or
// with its revision.
func TestApprove(t *testing.T) {
	for _, c := range []struct {
		name, args, typed string
		status            int
		verdict           approval.Verdict // empty: nothing was answered
		says              string
	}{
		{"yes", "approve ABCD", "yes\n", 0, approval.Allow, "ticket ABCD1234 is allowed"},
		{"no", "approve ABCD", "no\n", 1, "", "the answer was not yes"},
		{"y", "approve ABCD", "y\n", 1, "", "the answer was not yes"},
		{"nothing", "approve ABCD", "\x04", 1, "", "without an answer"},
		{"a grant", "approve --for 8h --uses 3 --wide --exact ABCD", "yes\n", 0, approval.Grant, "let it run, and for 8h00m or 3 times also exactly this plan, under profile build, on workspace /srv/letters, in every session of agent main."},
		{"a skill's grant", "approve --for 8h ABCD", "yes\n", 0, approval.Grant, "also skill csv as it is now, script run.py with any arguments, under profile build, on workspace /srv/letters, in session s-1."},
	} {
		b := &book{ticket: testTicket()}
		b.ticket.Skill, b.ticket.SkillDigest, b.ticket.Script, b.ticket.Workspace = "csv", "sha256:skill", "run.py", "/srv/letters"
		f := newFake(t, b.table())
		screen, tty := terminal(t)
		cmd := f.on(tty, strings.Fields(c.args)...)
		seen := until(t, screen, "Anything else changes nothing: ")
		if !strings.Contains(seen, `a\u202eb`) || !strings.Contains(seen, `> please\x1b[2J`) {
			t.Errorf("%s: the ticket was not shown: %q", c.name, seen)
		}
		if _, err := io.WriteString(screen, c.typed); err != nil {
			t.Fatal(err)
		}
		seen += rest(screen)
		f.wait(cmd)
		if got := status(cmd); got != c.status || !strings.Contains(seen, c.says) {
			t.Errorf("%s: status %d, %q", c.name, got, seen)
		}
		if c.verdict == "" {
			if len(b.given) != 0 {
				t.Errorf("%s: answered: %+v", c.name, b.given)
			}
			continue
		}
		if len(b.given) != 1 || b.given[0].Verdict != c.verdict || b.given[0].Revision != 2 {
			t.Errorf("%s: %+v", c.name, b.given)
		}
		if g := b.given[0]; c.verdict == approval.Grant && (g.For != 8*time.Hour || g.Uses == 3 != strings.Contains(c.args, "--uses 3") ||
			g.Wide != strings.Contains(c.args, "--wide") || g.Exact != strings.Contains(c.args, "--exact")) {
			t.Errorf("%s: %+v", c.name, g)
		}
	}
}

// TestApproveTarget: a grant is for one of the ticket's targets, and there is a
// question only about those.
func TestApproveTarget(t *testing.T) {
	const wide = "GET https://api.example.com:443/**"
	b := &book{ticket: testTicket()}
	b.ticket.Effect, b.ticket.Target = policy.NetRequest, "GET https://api.example.com:443/v1/list"
	b.ticket.Targets = policy.Widen(b.ticket.Effect, b.ticket.Target)
	b.ticket.Skill, b.ticket.SkillDigest, b.ticket.Script = "", "", ""
	f := newFake(t, b.table())
	screen, tty := terminal(t)
	cmd := f.on(tty, "approve", "--for", "15m", "--target", wide, "ABCD1234")
	want := "let it out, and for 15m00s also any command that is no skill's, under profile build"
	if seen := strings.ReplaceAll(until(t, screen, "Anything else changes nothing: "), "\r\n", " "); !strings.Contains(seen, want) || !strings.Contains(seen, "to send the request "+wide) {
		t.Errorf("%q", seen)
	}
	if _, err := io.WriteString(screen, "yes\n"); err != nil {
		t.Fatal(err)
	}
	rest(screen)
	f.wait(cmd)
	if status(cmd) != 0 || len(b.given) != 1 || b.given[0].Target != wide || b.given[0].Exact {
		t.Errorf("status %d, %+v", status(cmd), b.given)
	}
	got := f.run("", "approve", "--for", "15m", "--target", "GET https://example.com:443/**", "ABCD1234")
	if got.status != 1 || !strings.Contains(got.err, `can't be for "GET https://example.com:443/**"`) || !strings.Contains(got.err, wide) || len(b.given) != 1 {
		t.Errorf("another target: %+v", got)
	}
	if got := f.run("", "approve", "--target", wide, "ABCD1234"); got.status != 2 || !strings.Contains(got.err, "--for 1h") {
		t.Errorf("without a time: %+v", got)
	}
}

func TestApproveWithoutTerminal(t *testing.T) {
	b := &book{ticket: testTicket()}
	f := newFake(t, b.table())
	if got := f.detached("approve", "ABCD1234"); got.status != 1 || !strings.Contains(got.err, "--yes --revision N") || len(b.given) != 0 {
		t.Errorf("%+v", got)
	}
	if got := f.detached("approve", "--yes", "--revision", "1", "ABCD1234"); got.status != 1 || !strings.Contains(got.err, "has changed") || len(b.given) != 0 {
		t.Errorf("another revision: %+v, %+v", got, b.given)
	}
	if got := f.detached("approve", "--yes", "--revision", "2", "ABCD1234"); got.status != 0 || len(b.given) != 1 {
		t.Errorf("%+v, %+v", got, b.given)
	}
	b.ticket.State = approval.Expired
	if got := f.detached("approve", "--yes", "--revision", "2", "ABCD1234"); got.status != 1 || !strings.Contains(got.err, "is expired") || len(b.given) != 1 {
		t.Errorf("%+v, %+v", got, b.given)
	}
}

// TestGrantTooLong: nobody types yes to what can't be.
func TestGrantTooLong(t *testing.T) {
	for role, c := range map[string]struct{ time, says string }{
		"approver": {"61m", "the role approver may grant for 1h at most (approvals.grant_max in"},
		"admin":    {"721h", "the role admin may grant for 720h at most (approvals.grant_max_admin in"},
	} {
		b := &book{ticket: testTicket(), role: role}
		f := newFake(t, b.table())
		screen, tty := terminal(t)
		cmd := f.on(tty, "approve", "--for", c.time, "ABCD1234")
		seen := rest(screen)
		f.wait(cmd)
		if status(cmd) != 1 || !strings.Contains(strings.ReplaceAll(seen, "\r\n", " "), c.says) || strings.Contains(seen, "Type yes") || len(b.given) != 0 {
			t.Errorf("%s: %q", role, seen)
		}
	}
}

func TestDeny(t *testing.T) {
	b := &book{ticket: testTicket(), conflicts: 3}
	f := newFake(t, b.table())
	got := f.run("", "deny", "--reason", "not today", "ABCD1234")
	if got.status != 0 || len(b.given) != 1 || b.given[0].Reason != "not today" || b.given[0].Verdict != approval.Deny {
		t.Errorf("%+v, %+v", got, b.given)
	}
}

// TestApproveChange: what takes the ticket's place is shown and asked about.
func TestApproveChange(t *testing.T) {
	next := testTicket()
	next.ID, next.Revision, next.Parent = "WXYZ9876", 1, "ABCD1234"
	next.Facts = []approval.Fact{{Name: "command", Value: `"ls" "a b"`}}
	b := &book{ticket: testTicket(), next: next}
	f := newFake(t, b.table())
	screen, tty := terminal(t)
	cmd := f.on(tty, "approve", "--change", "--workspace", "./work", "ABCD1234", "--", "ls", "a b")
	for _, prompt := range []string{`change it into "ls" "a b", with the workspace ` + f.dir + "/work", "let it run, this once"} {
		if seen := until(t, screen, "Anything else changes nothing: "); !strings.Contains(strings.ReplaceAll(seen, "\r\n", " "), prompt) {
			t.Errorf("%q; want %s", seen, prompt)
		}
		if _, err := io.WriteString(screen, "yes\n"); err != nil {
			t.Fatal(err)
		}
	}
	seen := rest(screen)
	f.wait(cmd)
	if status(cmd) != 0 || len(b.given) != 2 {
		t.Fatalf("%q %+v", seen, b.given)
	}
	if g := b.given[0]; g.Verdict != approval.Change || string(g.Args[1]) != "a b" || string(*g.Workspace) != f.dir+"/work" {
		t.Errorf("%+v", g)
	}
	if g := b.given[1]; g.Verdict != approval.Allow || g.Ticket != "WXYZ9876" || g.Revision != 1 {
		t.Errorf("%+v", g)
	}
}

// TestTooLongToApprove: what doesn't fit is not asked about.
func TestTooLongToApprove(t *testing.T) {
	b := &book{ticket: testTicket()}
	b.ticket.Claim = strings.Repeat("x", 20<<10)
	f := newFake(t, b.table())
	screen, tty := terminal(t)
	cmd := f.on(tty, "approve", "ABCD1234")
	if seen := rest(screen); !strings.Contains(seen, "clawsup approvals --watch") || strings.Contains(seen, "Type yes") {
		t.Errorf("%q", seen)
	}
	f.wait(cmd)
	if status(cmd) != 1 || len(b.given) != 0 {
		t.Errorf("status %d, %+v", status(cmd), b.given)
	}
}

// TestDesk: a terminal on which one key allows a ticket, once it stood still.
func TestDesk(t *testing.T) {
	b := &book{ticket: testTicket()}
	b.ticket.Facts = b.ticket.Facts[:1]
	table := b.table()
	table[api.TicketWatch] = func(ctx context.Context, r *api.Request) (any, error) {
		_ = r.Notify(api.TicketChanged, b.ticket)
		_ = r.Notify(api.Ready, api.Nothing{})
		<-ctx.Done()
		return nil, ctx.Err()
	}
	answered := make(chan struct{})
	take := table[api.TicketAnswer]
	table[api.TicketAnswer] = func(ctx context.Context, r *api.Request) (any, error) {
		defer close(answered)
		return take(ctx, r)
	}
	f := newFake(t, table)
	screen, tty := terminal(t)
	conn, err := tty.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 90}) }); err != nil {
		t.Fatal(err)
	}
	cmd := f.on(tty, "approvals", "--watch", "--no-color")
	defer func() { _ = cmd.Process.Kill() }()
	until(t, screen, "ABCD1234")
	// The screen must be read, and the key pressed again until the ticket has
	// stood still for long enough.
	go func() { _, _ = io.Copy(io.Discard, screen) }()
	for range 600 {
		if _, err := io.WriteString(screen, "a"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-answered:
			if _, err := io.WriteString(screen, "q"); err != nil {
				t.Fatal(err)
			}
			if f.wait(cmd); status(cmd) != 0 || len(b.given) != 1 || b.given[0].Verdict != approval.Allow {
				t.Errorf("status %d, %+v", status(cmd), b.given)
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Error("no key answered")
}

// detached runs clawsup in a session without a terminal.
func (b *bench) detached(args ...string) said {
	b.t.Helper()
	c := b.command(args...)
	c.SysProcAttr = newSession()
	null, err := os.Open(os.DevNull)
	if err != nil {
		b.t.Fatal(err)
	}
	defer null.Close()
	c.Stdin = null
	return b.finish(c)
}

// TestApproveChanges: what a call did is shown with its ticket, and single paths
// of it can be refused.
func TestApproveChanges(t *testing.T) {
	for _, c := range []struct {
		name, args, typed string
		status            int
		refuse            string // as JSON; empty: nothing was answered
		says              string
	}{
		{"all", "approve ABCD", "yes\n", 0, "null", "to keep these changes. "},
		{"all but", `approve --refuse c.txt --refuse "b\xff\x1b[2J" ABCD`, "yes\n", 0, `["c.txt",{"base64":"Yv8bWzJK"}]`, `to keep these changes, all but "c.txt", "b\xff\x1b[2J". `},
		{"not yes", "approve --refuse c.txt ABCD", "no\n", 1, "", "the answer was not yes"},
	} {
		sets := newChangeBook()
		b := &book{ticket: testTicket()}
		b.ticket.Changes, b.ticket.Facts = sets.change.ID, []approval.Fact{{Name: "changes", Value: "3", Digest: sets.change.Digest}}
		table := b.table()
		for method, handler := range sets.table() {
			table[method] = handler
		}
		f := newFake(t, table)
		screen, tty := terminal(t)
		cmd := f.on(tty, strings.Fields(c.args)...)
		seen := until(t, screen, "Anything else changes nothing: ")
		for _, text := range []string{"deleted: 1 path", `"b\xff\x1b[2J"`, "3-1003  a/  1000 files", "1003 paths: 1 deleted"} {
			if !strings.Contains(seen, text) {
				t.Errorf("%s: no %q: %s", c.name, text, seen)
			}
		}
		if _, err := io.WriteString(screen, c.typed); err != nil {
			t.Fatal(err)
		}
		seen += rest(screen)
		f.wait(cmd)
		refuse := ""
		if len(b.given) == 1 && b.given[0].Verdict == approval.Allow {
			text, err := json.Marshal(b.given[0].Refuse)
			if err != nil {
				t.Fatal(err)
			}
			refuse = string(text)
		}
		if status(cmd) != c.status || refuse != c.refuse || !strings.Contains(seen, c.says) {
			t.Errorf("%s: %d, %s: %s", c.name, status(cmd), refuse, seen)
		}
	}

	sets := newChangeBook()
	b := &book{ticket: testTicket()}
	b.ticket.Changes = sets.change.ID
	table := b.table()
	for method, handler := range sets.table() {
		table[method] = handler
	}
	f := newFake(t, table)
	for args, says := range map[string]string{
		"approve --yes --revision 2 --refuse nothing ABCD": "it has no path nothing",
		"approve --change ABCD -- ls":                      "refuse single paths with --refuse, or deny it",
		"approve --for 1h ABCD":                            "nobody knows what the next will do",
	} {
		if got := f.run("", strings.Fields(args)...); got.status != 1 || !strings.Contains(got.err, says) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := f.run("", "approval", "show", "ABCD"); got.status != 0 || !strings.Contains(got.out, "modified: 1 path") {
		t.Errorf("%+v", got)
	}
	if got := f.run("", "approve", "--yes", "--revision", "2", "--refuse", "a", "ABCD"); got.status != 0 || len(b.given) != 1 || len(b.given[0].Refuse) != 1 || b.given[0].Refuse[0] != "a" {
		t.Errorf("%+v %+v", got, b.given)
	}
	b.ticket.Facts = []approval.Fact{{Name: "changes", Value: "3", Digest: "sha256:other"}}
	if got := f.run("", "approve", "--yes", "--revision", "2", "ABCD"); got.status != 1 || !strings.Contains(got.err, "is another than ticket ABCD1234 is about") {
		t.Errorf("%+v", got)
	}
	b.ticket.Changes = ""
	if got := f.run("", "approve", "--yes", "--revision", "2", "--refuse", "a", "ABCD"); got.status != 1 || !strings.Contains(got.err, "has no paths that could be refused") {
		t.Errorf("%+v", got)
	}
}
