// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
)

// child asks, answers, uses and revokes until it is killed, and says on stdout
// what it was told is durable.
func child(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	b, err := Open(dir, Options{Burst: 1 << 20, Keep: 1 << 20, Pending: 1 << 20, PendingPerSession: 1 << 20})
	if err != nil {
		fail(err)
	}
	if notes := b.Notes(); len(notes) > 0 {
		fail(fmt.Errorf("notes: %q", notes))
	}
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf(format+"\n", args...)
	}
	for w := range 3 {
		go func() {
			for i := 0; ; i++ {
				q := other(i)
				q.Call = fmt.Sprintf("%d.%d.%d", os.Getpid(), w, i)
				q.Plan, q.Script = "sha256:"+q.Call, q.Call
				id, err := b.Ask(context.Background(), q)
				if err != nil {
					fail(err)
				}
				say("asked %s", id)
				a := Answer{Ticket: id, Revision: 1, Verdict: []Verdict{Allow, Deny, Grant}[i%3]}
				if a.Verdict == Grant {
					a.For, a.Uses = time.Hour, 2
				}
				if _, err := b.Answer(alice, a); err != nil {
					fail(err)
				}
				say("%s %s", a.Verdict, id)
				if a.Verdict == Grant {
					if v := b.Use(subjectOf(q), asking); v.Decision != profiles.Allow {
						fail(fmt.Errorf("%+v", v))
					}
					say("used %s", id)
					if i%2 == 0 {
						if _, err := b.Revoke(b.GrantOf(id).ID, "tried"); err != nil {
							fail(err)
						}
						say("revoked %s", id)
					}
				}
			}
		}()
	}
	select {}
}

// What was told is kept, whenever the process is killed; what was not told was
// answered at most once.
func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("kills forty supervisors")
	}
	dir := bookDir(t)
	told := map[string][]string{} // ticket: what was said of it
	said := 0
	for round := range 40 {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), "APPROVAL_TEST_CHILD="+dir)
		var complaint bytes.Buffer
		c.Stderr = &complaint
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReader(out)
		for n, until := 0, rand.IntN(40); ; n++ {
			if n == until {
				// at a moment of its own within the next steps
				time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { c.Process.Kill() })
			}
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			what, id, _ := strings.Cut(strings.TrimSpace(line), " ")
			told[id] = append(told[id], what)
			said++
		}
		c.Wait()
		if complaint.Len() > 0 {
			t.Fatalf("round %d: %s", round, complaint.String())
		}
	}
	b := openBook(t, dir, Options{Keep: 1 << 20})
	if notes := b.Notes(); len(notes) > 0 {
		t.Errorf("notes: %q", notes)
	}
	if n, _ := b.Counts(); n != 0 {
		t.Errorf("%d tickets are pending", n)
	}
	for id, list := range told {
		k, err := b.Show(id)
		if err != nil {
			t.Fatalf("ticket %s (%v): %v", id, list, err)
		}
		if len(k.Answers) > 1 {
			t.Errorf("ticket %s was answered twice: %+v", id, k)
		}
		g := b.GrantOf(id)
		for _, what := range list {
			ok := true
			switch what {
			case "allow":
				ok = k.State == Allowed && g == nil
			case "deny":
				ok = k.State == Denied
			case "grant":
				ok = k.State == Allowed && g != nil
			case "used":
				ok = g.Uses < 2
			case "revoked":
				ok = g.Revoked == "tried"
			}
			if !ok {
				t.Errorf("ticket %s was told to be %v, and is %+v with grant %+v", id, list, k, g)
			}
		}
	}
	for _, k := range b.List(true) {
		list := told[k.ID]
		if len(k.Answers) == 0 && k.State != Void || k.State == Void && k.Reason != Restart {
			t.Errorf("ticket %s (%v) is %+v", k.ID, list, k)
		}
	}
	if said < 100 {
		t.Errorf("only %d things were said", said)
	}
	t.Logf("%d things were said of %d tickets", said, len(told))
}
