// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/supervisor/audit"
	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// reachOfNobody is what an agent's box reaches, without the box.
func reachOfNobody(t *testing.T, h *host, name string) *reach {
	t.Helper()
	p := h.broker.generation.Load().profiles["web"]
	if p == nil {
		t.Fatal("there is no profile web")
	}
	return &reach{
		b: h.broker, id: "agent " + name, agent: name, plan: "agent:" + p.Digest, profile: p,
		person: persona{owner: owner{agent: name, uid: 4711}},
	}
}

// refusals are the receipts of what a host's boxes were refused.
func (h *host) refusals() []audit.Receipt {
	h.t.Helper()
	return slices.DeleteFunc(h.receipts(), func(r audit.Receipt) bool {
		return r.Kind != audit.Network || r.Decision != string(profiles.Deny)
	})
}

// TestRefusalsAreWritten: a box can't fill the log with what it is refused, nor
// hide by a flood what it is refused later.
func TestRefusalsAreWritten(t *testing.T) {
	h := begin(t, "")
	r := reachOfNobody(t, h, "claw")
	refuse := func(host string) {
		r.refuse(&packet.Query{Through: packet.TCP, Host: host, Port: 443}, "rule", "no", "")
	}
	const flood = 3 * maxLines
	for i := range flood {
		refuse(fmt.Sprintf("h%d.example", i))
	}
	r.mu.Lock()
	r.lines.filled = r.lines.filled.Add(-time.Hour) // it is an hour later
	for i := range r.view.Denied {
		r.view.Denied[i].Since = r.view.Denied[i].Since.Add(-sameAgain)
	}
	r.mu.Unlock()
	refuse("later.example")
	refuse("h0.example") // as at the beginning
	refuse("h0.example") // at once, which says nothing new
	if r.view.Denied[0].Times != 3 {
		t.Errorf("%+v", r.view.Denied[0])
	}
	if err := h.broker.record(context.Background(), audit.Receipt{Kind: audit.Administration, Requester: "test", Rule: "all before this is written"}); err != nil {
		t.Fatal(err)
	}
	all := h.refusals()
	if n := len(all); n < maxLines || n > maxLines+10 {
		t.Errorf("%d receipts of %d refusals", n, flood)
	}
	last := all[len(all)-2:]
	if factOf(last[0], "host") != "later.example" || factOf(last[1], "host") != "h0.example" {
		t.Fatalf("the last receipts are %+v", last)
	}
	if n, err := strconv.Atoi(factOf(last[0], factSkipped)); err != nil || n+len(all) != flood+2 {
		t.Errorf("%d receipts, and %q were not written, of %d refusals", len(all), factOf(last[0], factSkipped), flood+2)
	}
}

// TestOutwardIsPaced: what a box is let out by a rule makes receipts, which one
// owner can't make without a bound, in however many boxes; another owner goes on.
func TestOutwardIsPaced(t *testing.T) {
	h := begin(t, "[network]\nrate = 3\n")
	one, again, other := reachOfNobody(t, h, "claw"), reachOfNobody(t, h, "claw"), reachOfNobody(t, h, "paw")
	ctx, cancel := context.WithCancel(context.Background())
	for _, r := range []*reach{one, again, one} {
		if err := r.paced(ctx); err != nil {
			t.Error(err)
		}
	}
	waited := make(chan error)
	go func() { waited <- again.paced(ctx) }()
	if err := other.paced(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-waited; err == nil { // twenty seconds are not over
		t.Error("a fourth in a minute did not wait")
	}
}

// TestNothingLeavesUnwritten: where the log has no room nothing more is let out,
// although nobody waits for the receipts of what leaves boxes.
func TestNothingLeavesUnwritten(t *testing.T) {
	h := newHost(t, "")
	dir := h.dir + "/state/audit"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=512k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		h.stop()
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	h.start()
	r := reachOfNobody(t, h, "claw")
	q := packet.Query{Through: packet.TCP, Host: "a.example", Port: 443}
	no := func(_, reason, _ string) packet.Verdict { return packet.Verdict{Reason: reason} }
	r.rules = func() []policy.Rule { return nil }
	allowed := 0
	for range 20_000 {
		if v := r.allow(&q, "a rule", "", "", no); !v.Allow {
			break
		}
		allowed++
	}
	if allowed > 5000 { // as many as fit, and what was under way
		t.Errorf("%d were let out", allowed)
	}
	if err := h.broker.open(); err == nil {
		t.Error("calls begin as if nothing were wrong")
	}
}

// TestDeniedOnce: who said no is not asked the same again for everybody who waited
// meanwhile; who comes later is asked about.
func TestDeniedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reach{}
		const what = "net.request POST https://api.example:443/"
		leave, before, err := r.turn(t.Context(), what)
		if err != nil || before.denied {
			t.Fatalf("%+v %v", before, err)
		}
		const others = 5
		got := make(chan answered, others)
		for range others {
			go func() {
				leave, before, err := r.turn(t.Context(), what)
				if err != nil {
					t.Error(err)
				}
				if leave != nil {
					leave(answered{})
				}
				got <- before
			}()
		}
		synctest.Wait()
		leave(answered{no: "never", ticket: "t-1", denied: true})
		for range others {
			if a := <-got; !a.denied || a.ticket != "t-1" || a.no != "never" {
				t.Errorf("%+v", a)
			}
		}
		leave, before, err = r.turn(t.Context(), what)
		if err != nil || before.denied || leave == nil {
			t.Errorf("later: %+v %v", before, err)
		}
		// After a yes, or no answer, the next is asked about.
		next := make(chan answered, 1)
		go func() {
			leave, before, _ := r.turn(t.Context(), what)
			leave(answered{})
			next <- before
		}()
		synctest.Wait()
		leave(answered{ticket: "t-2"})
		if a := <-next; a.denied {
			t.Errorf("%+v", a)
		}
	})
}
