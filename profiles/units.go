// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// sizeUnits are the suffixes of a size, largest first.
var sizeUnits = []struct {
	suffix string
	bytes  Bytes
}{
	{"T", 1 << 40},
	{"G", 1 << 30},
	{"M", 1 << 20},
	{"K", 1 << 10},
}

// ParseBytes reads a size: decimal digits and at most one of the suffixes K, M,
// G and T, which are powers of 1024. There is no sign, fraction or space. The
// error says how to write what was probably meant.
func ParseBytes(s string) (Bytes, error) {
	if b, ok := parseSize(s); ok {
		return b, nil
	}
	hint := `write a whole number of bytes, or one with K, M, G or T, such as "256M"`
	meant := strings.ToUpper(strings.ReplaceAll(s, " ", ""))
	meant = strings.TrimSuffix(strings.TrimSuffix(meant, "B"), "I")
	if b, ok := parseSize(meant); ok {
		hint = fmt.Sprintf("write %q", b)
	}
	return 0, fmt.Errorf("%q is not a size; %s", clip(s), hint)
}

// parseSize reports false for what isn't a size and for what 63 bits don't hold.
func parseSize(s string) (Bytes, bool) {
	unit := Bytes(1)
	for _, u := range sizeUnits {
		if digits, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = digits, u.bytes
			break
		}
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > math.MaxInt64/int64(unit) {
		return 0, false
	}
	return Bytes(n) * unit, true
}

// String gives the size with the largest suffix that divides it: "256M", "100".
// ParseBytes reads it back.
func (b Bytes) String() string {
	for _, u := range sizeUnits {
		if b != 0 && b%u.bytes == 0 {
			return strconv.FormatInt(int64(b/u.bytes), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// UnmarshalText is ParseBytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	parsed, err := ParseBytes(string(text))
	if err != nil {
		return err
	}
	*b = parsed
	return nil
}

// MarshalText is String.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// ParseDuration reads a span of time in hours, minutes, seconds and
// milliseconds: "30s", "1m30s", "1.5s", "250ms". It has no sign and is a whole
// number of milliseconds.
func ParseDuration(s string) (Duration, error) {
	if d, ok := parseSpan(s); ok {
		return d, nil
	}
	hint := `write one with h, m, s or ms, such as "30s" or "1m30s"`
	if d, ok := parseSpan(s + "s"); ok {
		hint = fmt.Sprintf("it needs a unit: write %q for seconds", d)
	}
	return 0, fmt.Errorf("%q is not a span of time; %s", clip(s), hint)
}

func parseSpan(s string) (Duration, bool) {
	// time.ParseDuration also takes signs and units that no limit is measured in.
	if strings.Trim(s, "0123456789.hms") != "" {
		return 0, false
	}
	d, err := time.ParseDuration(s)
	if err != nil || s == "0" || d%time.Millisecond != 0 {
		return 0, false
	}
	return Duration(d), true
}

// String leaves out what is zero: "1m30s", "1h", "250ms". ParseDuration reads
// it back if the duration is one that ParseDuration makes.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := ParseDuration(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// MarshalText is String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
