// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	r, now := newRates(), time.Now()
	for i := range 10 {
		if !r.take("a", 10, now) {
			t.Errorf("call %d of 10", i)
		}
	}
	if r.take("a", 10, now) {
		t.Error("the eleventh in no time")
	}
	if !r.take("b", 10, now) {
		t.Error("another caller")
	}
	if r.take("a", 10, now.Add(5*time.Second)) {
		t.Error("before a token is back")
	}
	if !r.take("a", 10, now.Add(7*time.Second)) {
		t.Error("after a token is back")
	}
	if r.take("a", 10, now.Add(8*time.Second)) {
		t.Error("a second one")
	}
	if r.take("a", 10, now.Add(-time.Hour)) {
		t.Error("a clock that went back gave a token")
	}
}
