// SPDX-License-Identifier: Apache-2.0

package pool

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// event is something that is counted.
type event int

const (
	hit event = iota
	miss
	made
	died
	evicted
	dropped
	refused
	events
)

type counts [events]uint64

// Line is what the pool has and did for somebody.
type Line struct {
	Labels
	Waiting int   // boxes that wait
	Memory  int64 // bytes, what they cost
	Wanted  int   // how many should wait
	Making  int   // being made ahead of demand
	// Age is that of the oldest template; zero: there is none.
	Age time.Duration
	// Each box that was Made was taken, died, was evicted, was dropped, or waits.
	Hits    uint64 // Takes that found a box waiting
	Misses  uint64 // Takes that didn't
	Made    uint64 // boxes, ahead of demand and by Takes
	Died    uint64 // boxes that were dead when they were asked for, or whose template was
	Evicted uint64 // boxes given up for others
	Dropped uint64 // boxes closed unused for other reasons: idle, old, drained
	Refused uint64 // Takes that ended with a Refused
}

// Stats is a snapshot. Sessions and Profiles are sorted by their labels.
type Stats struct {
	Total     Line
	Templates int
	Making    int // Takes that make their own box now
	Queued    int // Takes that wait for their turn to, or for room
	Stopped   bool
	Profiles  []Line // since the start; of templates that serve several each shows the age
	Sessions  []Line // of keys that aren't forgotten, and since they were first asked for
}

// Stats is cheap enough to be asked for each second.
func (p *Pool[S, B]) Stats() Stats {
	now := time.Now()
	p.mu.Lock()
	stats := Stats{
		Templates: len(p.templates), Making: p.line.going, Queued: p.line.waiting.Len(), Stopped: p.shut != nil,
	}
	sessions := make([]Line, 0, len(p.shelves))
	for _, s := range p.shelves {
		l := Line{
			Labels: s.owner, Waiting: len(s.waiting), Wanted: s.demand.wanted(&p.config, now),
		}
		if s == p.ahead {
			l.Making = 1
		}
		for _, t := range s.waiting {
			l.Memory += t.cost
		}
		if t := p.templates[s.under]; t != nil && !t.since.IsZero() {
			l.Age = now.Sub(t.since)
		}
		l.add(&s.counts)
		sessions = append(sessions, l)
	}
	profiles := map[string]Line{}
	for name, c := range p.profiles {
		l := Line{Labels: Labels{Profile: name}}
		l.add(c)
		profiles[name] = l
	}
	stats.Total.add(&p.total)
	p.mu.Unlock()

	slices.SortFunc(sessions, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.Profile, b.Profile), cmp.Compare(a.Session, b.Session))
	})
	for _, l := range sessions {
		profile := profiles[l.Profile]
		profile.have(&l)
		profiles[l.Profile] = profile
		stats.Total.have(&l)
		if n := len(stats.Sessions); n > 0 && stats.Sessions[n-1].Labels == l.Labels {
			last := &stats.Sessions[n-1]
			last.have(&l)
			last.did(&l)
			continue
		}
		stats.Sessions = append(stats.Sessions, l)
	}
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		stats.Profiles = append(stats.Profiles, profiles[name])
	}
	return stats
}

// have adds what there is now.
func (l *Line) have(other *Line) {
	l.Waiting += other.Waiting
	l.Memory += other.Memory
	l.Wanted += other.Wanted
	l.Making += other.Making
	l.Age = max(l.Age, other.Age)
}

// add adds what was counted.
func (l *Line) add(c *counts) {
	for e, n := range c {
		*l.counter(event(e)) += n
	}
}

// did adds what another line has counted.
func (l *Line) did(other *Line) {
	for e := range events {
		*l.counter(e) += *other.counter(e)
	}
}

func (l *Line) counter(e event) *uint64 {
	return [events]*uint64{&l.Hits, &l.Misses, &l.Made, &l.Died, &l.Evicted, &l.Dropped, &l.Refused}[e]
}

// count counts an event of a shelf and of the profile that it concerns.
func (p *Pool[S, B]) count(s *shelf[S, B], l Labels, e event) {
	p.total[e]++
	s.counts[e]++
	c := p.profiles[l.Profile]
	if c == nil {
		c = &counts{}
		p.profiles[l.Profile] = c
	}
	c[e]++
}
