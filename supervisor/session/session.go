// SPDX-License-Identifier: Apache-2.0

// Package session keeps what several calls of one conversation share: a
// workspace, a /tmp, and the labels that say what they have seen.
//
//	store, err := session.Open(dir, options)
//	s, err := store.Use(owner, "refactoring")       // made on first use
//	err = store.Mark(s.ID, owner.Agent, session.Private, call, why)
//	defer store.Leave(s.ID)                          // when the call is over
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
//
// A label is durable before Mark returns, hence before what it is about has
// been seen by anybody.
//
// Limits: the size of a session is measured between calls, so that one call can
// go beyond it by what its profile lets it write; then the next is refused. Who
// removes a session can't bring it back.
package session

import (
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

// Options bound the store.
type Options struct {
	Expiry time.Duration // after the last use
	Max    int64         // bytes of one session, above which it takes no further call
	Count  int           // sessions of one owner
	UID    int           // who owns the files on the host
	GID    int
	Now    func() time.Time // nil: time.Now
}

// Store is all sessions of a host.
type Store struct {
	dir string

	mu       sync.Mutex
	options  Options             // mu
	sessions map[string]*Session // mu; by id
	inUse    map[string]int      // mu; calls at work, by id
	agents   map[string][]Label  // mu
	stale    map[string]bool     // mu; sessions whose record is behind, by id
}

// Error is why a session can't be used, in words for the caller.
type Error struct{ Text string }

func (e *Error) Error() string { return e.Text }

func refuse(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// ErrUnknown says that there is no such session.
var ErrUnknown = errors.New("there is no such session")

const recordName = "session.json"

// Open reads the sessions in dir, which is made if it doesn't exist. A record
// that can't be believed is an error that names it: its labels may matter.
func Open(dir string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Store{dir: dir, options: o, sessions: map[string]*Session{}, inUse: map[string]int{}, agents: map[string][]Label{}, stale: map[string]bool{}}
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
	for _, e := range entries {
		if e.Name() == filepath.Base(s.agentDir()) {
			continue
		}
		one := &Session{}
		err := record.Read(filepath.Join(dir, e.Name(), recordName), one)
		if errors.Is(err, os.ErrNotExist) || strings.HasPrefix(e.Name(), leaving) {
			// Half-made, or half-removed, by a process that was killed.
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil && one.ID != e.Name() {
			err = fmt.Errorf("%s: it is the record of %s", e.Name(), visible.Text(one.ID))
		}
		if err != nil {
			return nil, fmt.Errorf("session: %w; move its directory away to go on without it", err)
		}
		if err := record.Sweep(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
		s.sessions[one.ID] = one
	}
	return s, s.readAgents()
}

// Reload takes the bounds of a new generation.
func (s *Store) Reload(expiry time.Duration, most int64, count int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options.Expiry, s.options.Max, s.options.Count = expiry, most, count
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
// Leave ends. It is made if need be. An *Error says why it can't be used.
func (s *Store) Use(owner Owner, name string) (Session, error) {
	if err := CheckName(name); err != nil {
		return Session{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.options.Now()
	one, mine := s.find(owner, name)
	if one != nil && s.inUse[one.ID] == 0 {
		// Between calls: measure, and expire.
		if !now.Before(one.Used.Add(s.options.Expiry)) {
			if err := s.remove(one.ID); err != nil {
				return Session{}, err
			}
			one = nil
		} else if err := s.measure(one); err != nil {
			return Session{}, err
		}
	}
	if one != nil && one.Bytes > s.options.Max {
		return Session{}, refuse("session %s holds %d bytes, more than its %d: remove something, or the session (clawsup session remove %s)", name, one.Bytes, s.options.Max, one.ID)
	}
	if one == nil {
		if mine >= s.options.Count {
			return Session{}, refuse("there are %d sessions already, as many as one caller may have: remove one (clawsup session list)", mine)
		}
		var err error
		if one, err = s.create(owner, name, now); err != nil {
			return Session{}, fmt.Errorf("session: %w", err)
		}
	}
	one.Calls++
	one.Used = now
	s.inUse[one.ID]++
	return one.copy(), nil
}

func (one *Session) copy() Session {
	c := *one
	c.Labels = slices.Clone(one.Labels)
	return c
}

// find gives the owner's session of a name, and how many the owner has.
func (s *Store) find(owner Owner, name string) (found *Session, mine int) {
	for _, one := range s.sessions {
		if !one.Owner.same(owner) {
			continue
		}
		mine++
		if one.Name == name {
			found = one
		}
	}
	return found, mine
}

// same tells an agent by its name, whatever its uid is today.
func (o Owner) same(p Owner) bool {
	return o.Agent == p.Agent && (o.Agent != "" || o.UID == p.UID)
}

func (s *Store) create(owner Owner, name string, now time.Time) (*Session, error) {
	one := &Session{ID: mint(), Owner: owner, Name: name, Created: now, Used: now}
	dir := filepath.Join(s.dir, one.ID)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	for _, d := range []string{s.Workspace(one.ID), s.Tmp(one.ID)} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
		if err := os.Lchown(d, s.options.UID, s.options.GID); err != nil {
			return nil, err
		}
	}
	if err := record.Write(filepath.Join(dir, recordName), one); err != nil {
		return nil, err
	}
	if err := record.SyncDir(s.dir); err != nil {
		return nil, err
	}
	s.sessions[one.ID] = one
	return one, nil
}

// mint makes an id of 80 random bits.
func mint() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // it never fails (crypto/rand)
	return "s-" + strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// Leave ends what Use began, and notes what was used.
func (s *Store) Leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inUse[id]--; s.inUse[id] <= 0 {
		delete(s.inUse, id)
	}
	if one := s.sessions[id]; one != nil {
		one.Used = s.options.Now()
		s.stale[id] = true
	}
}

// Flush writes what Use and Leave noted: counts and times of use. They wait
// for it, so that no call waits for the disk because of them; who is killed
// before loses them.
func (s *Store) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for id := range s.stale {
		if one := s.sessions[id]; one != nil {
			errs = append(errs, s.write(one))
		}
	}
	clear(s.stale)
	return errors.Join(errs...)
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
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Label{label, call, why, s.options.Now()}
	has := func(list []Label) bool {
		return slices.ContainsFunc(list, func(m Label) bool { return m.Label == label })
	}
	if one := s.sessions[id]; one != nil && !has(one.Labels) {
		one.Labels = append(one.Labels, l)
		if err := s.write(one); err != nil {
			return err
		}
	}
	if agent != "" && !has(s.agents[agent]) {
		s.agents[agent] = append(s.agents[agent], l)
		return s.writeAgent(agent)
	}
	return nil
}

func (s *Store) writeAgent(agent string) error {
	return record.Write(filepath.Join(s.agentDir(), agent+".json"), s.agents[agent])
}

// ClearSession takes a label off a session. It is for a person who knows.
func (s *Store) ClearSession(id, label string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.sessions[id]
	if one == nil {
		return Session{}, ErrUnknown
	}
	kept, err := without(one.Labels, label)
	if err != nil {
		return Session{}, err
	}
	one.Labels = kept
	return one.copy(), s.write(one)
}

// ClearAgent takes a label off an agent, and not off its sessions.
func (s *Store) ClearAgent(agent, label string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept, err := without(s.agents[agent], label)
	if err != nil {
		return err
	}
	s.agents[agent] = kept
	return s.writeAgent(agent)
}

func without(labels []Label, label string) ([]Label, error) {
	kept := slices.DeleteFunc(slices.Clone(labels), func(l Label) bool { return l.Label == label })
	if len(kept) == len(labels) {
		return nil, refuse("it has no label %s", visible.Quote(label))
	}
	return kept, nil
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

// Measure gives a session's size now, if no call is at work in it.
func (s *Store) Measure(id string) (Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.sessions[id]
	if one == nil {
		return Session{}, ErrUnknown
	}
	if s.inUse[id] > 0 {
		return one.copy(), nil
	}
	err := s.measure(one)
	return one.copy(), err
}

func (s *Store) measure(one *Session) error {
	var total int64
	for _, dir := range []string{s.Workspace(one.ID), s.Tmp(one.ID)} {
		n, err := size(dir)
		if err != nil {
			return fmt.Errorf("session %s: %w", one.ID, err)
		}
		total += n
	}
	one.Bytes = total
	return nil
}

// Remove removes a session with all it holds; not while a call is in it.
func (s *Store) Remove(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[id] == nil {
		return ErrUnknown
	}
	if n := s.inUse[id]; n > 0 {
		return refuse("%d calls are at work in session %s: stop them first", n, id)
	}
	return s.remove(id)
}

// leaving begins the name of a session that is being removed: its record
// must not be found beside half of its files.
const leaving = "leaving-"

func (s *Store) remove(id string) error {
	away := filepath.Join(s.dir, leaving+id)
	if err := os.Rename(filepath.Join(s.dir, id), away); err != nil {
		return err
	}
	delete(s.sessions, id)
	return os.RemoveAll(away) // by descriptors; it follows no links
}

// Expire removes the sessions whose time is over and gives their ids.
func (s *Store) Expire() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []string
	var errs []error
	now := s.options.Now()
	for id, one := range s.sessions {
		if s.inUse[id] == 0 && !now.Before(one.Used.Add(s.options.Expiry)) {
			if err := s.remove(id); err != nil {
				errs = append(errs, err)
				continue
			}
			gone = append(gone, id)
		}
	}
	return gone, errors.Join(errs...)
}
