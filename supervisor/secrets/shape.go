// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"crypto/rand"
	"encoding/base64"
	"hash/crc32"
	"regexp"
	"strings"

	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Names of shapes that code decides on.
const (
	Plain   = "plain"
	Letters = "letters"
	JWT     = "jwt"
	// Prefix begins the name of a shape that is made up: "prefix:xai-".
	Prefix = "prefix:"
)

// Shape is how the placeholders of a secret look.
type Shape struct {
	Name  string
	Looks string // for people
	parts []part
	join  func(made []string) string // nil: one after the other
}

// part is a fixed text, or so many random characters of an alphabet.
type part struct {
	text     string
	n        int
	alphabet string
}

func fixed(text string) part             { return part{text: text} }
func random(n int, alphabet string) part { return part{n: n, alphabet: alphabet} }

const (
	digits    = "0123456789"
	upper     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lower     = "abcdefghijklmnopqrstuvwxyz"
	hexadec   = "0123456789abcdef"
	crockford = "0123456789abcdefghjkmnpqrstvwxyz"
	alnum     = digits + upper + lower
	urlSafe   = alnum + "-_" // of base64url; 64 characters
)

// nameMark stands for the secret's name.
const nameMark = "\x00"

// shapes is the table. What programs check of each is in its test.
var shapes = []Shape{
	{Plain, "clawsup-secret:NAME:...; what is taken where nothing else is said", []part{fixed("clawsup-secret:" + nameMark + ":"), random(32, crockford)}, nil},
	{Letters, "40 letters and digits", []part{random(40, alnum)}, nil},
	{"hex", "64 hexadecimal digits", []part{random(64, hexadec)}, nil},
	{JWT, "a token of three parts, signed by nobody", []part{random(42, urlSafe)}, webToken},
	{"anthropic", "sk-ant-api03-...AA, of 108 characters", []part{fixed("sk-ant-api03-"), random(93, urlSafe), fixed("AA")}, nil},
	{"discord", "three parts with dots, the first a number in base64", []part{random(1, digits[1:]), random(17, digits), random(6, urlSafe), random(37, urlSafe), random(1, alnum)}, discord},
	{"github", "ghp_ and 36 letters and digits, with a checksum", []part{fixed("ghp_"), random(30, alnum)}, checked},
	{"github-pat", "github_pat_... of 93 characters", []part{fixed("github_pat_"), random(22, alnum), fixed("_"), random(59, alnum)}, nil},
	{"gitlab", "glpat- and 24 letters and digits", []part{fixed("glpat-"), random(24, alnum)}, nil},
	{"google", "AIza and 35 letters and digits", []part{fixed("AIza"), random(35, alnum)}, nil},
	{"groq", "gsk_ and 52 letters and digits", []part{fixed("gsk_"), random(52, alnum)}, nil},
	{"huggingface", "hf_ and 34 letters", []part{fixed("hf_"), random(34, upper+lower)}, nil},
	{"npm", "npm_ and 36 letters and digits, with a checksum", []part{fixed("npm_"), random(30, alnum)}, checked},
	{"openai", "sk-... of 51 characters", []part{fixed("sk-"), random(20, alnum), fixed("T3BlbkFJ"), random(20, alnum)}, nil},
	{"openrouter", "sk-or-v1- and 64 hexadecimal digits", []part{fixed("sk-or-v1-"), random(64, hexadec)}, nil},
	{"slack-app", "xapp-1-A...-...-...", []part{fixed("xapp-1-A"), random(10, upper+digits), fixed("-"), random(13, digits), fixed("-"), random(64, hexadec)}, nil},
	{"slack-bot", "xoxb-...-...-...", []part{fixed("xoxb-"), random(11, digits), fixed("-"), random(13, digits), fixed("-"), random(24, alnum)}, nil},
	{"telegram", "a number, a colon and 35 characters", []part{random(1, digits[1:]), random(9, digits), fixed(":AA"), random(32, urlSafe), random(1, alnum)}, nil},
}

// Shapes gives the table.
func Shapes() []Shape { return append([]Shape(nil), shapes...) }

// madeUp is the prefix of a shape that is: what begins no number and no path.
var madeUp = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// find gives the shape of a name.
func findShape(name string) (Shape, error) {
	var names []string
	for _, s := range shapes {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	if prefix, ok := strings.CutPrefix(name, Prefix); ok {
		if !madeUp.MatchString(prefix) {
			return Shape{}, invalidf("%s is no prefix: want 1 to 32 letters, digits, dots, hyphens and underscores", visible.Quote(prefix))
		}
		return Shape{Name: name, parts: []part{fixed(prefix), random(40, alnum)}}, nil
	}
	if near, ok := spell.Nearest(name, names); ok {
		return Shape{}, invalidf("there is no shape %s; did you mean %s?", visible.Quote(name), near)
	}
	return Shape{}, invalidf("there is no shape %s; there are %s and %sTEXT", visible.Quote(name), strings.Join(names, ", "), Prefix)
}

// CheckShape refuses what is no shape's name.
func CheckShape(name string) error {
	_, err := findShape(name)
	return err
}

// hasColon says whether placeholders of a shape have a colon.
func hasColon(name string) bool {
	s, _ := findShape(name)
	for _, p := range s.parts {
		if strings.Contains(p.text, ":") {
			return true
		}
	}
	return false
}

// Mint makes a placeholder for a secret, in a shape of the table. At least 128
// bits of it are random: it is found by searching for it, so it must be nothing
// else.
func Mint(name, shape string) (string, error) {
	s, err := findShape(shape)
	if err != nil {
		return "", err
	}
	made := make([]string, len(s.parts))
	for i, p := range s.parts {
		made[i] = strings.ReplaceAll(p.text, nameMark, name)
		if p.n > 0 {
			made[i] = draw(p.n, p.alphabet)
		}
	}
	if s.join != nil {
		return s.join(made), nil
	}
	return strings.Join(made, ""), nil
}

// draw gives n characters, each of the alphabet's with the same chance.
func draw(n int, alphabet string) string {
	most := 256 / len(alphabet) * len(alphabet)
	out := make([]byte, 0, n)
	var pool [64]byte
	for len(out) < n {
		rand.Read(pool[:]) // never fails, see crypto/rand
		for _, b := range pool {
			if int(b) < most && len(out) < n {
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}

// webToken puts the random part where a signature is (RFC 7519). It expires in
// the year 2100: some programs look at that.
func webToken(made []string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode([]byte(`{"sub":"clawsup-secret","exp":4102444800}`)) + "." + made[0] + "A"
}

// discord writes the number of the bot in base64 before the rest.
func discord(made []string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(made[0]+made[1])) + "." + made[2] + "." + made[3] + made[4]
}

// checked appends the checksum of a token of GitHub's: six digits of base 62 of
// the CRC-32 of the random part.
func checked(made []string) string {
	var sum [6]byte
	for i, n := len(sum)-1, crc32.ChecksumIEEE([]byte(made[1])); i >= 0; i, n = i-1, n/62 {
		sum[i] = alnum[n%62]
	}
	return made[0] + made[1] + string(sum[:])
}
