// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/agent"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/egress"
	"github.com/clawsup/clawsup/supervisor/pool"
	"github.com/clawsup/clawsup/supervisor/relay"
	"github.com/clawsup/clawsup/supervisor/session"
)

// Options are what the process gives.
type Options struct {
	Config  string // file; empty: the default one
	Version string
	// Given is what systemd has opened, and what its descriptor store kept, by
	// name: approval, admin, sockets for calls, and what is of package agent.
	Given map[string][]*os.File
	// Stores says that there is a descriptor store: agents then outlive this process.
	Stores bool
	// Notes are what an operator should know of the process; they are told with
	// the daemon's status.
	Notes []string
	// Reloading is called when a reload begins, whoever asked for it, and what it
	// gives when that has ended; may be nil.
	Reloading func() func(error)
}

// Broker is a running daemon.
type Broker struct {
	options Options
	started time.Time

	supervisor *supervisor.Supervisor
	log        *audit.Log
	book       *approval.Book
	sessions   *session.Store
	changes    *changes.Store
	vault      vault
	viewed     viewed
	queue      *queue
	rates      *rates // of calls
	outward    *rates // of what is let out of boxes
	unread     unread // of its receipts
	calls      *register
	relay      *relay.Helper
	egress     *egress.Egress

	relayWanted chan struct{} // closed when somebody has need of clawsup-egress for the first time
	wantRelay   func()        // closes it
	doors       []*door
	made        map[string]supervisor.AgentConfig // of Open: what the agents were made from
	generation  atomic.Pointer[Generation]

	ctx       context.Context // of all calls
	cancel    context.CancelCauseFunc
	working   sync.WaitGroup // calls
	accepting sync.Mutex     // see accept
	layers    reports
	noted     uint64 // of tend, and of Open before it: see checkpoint

	reloading sync.Mutex // one reload at a time

	reaching sync.Mutex      // held while a box's way out is opened or told of a secret
	reaches  map[*reach]bool // reaching

	mu         sync.Mutex
	agents     map[string]*agent.Agent // mu
	agentNotes []string                // mu; what a reload could not do to them
	followers  map[string]int          // mu; by socket and owner
	lockdowns  int                     // mu; how many there were
	locking    int                     // mu; how many are at work
	skills     map[string]string       // mu; digests as they were last seen, by folder
	logError   error                   // mu; why the log could not be written the last time
	locked     string                  // mu; why there is a lockdown; empty: there is none
	lockedAt   time.Time               // mu
}

// Open makes everything ready and ends what a killed daemon left open. The
// caller is root, and alone: the log is locked.
func Open(ctx context.Context, o Options) (_ *Broker, err error) {
	g, err := load(o.Config, 1)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		options: o, started: time.Now(), rates: newRates(), outward: newRates(), calls: newRegister(),
		agents: map[string]*agent.Agent{}, skills: map[string]string{}, followers: map[string]int{},
		made: map[string]supervisor.AgentConfig{}, reaches: map[*reach]bool{},
		relayWanted: make(chan struct{}),
	}
	b.wantRelay = sync.OnceFunc(func() { close(b.relayWanted) })
	b.ctx, b.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	b.generation.Store(g)
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close())
		}
	}()
	c := &g.Config
	if err := os.MkdirAll(c.StateDir, 0o755); err != nil {
		return nil, err
	}
	// The log first: its lock says that no other clawsupd is at work here.
	if err := b.openLog(c); err != nil {
		return nil, err
	}
	if b.supervisor, err = supervisor.OpenDaemon(ctx, *c); err != nil {
		return nil, err
	}
	for _, dir := range []string{b.spoolDir(), b.agentDir("")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	if b.sessions, err = session.Open(filepath.Join(c.StateDir, "sessions"), session.Options{
		Bounds: sessionBounds(g), UID: b.sessionUID(), GID: b.sessionUID(),
	}); err != nil {
		return nil, err
	}
	if b.book, err = approval.Open(filepath.Join(c.StateDir, "approvals"), b.bookOptions(g)); err != nil {
		return nil, err
	}
	if err := b.openChanges(ctx); err != nil {
		return nil, err
	}
	if err := b.openVault(c); err != nil {
		return nil, err
	}
	b.queue = newQueue(b.bounds(g))
	if err := b.replay(ctx, time.Duration(c.Calls.Keep)); err != nil {
		return nil, fmt.Errorf("the log of the last run: %w", err)
	}
	if l := b.book.Locked(); l != nil {
		b.locked, b.lockedAt = cmp.Or(l.Reason, "no reason was given"), l.At
		if err := b.supervisor.Boxes().Stop(); err != nil {
			return nil, err
		}
	}
	if err := b.record(ctx, generationReceipt(g, "started", o.Version)); err != nil {
		return nil, err
	}
	if b.relay, err = relay.Open(relay.Options{
		Supervisor: b.supervisor, Dir: filepath.Join(c.RunDir, "egress"),
		Report: func(err error) { logrus.WithError(err).Warn("clawsup-egress is started again") },
	}); err != nil {
		return nil, err
	}
	if err := b.openEgress(); err != nil {
		return nil, err
	}
	if err := b.openDoors(); err != nil {
		return nil, err
	}
	return b, b.openAgents(ctx)
}

func (b *Broker) openLog(c *supervisor.Config) error {
	key, err := audit.LoadKey(c.Audit.Key)
	if err != nil {
		return fmt.Errorf("the key that signs receipts: %w", err)
	}
	at, err := readPlace(c.StateDir)
	if err != nil {
		return err
	}
	b.log, err = audit.Open(audit.Options{Dir: c.Audit.Dir, Anchor: c.Audit.Anchor, Key: key, Segment: int64(c.Audit.Segment), Since: at.From})
	var wrong *audit.Problem
	if errors.As(err, &wrong) {
		return fmt.Errorf("%w\nnothing runs on a log that isn't whole: 'clawsup audit verify' tells all that is wrong with it; to go on with a new one, move %s and %s away, and keep them",
			err, c.Audit.Dir, c.Audit.Anchor)
	}
	if err != nil {
		return fmt.Errorf("the log of receipts: %w", err)
	}
	return nil
}

func (b *Broker) auditDir() string { return b.generation.Load().Config.Audit.Dir }

// sessionUID owns the files of sessions on the host: an id of the first slot
// that no box ever maps, so that neither the host nor a box has a process of it.
func (b *Broker) sessionUID() int { return b.supervisor.Config.UIDBase + 1 }

// bounds are the queue's, by a generation.
func (b *Broker) bounds(g *Generation) bounds {
	c := g.Config.Calls
	return bounds{
		all: c.Concurrency, line: c.PerSession, skill: c.PerSkill, waiting: c.Queue,
		agent: func(name string) (int, int) {
			if a := g.agent(name); a != nil {
				return a.Concurrency, a.QueueMax
			}
			return 0, 0
		},
	}
}

// rate is how many calls a minute a caller may begin.
func (b *Broker) rate(g *Generation, name string) int {
	if a := g.agent(name); a != nil && a.Rate > 0 {
		return a.Rate
	}
	return g.Config.Calls.Rate
}

func (b *Broker) bookOptions(g *Generation) approval.Options {
	a := g.Config.Approvals
	return approval.Options{
		Expiry: time.Duration(a.Expiry), Burst: a.Burst, Every: time.Duration(a.Every),
		Pending: a.Pending, PendingPerSession: a.PendingPerSession,
		GrantMax: time.Duration(a.GrantMax), GrantMaxAdmin: time.Duration(a.GrantMaxAdmin),
		Roles: func(uid uint32) approval.Role {
			role, _ := b.generation.Load().roles.Of(uid)
			return role
		},
	}
}

// open says whether a new call may begin.
func (b *Broker) open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ctx.Err() != nil:
		return failf(api.CodeStopped, "clawsupd is going down")
	case b.locked != "":
		return &api.Error{Code: api.CodeLocked, Message: "there is a lockdown: " + b.locked, Hint: "a person ends it with 'clawsup unlock'"}
	case b.logError != nil:
		return failf(api.CodeUnavailable, "receipts can't be written, so nothing runs: %v", b.logError)
	}
	return nil
}

// logFailed remembers that the log can't be written: nothing new begins until
// a receipt is on the disk again. See probeLog.
func (b *Broker) logFailed(err error) {
	if errors.Is(err, audit.ErrReceipt) {
		// The log is well, and it is this entry that has no place in it.
		logrus.WithError(err).Error("a receipt could not be written")
		return
	}
	b.mu.Lock()
	first := b.logError == nil
	b.logError = err
	b.mu.Unlock()
	if first {
		logrus.WithError(err).Error("RECEIPTS CAN'T BE WRITTEN: no new call begins until they can; make room or mend the disk")
	}
}

// probeLog tries whether the log can be written again.
func (b *Broker) probeLog(ctx context.Context) {
	b.mu.Lock()
	failed := b.logError
	b.mu.Unlock()
	if failed == nil {
		return
	}
	r := audit.Receipt{Kind: audit.Administration, Requester: "clawsupd", Rule: "receipts can be written again"}
	if b.record(ctx, r) != nil {
		return
	}
	b.mu.Lock()
	b.logError = nil
	b.mu.Unlock()
	logrus.Warn("receipts can be written again; calls begin again")
}

// tick is how often what waits for time is looked after.
const tick = 5 * time.Second

// Serve answers on all sockets until ctx ends.
func (b *Broker) Serve(ctx context.Context) error {
	var all sync.WaitGroup
	errs := make(chan error, len(b.doors))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, d := range b.doors {
		all.Go(func() {
			if err := b.serve(ctx, d); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	for _, a := range b.agentList() {
		all.Go(func() { a.Run(ctx) })
	}
	if needsRelay(b.generation.Load()) {
		b.wantRelay()
	}
	all.Go(func() {
		select {
		case <-b.relayWanted:
			b.relay.Run(ctx)
		case <-ctx.Done():
		}
	})
	all.Go(func() { b.tend(ctx) })
	all.Wait()
	close(errs)
	return <-errs
}

// tend looks after what only time changes.
func (b *Broker) tend(ctx context.Context) {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	accounts := accountFiles()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticks.C:
			g := b.generation.Load()
			b.keepReserve()
			b.probeLog(ctx)
			if now := accountFiles(); now != accounts {
				accounts = now
				b.recheck(g)
			}
			b.calls.tidy(now, time.Duration(g.Config.Calls.Keep))
			if err := b.checkpoint(); err != nil {
				logrus.WithError(err).Warn("the next start will read more of the log than it needs")
			}
			if err := b.changes.Expire(ctx); err != nil {
				logrus.WithError(err).Warn("change sets and trash could not be looked after")
			}
			gone, err := b.sessions.Expire()
			if err = errors.Join(err, b.sessions.Flush(), b.vault.flush()); err != nil {
				logrus.WithError(err).Warn("sessions or secrets could not be looked after")
			}
			for _, id := range gone {
				b.drain("a session's time was over", ofSession(id))
				b.forgetChanges(ctx, id)
				logrus.WithField("session", id).Info("its time was over; it was removed")
			}
		}
	}
}

// Reload makes the next generation from the files, or says why not: then
// nothing has changed.
func (b *Broker) Reload(ctx context.Context) (err error) {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	if b.options.Reloading != nil {
		ended := b.options.Reloading()
		defer func() { ended(err) }()
	}
	old := b.generation.Load()
	g, err := load(b.options.Config, old.Number+1)
	if err == nil {
		if keys := old.Config.Frozen(&g.Config); len(keys) > 0 {
			err = fmt.Errorf("what changed needs a restart: %v (systemctl restart clawsupd)", keys)
		}
	}
	if err != nil {
		_ = b.record(ctx, generationReceipt(old, "reload refused", err.Error()))
		return err
	}
	if err := b.record(ctx, generationReceipt(g, "reloaded", b.options.Version)); err != nil {
		return fmt.Errorf("the reload could not be recorded, so what was in force stays: %w", err)
	}
	b.generation.Store(g)
	b.queue.set(b.bounds(g))
	b.sessions.Reload(sessionBounds(g))
	b.book.Configure(b.bookOptions(g))
	b.supervisor.BoundChanges(g.Config.Changes)
	b.recheck(g)
	b.reloadAgents(g)
	b.supervisor.Boxes().Set(g.Config.Pool.Bounds())
	b.drain("a reload", func(pool.Labels) bool { return true })
	err = b.voidOutdated(g)
	b.renewWays(g)
	return err
}

// voidOutdated voids the tickets of calls whose profile is another now, or gone:
// people would allow what the configuration no longer says.
func (b *Broker) voidOutdated(g *Generation) error {
	outdated := map[string]bool{}
	for _, c := range b.calls.live() {
		v := c.snapshot()
		if v.State == api.Ended || v.Ticket == "" || strings.ContainsAny(v.Profile, "/") {
			continue
		}
		if p := g.profiles[v.Profile]; p == nil || p.Digest != v.ProfileDigest || v.Agent != "" && g.agent(v.Agent) == nil {
			outdated[v.Ticket] = true
		}
	}
	// What an agent's own box asks is under the rules that it was asked by.
	b.reaching.Lock()
	for r := range b.reaches {
		if p := g.outward(r.agent); r.call == nil && (p == nil || p.Digest != r.profile.Digest) {
			for _, t := range b.book.List(false) {
				if slices.Contains(t.Calls, r.id) {
					outdated[t.ID] = true
				}
			}
		}
	}
	b.reaching.Unlock()
	if len(outdated) == 0 {
		return nil
	}
	_, err := b.book.Void("its profile has changed with a reload; ask again", func(t approval.Ticket) bool { return outdated[t.ID] })
	return err
}

// recheck withdraws what those had answered who may not answer any more.
func (b *Broker) recheck(g *Generation) {
	voided, err := b.book.Recheck(g.roles)
	if err != nil {
		logrus.WithError(err).Error("what a removed approver had answered could not be withdrawn")
	}
	if n := len(voided.Tickets) + len(voided.Grants); n > 0 {
		logrus.Warnf("%d tickets and %d grants are void: who answered them may not any more", len(voided.Tickets), len(voided.Grants))
	}
}

// accountFiles tells a change of who is in which group: a person who leaves
// the approvers' is no event that anybody sends.
func accountFiles() (state [2]unix.Timespec) {
	for i, file := range []string{"/etc/passwd", "/etc/group"} {
		var st unix.Stat_t
		if unix.Stat(file, &st) == nil {
			state[i] = st.Ctim
		}
	}
	return state
}

// generationReceipt says what is in force from now on.
func generationReceipt(g *Generation, what, detail string) audit.Receipt {
	var f facts
	f.add("detail", detail)
	f.add("number", fmt.Sprint(g.Number))
	for _, p := range g.sorted() {
		if len(f) == audit.MaxFacts {
			break
		}
		f.add("profile "+cut(p.Profile.Name, 40), p.Digest)
	}
	return audit.Receipt{Kind: audit.Generation, Requester: "clawsupd", Rule: what, Facts: f}
}

// closeLimit bounds the end of what is at work.
const closeLimit = 15 * time.Second

// Close ends all calls as supervisor-restart and gives everything up. Agents
// that systemd keeps stay; others end.
func (b *Broker) Close() error {
	b.cancel(errShutdown)
	ended := make(chan struct{})
	go func() {
		b.working.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(closeLimit):
		logrus.Warn("some calls did not end in time; the next start closes them")
	}
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	for _, a := range b.agentList() {
		errs = append(errs, a.Leave(ctx))
	}
	for _, d := range b.doors {
		errs = append(errs, d.close())
	}
	errs = append(errs, b.vault.flush())
	if b.sessions != nil {
		errs = append(errs, b.sessions.Close())
	}
	if b.book != nil {
		errs = append(errs, b.book.Close())
	}
	if b.relay != nil {
		errs = append(errs, b.relay.Close())
	}
	if b.supervisor != nil {
		errs = append(errs, b.supervisor.Close())
	}
	if b.log != nil {
		errs = append(errs, b.log.Close())
	}
	return errors.Join(errs...)
}
