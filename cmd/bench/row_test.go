// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"testing"
	"time"
)

func TestSlope(t *testing.T) {
	for _, c := range []struct {
		x, y []float64
		want float64
	}{
		{nil, nil, 0},
		{[]float64{3}, []float64{7}, 0},
		{[]float64{1, 2, 3}, []float64{5, 5, 5}, 0},
		{[]float64{0, 10, 20}, []float64{1, 21, 41}, 2},
		{[]float64{0, 1, 2, 3}, []float64{0, 2, 0, 2}, 0.4},
	} {
		if got := slope(c.x, c.y); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("slope(%v, %v) = %v, want %v", c.x, c.y, got, c.want)
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1: "1", 0.123: "0.12", 12.34: "12.3", 123.4: "123", 99999: "99999", -3.25: "-3.25", -0.001: "0"} {
		if got := short(v); got != want {
			t.Errorf("short(%v) = %q, want %q", v, got, want)
		}
	}
}

// What is done before a span's counted part, and how much in it.
func TestSpan(t *testing.T) {
	p := span{warm: 10 * time.Millisecond, counted: 20 * time.Millisecond}
	got, err := p.repeat(func(int) (time.Duration, error) { time.Sleep(time.Millisecond); return time.Second, nil })
	if err != nil {
		t.Fatal(err)
	}
	if got.Calls == 0 || got.Calls >= got.All || got.Wall < p.counted || got.CPU != time.Duration(got.Calls)*time.Second {
		t.Errorf("%+v", got)
	}
}
