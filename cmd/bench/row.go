// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"strings"
)

// row is one figure that isn't a race's. docs/SPECIFICATION.md names rows.
type row struct {
	Name  string  `json:"name"` // of what is measured
	Who   string  `json:"who,omitempty"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Note  string  `json:"note,omitempty"`
}

// tell takes a row into the report.
func (r *report) tell(name, who string, value float64, unit, note string) {
	r.Rows = append(r.Rows, row{name, who, value, unit, note})
}

// short prints three digits, or all before the point.
func short(v float64) string {
	if math.Abs(v) < 0.005 { // -0 too
		return "0"
	}
	switch {
	case v >= 100 || v <= -100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10 || v <= -10:
		return fmt.Sprintf("%.1f", v)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.2f", v), ".00")
}

// slope is the least-squares change of y for each x.
func slope(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	n := float64(len(x))
	for i := range x {
		sx += x[i]
		sy += y[i]
		sxx += x[i] * x[i]
		sxy += x[i] * y[i]
	}
	if d := n*sxx - sx*sx; d != 0 {
		return (n*sxy - sx*sy) / d
	}
	return 0
}
