// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"time"
)

// Who fills the room is not always who loses by it: a call that nobody was asked
// about leaves layers as large as it likes, and trash by writing to its own files
// again and again. If the oldest simply went first, that would empty the trash of
// what a person agreed to, which then could not be brought back. So
//
//   - trash has three quarters of the room, and goes for trash alone: that of
//     commits which policy alone decided before that of commits which people did,
//     which stays for an eighth of Bounds.Keep in any case, so that one thing that
//     is larger than all the room can be brought back too;
//   - what is undecided has the rest, and the oldest of whoever has the most goes
//     first.

// holder is who is charged with a change set.
type holder struct{ agent, requester string }

// pile is what of one holder's is undecided.
type pile struct {
	bytes int64
	loose []*entry // what may go, the oldest first: not what people are asked about, or a call writes
}

// shrink makes room where there is too little. entries are the oldest first.
func (s *Store) shrink(ctx context.Context, entries []*entry, b Bounds, now time.Time) error {
	piles := map[holder]*pile{}
	var order []*pile
	var trash [2][]*entry // of what policy decided, and of what people did
	var undecided, trashed int64
	for _, e := range entries {
		n := e.fill(s.path(e.ID), b).Bytes
		switch {
		case e.State == Committed && e.Trash:
			trashed += n
			switch {
			case e.Ruled:
				trash[0] = append(trash[0], e)
			case !now.Before(e.Since.Add(b.Keep / 8)):
				trash[1] = append(trash[1], e)
			}
		case !e.State.Over():
			who := holder{e.Agent, e.Requester}
			if piles[who] == nil {
				piles[who] = &pile{}
				order = append(order, piles[who])
			}
			p := piles[who]
			p.bytes += n
			undecided += n
			if e.State != Asking && e.Working == "" {
				p.loose = append(p.loose, e)
			}
		}
	}
	var errs []error
	drop := func(e *entry) int64 {
		freed, err := s.meet(e, noRoom, b)
		if !errors.Is(err, errTaken) && !errors.Is(err, ErrUnknown) {
			errs = append(errs, err)
		}
		return freed
	}
	most := b.Max / 4 * 3
	for _, list := range trash {
		for _, e := range list {
			if trashed <= most || ctx.Err() != nil {
				break
			}
			trashed -= drop(e)
		}
	}
	for undecided > b.Max-min(trashed, most) && ctx.Err() == nil {
		p := largest(order)
		if p == nil || len(p.loose) == 0 { // others don't go for what is asked about
			break
		}
		freed := drop(p.loose[0])
		p.loose, p.bytes, undecided = p.loose[1:], p.bytes-freed, undecided-freed
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// largest gives the pile of whoever has the most, of two the one that began
// later; nil: there is none.
func largest(piles []*pile) *pile {
	var most *pile
	for _, p := range piles {
		if most == nil || p.bytes >= most.bytes {
			most = p
		}
	}
	return most
}
