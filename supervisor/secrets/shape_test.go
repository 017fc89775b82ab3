// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// checks is what programs hold a token of each shape to: validators of client
// libraries where there are some, else the rules of scanners of leaked tokens
// and the services' own descriptions.
var checks = map[string]string{
	Plain:         `^clawsup-secret:some\.name:[0-9a-z]{32}$`,
	Letters:       `^[A-Za-z0-9]{40}$`,
	"hex":         `^[0-9a-f]{64}$`,
	JWT:           `^eyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}$`,
	"anthropic":   `^sk-ant-api03-[A-Za-z0-9_-]{93}AA$`,
	"discord":     `^[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}\b$`,
	"github":      `^ghp_[A-Za-z0-9]{36}$`,
	"github-pat":  `^github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}$`,
	"gitlab":      `^glpat-[A-Za-z0-9_-]{20,}$`,
	"google":      `^AIza[0-9A-Za-z_-]{35}$`,
	"groq":        `^gsk_[A-Za-z0-9]{52}$`,
	"huggingface": `^hf_[A-Za-z]{34}$`,
	"npm":         `^npm_[A-Za-z0-9]{36}$`,
	"openai":      `^sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}$`,
	"openrouter":  `^sk-or-v1-[0-9a-f]{64}$`,
	"slack-app":   `^xapp-\d-[A-Z0-9]+-\d+-[a-z0-9]+$`,
	"slack-bot":   `^xoxb-[0-9]{11}-[0-9]{13}-[A-Za-z0-9]{24}$`,
	"telegram":    `^[0-9]{8,10}:[A-Za-z0-9_-]{35}\b$`,
	"prefix:xai-": `^xai-[A-Za-z0-9]{40}$`,
}

func TestShapes(t *testing.T) {
	names := []string{Prefix + "xai-"}
	for _, s := range Shapes() {
		names = append(names, s.Name)
		if s.Looks == "" {
			t.Errorf("%s doesn't say how it looks", s.Name)
		}
	}
	for _, name := range names {
		check, ok := checks[name]
		if !ok {
			t.Errorf("nobody says what programs check of %s", name)
			continue
		}
		s, err := findShape(name)
		if err != nil {
			t.Fatal(err)
		}
		bits := 0.0
		for _, p := range s.parts {
			if p.n > 0 {
				bits += float64(p.n) * math.Log2(float64(len(p.alphabet)))
			}
		}
		if bits < 128 {
			t.Errorf("%s has %.0f random bits", name, bits)
		}
		seen := map[string]bool{}
		for range 200 {
			made, err := Mint("some.name", name)
			if err != nil || !regexp.MustCompile(check).MatchString(made) {
				t.Fatalf("%s: %q, %v", name, made, err)
			}
			if err := CheckValue([]byte(made)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if strings.Contains(made, ":") != hasColon(name) {
				t.Fatalf("%s has a colon, or has none: %s", name, made)
			}
			seen[made] = true
		}
		if len(seen) != 200 {
			t.Errorf("%s comes twice", name)
		}
	}
	for _, name := range []string{"", "opnai", "prefix:", "prefix:a b", "prefix:\x00", "prefix:" + strings.Repeat("x", 33), "prefix:/", "prefix::"} {
		if _, err := Mint("x", name); err == nil {
			t.Errorf("%q is a shape", name)
		}
	}
}

// TestEvenly: every character of an alphabet comes, about as often as any other.
func TestEvenly(t *testing.T) {
	for _, alphabet := range []string{digits, hexadec, crockford, alnum, urlSafe} {
		const each = 4000
		count := map[rune]int{}
		for _, r := range draw(each*len(alphabet), alphabet) {
			count[r]++
		}
		for _, r := range alphabet {
			// Ten standard deviations: by chance in no life of this test.
			if d := math.Abs(float64(count[r] - each)); d > 10*math.Sqrt(each) {
				t.Errorf("%q of %q came %d times, not about %d", r, alphabet, count[r], each)
			}
		}
	}
}

// TestInside: what programs read out of a token.
func TestInside(t *testing.T) {
	token, _ := Mint("x", JWT)
	parts := strings.Split(token, ".")
	for i, part := range parts {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			var claims struct {
				Exp int64
			}
			if err := json.Unmarshal(raw, &claims); err != nil || claims.Exp < 1<<32-1<<30 {
				t.Errorf("%s: %v", raw, err)
			}
		}
	}
	bot, _ := Mint("x", "discord")
	id, err := base64.RawURLEncoding.Strict().DecodeString(bot[:strings.IndexByte(bot, '.')])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strconv.ParseUint(string(id), 10, 64); err != nil || len(id) != 18 {
		t.Errorf("%q: %v", id, err)
	}
	// A published sample.
	if got := checked([]string{"ghp_", "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"}); got != "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" {
		t.Error(got)
	}
}

func TestProviders(t *testing.T) {
	for _, name := range Providers() {
		p, err := FindProvider(name)
		if err != nil {
			t.Fatal(err)
		}
		one := Secret{Name: name, Shape: p.Shape, Binding: p.Binding}
		if err := one.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.Binding.Hosts[0] = "changed"
		if again, _ := FindProvider(name); again.Binding.Hosts[0] == "changed" {
			t.Errorf("the table of %s can be changed from outside", name)
		}
	}
	if _, err := FindProvider("opneai"); err == nil || !strings.Contains(err.Error(), "did you mean openai?") {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Secret)
		says   string // "": it is good
	}{
		{"good", func(*Secret) {}, ""},
		{"below", func(s *Secret) { s.Hosts = []string{"*.example.com:443", "[2001:db8::1]:80"} }, ""},
		{"name", func(s *Secret) { s.Name = "../x" }, "is no target"},
		{"no host", func(s *Secret) { s.Hosts = nil }, "1 to 32 hosts"},
		{"no port", func(s *Secret) { s.Hosts = []string{"api.example.com"} }, "HOST:PORT"},
		{"everybody", func(s *Secret) { s.Hosts = []string{"*.com:443"} }, "every name below"},
		{"twice", func(s *Secret) { s.Hosts = append(s.Hosts, s.Hosts...) }, "there twice"},
		{"many hosts", func(s *Secret) { s.Hosts = make([]string, MaxHosts+1) }, "1 to 32 hosts"},
		{"no place", func(s *Secret) { s.Places = nil }, "1 to 16 places"},
		{"same place", func(s *Secret) { s.Places = append(s.Places, s.Places...) }, "there twice"},
		{"shape", func(s *Secret) { s.Shape = "round" }, "there is no shape"},
		{"colon in a user", func(s *Secret) {
			s.Shape, s.Places = Plain, []packet.Place{{Kind: packet.Basic, Name: "user"}}
		}, "has a colon"},
		{"no colon in a user", func(s *Secret) {
			s.Shape, s.Places = Letters, []packet.Place{{Kind: packet.Basic, Name: "user"}}
		}, ""},
		{"owner", func(s *Secret) { s.Owner = "a\x1b[2J" }, "its owner"},
		{"capture", func(s *Secret) { s.Captures = []packet.Capture{{Path: "/oauth/token", Field: "a.b-c_d"}} }, ""},
		{"capture twice", func(s *Secret) { s.Captures = []packet.Capture{{Path: "/a", Field: "x"}, {Path: "/b", Field: "x"}} }, "captured twice"},
		{"capture field", func(s *Secret) { s.Captures = []packet.Capture{{Path: "/a", Field: "x..y"}} }, "no field"},
		{"capture query", func(s *Secret) { s.Captures = []packet.Capture{{Path: "/a?b", Field: "x"}} }, "no path"},
		{"capture up", func(s *Secret) { s.Captures = []packet.Capture{{Path: "/a/..", Field: "x"}} }, "no path"},
		{"capture name", func(s *Secret) {
			s.Name, s.Captures = strings.Repeat("x", 120), []packet.Capture{{Path: "/a", Field: "access_token"}}
		}, "is no target"},
	} {
		s := model("a")
		c.change(&s)
		err := s.Check()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestPlaces(t *testing.T) {
	for text, want := range map[string]string{
		"header:authorization": "header:Authorization", "header:X-Api-Key": "header:X-Api-Key", "query:key": "query:key",
		"query:a:b": "query:a:b", "basic:user": "basic:user", "basic:password": "basic:password", "path": "path",
		"form:client_secret": "form:client_secret", "json:auth.token": "json:auth.token", "websocket:d.token": "websocket:d.token",
	} {
		p, err := ParsePlace(text)
		if err != nil || PlaceText(p) != want {
			t.Errorf("%s: %+v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "header", "header:", "header:a b", "header:a\r\nb", "header:host", "header:Content-Length", "header:transfer-encoding",
		"header:sec-websocket-key", "query:", "query:a\nb", "basic:", "basic:realm", "path:x", "json:", "json:a..b", "websocket:.d", "cookie:x", "Header:x", "form:" + strings.Repeat("x", 129)} {
		if p, err := ParsePlace(text); err == nil {
			t.Errorf("%q is %+v", text, p)
		}
	}
}
