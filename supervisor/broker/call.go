// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
	"github.com/clawsup/clawsup/supervisor/session"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// owner is who asked for a call, and who alone sees it on a call socket: an
// agent, told by the listener that accepted it, or a user of the host.
type owner struct {
	agent string // empty: nobody's agent
	uid   uint32
}

func (o owner) String() string {
	if o.agent != "" {
		return fmt.Sprintf("agent %s (uid %d)", o.agent, o.uid)
	}
	return fmt.Sprintf("uid %d", o.uid)
}

func (o owner) uidText() string { return fmt.Sprint(o.uid) }

// same tells an agent by its name, a user by the uid.
func (o owner) same(p owner) bool {
	return o.agent == p.agent && (o.agent != "" || o.uid == p.uid)
}

// call is one call, from its acceptance until it is forgotten.
type call struct {
	id      string
	owner   owner
	request api.Submit
	mark    string // of the request; see fingerprint
	gen     *Generation
	first   atomic.Uint64  // sequence number of its first receipt; 0: it has none
	pending *audit.Pending // a decision on its way to the disk; nil: none

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at the end

	streams *streams // nil: rebuilt from the log
	stdin   supervisor.Stdin

	plan  *supervisor.Plan // of the goroutine that carries it out; changes with an answer
	next  chan change      // what an approver put in its place
	rules []policy.Rule

	mu      sync.Mutex
	view    api.Call         // mu
	facts   []approval.Fact  // mu; of the plan
	over    bool             // mu; no change is taken any more
	secret  bool             // mu; its output is private
	box     *runtime.Sandbox // mu; while it runs
	changed chan struct{}    // mu; closed and replaced whenever view changes
}

// change is a call in other words.
type change struct {
	plan    *supervisor.Plan
	rules   []policy.Rule
	ticket  string
	command string // for people; see command
}

// offer gives the call another plan, unless it is over.
func (c *call) offer(other change) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.next <- other // a ticket has one answer, and the next one comes when this was taken
	return true
}

// shut takes no more plans, and closes one that nobody took.
func (c *call) shut() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	select {
	case other := <-c.next:
		return other.plan.Close()
	default:
		return nil
	}
}

// Causes for which a call is stopped.
var (
	errCancelled  = errors.New("cancelled by who asked for it")
	errGone       = errors.New("who asked for it has gone")
	errShutdown   = errors.New("clawsupd is going down")
	errLockedDown = errors.New("lockdown")
)

// stopped is a person's act.
type stopped struct{ by, reason string }

func (s *stopped) Error() string {
	if s.reason == "" {
		return "stopped by " + s.by
	}
	return "stopped by " + s.by + ": " + s.reason
}

// mint makes an id of 80 random bits behind a prefix.
func mint(prefix string) string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return prefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// snapshot is the call as others may see it.
func (c *call) snapshot() api.Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

// update changes the view and wakes who follows it.
func (c *call) update(f func(*api.Call)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.view)
	close(c.changed)
	c.changed = make(chan struct{})
}

// changes gives the view and a channel that is closed when it is no longer so.
func (c *call) changes() (api.Call, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view, c.changed
}

// Bounds of a request, in bytes. An argument list as long as the kernel takes
// fits into a frame.
const (
	maxKey   = 128
	maxClaim = 2000
	maxName  = 4096 // a path has no more
)

// accept takes a request in, or says why not. files are the caller's three
// descriptors, or none; they are the call's from then on, also after an error.
// known says that its key was: then nothing new began.
func (b *Broker) accept(o owner, s api.Submit, files []*os.File) (_ *call, known bool, err error) {
	keep := false
	defer func() {
		if !keep {
			closeAll(files)
		}
	}()
	switch {
	case len(s.Key) > maxKey || !printable(s.Key):
		return nil, false, failf(api.CodeParams, "key: up to %d printable ASCII characters", maxKey)
	case len(s.Skill) > maxName || len(s.Profile) > maxName || len(s.Workspace) > maxName || len(s.StdinPath) > maxName:
		return nil, false, failf(api.CodeParams, "skill, profile, workspace and stdin_path: up to %d bytes each", maxName)
	case len(s.Claim) > maxClaim:
		return nil, false, failf(api.CodeParams, "claim: up to %d bytes", maxClaim)
	case s.Approver != "" && s.Approver != supervisor.ApproverNone:
		return nil, false, failf(api.CodeParams, "approver: leave it out, or write %q", supervisor.ApproverNone)
	case o.agent != "" && strings.ContainsRune(s.Skill, '/'):
		return nil, false, failf(api.CodeParams, "skill: an agent names it, without a path")
	case len(files) > 0 && s.Stdin != nil:
		return nil, false, failf(api.CodeParams, "stdin comes as a descriptor or as data, not as both")
	}
	if s.Session != "" {
		if err := session.CheckName(s.Session); err != nil {
			return nil, false, failf(api.CodeParams, "%v", err)
		}
	}
	gen := b.generation.Load()
	if o.agent != "" && gen.agent(o.agent) == nil {
		return nil, false, failf(api.CodeDenied, "agent %s is not configured any more, and may ask for nothing", o.agent)
	}
	c := &call{
		id: mint("c-"), owner: o, request: s, mark: fingerprint(s), gen: gen,
		done: make(chan struct{}), next: make(chan change, 1), changed: make(chan struct{}),
	}
	// A descriptor may lie on a file system that doesn't answer: nobody else
	// waits for it.
	c.stdin = standardInput(files, &s)
	if c.streams, err = b.connect(files, s.Stdin); err != nil {
		return nil, false, failf(api.CodeParams, "%v", err)
	}
	before, err := b.enter(c)
	if before != nil || err != nil {
		c.streams.spare(files)
		return before, before != nil, err
	}
	keep = true
	return c, false, nil
}

// enter lets a call in and has it carried out, or gives the one that came
// before under its key, or says why there is no place for it.
func (b *Broker) enter(c *call) (before *call, err error) {
	// One after the other, so that a key is looked for and taken in one step.
	b.accepting.Lock()
	defer b.accepting.Unlock()
	s, o := &c.request, c.owner
	if before := b.calls.byKey(o, s.Key); before != nil {
		if before.mark != c.mark {
			return nil, failf(api.CodeConflict, "key %s belongs to call %s, which is another request: give each request a key of its own", s.Key, before.id)
		}
		return before, nil
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	if n := c.gen.Config.Calls.SkillRate; s.Skill != "" && !b.rates.take("skill "+s.Skill, n, time.Now()) {
		return nil, failf(api.CodeFlood, "more than %d calls of skill %s a minute; slow down", n, visible.Text(cut(s.Skill, 64)))
	}
	if n := b.rate(c.gen, o.agent); !b.rates.take(o.String(), n, time.Now()) {
		return nil, failf(api.CodeFlood, "more than %d calls a minute; slow down", n)
	}
	t, err := b.queue.enter(c.key())
	if errors.Is(err, errFull) {
		_, waiting := b.queue.numbers()
		return nil, failf(api.CodeFull, "the queue is full: %d calls wait; try again later", waiting)
	}
	if err != nil {
		return nil, err
	}
	s.Stdin = nil // it is in the stream
	c.ctx, c.cancel = context.WithCancelCause(b.ctx)
	c.view = api.Call{
		ID: c.id, State: api.Queued, Requester: o.String(), Agent: o.agent, SessionName: s.Session,
		Skill: s.Skill, Key: s.Key, Labels: b.labelsOf(o.agent, ""), Created: time.Now().UTC(),
	}
	b.calls.add(c)
	b.working.Go(func() { b.carry(c, t) })
	return nil, nil
}

// fingerprint tells one request from another under one key. How the caller
// waits is no part of it.
func fingerprint(s api.Submit) string {
	if s.Key == "" {
		return ""
	}
	s.Wait, s.Progress = false, false
	text, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// key says against whose bounds the call counts.
func (c *call) key() turnKey {
	line := c.owner.String()
	if c.request.Session != "" {
		line += " " + c.request.Session
	}
	return turnKey{line: line, agent: c.owner.agent, skill: c.request.Skill}
}

// standardInput says for plan and facts what the call reads.
func standardInput(files []*os.File, s *api.Submit) supervisor.Stdin {
	switch {
	case len(files) > 0:
		return supervisor.StdinOf(files[0], string(s.StdinPath))
	case len(s.Stdin) == 0:
		return supervisor.Stdin{Kind: supervisor.StdinEmpty}
	}
	sum := sha256.Sum256(s.Stdin)
	return supervisor.Stdin{Kind: supervisor.StdinData, Size: int64(len(s.Stdin)), Digest: "sha256:" + hex.EncodeToString(sum[:])}
}

// carry takes a call from the queue to its end.
func (b *Broker) carry(c *call, t *turn) {
	// Here, where it was let in: a long command takes a while to clean.
	text := command(&c.request)
	c.update(func(v *api.Call) { v.Command = text })
	result := b.result(c, t)
	t.leave()
	c.streams.release()
	if err := errors.Join(c.shut(), c.plan.Close()); err != nil {
		logrus.WithError(err).Warn("a sealed copy stayed behind; the next start removes it")
	}
	if cause := context.Cause(c.ctx); cause != nil && result.Status == runtime.Stopped {
		result.Message = cause.Error()
		if errors.Is(cause, errShutdown) {
			result.Status = runtime.SupervisorRestart
		}
	}
	c.cancel(nil)
	// The reply waits for the receipt. Where that can't be written the caller
	// gets no result that looks like one, and nothing new begins.
	if err := b.write(c, c.outcome(&result)); err != nil {
		result.Message = strings.TrimSpace(result.Message + "; its receipt could not be written: " + err.Error())
		result.Status, result.Step = runtime.SandboxError, runtime.StepReport
	}
	result.Message = cut(result.Message, maxMessage)
	c.update(func(v *api.Call) {
		v.State, v.Ended, v.Result = api.Ended, time.Now().UTC(), &result
		v.Reason = cut(v.Reason, maxMessage)
		if v.Reason == "" && result.Status == runtime.Denied {
			v.Reason = result.Message
		}
	})
	c.mu.Lock()
	// Nobody needs these any more, and there may be thousands of calls that have ended.
	c.plan, c.rules, c.request = nil, nil, api.Submit{}
	c.mu.Unlock()
	close(c.done)
	b.calls.ended(c)
}

// result carries the call out.
func (b *Broker) result(c *call, t *turn) runtime.Result {
	if err := t.wait(c.ctx); err != nil {
		return supervisor.StoppedResult(c.plan, err)
	}
	c.gen = b.generation.Load() // of now, not of when it began to wait
	c.update(func(v *api.Call) { v.State = api.Planning })
	if c.request.Session != "" {
		s, err := b.sessions.Use(c.ctx, session.Owner{Agent: c.owner.agent, UID: c.owner.uid}, c.request.Session)
		if err != nil {
			return b.refused(c, err)
		}
		defer b.sessions.Leave(s.ID)
		c.update(func(v *api.Call) { v.Session = s.ID })
		if c.owner.agent != "" {
			if err := b.sessions.Mark(s.ID, "", session.Untrusted, c.id, "agent "+c.owner.agent+" asks in it"); err != nil {
				return supervisor.Failed(err, nil)
			}
		}
	}
	p, rules, err := b.resolve(c.ctx, c, &c.request)
	if err != nil {
		return b.refused(c, err)
	}
	c.planned(p, rules)
	if denial := b.decide(c, t); denial != nil {
		return *denial
	}
	return b.run(c)
}

// planned takes a plan, the first or one in its place.
func (c *call) planned(p *supervisor.Plan, rules []policy.Rule) {
	c.plan, c.rules = p, rules
	facts := factsOf(p)
	if readable(p) > maxQuestion { // nobody reads it whole, and no frame holds it
		for i := range facts {
			facts[i].Value = cut(facts[i].Value, 1<<10)
		}
	}
	c.mu.Lock()
	c.facts = facts
	c.mu.Unlock()
	c.update(func(v *api.Call) {
		v.Plan, v.Profile, v.ProfileDigest = p.Digest, p.Profile.Profile.Name, p.Profile.Digest
		if p.Skill != nil {
			v.SkillDigest = p.Skill.Digest
		}
	})
}

// factsOf gives a plan's facts for tickets.
func factsOf(p *supervisor.Plan) []approval.Fact {
	list := make([]approval.Fact, len(p.Facts))
	for i, f := range p.Facts {
		list[i] = approval.Fact{Name: f.Name, Value: f.Value, Digest: f.Digest}
	}
	return list
}

// refused is the result of a call that could not be resolved: a denial where
// the configuration says no, and else an error.
func (b *Broker) refused(c *call, err error) runtime.Result {
	if c.ctx.Err() != nil {
		return supervisor.StoppedResult(c.plan, context.Cause(c.ctx))
	}
	var no *refusal
	var full *session.Error
	if errors.As(err, &no) || errors.As(err, &full) {
		return b.denied(c, "configuration", err.Error())
	}
	return supervisor.Failed(err, nil)
}

// denied records a no and gives its result.
func (b *Broker) denied(c *call, rule, reason string) runtime.Result {
	c.update(func(v *api.Call) { v.Decision, v.Rule, v.Reason = string(profiles.Deny), rule, reason })
	_ = b.write(c, c.decision(string(profiles.Deny), rule, reason)) // a no stays one
	return supervisor.DeniedResult(c.plan, reason)
}

// resolve makes the plan of a request, and the rules that are about it.
func (b *Broker) resolve(ctx context.Context, c *call, s *api.Submit) (*supervisor.Plan, []policy.Rule, error) {
	profile, err := c.gen.profile(c.owner.agent, s.Profile)
	if err != nil {
		return nil, nil, err
	}
	r := supervisor.Request{
		Skill: s.Skill, Args: raw.Strings(s.Args), Profile: s.Profile, Timeout: time.Duration(s.Timeout),
		Env: raw.Strings(s.Env), Stdin: c.stdin, Requester: int(c.owner.uid), Agent: c.owner.agent,
	}
	if s.Workspace != "" {
		w, err := c.gen.workspace(c.owner.agent, string(s.Workspace))
		if err != nil {
			return nil, nil, err
		}
		r.Workspace = w.path
	}
	if id := c.snapshot().Session; id != "" {
		r.Session, r.Called = id, s.Session
		r.Trees = &supervisor.Trees{
			Workspace: b.sessions.Workspace(id), Tmp: b.sessions.Tmp(id),
			Owner: rootfs.Owner{UID: b.sessionUID(), GID: b.sessionUID()},
		}
	}
	p, err := b.supervisor.PlanUnder(ctx, r, profile)
	if err != nil {
		return nil, nil, err
	}
	if p.Skill != nil {
		b.renewed(p.Skill)
	}
	return p, policy.AtLeast(c.gen.Config.Approvals.Quorum, policy.FromProfile(profile)), nil
}

// renewed voids the grants for a skill whose folder has other bytes now. They
// match nothing any more; this is so that nobody takes them for good.
func (b *Broker) renewed(k *skills.Skill) {
	b.mu.Lock()
	before := b.skills[k.Source]
	b.skills[k.Source] = k.Digest
	b.mu.Unlock()
	if before == "" || before == k.Digest {
		return
	}
	if _, err := b.book.VoidSkill(before); err != nil {
		logrus.WithError(err).WithField("skill", k.Name).Warn("grants for its former bytes could not be marked as void; they match nothing")
	}
}

// labelsOf gives the labels of what an agent asks for in a session; either may
// be empty. An agent reads hostile text all day: what it asks for is untrusted.
func (b *Broker) labelsOf(agent, id string) policy.Labels {
	labels, _, _ := b.sessions.Labels(id, agent)
	labels.Untrusted = labels.Untrusted || agent != ""
	return labels
}

// subject is the question that policy gets about a call.
func (b *Broker) subject(c *call) policy.Subject {
	v := c.snapshot()
	labels := b.labelsOf(v.Agent, v.Session)
	s := policy.Subject{
		Effect: policy.Exec, Plan: c.plan.Digest, Script: c.plan.Script,
		Profile: c.plan.Profile.Digest, Session: v.Session, Agent: v.Agent, Labels: labels,
	}
	if c.plan.Skill != nil {
		s.Skill = c.plan.Skill.Digest
	}
	if c.plan.Workspace != nil {
		s.Workspace = raw.String(c.plan.Workspace.Path)
	}
	c.update(func(v *api.Call) { v.Labels = labels })
	return s
}

// decide gives nil when the call may run, and else its result. The turn is
// given back while a person is asked.
func (b *Broker) decide(c *call, t *turn) *runtime.Result {
	no := func(rule, reason string) *runtime.Result {
		r := b.denied(c, rule, reason)
		return &r
	}
	fail := func(err error) *runtime.Result {
		r := supervisor.Failed(err, c.plan)
		return &r
	}
	verdict := b.book.Use(b.subject(c), c.rules)
	switch verdict.Decision {
	case profiles.Allow:
		c.update(func(v *api.Call) {
			v.Decision, v.Rule, v.Grant = string(profiles.Allow), verdict.Rule, verdict.Grant
		})
		if err := b.allowed(c, verdict.Rule); err != nil {
			return fail(err)
		}
		return nil
	case profiles.Ask:
	default:
		return no(verdict.Rule, verdict.Rule)
	}
	if b.headless(c) {
		c.update(func(v *api.Call) { v.WouldAsk = true })
		return no(verdict.Rule, "a person would have been asked, and this call asks nobody; "+verdict.Rule)
	}
	t.pause()
	denial := b.ask(c, verdict)
	if denial != nil {
		return denial
	}
	t.again()
	if err := t.wait(c.ctx); err != nil {
		r := supervisor.StoppedResult(c.plan, err)
		return &r
	}
	c.update(func(v *api.Call) { v.State = api.Planning })
	return nil
}

// headless says whether an ask is a no at once.
func (b *Broker) headless(c *call) bool {
	if c.request.Approver == supervisor.ApproverNone || c.request.Deadline != nil && *c.request.Deadline == 0 {
		return true
	}
	a := c.gen.agent(c.owner.agent)
	return a != nil && a.Approver == supervisor.ApproverNone
}

// allowed records a yes. The box of a call that can reach nothing outside may
// be made meanwhile: what such a call does is not yet an effect. Where it can
// write, the yes is on the disk first.
func (b *Broker) allowed(c *call, rule string) error {
	r := c.decision(string(profiles.Allow), rule, "")
	if reachesOut(c.plan) {
		if err := b.write(c, r); err != nil {
			return fmt.Errorf("the decision could not be recorded, so nothing ran: %w", err)
		}
		return nil
	}
	b.noteFirst(c)
	var err error
	if c.pending, err = b.log.Begin(c.ctx, r); err != nil && c.ctx.Err() == nil {
		b.logFailed(err)
	}
	return err
}

// noteFirst notes a number that no receipt of the call is before, as long as it
// has none: where the log has to be read from while the call lives.
func (b *Broker) noteFirst(c *call) {
	from := uint64(1)
	if a := b.log.Anchor(); a != nil {
		from = a.Seq
	}
	c.first.CompareAndSwap(0, from)
}

// write writes a receipt about a call and waits for it, and for one before it.
func (b *Broker) write(c *call, r audit.Receipt) error {
	ctx := context.Background()
	if p := c.pending; p != nil {
		c.pending = nil
		if _, err := p.Wait(ctx); err != nil {
			b.logFailed(err)
			return err
		}
	}
	b.noteFirst(c)
	if _, err := b.log.Append(ctx, r); err != nil {
		b.logFailed(err)
		return err
	}
	return nil
}

// reachesOut says whether a call can change something that stays.
func reachesOut(p *supervisor.Plan) bool {
	for _, bind := range p.Spec.Binds {
		if bind.Writable {
			return true
		}
	}
	return false
}

// ask puts the call to people. It gives nil when the answer is yes.
func (b *Broker) ask(c *call, verdict policy.Verdict) *runtime.Result {
	no := func(rule, reason string) *runtime.Result {
		r := b.denied(c, rule, reason)
		return &r
	}
	wait := time.Duration(c.gen.Config.Calls.Deadline)
	if d := c.request.Deadline; d != nil {
		wait = time.Duration(*d)
	}
	ctx, cancel := context.WithTimeout(c.ctx, wait)
	defer cancel()
	if n := readable(c.plan); n > maxQuestion {
		return no(verdict.Rule, fmt.Sprintf("the question would have %d bytes, more than the %d that people can be asked to read: pass long input through stdin or a file", n, maxQuestion))
	}
	q := b.question(c, c.plan, verdict, c.request.Claim)
	q.Within = wait
	ticket, err := b.book.Ask(ctx, q)
	if err != nil {
		return no(verdict.Rule, err.Error())
	}
	for {
		c.update(func(v *api.Call) {
			v.State, v.Ticket, v.Decision, v.Rule = api.Asking, ticket, string(profiles.Ask), verdict.Rule
		})
		if err := b.write(c, c.decision(string(profiles.Ask), verdict.Rule, "")); err != nil {
			cancel() // the call leaves the ticket
			_, _ = b.book.Await(ctx, ticket, c.id)
			return no(verdict.Rule, "the question could not be recorded: "+err.Error())
		}
		answer, err := b.book.Await(ctx, ticket, c.id)
		switch {
		case err != nil:
			return no(verdict.Rule, err.Error())
		case c.ctx.Err() != nil:
			r := supervisor.StoppedResult(c.plan, context.Cause(c.ctx))
			return &r
		case answer.State == approval.Allowed:
			rule := "ticket " + ticket + ": " + given(answer.Answers)
			c.update(func(v *api.Call) { v.Decision, v.Grant, v.Rule = string(profiles.Allow), answer.Grant, rule })
			if err := b.allowed(c, rule); err != nil {
				r := supervisor.Failed(err, c.plan)
				return &r
			}
			return nil
		case answer.State == approval.Changed && answer.Next != "":
			// Who changed it planned it anew, and asked, before this was told.
			other := <-c.next
			if err := c.plan.Close(); err != nil {
				logrus.WithError(err).Warn("a sealed copy stayed behind; the next start removes it")
			}
			c.planned(other.plan, other.rules)
			c.update(func(v *api.Call) { v.Command = other.command })
			ticket = other.ticket
		default:
			return no("ticket "+ticket+": "+string(answer.State), cmp.Or(answer.Reason, "ticket "+ticket+" is "+string(answer.State)+", and no reason was given"))
		}
	}
}

// maxQuestion bounds, in bytes, what a person has to read to say yes.
const maxQuestion = 64 << 10

// readable is how much that is.
func readable(p *supervisor.Plan) (n int) {
	for _, f := range p.Facts {
		n += len(f.Name) + len(f.Value) + len(f.Digest)
	}
	return n
}

// given says who said yes.
func given(answers []approval.Given) string {
	var names []string
	for _, a := range answers {
		if a.Verdict == approval.Allow || a.Verdict == approval.Grant {
			names = append(names, a.By)
		}
	}
	return "allowed by " + strings.Join(names, ", ")
}

// question is what people are asked about a plan.
func (b *Broker) question(c *call, p *supervisor.Plan, verdict policy.Verdict, claim string) approval.Question {
	v := c.snapshot()
	q := approval.Question{
		Call: c.id, Effect: policy.Exec, Plan: p.Digest, Labels: v.Labels, Rule: verdict.Rule,
		Claim: claim, Requester: c.owner.String(), RequesterUID: c.owner.uid,
		Agent: v.Agent, Session: v.Session, SessionName: v.SessionName,
		Profile: p.Profile.Profile.Name, ProfileDigest: p.Profile.Digest, Script: p.Script,
		Quorum: verdict.Quorum,
	}
	if p.Skill != nil {
		q.Skill, q.SkillDigest = p.Skill.Name, p.Skill.Digest
	}
	if p.Workspace != nil {
		q.Workspace = raw.String(p.Workspace.Path)
	}
	q.Facts = factsOf(p)
	return q
}

// run gives the call its box.
func (b *Broker) run(c *call) runtime.Result {
	if c.snapshot().Session != "" { // people may have thought for long
		if err := b.sessions.Room(); err != nil {
			return supervisor.StoppedResult(c.plan, err)
		}
	}
	// Before a byte of it can be seen: what it reads of private things makes
	// whoever gets the output private.
	if why := c.private(); why != "" {
		c.mu.Lock()
		c.secret = true
		c.mu.Unlock()
		if err := b.markPrivate(c, why); err != nil {
			return supervisor.Failed(err, c.plan)
		}
	}
	result, err := b.supervisor.Run(c.ctx, c.plan, c.streams.stdio, nil, func(box *runtime.Sandbox) {
		c.mu.Lock()
		c.box = box
		c.mu.Unlock()
		c.update(func(v *api.Call) { v.State, v.Started = api.Running, time.Now().UTC() })
	})
	c.mu.Lock()
	c.box = nil
	c.mu.Unlock()
	if err != nil {
		logrus.WithError(err).WithField("call", c.id).Warn("something of the box stayed behind; the next start removes it")
	}
	return result
}

// markPrivate labels everybody who gets a call's output, durably.
func (b *Broker) markPrivate(c *call, why string) error {
	v := c.snapshot()
	return b.sessions.Mark(v.Session, v.Agent, session.Private, c.id, why)
}

// private says what makes a call's output private; empty: nothing does.
func (c *call) private() string {
	if c.snapshot().Labels.Private { // in a session, or for an agent, that is
		return "it was asked for with the label"
	}
	if w := c.request.Workspace; w != "" {
		if t, err := c.gen.workspace(c.owner.agent, string(w)); err != nil || t.private {
			return "it saw workspace " + string(w)
		}
	}
	if len(c.plan.Spec.Read) > 0 {
		return "its profile " + c.plan.Profile.Profile.Name + " shows files of the host"
	}
	return ""
}
