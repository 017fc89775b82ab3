// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"fmt"
	"slices"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// kinds are those of refusals.
var kinds = []packet.RefusalKind{
	packet.RefusedName, packet.RefusedAddress, packet.RefusedMismatch, packet.RefusedProtocol,
	packet.RefusedPlaceholder, packet.RefusedCredential, packet.RefusedCap,
}

// maxHost bounds the host of a refusal, which may be no name, in bytes.
const maxHost = 255

// refused is what the helper says that it refused by itself.
func (b *Box) refused(w packet.Word) error {
	if w.Refusal == nil || !slices.Contains(kinds, w.Refusal.Kind) {
		return fmt.Errorf("%w: a refusal of nothing", packet.ErrPacket)
	}
	b.refuse(*w.Refusal)
	return nil
}

// refuse tells the judge, or counts where there are too many.
func (b *Box) refuse(r packet.Refusal) {
	r.Host = r.Host[:min(len(r.Host), maxHost)]
	r.Detail = r.Detail[:min(len(r.Detail), packet.MaxDetail)]
	b.mu.Lock()
	told := b.refusals.take(time.Now())
	if !told {
		b.untold++
	}
	b.mu.Unlock()
	if told {
		b.egress.judge.Refused(b, r)
	}
}

// tellUntold says how many refusals were only counted.
func (b *Box) tellUntold() {
	b.mu.Lock()
	untold := b.untold
	b.untold = 0
	b.mu.Unlock()
	if untold > 0 {
		b.egress.judge.Refused(b, packet.Refusal{Kind: packet.RefusedCap, Detail: fmt.Sprintf("%d more refusals came too fast to be told", untold)})
	}
}

// pace bounds a rate: atOnce, and then aSecond. Whoever holds it is alone.
type pace struct {
	last time.Time
	left float64
}

const (
	atOnce  = 256
	aSecond = 64
)

func newPace() *pace { return &pace{last: time.Now(), left: atOnce} }

func (p *pace) take(now time.Time) bool {
	p.left = min(p.left+now.Sub(p.last).Seconds()*aSecond, atOnce)
	p.last = now
	if p.left < 1 {
		return false
	}
	p.left--
	return true
}
