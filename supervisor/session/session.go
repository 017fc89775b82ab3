// SPDX-License-Identifier: Apache-2.0

// Package session keeps what several calls of one conversation share: a
// workspace, a /tmp, and the labels that say what they have seen.
//
//	store, err := session.Open(dir, options)
//	s, err := store.Use(ctx, owner, "refactoring")   // made on first use
//	err = store.Mark(s.ID, owner.Agent, session.Private, call, why)
//	defer store.Leave(s.ID)                          // when the call is over
//	gone, err := store.Expire()                      // every now and then
//	err = store.Room()                               // the same, while calls are at work
//	err = store.Close()
//
// A session's id is minted here, from the kernel's random numbers. What the
// caller calls it is a hint, and only finds the sessions of the same owner: an
// agent, or a uid where no agent asks. Nobody can name another's session, or
// wash a label off by another name: a label that comes from what an agent got
// to see is put on the agent as well, and all its sessions have it.
//
// On disk, in a directory of root's that nobody else can enter:
//
//	ID/session.json   the record, see package record
//	ID/workspace/     belongs to the session's uid; the call sees it at /workspace
//	ID/tmp/           the same for /tmp
//	agents/NAME.json  an agent's labels
//	leaving-ID/       a session that was removed, while its files go
//
// A label is durable before Mark returns, hence before what it is about has
// been seen by anybody.
//
// # Size
//
// Its calls own what is in a session, and may have made it as large, as wide
// and as deep as they like. So nobody waits for it: a session is measured when
// a call has left it, and removed files go, in the background, without the lock
// that everything else takes; descriptors are few, whatever the tree's form.
// What can't be removed is told by Notes, and tried again; what is left when
// the process ends goes on after the next Open.
//
// # Limits
//
// A session is measured when a call ends, so that one call can go beyond its
// size by what its profile lets it write; then the next is refused. Where that
// measurement takes longer than some seconds, the next goes by the last size
// that is known. What calls write before they end is bounded by Room alone,
// which whoever keeps the store has to ask for: between two looks a call writes
// what the disk takes. Who removes a session can't bring it back.
package session

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// The labels.
const (
	Untrusted = "untrusted"
	Private   = "private"
)

// Owner is whose sessions are meant.
type Owner struct {
	Agent string `json:"agent,omitempty"` // its name; empty: UID's own
	UID   uint32 `json:"uid"`
}

// Label is one label with where it came from.
type Label struct {
	Label string    `json:"label"`
	Call  string    `json:"call,omitempty"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// Session is the record of one.
type Session struct {
	ID      string    `json:"id"`
	Owner   Owner     `json:"owner"`
	Name    string    `json:"name"`
	Labels  []Label   `json:"labels,omitempty"`
	Calls   int       `json:"calls"`
	Bytes   int64     `json:"bytes"`
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"`
}

// Bounds of sessions. A reload may change them.
type Bounds struct {
	Expiry  time.Duration // after the last use
	Max     int64         // bytes of one session, above which it takes no further call
	Count   int           // sessions of one owner
	Reserve int64         // bytes that stay free on their file system; 0: none; see Room
}

// Options are what a store is opened with.
type Options struct {
	Bounds
	UID int // who owns the files on the host
	GID int
	Now func() time.Time // nil: time.Now
}

// Store is all sessions of a host.
type Store struct {
	dir     string
	remover *remover

	ctx        context.Context // of what is done in the background
	cancel     context.CancelFunc
	measurers  chan struct{}  // a place for each measurement at a time
	background sync.WaitGroup // measurements

	// writing is held by who changes records, or the names in dir; taken before mu.
	writing sync.Mutex

	mu       sync.Mutex         // never held while the disk is at work
	options  Options            // mu
	sessions map[string]*kept   // mu; by id
	named    map[title]*kept    // mu; the same, by whose they are and their name
	owned    map[Owner]int      // mu; how many each has, see Owner.key
	agents   map[string][]Label // mu
	notes    []string           // mu; of Open
	full     error              // mu; what Room said the last time
}

// kept is a session, and what only this process knows of it.
type kept struct {
	Session
	working   int          // calls at work in it
	stale     bool         // its record is behind
	measured  bool         // Bytes is what the last measurement found
	wrong     error        // why there was none
	measuring *measurement // under way; nil: none
	again     bool         // a call has ended since that began
	rest      time.Time    // before which nobody has it measured by asking
}

// Error is why a session can't be used, in words for the caller.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// ErrUnknown says that there is no such session.
var ErrUnknown = errors.New("there is no such session")

const recordName = "session.json"

// Open reads the sessions in dir, which is made if it doesn't exist. A record
// that can't be believed is an error that names it: its labels may matter. What
// was being removed, or was made half, goes in the background.
func Open(dir string, o Options) (_ *Store, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	s := &Store{
		dir: dir, remover: newRemover(ctx, dir), ctx: ctx, cancel: cancel, measurers: make(chan struct{}, measurers),
		options: o, sessions: map[string]*kept{}, named: map[title]*kept{}, owned: map[Owner]int{}, agents: map[string][]Label{},
	}
	if err := os.MkdirAll(s.agentDir(), 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var gone []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, leaving) {
			gone = append(gone, name)
			continue
		}
		if !strings.HasPrefix(name, idPrefix) { // agents, lost+found, what somebody moved away
			continue
		}
		one := &kept{}
		err := record.Read(filepath.Join(dir, name, recordName), &one.Session)
		if errors.Is(err, os.ErrNotExist) { // half-made, by a process that was killed
			gone = append(gone, name)
			continue
		}
		if err == nil && one.ID != name {
			err = fmt.Errorf("%s: it is the record of %s", name, visible.Text(one.ID))
		}
		if err != nil {
			return nil, fmt.Errorf("session: %w; rename its directory to bad-%s to go on without it", err, name)
		}
		if err := record.Sweep(filepath.Join(dir, name)); err != nil {
			s.notes = append(s.notes, fmt.Sprintf("session %s: what a killed process left could not be removed: %v", name, err))
		}
		s.put(one)
	}
	if err := s.readAgents(); err != nil {
		return nil, err
	}
	s.remover.add(gone...)
	return s, nil
}

// Reload takes the bounds of a new generation.
func (s *Store) Reload(b Bounds) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Bounds = b
}

// closeLimit bounds what Close waits for.
const closeLimit = time.Second

// Close writes what Flush does and ends what is done in the background. Removed
// files that are left go after the next Open.
func (s *Store) Close() error {
	select {
	case <-s.remover.idle():
	case <-time.After(closeLimit):
	}
	s.mu.Lock()
	s.cancel() // with the lock, so that no measurement begins after it
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		s.background.Wait()
		<-s.remover.idle()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(closeLimit): // one system call that a disk holds up
	}
	return s.Flush()
}

// Notes gives what an administrator should know.
func (s *Store) Notes() []string {
	s.mu.Lock()
	notes := slices.Clone(s.notes)
	if s.full != nil {
		notes = append(notes, "no call begins in a session: "+s.full.Error())
	}
	s.mu.Unlock()
	if note := s.remover.note(); note != "" {
		notes = append(notes, note)
	}
	return notes
}

func (s *Store) agentDir() string { return filepath.Join(s.dir, "agents") }

func (s *Store) readAgents() error {
	if err := record.Sweep(s.agentDir()); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.agentDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		var labels []Label
		if err := record.Read(filepath.Join(s.agentDir(), e.Name()), &labels); err != nil {
			return fmt.Errorf("labels of an agent: %w", err)
		}
		s.agents[strings.TrimSuffix(e.Name(), ".json")] = labels
	}
	return nil
}

// Workspace and Tmp are a session's directories on the host.
func (s *Store) Workspace(id string) string { return filepath.Join(s.dir, id, "workspace") }

// Tmp is what the session's calls have at /tmp.
func (s *Store) Tmp(id string) string { return filepath.Join(s.dir, id, "tmp") }

// nameForm is what a session may be called.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// CheckName refuses what a session can't be called.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return refuse("session %s: a name has 1 to 128 letters, digits, dots, hyphens and underscores and begins with a letter or digit", visible.Quote(name))
	}
	return nil
}

// Use gives the owner's session of that name and counts one call in it, which
// Leave ends. It is made if need be. An *Error says why it can't be used. Where
// that session is being measured Use waits, for some seconds at most.
func (s *Store) Use(ctx context.Context, owner Owner, name string) (Session, error) {
	if err := CheckName(name); err != nil {
		return Session{}, err
	}
	if err := s.Room(); err != nil {
		return Session{}, err
	}
	mine := func() *kept {
		if one, _ := s.find(owner, name); one != nil && !s.over(one) {
			return one
		}
		return nil
	}
	if err := s.settle(ctx, mine); err != nil {
		return Session{}, err
	}
	if used, err := s.enter(owner, name); !errors.Is(err, ErrUnknown) {
		return used, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	if used, err := s.enter(owner, name); !errors.Is(err, ErrUnknown) { // made meanwhile
		return used, err
	}
	if err := s.begin(owner, name); err != nil {
		return Session{}, err
	}
	return s.enter(owner, name)
}

// enter counts a call in a session that there is; where there is none, or its
// time is over, it gives ErrUnknown.
func (s *Store) enter(owner Owner, name string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, _ := s.find(owner, name)
	switch {
	case one == nil || s.over(one):
		return Session{}, ErrUnknown
	case one.wrong != nil:
		return Session{}, fmt.Errorf("session %s could not be measured: %w", one.ID, one.wrong)
	case one.Bytes >= tooLarge:
		return Session{}, refuse("session %s holds more than is counted (%d entries, %d levels, %v of counting): remove something, or the session (clawsup session remove %s)",
			name, maxEntries, maxLevels, measureLimit, one.ID)
	case one.Bytes > s.options.Max:
		return Session{}, refuse("session %s holds %d bytes, more than its %d: remove something, or the session (clawsup session remove %s)", name, one.Bytes, s.options.Max, one.ID)
	}
	one.Calls++
	one.Used = s.options.Now()
	one.working++
	return one.copy(), nil
}

// over says whether a session's time is. s.mu is held.
func (s *Store) over(one *kept) bool {
	return one.working == 0 && !s.options.Now().Before(one.Used.Add(s.options.Expiry))
}

func (one *Session) copy() Session {
	c := *one
	c.Labels = slices.Clone(one.Labels)
	return c
}

// find gives the owner's session of a name, and how many the owner has. s.mu is held.
func (s *Store) find(owner Owner, name string) (found *kept, mine int) {
	return s.named[title{owner.key(), name}], s.owned[owner.key()]
}

// title is what finds a session for its owner.
type title struct {
	owner Owner // see Owner.key
	name  string
}

// key tells an agent by its name, whatever its uid is today.
func (o Owner) key() Owner {
	if o.Agent != "" {
		o.UID = 0
	}
	return o
}

// put makes a session known. s.mu is held, or nobody else has s.
func (s *Store) put(one *kept) {
	s.sessions[one.ID] = one
	s.named[title{one.Owner.key(), one.Name}] = one
	s.owned[one.Owner.key()]++
}

// take is the opposite. s.mu is held.
func (s *Store) take(one *kept) {
	delete(s.sessions, one.ID)
	if t := (title{one.Owner.key(), one.Name}); s.named[t] == one {
		delete(s.named, t)
	}
	if o := one.Owner.key(); s.owned[o] > 1 {
		s.owned[o]--
	} else {
		delete(s.owned, o)
	}
}

// begin makes a session, in the place of one whose time is over. s.writing is held.
func (s *Store) begin(owner Owner, name string) error {
	s.mu.Lock()
	old, mine := s.find(owner, name)
	most, now := s.options.Count, s.options.Now()
	s.mu.Unlock()
	if old != nil {
		if err := s.remove(old.ID); err != nil {
			return err
		}
		mine--
	}
	if mine >= most {
		return refuse("there are %d sessions already, as many as one caller may have: remove one (clawsup session list)", mine)
	}
	one := Session{ID: mint(), Owner: owner, Name: name, Created: now, Used: now}
	if err := s.create(&one); err != nil {
		s.remover.add(one.ID)
		return fmt.Errorf("session: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(&kept{Session: one, measured: true})
	return nil
}

func (s *Store) create(one *Session) error {
	if err := os.Mkdir(filepath.Join(s.dir, one.ID), 0o700); err != nil {
		return err
	}
	for _, d := range []string{s.Workspace(one.ID), s.Tmp(one.ID)} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
		if err := os.Lchown(d, s.options.UID, s.options.GID); err != nil {
			return err
		}
	}
	if err := s.write(one); err != nil {
		return err
	}
	return record.SyncDir(s.dir)
}

// idPrefix begins an id.
const idPrefix = "s-"

// mint makes an id of 80 random bits.
func mint() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return idPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// Leave ends what Use began, notes what was used, and has the session measured.
// That others are at work in it doesn't matter: one that never ends would keep
// it from being measured.
func (s *Store) Leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.sessions[id]
	if one == nil {
		return
	}
	one.working--
	one.Used = s.options.Now()
	one.stale = true
	s.measure(one)
}

// Flush writes what Use, Leave and measurements noted: counts, times of use,
// sizes. They wait for it, so that no call waits for the disk because of them;
// who is killed before loses them.
func (s *Store) Flush() error {
	s.mu.Lock()
	var behind []string
	for id, one := range s.sessions {
		if one.stale {
			behind = append(behind, id)
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, id := range behind {
		errs = append(errs, s.flush(id))
	}
	return errors.Join(errs...)
}

func (s *Store) flush(id string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	one := s.sessions[id]
	if one == nil {
		s.mu.Unlock()
		return nil
	}
	one.stale = false
	now := one.copy()
	s.mu.Unlock()
	return s.write(&now)
}

func (s *Store) write(one *Session) error {
	return record.Write(filepath.Join(s.dir, one.ID, recordName), one)
}

// Labels gives what a session and its agent have seen, and where each label
// came from. Either name may be empty.
func (s *Store) Labels(id, agent string) (policy.Labels, []Label, []Label) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ofSession []Label
	if one := s.sessions[id]; one != nil {
		ofSession = slices.Clone(one.Labels)
	}
	ofAgent := slices.Clone(s.agents[agent])
	return set(ofSession).Or(set(ofAgent)), ofSession, ofAgent
}

func set(labels []Label) (l policy.Labels) {
	for _, one := range labels {
		l.Untrusted = l.Untrusted || one.Label == Untrusted
		l.Private = l.Private || one.Label == Private
	}
	return l
}

// Mark puts a label on a session and on an agent, where it isn't yet. Either
// may be empty. It is durable when Mark returns.
func (s *Store) Mark(id, agent, label, call, why string) error {
	if s.marked(id, agent, label) { // as nearly always: and then no disk is waited for
		return nil
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	now := s.options.Now()
	s.mu.Unlock()
	add := func(labels []Label) ([]Label, error) {
		if has(labels, label) {
			return nil, nil
		}
		return append(slices.Clone(labels), Label{label, call, why, now}), nil
	}
	if _, err := s.labelSession(id, add); err != nil && !errors.Is(err, ErrUnknown) {
		return err
	}
	if agent == "" {
		return nil
	}
	return s.labelAgent(agent, add)
}

// marked says whether both have a label already.
func (s *Store) marked(id, agent, label string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one := s.sessions[id]; one != nil && !has(one.Labels, label) {
		return false
	}
	return agent == "" || has(s.agents[agent], label)
}

func has(labels []Label, label string) bool {
	return slices.ContainsFunc(labels, func(l Label) bool { return l.Label == label })
}

// labelSession gives a session other labels, on the disk and then in memory;
// change gives nil for those that it has. s.writing is held.
func (s *Store) labelSession(id string, change func([]Label) ([]Label, error)) (Session, error) {
	s.mu.Lock()
	one := s.sessions[id]
	if one == nil {
		s.mu.Unlock()
		return Session{}, ErrUnknown
	}
	next := one.copy()
	s.mu.Unlock()
	labels, err := change(next.Labels)
	if labels == nil || err != nil {
		return next, err
	}
	next.Labels = labels
	if err := s.write(&next); err != nil {
		return Session{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one.Labels = labels
	return one.copy(), nil
}

// labelAgent is the same for an agent.
func (s *Store) labelAgent(agent string, change func([]Label) ([]Label, error)) error {
	s.mu.Lock()
	labels := s.agents[agent]
	s.mu.Unlock()
	labels, err := change(labels)
	if labels == nil || err != nil {
		return err
	}
	if err := record.Write(filepath.Join(s.agentDir(), agent+".json"), labels); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.agents[agent] = labels
	return nil
}

// ClearSession takes a label off a session. It is for a person who knows.
func (s *Store) ClearSession(id, label string) (Session, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.labelSession(id, without(label))
}

// ClearAgent takes a label off an agent, and not off its sessions.
func (s *Store) ClearAgent(agent, label string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.labelAgent(agent, without(label))
}

func without(label string) func([]Label) ([]Label, error) {
	return func(labels []Label) ([]Label, error) {
		kept := slices.DeleteFunc(slices.Clone(labels), func(l Label) bool { return l.Label == label })
		if len(kept) == len(labels) {
			return nil, refuse("it has no label %s", visible.Quote(label))
		}
		return kept, nil
	}
}

// List gives all sessions, the last used first.
func (s *Store) List() []Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Session, 0, len(s.sessions))
	for _, one := range s.sessions {
		list = append(list, one.copy())
	}
	slices.SortFunc(list, func(a, b Session) int { return b.Used.Compare(a.Used) })
	return list
}

// Find gives a session by its id, a beginning of it, or its name, as
// AGENT/NAME too, if that means one alone.
func (s *Store) Find(ref string) (Session, error) {
	var found []Session
	for _, one := range s.List() {
		if one.ID == ref {
			return one, nil
		}
		if one.Name == ref || one.Owner.Agent+"/"+one.Name == ref || len(ref) >= 4 && strings.HasPrefix(one.ID, ref) {
			found = append(found, one)
		}
	}
	switch len(found) {
	case 0:
		return Session{}, ErrUnknown
	case 1:
		return found[0], nil
	}
	return Session{}, refuse("%s can mean %d sessions; give the id", visible.Quote(ref), len(found))
}

// Remove removes a session with all it holds; not while a call is in it. Its
// files go in the background.
func (s *Store) Remove(id string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.remove(id)
}

// remove takes a session's name away; s.writing is held.
func (s *Store) remove(id string) error {
	s.mu.Lock()
	one := s.sessions[id]
	if one == nil {
		s.mu.Unlock()
		return ErrUnknown
	}
	if n := one.working; n > 0 {
		s.mu.Unlock()
		return refuse("%d calls are at work in session %s: stop them first", n, id)
	}
	s.take(one) // first, so that no call gets in
	s.mu.Unlock()
	if err := os.Rename(filepath.Join(s.dir, id), filepath.Join(s.dir, leaving+id)); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.put(one)
		return err
	}
	s.remover.add(leaving + id)
	return nil
}

// Expire removes the sessions whose time is over and gives their ids. What
// could not be removed before is tried again.
func (s *Store) Expire() ([]string, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	now := s.options.Now()
	var old []string
	for id, one := range s.sessions {
		if s.over(one) {
			old = append(old, id)
		}
	}
	s.mu.Unlock()
	var gone []string
	var errs []error
	for _, id := range old {
		if err := s.remove(id); err != nil {
			errs = append(errs, err)
			continue
		}
		gone = append(gone, id)
	}
	s.remover.retry(now)
	return gone, errors.Join(errs...)
}
