// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"github.com/sirupsen/logrus"

	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/pool"
)

// drain ends the boxes that wait on somebody's behalf. Those that are made
// later are made anew, under what is in force then.
func (b *Broker) drain(why string, match func(pool.Labels) bool) {
	n, err := b.supervisor.Boxes().Drain(match)
	if err != nil {
		logrus.WithError(err).Warn("something of a box that waited stayed behind; the next start removes it")
	}
	if n > 0 {
		logrus.WithField("boxes", n).Debug("boxes that waited were ended: " + why)
	}
}

// ofSession matches what waits for a session.
func ofSession(id string) func(pool.Labels) bool {
	return func(l pool.Labels) bool { return l.Session == id }
}

// ofProfile matches what waits for a profile.
func ofProfile(name string) func(pool.Labels) bool {
	return func(l pool.Labels) bool { return l.Profile == name }
}

// pooled says what there is.
func (b *Broker) pooled() api.Pool {
	s := b.supervisor.Boxes().Stats()
	p := api.Pool{
		Total: poolLine(&s.Total), Templates: s.Templates, Making: s.Making, Queued: s.Queued, Stopped: s.Stopped,
		Profiles: []api.PoolLine{},
	}
	for i := range s.Profiles {
		p.Profiles = append(p.Profiles, poolLine(&s.Profiles[i]))
	}
	return p
}

func poolLine(l *pool.Line) api.PoolLine {
	return api.PoolLine{
		Profile: l.Profile, Waiting: l.Waiting, Wanted: l.Wanted, Memory: l.Memory, Hits: l.Hits, Misses: l.Misses,
		Made: l.Made, Died: l.Died, Evicted: l.Evicted, Dropped: l.Dropped, Refused: l.Refused,
	}
}
