// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/commit"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// openChanges takes up what the last run left: see changes.Open.
func (b *Broker) openChanges(ctx context.Context) (err error) {
	b.changes, err = b.supervisor.Changes(ctx)
	return err
}

// forgetChanges is for a session that is over.
func (b *Broker) forgetChanges(ctx context.Context, session string) {
	if err := b.changes.Forget(ctx, session); err != nil {
		logrus.WithError(err).WithField("session", session).Warn("what it kept of changes could not be looked after")
	}
}

// settleChanges decides about what a call did to its workspace. Nothing of it
// is lost where nobody decides.
func (b *Broker) settleChanges(c *call, t *turn, ch *changes.Change, result *runtime.Result) {
	t.pause() // the tool is done
	s := &settlement{b: b, call: c}
	s.tell(*ch)
	d := b.supervisor.Settle(context.WithoutCancel(c.ctx), c.plan, result, ch, b.subject(c), c.rules)
	switch d.Fate {
	case supervisor.Left:
	case supervisor.Unwanted:
		// A dry run is nobody's decision about a change.
		if c.plan.Request.DryRun || s.record(d.Judgement.Effect, profiles.Deny, d.By, "") {
			s.discard(d.By, d.Why)
		}
	case supervisor.Wanted:
		s.commit(d.Judgement.Effect, changes.Choice{}, d.By)
	case supervisor.Asked:
		if b.headless(c) {
			c.update(func(v *api.Call) { v.WouldAsk = true })
			s.hold("a person would have been asked, and this call asks nobody; " + d.Judgement.Rule)
			return
		}
		s.ask(d.Judgement)
	default:
		s.hold(d.Why)
	}
}

// settlement is the way of one change set to its end.
type settlement struct {
	b      *Broker
	call   *call
	change changes.Change
}

// tell has everybody who looks at the call see what becomes of its change set.
func (s *settlement) tell(ch changes.Change) {
	s.change = ch
	brief := briefly(ch, briefReport)
	s.call.update(func(v *api.Call) { v.Changes = &brief })
}

// briefReport bounds what a call remembers of each list of its report: there are
// thousands of calls. changes.show has more.
const briefReport = 8

// briefly gives a change set with at most so many entries in each list of its
// report, and the number of the others.
func briefly(ch changes.Change, most int) changes.Change {
	if ch.Report == nil {
		return ch
	}
	short := *ch.Report
	for _, list := range []*[]commit.Left{&short.Refused, &short.Conflicts, &short.Failed} {
		if n := len(*list); n > most {
			*list = (*list)[:most:most]
			ch.Unlisted += n - most
		}
	}
	ch.Report = &short
	return ch
}

// ask puts the change set to people.
func (s *settlement) ask(j changes.Judgement) {
	b, c := s.b, s.call
	wait := time.Duration(c.gen.Config.Calls.Deadline)
	if d := c.request.Deadline; d != nil {
		wait = time.Duration(*d)
	}
	ctx, cancel := context.WithTimeout(c.ctx, wait)
	defer cancel()
	q := b.question(c, c.plan, policy.Verdict{Decision: profiles.Ask, Rule: j.Rule, Quorum: j.Quorum}, c.request.Claim)
	q.Effect, q.Target, q.Changes, q.Within = j.Effect, j.Target, s.change.ID, wait
	q.Facts = changeFacts(&s.change, &j, c.snapshot().Command)
	ticket, err := b.book.Ask(ctx, q)
	if err != nil {
		s.hold("nobody could be asked: " + err.Error())
		return
	}
	if err := b.changes.Asked(s.change.ID, ticket); err != nil {
		logrus.WithError(err).WithField("changes", s.change.ID).Warn("that people are asked could not be noted")
	}
	ch := s.change
	ch.State, ch.Ticket = changes.Asking, ticket
	s.tell(ch)
	c.update(func(v *api.Call) { v.State, v.Ticket = api.Asking, ticket })
	if !s.record(j.Effect, profiles.Ask, j.Rule, "") {
		cancel() // the call leaves the ticket
	}
	answer, err := b.book.Await(ctx, ticket, c.id)
	switch {
	case err != nil:
		s.hold(err.Error())
	case c.ctx.Err() != nil:
		s.hold(context.Cause(c.ctx).Error())
	case answer.State == approval.Allowed:
		var refuse []raw.String
		for _, a := range answer.Answers {
			refuse = append(refuse, a.Refuse...)
		}
		s.commit(j.Effect, changes.Choice{Refuse: refuse}, "ticket "+ticket+": "+given(answer.Answers))
	case answer.State == approval.Denied:
		rule := "ticket " + ticket + ": denied"
		reason := cmp.Or(answer.Reason, "ticket "+ticket+" is denied, and no reason was given")
		if s.record(j.Effect, profiles.Deny, rule, reason) {
			s.discard(rule, reason)
		}
	default: // expired, void: nobody said no
		s.hold(cmp.Or(answer.Reason, "ticket "+ticket+" is "+string(answer.State)))
	}
}

// record writes down what was decided, and waits for the disk. What can't be
// recorded is not done.
func (s *settlement) record(e policy.Effect, d profiles.Decision, rule, reason string) bool {
	r := s.call.decision(string(d), rule, reason)
	r.Effect = e.String()
	f := facts(r.Facts)
	f.add(factChanges, s.change.ID)
	f.add("change set", s.change.Digest)
	r.Facts = f
	if err := s.b.write(s.call, r); err != nil {
		s.hold("the decision could not be recorded: " + err.Error())
		return false
	}
	return true
}

// commit applies what was chosen.
func (s *settlement) commit(e policy.Effect, choice changes.Choice, by string) {
	if s.b.lockedDown() || s.call.ctx.Err() != nil {
		s.hold(cmp.Or(context.Cause(s.call.ctx), errLockedDown).Error())
		return
	}
	if !s.record(e, profiles.Allow, by, "") {
		return
	}
	ch, err := s.b.changes.Commit(s.call.ctx, s.change.ID, choice, by)
	if err != nil {
		s.hold(err.Error())
		return
	}
	s.tell(ch)
}

// hold keeps the change set for somebody to decide later.
func (s *settlement) hold(why string) {
	ch, err := s.b.changes.Hold(s.change.ID, visible.Line(cut(why, maxReason)))
	if err != nil {
		logrus.WithError(err).WithField("changes", s.change.ID).Error("why it is held could not be noted")
		ch = s.change
	}
	s.tell(ch)
	s.reason(why)
}

func (s *settlement) discard(by, why string) {
	ch, err := s.b.changes.Discard(context.WithoutCancel(s.call.ctx), s.change.ID, by, visible.Line(cut(why, maxReason)))
	if err != nil {
		s.hold("it could not be discarded: " + err.Error())
		return
	}
	s.tell(ch)
	if !s.call.plan.Request.DryRun {
		s.reason(why)
	}
}

// reason tells who asked for the call why its change set is not in force.
func (s *settlement) reason(why string) {
	s.call.update(func(v *api.Call) { v.Reason = cut(why, maxMessage) })
}

// Names of facts about change sets in receipts.
const factChanges = "changes"

// maxReasonPath bounds, in bytes, what a ticket's reason has of a path.
const maxReasonPath = 200

// changeFacts are what a ticket about a change set says by itself; the entries
// are asked for one by one.
func changeFacts(ch *changes.Change, j *changes.Judgement, command string) []approval.Fact {
	n := ch.Count
	list := []approval.Fact{
		{Name: "changes", Value: n.String(), Digest: ch.Digest},
		{Name: "workspace", Value: visible.Text(string(ch.Workspace))},
	}
	short := func(path string) string { return cut(path, maxReasonPath) }
	for i := range j.Reasons {
		list = append(list, approval.Fact{Name: "because", Value: j.Reasons[i].Text(short)})
	}
	return append(list, approval.Fact{Name: "made by", Value: command})
}

// changesCodes are those of change sets.
var changesCodes = codes{
	{changes.ErrUnknown, api.CodeNotFound},
	{changes.ErrOver, api.CodeOver},
	{changes.ErrBusy, api.CodeConflict},
	{changes.ErrReplaced, api.CodeConflict},
}

func changesError(err error) error { return changesCodes.of(err) }

func (b *Broker) changesList(_ context.Context, _ client, r *api.Request) (any, error) {
	f, err := params[api.ChangesFilter](r)
	if err != nil {
		return nil, err
	}
	all, err := b.changes.List()
	if err != nil {
		return nil, changesError(err)
	}
	most := maxListed
	if f.Limit > 0 {
		most = min(most, f.Limit)
	}
	list := []changes.Change{}
	for _, c := range all {
		if len(list) == most {
			break
		}
		if f.Undecided && c.State.Over() || f.Session != "" && f.Session != c.Session {
			continue
		}
		c.Report, c.Because, c.Command, c.Reason = nil, nil, cut(c.Command, 512), cut(c.Reason, 256)
		list = append(list, c)
	}
	return fitting(list), nil
}

func (b *Broker) changesShow(ctx context.Context, _ client, r *api.Request) (any, error) {
	p, err := params[api.ChangesPart](r)
	if err != nil {
		return nil, err
	}
	ch, err := b.changes.Find(p.Changes)
	if err != nil {
		return nil, changesError(err)
	}
	set, err := b.viewed.get(ctx, b.changes, &ch)
	if err != nil {
		return nil, changesError(err)
	}
	if p.From < 0 || p.From > len(set.Entries) {
		return nil, failf(api.CodeParams, "there are %d entries", len(set.Entries))
	}
	entries := set.Entries[p.From:]
	if p.Limit > 0 && p.Limit < len(entries) {
		entries = entries[:p.Limit]
	}
	if ch.Report != nil && spelled(ch.Report) > maxFacts { // a frame is bounded
		ch = briefly(ch, 100)
	}
	room := maxList - maxFacts
	for i := range entries {
		if room -= spelled(&entries[i]) + 1; room < 0 {
			entries = entries[:max(i, 1)]
			break
		}
	}
	return api.ChangesEntries{Change: ch, Entries: entries, Total: len(set.Entries)}, nil
}

func (b *Broker) changesDiff(ctx context.Context, _ client, r *api.Request) (any, error) {
	p, err := params[api.ChangesPath](r)
	if err != nil {
		return nil, err
	}
	e, lines, cut, err := b.supervisor.Diff(ctx, p.Changes, string(p.Path))
	if err != nil {
		return nil, changesError(err)
	}
	if lines == nil {
		lines = []string{}
	}
	if n := len(fitting(lines)); n < len(lines) {
		lines, cut = lines[:n], true
	}
	return api.ChangesDifference{Entry: e, Lines: lines, Cut: cut}, nil
}

// decidable finds a change set that a person decides about now.
func (b *Broker) decidable(id string) (changes.Change, error) {
	if b.lockedDown() {
		return changes.Change{}, failf(api.CodeLocked, "there is a lockdown")
	}
	ch, err := b.changes.Find(id)
	if err != nil {
		return ch, changesError(err)
	}
	if ch.State == changes.Asking {
		return ch, failf(api.CodeConflict, "ticket %s asks about change set %s: answer that", ch.Ticket, ch.ID)
	}
	return ch, nil
}

// changesAct records what a person decides about a change set, and then does it.
func (b *Broker) changesAct(ctx context.Context, who client, did string, ch *changes.Change, why string, do func(ctx context.Context, by string) (changes.Change, error)) (any, error) {
	ctx = context.WithoutCancel(ctx) // half of it is nothing that anybody wants
	r := act(who, did, audit.Fact{Name: factChanges, Value: ch.ID}, audit.Fact{Name: "change set", Value: ch.Digest}, audit.Fact{Name: factReason, Value: why})
	if len(ch.Calls) > 0 {
		r.Call = ch.Calls[0]
	}
	if err := b.record(ctx, r); err != nil {
		b.logFailed(err)
		return nil, err
	}
	done, err := do(ctx, who.String())
	if err != nil {
		return nil, changesError(err)
	}
	return done, nil
}

func (b *Broker) changesCommit(ctx context.Context, who client, r *api.Request) (any, error) {
	o, err := params[api.ChangesChoice](r)
	if err != nil {
		return nil, err
	}
	ch, err := b.decidable(o.Changes)
	if err != nil {
		return nil, err
	}
	return b.changesAct(ctx, who, "commit changes", &ch, o.Reason, func(ctx context.Context, by string) (changes.Change, error) {
		return b.changes.Commit(ctx, ch.ID, o.Choice(), by)
	})
}

func (b *Broker) changesDiscard(ctx context.Context, who client, r *api.Request) (any, error) {
	o, err := params[api.ChangesChoice](r)
	if err != nil {
		return nil, err
	}
	if len(o.Only) > 0 || len(o.Refuse) > 0 {
		return nil, failf(api.CodeParams, "a change set is discarded whole; to keep a part of it, commit that: the rest is discarded")
	}
	ch, err := b.decidable(o.Changes)
	if err != nil {
		return nil, err
	}
	return b.changesAct(ctx, who, "discard changes", &ch, o.Reason, func(ctx context.Context, by string) (changes.Change, error) {
		return b.changes.Discard(ctx, ch.ID, by, visible.Line(cut(o.Reason, maxReason)))
	})
}

func (b *Broker) changesUndo(ctx context.Context, who client, r *api.Request) (any, error) {
	o, err := params[api.ChangesChoice](r)
	if err != nil {
		return nil, err
	}
	if len(o.Refuse) > 0 {
		return nil, failf(api.CodeParams, "name the paths that are to be undone")
	}
	ch, err := b.decidable(o.Changes)
	if err != nil {
		return nil, err
	}
	return b.changesAct(ctx, who, "undo changes", &ch, o.Reason, func(ctx context.Context, by string) (changes.Change, error) {
		return b.changes.TakeBack(ctx, ch.ID, o.Only, by, o.DryRun)
	})
}

func (b *Broker) trashList(_ context.Context, _ client, r *api.Request) (any, error) {
	ref, err := params[api.ChangesRef](r)
	if err != nil {
		return nil, err
	}
	ch, err := b.changes.Find(ref.Changes)
	if err != nil {
		return nil, changesError(err)
	}
	list, err := b.changes.Trash(ch.ID)
	if err != nil {
		return nil, changesError(err)
	}
	return fitting(list), nil
}

func (b *Broker) trashEmpty(ctx context.Context, who client, r *api.Request) (any, error) {
	o, err := params[api.TrashOrder](r)
	if err != nil {
		return nil, err
	}
	id := ""
	if o.Changes != "" {
		ch, err := b.decidable(o.Changes)
		if err != nil {
			return nil, err
		}
		id = ch.ID
	}
	ctx = context.WithoutCancel(ctx)
	if err := b.record(ctx, act(who, "empty trash", audit.Fact{Name: factChanges, Value: id})); err != nil {
		b.logFailed(err)
		return nil, err
	}
	n, err := b.changes.Empty(ctx, id, time.Now().Add(-time.Duration(o.Older)))
	if err != nil {
		return nil, changesError(err)
	}
	return api.TrashEmptied{Bytes: n}, nil
}
