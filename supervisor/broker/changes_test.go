// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// layered is a request for a script that writes to a workspace with an old file.
func (h *host) layered(script string) api.Submit {
	h.t.Helper()
	h.write("work/old", "old\n")
	h.write("work/older", "older\n")
	s := shell(script)
	s.Profile, s.Workspace = "default", raw.String(h.dir+"/work")
	return s
}

// tree is the workspace in a line.
func (h *host) tree() string {
	h.t.Helper()
	var list []string
	for _, name := range h.list("work") {
		list = append(list, name+"="+strings.TrimSpace(h.read("work/"+name)))
	}
	return strings.Join(list, " ")
}

const untouched = "old=old older=older"

// entries gives a change set's paths with their kinds.
func (h *host) entries(id string) string {
	h.t.Helper()
	show := ask[api.ChangesEntries](h.t, h.dial("admin"), api.ChangesShow, api.ChangesPart{Changes: id})
	var list []string
	for _, e := range show.Entries {
		list = append(list, e.Kind.String()+" "+string(e.Path))
	}
	return strings.Join(list, ", ")
}

// What is new is kept without a question, and with a receipt before it is.
func TestNewFilesAreKept(t *testing.T) {
	h := begin(t, "")
	s := h.layered("echo new > fresh")
	s.Wait = true
	v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if v.Changes == nil || v.Changes.State != changes.Committed || v.Changes.Count.Created != 1 || h.tree() != "fresh=new "+untouched {
		t.Fatalf("%+v; %s", v.Changes, h.tree())
	}
	if st, err := os.Stat(filepath.Join(h.dir, "work", "fresh")); err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("it belongs to somebody else than the workspace: %+v %v", st, err)
	}
	var seen []string
	for r, err := range audit.Read(h.dir+"/state/audit", 1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Call == v.ID {
			seen = append(seen, r.Kind.String()+" "+r.Effect+" "+r.Decision)
		}
	}
	if got := strings.Join(seen, ", "); got != "decision exec allow, decision fs.create allow, outcome  " {
		t.Errorf("receipts: %s", got)
	}
	// A call that changes nothing has no change set, and none stays.
	s = h.layered("cat old")
	s.Wait = true
	if v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s); v.Changes != nil || v.Result.Status != runtime.Exited {
		t.Errorf("%+v", v)
	}
}

// What was there before is deleted when a person has said so, path by path.
func TestPeopleDecideAboutPaths(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.layered("rm old older; echo new > fresh"))
	k := nextTicket(t, people, v.ID)
	if h.tree() != untouched {
		t.Fatalf("before anybody answered: %s", h.tree())
	}
	if k.Changes == "" || k.Effect != policy.FSDelete || !strings.Contains(k.Facts[0].Value, "2 deleted, 1 created") {
		t.Errorf("%+v", k)
	}
	if got := h.entries(k.Changes); got != "created fresh, deleted old, deleted older" {
		t.Errorf("entries: %s", got)
	}
	d := ask[api.ChangesDifference](t, h.dial("approval"), api.ChangesDiff, api.ChangesPath{Changes: k.Changes, Path: "old"})
	if d.Entry.Kind != changeset.Deleted || !strings.Contains(strings.Join(d.Lines, "\n"), "-old") {
		t.Errorf("%+v", d)
	}
	if _, err := try[changes.Change](h.dial("admin"), api.ChangesCommit, api.ChangesChoice{Changes: k.Changes}); api.CodeOf(err) != api.CodeConflict {
		t.Errorf("it was committed past the ticket: %v", err)
	}
	a := answer(k, approval.Allow)
	a.Refuse = []raw.String{"old"}
	ask[api.Answered](t, h.dial("approval"), api.TicketAnswer, a)
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Changes.State != changes.Committed || len(v.Changes.Report.Refused) != 1 || h.tree() != "fresh=new old=old" {
		t.Errorf("%+v; %s", v.Changes, h.tree())
	}
	undo := ask[changes.Change](t, h.dial("admin"), api.ChangesUndo, api.ChangesChoice{Changes: v.Changes.ID})
	if undo.State != changes.Committed || undo.Undoes != v.Changes.ID || h.tree() != untouched {
		t.Errorf("%+v; %s", undo, h.tree())
	}
}

func TestRefusedChangesAreGone(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.layered("echo more >> old"))
	k := nextTicket(t, people, v.ID)
	a := answer(k, approval.Deny)
	a.Reason = "leave the old alone"
	ask[api.Answered](t, h.dial("approval"), api.TicketAnswer, a)
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Changes.State != changes.Discarded || v.Reason != a.Reason || h.tree() != untouched {
		t.Errorf("%+v %q; %s", v.Changes, v.Reason, h.tree())
	}
	if _, err := try[changes.Change](h.dial("admin"), api.ChangesCommit, api.ChangesChoice{Changes: v.Changes.ID}); api.CodeOf(err) != api.CodeOver {
		t.Errorf("it came back: %v", err)
	}
}

// What nobody decides is held, through a restart too, and then decided.
func TestUndecidedIsHeld(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	zero := api.Duration(0)
	s := h.layered("rm old")
	s.Wait, s.Deadline = true, &zero
	v := ask[api.Call](t, c, api.CallSubmit, s)
	if v.Changes.State != changes.Held || !v.WouldAsk || h.tree() != untouched {
		t.Fatalf("headless: %+v; %s", v.Changes, h.tree())
	}
	if v := ask[changes.Change](t, h.dial("admin"), api.ChangesCommit, api.ChangesChoice{Changes: v.Changes.ID}); v.State != changes.Committed || h.tree() != "older=older" {
		t.Errorf("%+v; %s", v, h.tree())
	}
	s = h.layered("rm old")
	v = ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, v.ID)
	h.stop()
	h.start()
	list := ask[[]changes.Change](t, h.dial("admin"), api.ChangesList, api.ChangesFilter{Undecided: true})
	if len(list) != 1 || list[0].ID != k.Changes || list[0].State != changes.Held || h.tree() != untouched {
		t.Fatalf("after a restart: %+v; %s", list, h.tree())
	}
	if v := ask[changes.Change](t, h.dial("admin"), api.ChangesDiscard, api.ChangesChoice{Changes: k.Changes, Reason: "too late"}); v.State != changes.Discarded || h.tree() != untouched {
		t.Errorf("%+v; %s", v, h.tree())
	}
}

// A tool that was stopped did half of something: nobody wants that unasked.
func TestHalfDoneIsHeld(t *testing.T) {
	h := begin(t, "")
	s := h.layered("echo half > fresh; sleep 100")
	s.Wait, s.Timeout = true, api.Duration(300*time.Millisecond)
	v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if v.Result.Status != runtime.TimedOut || v.Changes == nil || v.Changes.State != changes.Held || h.tree() != untouched {
		t.Errorf("%+v %+v; %s", v.Result, v.Changes, h.tree())
	}
	// And nobody gets to keep what policy denies by dying.
	h.write("profiles/never.toml", "extends = \"default\"\n[effects]\nfs_delete = \"deny\"\n")
	ask[api.Daemon](t, h.dial("admin"), api.Reload, api.Nothing{})
	s = h.layered("rm old; kill -9 $$")
	s.Wait, s.Profile = true, "never"
	v = ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if v.Result.Status != runtime.Signalled || v.Changes == nil || v.Changes.State != changes.Discarded || h.tree() != untouched {
		t.Errorf("%+v %+v; %s", v.Result, v.Changes, h.tree())
	}
}

// The session's own files are its own, by what they are and not by their names.
func TestSessionOwnsWhatItMade(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	in := func(script string) api.Submit {
		s := h.layered(script)
		s.Session = "mine"
		return s
	}
	now := func(script string) api.Call {
		s := in(script)
		s.Wait = true
		return ask[api.Call](t, c, api.CallSubmit, s)
	}
	if v := now("echo 1 > a; echo 1 > b"); v.Changes.State != changes.Committed {
		t.Fatalf("%+v", v.Changes)
	}
	if v := now("echo 2 >> a; rm b"); v.Changes == nil || v.Changes.State != changes.Committed || h.tree() != "a=1\n2 "+untouched {
		t.Fatalf("%+v; %s", v.Changes, h.tree())
	}
	h.write("work/a", "somebody else's\n") // the same file, and the same name
	v := ask[api.Call](t, c, api.CallSubmit, in("rm a"))
	k := nextTicket(t, people, v.ID)
	ask[api.Answered](t, h.dial("approval"), api.TicketAnswer, answer(k, approval.Deny))
	ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if got := h.read("work/a"); got != "somebody else's\n" {
		t.Errorf("it is %q", got)
	}
}

// Files that run by themselves ask, also where they are new.
func TestProtectedPathsAsk(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.layered("mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit"))
	k := nextTicket(t, people, v.ID)
	ask[api.Answered](t, h.dial("approval"), api.TicketAnswer, answer(k, approval.Deny))
	ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if _, err := os.Lstat(filepath.Join(h.dir, "work", ".git")); !os.IsNotExist(err) {
		t.Errorf("there is a .git: %v", err)
	}
}

// The host's own edit is never overwritten.
func TestEditMeanwhileIsAConflict(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.layered("echo mine > old; echo new > fresh"))
	k := nextTicket(t, people, v.ID)
	h.write("work/old", "edited\n")
	ask[api.Answered](t, h.dial("approval"), api.TicketAnswer, answer(k, approval.Allow))
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Changes.State != changes.Committed || len(v.Changes.Report.Conflicts) != 1 || h.tree() != "fresh=new old=edited older=older" {
		t.Errorf("%+v; %s", v.Changes, h.tree())
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	h := begin(t, "")
	s := h.layered("rm old; echo new > fresh")
	s.Wait, s.DryRun = true, true
	v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if v.Changes.State != changes.Discarded || h.tree() != untouched {
		t.Fatalf("%+v; %s", v.Changes, h.tree())
	}
	if got := h.entries(v.Changes.ID); got != "created fresh, deleted old" {
		t.Errorf("it can't be seen: %s", got)
	}
}

// Several calls of a session write one change set, if that is wished for.
func TestKeepIsOneChangeSet(t *testing.T) {
	h := begin(t, "")
	c := h.dial("call")
	var id string
	s := h.layered("")
	s.Session, s.Keep, s.Wait = "long", true, true
	for _, script := range []string{"rm old; echo 1 > fresh", "test ! -e old && echo 2 >> fresh"} {
		s.Args = args("sh", "-c", script)
		v := ask[api.Call](t, c, api.CallSubmit, s)
		if v.Result.ExitCode != 0 || v.Changes == nil || v.Changes.State != changes.Writing || id != "" && v.Changes.ID != id || h.tree() != untouched {
			t.Fatalf("%+v %+v; %s", v.Result, v.Changes, h.tree())
		}
		id = v.Changes.ID
	}
	done := ask[changes.Change](t, h.dial("admin"), api.ChangesCommit, api.ChangesChoice{Changes: id})
	if done.State != changes.Committed || len(done.Calls) != 2 || h.tree() != "fresh=1\n2 older=older" {
		t.Errorf("%+v; %s", done, h.tree())
	}
}

// A lockdown decides nothing.
func TestLockdownHoldsChanges(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.layered("rm old"))
	k := nextTicket(t, people, v.ID)
	ask[api.LockdownReport](t, h.dial("admin"), api.Lockdown, api.LockdownOrder{Reason: "test"})
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Changes.State != changes.Held || h.tree() != untouched {
		t.Errorf("%+v; %s", v.Changes, h.tree())
	}
	if _, err := try[changes.Change](h.dial("admin"), api.ChangesCommit, api.ChangesChoice{Changes: k.Changes}); api.CodeOf(err) != api.CodeLocked {
		t.Errorf("committed in a lockdown: %v", err)
	}
}

// Who may look may not decide, and an agent sees none of it.
func TestWhoDecidesAboutChanges(t *testing.T) {
	for _, r := range api.Rights() {
		if !strings.HasPrefix(r.Method, "changes.") && !strings.HasPrefix(r.Method, "trash.") {
			continue
		}
		decides := r.Method != api.ChangesList && r.Method != api.ChangesShow && r.Method != api.ChangesDiff && r.Method != api.TrashList
		if r.Call || decides && r.Role < approval.Admin {
			t.Errorf("%+v", r)
		}
	}
}

// The workspace that a call began with is the one that is changed, or none.
func TestReplacedWorkspaceIsLeftAlone(t *testing.T) {
	h := begin(t, "")
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	v := ask[api.Call](t, c, api.CallSubmit, h.layered("rm old; echo new > fresh"))
	k := nextTicket(t, people, v.ID)
	canary := filepath.Join(h.dir, "elsewhere")
	if err := os.Mkdir(canary, 0o755); err != nil {
		t.Fatal(err)
	}
	h.write("elsewhere/old", "canary\n")
	if err := os.Rename(h.dir+"/work", h.dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(canary, h.dir+"/work"); err != nil {
		t.Fatal(err)
	}
	ask[api.Answered](t, h.dial("approval"), api.TicketAnswer, answer(k, approval.Allow))
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Changes.State != changes.Held || h.read("elsewhere/old") != "canary\n" || len(h.list("elsewhere")) != 1 || h.read("moved/old") != "old\n" {
		t.Errorf("%+v", v.Changes)
	}
}

// Two people who refuse different paths have refused both.
func TestTwoPeopleRefuseTheirPaths(t *testing.T) {
	h := newHost(t, "[roles]\napprover = [\"uid:4321\"]\n")
	h.write("profiles/two.toml", "extends = \"default\"\n[effects]\nquorum = 2\n")
	h.start()
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := h.layered("rm old older; echo new > fresh")
	s.Profile = "two"
	v := ask[api.Call](t, c, api.CallSubmit, s)
	k := nextTicket(t, people, v.ID)
	first := answer(k, approval.Allow)
	first.Refuse = []raw.String{"old"}
	k = ask[api.Answered](t, h.dial("approval"), api.TicketAnswer, first).Ticket
	if k.State != approval.Pending || h.tree() != untouched {
		t.Fatalf("after one yes: %+v; %s", k, h.tree())
	}
	second := answer(k, approval.Allow)
	second.Refuse = []raw.String{"fresh"}
	if r := h.as(4321, nil, "approval.sock", api.TicketAnswer, second); r.Error != "" {
		t.Fatalf("%+v", r)
	}
	v = ask[api.Call](t, c, api.CallWait, api.CallRef{Call: v.ID})
	if v.Changes.State != changes.Committed || len(v.Changes.Report.Refused) != 2 || h.tree() != "old=old" {
		t.Errorf("%+v; %s", v.Changes, h.tree())
	}
}

// What a profile denies is gone, and nobody is asked.
func TestPolicyDeniesChanges(t *testing.T) {
	h := newHost(t, "")
	h.write("profiles/keeping.toml", "extends = \"default\"\n[effects]\nfs_delete = \"deny\"\n")
	h.start()
	s := h.layered("rm old; echo new > fresh")
	s.Profile, s.Wait = "keeping", true
	v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if v.Changes.State != changes.Discarded || v.Ticket != "" || !strings.Contains(v.Reason, "effects.fs_delete") || h.tree() != untouched {
		t.Errorf("%+v %q; %s", v.Changes, v.Reason, h.tree())
	}
}

// A reload reaches what is kept already.
func TestReloadBoundsChanges(t *testing.T) {
	h := begin(t, "")
	zero := api.Duration(0)
	s := h.layered("rm old")
	s.Wait, s.Deadline = true, &zero
	v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	before := v.Changes.Expires
	h.configure("[changes]\nkeep = \"1h\"\n")
	ask[api.Daemon](t, h.dial("admin"), api.Reload, api.Nothing{})
	list := ask[[]changes.Change](t, h.dial("admin"), api.ChangesList, api.ChangesFilter{})
	if len(list) != 1 || !list[0].Expires.Before(before.Add(-24*time.Hour)) {
		t.Errorf("it expired at %v, and does at %+v", before, list)
	}
}

// A large change set is read part by part, each with what follows the one before.
func TestLargeChangeSetInParts(t *testing.T) {
	h := newHost(t, "")
	h.write("profiles/many.toml", "extends = \"build\"\n[effects]\nfs_create = \"ask\"\n")
	h.start()
	zero := api.Duration(0)
	s := h.layered("mkdir d; seq -f d/a-rather-long-name-of-a-file-%05g 5000 | xargs touch")
	s.Profile, s.Wait, s.Deadline = "many", true, &zero
	v := ask[api.Call](t, h.dial("call"), api.CallSubmit, s)
	if v.Changes == nil || v.Changes.Count.Created != 5001 {
		t.Fatalf("%+v %+v", v.Changes, v.Result)
	}
	c := h.dial("admin")
	var last raw.String
	parts, n := 0, 0
	for n < 5001 {
		show := ask[api.ChangesEntries](t, c, api.ChangesShow, api.ChangesPart{Changes: v.Changes.ID, From: n})
		if show.Total != 5001 || len(show.Entries) == 0 || show.Entries[0].Path <= last {
			t.Fatalf("part %d: %d of %d after %q", parts, len(show.Entries), show.Total, last)
		}
		parts, n, last = parts+1, n+len(show.Entries), show.Entries[len(show.Entries)-1].Path
	}
	if parts < 2 {
		t.Errorf("%d parts", parts)
	}
	if show := ask[api.ChangesEntries](t, c, api.ChangesShow, api.ChangesPart{Changes: v.Changes.ID, From: 7, Limit: 3}); len(show.Entries) != 3 {
		t.Errorf("%d entries", len(show.Entries))
	}
	for _, from := range []int{-1, 5002} {
		if _, err := try[api.ChangesEntries](c, api.ChangesShow, api.ChangesPart{Changes: v.Changes.ID, From: from}); api.CodeOf(err) != api.CodeParams {
			t.Errorf("from %d: %v", from, err)
		}
	}
}
