// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"slices"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/policy"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// aboutChanges is a question about what a call did.
func aboutChanges(call string) Question {
	q := question(call)
	q.Effect, q.Target, q.Changes = policy.FSDelete, "old/letter.txt", "c-"+call
	return q
}

// A yes may leave paths out, whatever bytes they have, and they are kept.
func TestYesToAPart(t *testing.T) {
	dir := bookDir(t)
	b := openBook(t, dir, Options{})
	id := ask(t, b, aboutChanges("c1"))
	refused := []raw.String{"old/letter.txt", "rm\xff", "a\nb"}
	k := answer(t, b, alice, id, Answer{Verdict: Allow, Refuse: refused})
	if k.State != Allowed || k.Changes != "c-c1" || !slices.Equal(k.Answers[0].Refuse, refused) {
		t.Errorf("%+v", k)
	}
	if o := outcome(t, b, id, "c1"); !slices.Equal(o.Answers[0].Refuse, refused) {
		t.Errorf("%+v", o)
	}
	closeBook(t, b)
	if k := show(t, openBook(t, dir, Options{}), id); !slices.Equal(k.Answers[0].Refuse, refused) {
		t.Errorf("after a restart: %+v", k)
	}
}

// Two calls that did the same did it twice: each is asked about.
func TestChangeSetsDoNotFold(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	if first, second := ask(t, b, aboutChanges("c1")), ask(t, b, aboutChanges("c2")); first == second {
		t.Error("one ticket for two change sets")
	}
}

func TestWhatCannotBeAnsweredAboutChanges(t *testing.T) {
	b := openBook(t, bookDir(t), Options{})
	done, before := ask(t, b, aboutChanges("c1")), ask(t, b, question("c2"))
	many := make([]raw.String, maxRefused+1)
	workspace := raw.String("/srv/other")
	for name, c := range map[string]struct {
		ticket string
		answer Answer
	}{
		"a grant":             {done, Answer{Verdict: Grant, For: time.Minute}},
		"other words":         {done, Answer{Verdict: Change, Args: []raw.String{"x"}}},
		"another workspace":   {done, Answer{Verdict: Change, Workspace: &workspace}},
		"a no with paths":     {done, Answer{Verdict: Deny, Refuse: []raw.String{"a"}}},
		"too many paths":      {done, Answer{Verdict: Allow, Refuse: many}},
		"too long a path":     {done, Answer{Verdict: Allow, Refuse: []raw.String{raw.String(make([]byte, maxRefusedBytes+1))}}},
		"paths before it ran": {before, Answer{Verdict: Allow, Refuse: []raw.String{"a"}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.answer
			a.Ticket, a.Revision = c.ticket, 1
			_, err := b.Answer(alice, a)
			wantErr(t, err, ErrInvalid)
			if k := show(t, b, c.ticket); k.State != Pending || len(k.Answers) != 0 {
				t.Errorf("%+v", k)
			}
		})
	}
}
