// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"strings"
	"testing"
	"time"
)

func TestParseBytes(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Bytes
		err  string // a part of it; empty if in is right
	}{
		{"0", 0, ""},
		{"1", 1, ""},
		{"1000", 1000, ""},
		{"64K", 64 << 10, ""},
		{"256M", 256 << 20, ""},
		{"1G", 1 << 30, ""},
		{"2T", 2 << 40, ""},
		{"0064K", 64 << 10, ""},
		{"9223372036854775807", 1<<63 - 1, ""},
		{"8388607T", 8388607 << 40, ""},
		{"9223372036854775808", 0, "not a size"},
		{"8388608T", 0, "not a size"},
		{"99999999999999999999G", 0, "not a size"},
		{"", 0, `such as "256M"`},
		{"M", 0, `such as "256M"`},
		{"-1", 0, "not a size"},
		{"+1", 0, "not a size"},
		{"1.5G", 0, "whole number"},
		{"1_000", 0, "not a size"},
		{"0x10", 0, "not a size"},
		{"1e9", 0, "not a size"},
		{"٣M", 0, "not a size"},
		{"1MM", 0, "not a size"},
		{"256m", 0, `write "256M"`},
		{"256MB", 0, `write "256M"`},
		{"256MiB", 0, `write "256M"`},
		{"256 M", 0, `write "256M"`},
		{" 4k ", 0, `write "4K"`},
		{"100B", 0, `write "100"`},
		{"1M\n", 0, `"1M\n" is not a size`},
	} {
		got, err := ParseBytes(c.in)
		checkParsed(t, c.in, got, c.want, err, c.err)
	}
}

func TestParseDuration(t *testing.T) {
	for _, c := range []struct {
		in   string
		want time.Duration
		err  string
	}{
		{"30s", 30 * time.Second, ""},
		{"1m30s", 90 * time.Second, ""},
		{"1.5s", 1500 * time.Millisecond, ""},
		{"250ms", 250 * time.Millisecond, ""},
		{"2h", 2 * time.Hour, ""},
		{"0s", 0, ""},
		{"0", 0, `write "0s"`},
		{"60", 0, `write "1m" for seconds`},
		{"", 0, `such as "30s"`},
		{"-5s", 0, "not a span"},
		{"+5s", 0, "not a span"},
		{"5 s", 0, "not a span"},
		{"5S", 0, "not a span"},
		{"5d", 0, "not a span"},
		{"5us", 0, "not a span"},
		{"5ns", 0, "not a span"},
		{"0.5ms", 0, "not a span"},
		{"9223372036854775808h", 0, "not a span"},
		{"99999999h", 0, "not a span"},
		{"5s\x00", 0, `"5s\x00" is not`},
	} {
		got, err := ParseDuration(c.in)
		checkParsed(t, c.in, got, Duration(c.want), err, c.err)
	}
}

func checkParsed[T comparable](t *testing.T, in string, got, want T, err error, text string) {
	t.Helper()
	switch {
	case text == "" && err != nil:
		t.Errorf("%q: %v", in, err)
	case text == "" && got != want:
		t.Errorf("%q = %v, want %v", in, got, want)
	case text != "" && (err == nil || !strings.Contains(err.Error(), text)):
		t.Errorf("%q = %v, %v; want an error with %q", in, got, err, text)
	}
}

func TestUnitsAreShort(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Bytes(0).String(), "0"},
		{Bytes(1023).String(), "1023"},
		{Bytes(1 << 10).String(), "1K"},
		{Bytes(1536 << 20).String(), "1536M"},
		{Bytes(1 << 40).String(), "1T"},
		{Duration(0).String(), "0s"},
		{Duration(time.Minute).String(), "1m"},
		{Duration(time.Hour).String(), "1h"},
		{Duration(time.Hour + time.Second).String(), "1h0m1s"},
		{Duration(10 * time.Minute).String(), "10m"},
		{Duration(20 * time.Hour).String(), "20h"},
		{Duration(1500 * time.Millisecond).String(), "1.5s"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func FuzzBytes(f *testing.F) {
	for _, s := range []string{"", "0", "256M", "1.5G", "8388607T", "9223372036854775807", "-1", "1 k", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ParseBytes(s)
		if err != nil {
			if !printable(err.Error()) {
				t.Errorf("the error %q does not show", err)
			}
			return
		}
		if again, err := ParseBytes(b.String()); b < 0 || err != nil || again != b {
			t.Errorf("%q = %d, written %q, read %d, %v", s, b, b, again, err)
		}
	})
}

func FuzzDuration(f *testing.F) {
	for _, s := range []string{"", "0s", "30s", "1m30s", "1.5s", "0.0000000001h", "2562047h47m16.854s", "-1s", "1h1h", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			if !printable(err.Error()) {
				t.Errorf("the error %q does not show", err)
			}
			return
		}
		if again, err := ParseDuration(d.String()); d < 0 || err != nil || again != d {
			t.Errorf("%q = %d, written %q, read %d, %v", s, d, d, again, err)
		}
	})
}
