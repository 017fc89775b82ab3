// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Question is what policy has to know to judge a change set.
type Question struct {
	Rules   []policy.Rule
	Subject policy.Subject // but for effect and target
	Many    int            // entries above which a set is a question; 0: never
}

// Judgement is what becomes of a change set by policy.
type Judgement struct {
	Decision profiles.Decision
	Rule     string // the one that decides
	Quorum   int    // of an ask
	Effect   policy.Effect
	Target   string // of the entry that decides, as policy spells it
	Reasons  []Reason
}

// Reason is why there is a question, or a no.
type Reason struct {
	Why   string       `json:"why"`
	Count int          `json:"count"` // of entries
	Paths []raw.String `json:"paths"` // the first few
}

// Text is the reason in a line, with every path as shorten gives it (nil: whole),
// made visible.
func (r *Reason) Text(shorten func(path string) string) string {
	text := r.Why
	for i, p := range r.Paths {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		path := string(p)
		if shorten != nil {
			path = shorten(path)
		}
		text += sep + visible.Quote(path)
	}
	if more := r.Count - len(r.Paths); more > 0 && len(r.Paths) > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Judge asks policy about every entry: what the session itself made is only
// created. What is protected, leaves the workspace or is in conflict is an ask
// at least, and so is a path that policy can't spell.
func (s *Store) Judge(ctx context.Context, id string, q Question) (Judgement, error) {
	wait, cancel := s.bounded(ctx)
	defer cancel()
	p, err := s.undecided(wait, id, "nobody has decided yet")
	if err != nil {
		return Judgement{}, err
	}
	j, err := p.judge(ctx, q)
	p.Because = j.Reasons
	p.Ruled = err == nil && j.Decision == profiles.Allow // the commit that follows notes it
	return j, errors.Join(err, p.leave())
}

func (p *piece) judge(ctx context.Context, q Question) (Judgement, error) {
	leave, err := p.heavily(ctx)
	if err != nil {
		return Judgement{}, err
	}
	defer leave()
	set, err := p.set(p.dir)
	if err != nil {
		return Judgement{}, err
	}
	made, err := p.store.readLedger(p.Session)
	if err != nil {
		return Judgement{}, err
	}
	root, err := openWorkspace(string(p.Workspace), p.Identity)
	if err != nil {
		return Judgement{}, err
	}
	defer root.Close()
	guard, err := newGuard(set, int(root.Fd()), p.store.o.Bounds().Protected)
	if err != nil {
		return Judgement{}, err
	}
	t := &trial{question: q, made: made, guard: guard, now: p.store.o.Now()}
	j := t.all(ctx, set)
	return j, context.Cause(ctx)
}

// foresee notes what is a question whatever the rules say, of a change set that
// policy isn't asked about: who decides later has to know it all the same. A call
// that ended itself would choose otherwise what people are told.
func (p *piece) foresee() {
	set, err := p.set(p.dir)
	if err == nil {
		err = p.foreseeIn(set)
	}
	p.warn("what is to be known before it is committed could not be found", err)
}

func (p *piece) foreseeIn(set *changeset.Set) error {
	root, err := openWorkspace(string(p.Workspace), p.Identity)
	if err != nil {
		return err
	}
	defer root.Close()
	guard, err := newGuard(set, int(root.Fd()), p.store.o.Bounds().Protected)
	if err != nil {
		return err
	}
	t := &trial{guard: guard}
	for i := range set.Entries {
		e := &set.Entries[i]
		if e.Kind == changeset.Dropped {
			continue
		}
		for _, why := range t.questions(e) {
			t.because(why, e.Path)
		}
	}
	p.Because = t.reasons
	return nil
}

// trial is a judgement under way.
type trial struct {
	question Question
	made     ledger
	guard    *guard
	now      time.Time

	best    *finding
	reasons []Reason
	reason  map[string]int // by their words, the place in reasons
	named   int            // bytes of paths in reasons
}

// all judges a set, for as long as the context allows.
func (t *trial) all(ctx context.Context, set *changeset.Set) Judgement {
	for i := range set.Entries {
		if i%1024 == 0 && ctx.Err() != nil {
			break
		}
		t.entry(&set.Entries[i])
	}
	t.many(set)
	return t.judgement()
}

// finding is what one entry, or the set, comes to.
type finding struct {
	decision profiles.Decision
	rule     string
	quorum   int
	effect   policy.Effect
	target   string
}

// weight orders findings: the gravest is the highest.
func (f *finding) weight() int {
	switch f.decision {
	case profiles.Allow:
		return 0
	case profiles.Ask:
		return 1
	}
	return 2
}

// graver says whether f says more than g.
func (f *finding) graver(g *finding) bool {
	return g == nil || cmp.Or(
		cmp.Compare(f.weight(), g.weight()),
		cmp.Compare(f.quorum, g.quorum),
		cmp.Compare(f.effect, g.effect), // to delete is graver than to modify, and that than to create
	) > 0
}

// entry judges one.
func (t *trial) entry(e *changeset.Entry) {
	if e.Kind == changeset.Dropped { // it touches nothing
		return
	}
	for _, d := range t.deeds(e) {
		f, unspelled := t.decide(d)
		if f.weight() > 0 {
			t.because(ruleWhy[d.effect], e.Path)
		}
		for _, why := range append(t.questions(e), unspelled) {
			if why == "" {
				continue
			}
			t.because(why, e.Path)
			f.ask(why)
		}
		if f.graver(t.best) {
			t.best = &f
		}
	}
}

// ask makes an allow an ask.
func (f *finding) ask(why string) {
	if f.weight() == 0 {
		f.decision, f.quorum, f.rule = profiles.Ask, 1, why
	}
}

// ruleWhy are reasons of a rule that asks or denies.
var ruleWhy = map[policy.Effect]string{
	policy.FSCreate: "makes something new",
	policy.FSModify: "changes what was there before",
	policy.FSDelete: "deletes or moves what was there before",
}

// deed is an effect on a path.
type deed struct {
	effect policy.Effect
	path   string
}

// effects are what each kind does to its path.
var effects = map[changeset.Kind]policy.Effect{
	changeset.Created:  policy.FSCreate,
	changeset.Modified: policy.FSModify,
	changeset.Deleted:  policy.FSDelete,
	changeset.Renamed:  policy.FSCreate,
	changeset.Changed:  policy.FSModify,
}

// deeds are what an entry does, by policy's words.
func (t *trial) deeds(e *changeset.Entry) []deed {
	effect, known := effects[e.Kind]
	took := policy.FSDelete
	switch {
	case !known:
		effect = took
	case e.Kind != changeset.Created && t.made.made(e, t.guard.root):
		effect, took = policy.FSCreate, policy.FSCreate
	}
	list := []deed{{effect, string(e.Path)}}
	if e.Kind == changeset.Renamed {
		list = append(list, deed{took, string(e.From)})
	}
	return list
}

// decide asks policy. Of a path that it can't spell it asks about one that all
// the same patterns have, as far as there is one, and says so.
func (t *trial) decide(d deed) (f finding, unspelled string) {
	s := t.question.Subject
	s.Effect, s.Target = d.effect, d.path
	if err := s.Check(); err != nil {
		s.Target = spelled(d.path)
		unspelled = "has a path that no rule can name"
	}
	v := policy.Decide(s, t.question.Rules, nil, t.now)
	return finding{v.Decision, v.Rule, v.Quorum, d.effect, s.Target}, unspelled
}

// noteWhy are notes that make a question.
var noteWhy = []struct {
	note changeset.Notes
	why  string
}{
	{changeset.Conflict, "is in conflict: the workspace's file changed while the call ran"},
	{changeset.Leaves, "is a symbolic link that leaves the workspace"},
}

// questions are why an entry is a question whatever the rules say.
func (t *trial) questions(e *changeset.Entry) []string {
	var all []string
	for _, n := range noteWhy {
		if e.Notes.Has(n.note) {
			all = append(all, n.why)
		}
	}
	if why := t.guard.entry(e); why != "" {
		all = append(all, "is protected: "+why)
	}
	return all
}

// many asks where there is a great deal.
func (t *trial) many(set *changeset.Set) {
	if most := t.question.Many; most == 0 || len(set.Entries) <= most {
		return
	}
	f := finding{profiles.Allow, "", 0, policy.FSCreate, "."}
	if t.best != nil {
		f = *t.best
	}
	f.ask(fmt.Sprintf("it changes %d files, more than %d", len(set.Entries), t.question.Many))
	t.best = &f
	t.reasons = append(t.reasons, Reason{Why: fmt.Sprintf("more than %d files", t.question.Many), Count: len(set.Entries)})
}

// Bounds of what reasons name: paths of one, and bytes of the paths of all, each
// of which may be six in a record.
const (
	fewPaths  = 5
	mostPaths = 64 << 10
)

func (t *trial) because(why string, path raw.String) {
	if t.reason == nil {
		t.reason = map[string]int{}
	}
	i, ok := t.reason[why]
	if !ok {
		i = len(t.reasons)
		t.reason[why] = i
		t.reasons = append(t.reasons, Reason{Why: why})
	}
	r := &t.reasons[i]
	if n := len(r.Paths); n > 0 && r.Count == n && r.Paths[n-1] == path { // both ends of one that moved
		return
	}
	r.Count++
	if len(r.Paths) < fewPaths && t.named+len(path) <= mostPaths {
		t.named += len(path)
		r.Paths = append(r.Paths, path)
	}
}

func (t *trial) judgement() Judgement {
	if t.best == nil { // of what is dropped nothing is left to allow
		return Judgement{Decision: profiles.Allow, Rule: "nothing of it is committed", Effect: policy.FSCreate, Target: "."}
	}
	slices.SortStableFunc(t.reasons, func(a, b Reason) int { return cmp.Compare(a.Count, b.Count) })
	b := t.best
	return Judgement{Decision: b.decision, Rule: b.rule, Quorum: b.quorum, Effect: b.effect, Target: b.target, Reasons: t.reasons}
}
