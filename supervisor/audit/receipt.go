// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind says what a receipt is about.
type Kind uint8

// The zero Kind is none of them, so that forgetting it is an error.
const (
	Decision       Kind = iota + 1 // what was decided, before it is acted on
	Outcome                        // what became of it
	Administration                 // what a person, or the log itself, did to the supervisor
	Agent                          // the agent's life cycle
	Generation                     // configuration, profiles and policy were swapped
	Network                        // what a box sent out, or wanted to: its decision, or what became of it
)

var kinds = [...]string{Decision: "decision", Outcome: "outcome", Administration: "administration", Agent: "agent", Generation: "generation", Network: "network"}

// String is the kind's name in the log.
func (k Kind) String() string {
	if k == 0 || int(k) >= len(kinds) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kinds[k]
}

func kindOf(name string) (Kind, bool) {
	for k, n := range kinds {
		if k > 0 && n == name {
			return Kind(k), true
		}
	}
	return 0, false
}

// Bounds of a receipt. What is over them is refused whole: a receipt that was cut
// short would be worth less than the error.
const (
	MaxLine  = 64 << 10 // bytes of an entry's line, with its line feed
	MaxField = 256      // bytes of a subject field
	MaxFacts = 64       // facts
	MaxName  = 64       // bytes of a fact's name
	MaxValue = 16 << 10 // bytes of a fact's value
)

// Receipt is one entry. Every field is data: control characters are kept and
// nothing is ever interpreted.
type Receipt struct {
	Seq    uint64        // set by the log: 1, 2, 3, ...
	Time   time.Time     // set by the log: wall clock, UTC
	Behind time.Duration // set by the log: how far Time is behind the latest Time before it

	Kind Kind

	// Subject: UTF-8 of at most MaxField bytes each, empty where it doesn't apply.
	Call      string // the call's id
	Plan      string // digest
	Profile   string // digest
	Skill     string // digest
	Requester string
	Effect    string
	Decision  string
	Rule      string // the rule that decided; "audit." in front is the log's own
	Status    string
	Exit      *int // exit code; nil if there is none
	Usage     *Usage

	Facts []Fact // at most MaxFacts
}

// Usage is what a call used.
type Usage struct {
	Wall    time.Duration `json:"wall"`
	User    time.Duration `json:"user"`
	System  time.Duration `json:"system"`
	Memory  int64         `json:"memory"`  // bytes at the peak
	Pids    int64         `json:"pids"`    // processes at the peak
	Written int64         `json:"written"` // bytes written to disk
	Output  int64         `json:"output"`  // bytes of output
}

// Fact is one more thing to know, as a name (UTF-8, 1 to MaxName bytes) and a
// value (any bytes, at most MaxValue).
type Fact struct{ Name, Value string }

// own begins the rules of entries that the log itself writes.
const own = "audit."

const (
	ruleSegment = own + "segment"
	ruleRepair  = own + "repair"
	ruleAnchor  = own + "anchor"
)

// Errors of a receipt that can't be written as it is.
var (
	ErrReceipt = errors.New("receipt can't be written")
	ErrClosed  = errors.New("the log of receipts is closed")
)

func (r *Receipt) subject() [9]*string {
	return [...]*string{&r.Call, &r.Plan, &r.Profile, &r.Skill, &r.Requester, &r.Effect, &r.Decision, &r.Rule, &r.Status}
}

var subjectNames = [9]string{"call", "plan", "profile", "skill", "requester", "effect", "decision", "rule", "status"}

// check refuses what is over a bound or has no spelling.
func (r *Receipt) check() error {
	if r.Kind == 0 || int(r.Kind) >= len(kinds) {
		return fmt.Errorf("%w: %v is none", ErrReceipt, r.Kind)
	}
	for i, v := range r.subject() {
		if len(*v) > MaxField {
			return fmt.Errorf("%w: %s has %d bytes, over %d", ErrReceipt, subjectNames[i], len(*v), MaxField)
		}
		if !utf8.ValidString(*v) {
			return fmt.Errorf("%w: %s is not UTF-8 (make it a fact)", ErrReceipt, subjectNames[i])
		}
	}
	if len(r.Facts) > MaxFacts {
		return fmt.Errorf("%w: %d facts, over %d", ErrReceipt, len(r.Facts), MaxFacts)
	}
	for i, f := range r.Facts {
		if f.Name == "" || len(f.Name) > MaxName || !utf8.ValidString(f.Name) {
			return fmt.Errorf("%w: the name of fact %d is not UTF-8 of 1 to %d bytes", ErrReceipt, i, MaxName)
		}
		if len(f.Value) > MaxValue {
			return fmt.Errorf("%w: fact %q has %d bytes, over %d", ErrReceipt, f.Name, len(f.Value), MaxValue)
		}
	}
	return nil
}

// foreign refuses what only the log itself may write.
func (r *Receipt) foreign() error {
	if strings.HasPrefix(r.Rule, own) {
		return fmt.Errorf("%w: rules that begin with %q are the log's own", ErrReceipt, own)
	}
	return nil
}
