// SPDX-License-Identifier: Apache-2.0

// Package pool keeps prepared boxes waiting, by what calls have asked for
// lately, so that a call seldom waits for one to be made.
//
//	p := pool.New(config, source)                  // nothing is made yet
//	box, err := p.Take(ctx, want)                  // one that waits, or one made now
//	...                                            // box.Box runs its one call
//	err = box.Close()                              // it is gone; now its successor may be made
//	n, err := p.Drain(func(l pool.Labels) bool { return l.Profile == "web" })
//	err = p.Close()
//
// It is bookkeeping alone: it takes no privileged step and knows nothing of
// kernels. What boxes and templates are is the Source's affair.
//
// # Keys
//
// A box is good for every request with the same Key: whoever asks first gets
// it. Boxes are cloned from templates, and a template is good for every request
// with the same template key; so there are few templates, by profile, and some
// boxes of each, by profile and session. Equal keys must mean equal boxes, also
// in what they show of the host: when something behind a key changes that the
// key doesn't say, whoever changes it calls Drain.
//
// # How many wait
//
// Each Take is an arrival of its key. Of each key as many boxes are to wait as
// arrived, at the worst of late, in the time that it takes to replace one: a
// burst raises the number at once; a minute later that begins to halve. A key that was
// asked for once has Config.Least; one that wasn't for Config.Idle has none and
// is forgotten. Requests marked Once leave nothing behind, and
// those marked Alone only a template.
//
// All that wait are bounded in number and memory. At the bound a key gets room
// only from a key that is worth less, which is the one with the most waiting
// for its rate of arrivals; and sessions and profiles that have more than their
// share lose theirs first, and take none from those that don't, so that nobody
// crowds the others out by calling often or under many names.
//
// # When they are made
//
// One goroutine makes boxes ahead of demand, one after the other, and only
// while no Take is making its own. The successor of a box that was taken waits
// for the end of its call, up to Config.Patience, so as not to slow it. Under
// load, when Takes find nothing, they make their own side by side, up to
// Config.Makers, and whoever is first in line gets what is made ahead of its
// key: work is one box for each call, no more.
//
// # Pressure
//
// When the Source says that the host has no room for another box, those that
// wait for other keys are given up first, then idle templates. If that isn't
// enough the Take waits in one line with all others, in order of arrival, for a
// box to go (Taken.Close, Released), and tries again: one try for each that
// goes, one more after each success, and one each second in case other programs
// made the room. It ends with ctx or after Config.Wait, with a Refused that
// holds the reason.
//
// # Age, drain and stop
//
// A template holds copies and mounts of the host as they were when it was made;
// after Config.Age it and its boxes are closed and made anew if they are still
// asked for. Drain closes what matches: what was being made when it was called
// never waits in the pool, and a Take that begins after it gets nothing from
// before. Stop does so with everything and refuses all until Start. A box that
// died while it waited is closed and replaced; with a template that died all
// its waiting boxes go.
//
// # Limits
//
// A template belongs to all profiles and sessions that share its key: draining
// a session leaves it, draining one of its profiles doesn't. The number of keys
// that are remembered is bounded; past it the one that wasn't asked for the
// longest is forgotten.
//
// Source and boxes are called without the pool's lock, but for Waiting and Alive,
// which must answer at once. The clock is time.Now's, so that tests can bring
// their own (testing/synctest).
package pool
