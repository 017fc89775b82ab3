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
		"sk_live_" + strings.Repeat("a", 24):    "[redacted]",
		"rk_test_" + strings.Repeat("a", 24):    "[redacted]",
		"sk_live_x":                             "sk_live_x",
		"hf_" + strings.Repeat("a", 34) + ".":   "[redacted].",
		"half_done hf_x":                        "half_done hf_x",
		"curl -u joe:hunter2 https://x/":        "curl -u joe:[redacted] https://x/",
		"curl -sSu 'joe:hunter2' x":             "curl -sSu 'joe:[redacted]' x",
		"curl -ujoe:hunter2":                    "curl -ujoe:[redacted]",
		"curl --user=joe:hunter2 x":             "curl --user=joe:[redacted] x",
		"curl --proxy-user joe:hunter2 x":       "curl --proxy-user joe:[redacted] x",
		"curl -u joe:/x":                        "curl -u joe:[redacted]",
		"git fetch -u https://example.org/x":    "git fetch -u https://example.org/x",
		"mysql -u root -phunter2 db":            "mysql -u root -p[redacted] db",
		"/usr/bin/mysqldump -phunter2":          "/usr/bin/mysqldump -p[redacted]",
		"mariadb -p db; tar -pcf x":             "mariadb -p db; tar -pcf x",
		"tar -pcf x mysql":                      "tar -pcf x mysql",
		"sshpass -p hunter2 ssh h":              "sshpass -p [redacted] ssh h",
		"Cookie: a=b; c=\"d e\"; f=g\r\nX: y":   "Cookie: [redacted]\r\nX: y",
		"-H 'set-cookie: id=1; Path=/' x":       "-H 'set-cookie: [redacted]' x",
		`{"Cookie": "a=b", "n": 1}`:             `{"Cookie": "[redacted]", "n": 1}`,
		"a cookie, baked":                       "a cookie, baked",
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
	for _, c := range [][2][]string{
		{
			{"x", "--password", "hunter2", "--token", "--verbose", "-H", "X-Api-Key: abc", "--key-file", "f"},
			{"x", "--password", Mark, "--token", "--verbose", "-H", "X-Api-Key: " + Mark, "--key-file", "f"},
		},
		{{"curl", "-su", "joe:hunter 2", "-u", "joe", "https://x/"}, {"curl", "-su", "joe:" + Mark, "-u", "joe", "https://x/"}},
		{{"curl", "--user", "joe:/x", "-u", "https://x/"}, {"curl", "--user", "joe:" + Mark, "-u", "https://x/"}},
		{{"curl", "-H", "Cookie: a=b; c=d"}, {"curl", "-H", "Cookie: " + Mark}},
		{{"timeout", "9", "/usr/bin/mysql", "-phunter 2", "-p", "db"}, {"timeout", "9", "/usr/bin/mysql", "-p" + Mark, "-p", "db"}},
		{{"sshpass", "-p", "hunter 2", "ssh", "h"}, {"sshpass", "-p", Mark, "ssh", "h"}},
		{{"tar", "-pcf", "x", "mysql"}, {"tar", "-pcf", "x", "mysql"}},
		{{"sh", "-c", "mysqldump -phunter2 db | gzip -pX"}, {"sh", "-c", "mysqldump -p" + Mark + " db | gzip -pX"}},
	} {
		if got := Args(c[0]); !slices.Equal(got, c[1]) {
			t.Errorf("%q became %q, want %q", c[0], got, c[1])
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("PASSWORD=a\xff b")
	f.Add("curl -u a:b -H 'Cookie: a=\"b\"'; mysql -px")
	f.Fuzz(func(t *testing.T, s string) {
		// what was taken out stays out
		if once := Text(s); len(once) > len(s)*(len(Mark)+1) {
			t.Errorf("%q became %q", s, once)
		}
		if fast, all := Text(s), everyForm(s); fast != all {
			t.Errorf("%q became %q, and %q where every form is looked for", s, fast, all)
		}
	})
}

// everyForm is Text without its short cuts.
func everyForm(s string) string {
	for i := range forms {
		s = forms[i].without(s)
	}
	return s
}

// TestShortCuts: what a text must have to be looked at misses nothing that a
// pattern finds, in any case, and beyond ASCII.
func TestShortCuts(t *testing.T) {
	for _, s := range []string{"PA\u017fSWORD=x", "to\u212aen: y", "CURL -U a:b", "XOXB-1234567890", "Akia" + strings.Repeat("A", 16),
		"MYSQL -px", "BEARER abcdefgh", "-----BEGIN EC PRIVATE KEY-----x", "1234567890:" + strings.Repeat("x", 35)} {
		if fast, all := Text(s), everyForm(s); fast != all {
			t.Errorf("%q became %q, and %q where every form is looked for", s, fast, all)
		}
	}
}

func BenchmarkText(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Text("profile default has effects.exec = \"deny\" (set in /etc/clawsup/profiles/default.toml:12)")
	}
}

func BenchmarkArgs(b *testing.B) {
	args := []string{"python3", "/skill/scripts/run.py", "--input", "/workspace/data/table.csv", "--columns", "a,b,c"}
	b.ReportAllocs()
	for b.Loop() {
		Args(args)
	}
}
