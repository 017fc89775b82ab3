// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"slices"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                      "",
		"ls -la /tmp":                           "ls -la /tmp",
		"token ring networks":                   "token ring networks",
		"the password":                          "the password",
		"https://example.org/a:b@c":             "https://example.org/a:b@c",
		"https://u:hunter2@example.org/x":       "https://u:[redacted]@example.org/x",
		"postgres://app:s3cr:t@db/x":            "postgres://app:[redacted]@db/x",
		"PASSWORD=hunter2 make":                 "PASSWORD=[redacted] make",
		"--password=hunter2":                    "--password=[redacted]",
		"MY_API_KEY='abc' x":                    "MY_API_KEY='[redacted]' x",
		`{"client_secret": "abc", "n": 1}`:      `{"client_secret": "[redacted]", "n": 1}`,
		"Authorization: Bearer abcdefghij":      "Authorization: Bearer [redacted]",
		"ghp_" + strings.Repeat("a", 36) + " x": "[redacted] x",
		"sk-ant-" + strings.Repeat("a", 30):     "[redacted]",
		"AKIA" + strings.Repeat("A", 16):        "[redacted]",
		"123456789:" + strings.Repeat("a", 35):  "[redacted]",
		"eyJhbGciOiJI.eyJzdWIiOiIx.abc-_":       "[redacted]",
		"a -----BEGIN RSA PRIVATE KEY-----\nx\n-----END RSA PRIVATE KEY----- b": "a [redacted] b",
		"-----BEGIN PRIVATE KEY-----\ncut off":                                  "[redacted]",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func TestArgs(t *testing.T) {
	got := Args([]string{"x", "--password", "hunter2", "--token", "--verbose", "-H", "X-Api-Key: abc", "--key-file", "f"})
	want := []string{"x", "--password", Mark, "--token", "--verbose", "-H", "X-Api-Key: " + Mark, "--key-file", "f"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func FuzzText(f *testing.F) {
	f.Add("PASSWORD=a\xff b")
	f.Fuzz(func(t *testing.T, s string) {
		// what was taken out stays out
		if once := Text(s); len(once) > len(s)*(len(Mark)+1) {
			t.Errorf("%q became %q", s, once)
		}
	})
}
