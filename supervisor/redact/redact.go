// SPDX-License-Identifier: Apache-2.0

// Package redact takes out of a text what looks like a secret, before the text
// goes where it stays: into the log of receipts.
//
//	redact.Args([]string{"curl", "-H", "Authorization: Bearer abc"})  // {"curl", "-H", "Authorization: Bearer [redacted]"}
//
// It goes by form: well-known prefixes of tokens, the words around a value
// (an option or a variable called password), credentials in a URL or a header,
// private keys, and what curl, mysql and sshpass take without such words. The
// table says which. A ticket shows everything, because a person
// has to know what runs; a plan's digest is over everything too.
//
// Limits: a secret without a form, such as a password that stands alone, is
// not known for one. Don't put secrets on command lines; the log can't forget.
package redact

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Mark stands where something was taken out.
const Mark = "[redacted]"

// form is how a secret looks. Group 1, if there is one, stays.
type form struct {
	pattern *regexp.Regexp
	what    string
	// has are words of which the text has one each, in whatever case, or it has
	// nothing of this form: nearly every text has nothing of any, and a pattern
	// takes fifty times as long to tell.
	has []words
}

type words []string

// name is how variables, options and fields are called that hold secrets.
const name = `[A-Za-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|auth[_-]?key)[A-Za-z0-9_.-]*`

// attached are programs that take a password right behind -p.
const attached = `(?:mysql(?:dump|admin|import)?|mariadb(?:-dump|-admin|-import)?|sshpass)`

// forms are matched in time linear to the text, as all that package regexp takes.
var forms = []form{
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$)`), "a private key in PEM", []words{{"-----begin"}}},
	{regexp.MustCompile(`(?i)(\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^@/\s]+(@)`), "the password of a URL", []words{{"://"}, {"@"}}},
	{regexp.MustCompile(`(?i)(\b(?:bearer|basic|token)\s+)[A-Za-z0-9._~+/=-]{8,}`), "what an Authorization header holds", []words{{"bearer", "basic", "token"}}},
	{regexp.MustCompile(`(?i)(\b` + name + `["']?\s*[=:]\s*["']?)[^\s"'&;,]+`), "NAME=value, NAME: value", []words{{"passw", "passphrase", "secret", "token", "key", "credential"}, {"=", ":"}}},
	{regexp.MustCompile(`(?i)(\b(?:set-)?cookie["']?\s*:\s*["']?)(?:="[^"\r\n]*"|[^"'\r\n])+`), "Cookie: and Set-Cookie:, to the end", []words{{"cookie"}, {":"}}},
	{regexp.MustCompile(`((?:^|\s)(?:-[A-Za-z]*[uU]\s+|-[uU]|--(?:proxy-)?user[\s=]+)["']?[^\s:"']*:)/?[^\s"'/][^\s"']*`), "-u USER:PASSWORD of curl", []words{{"-"}, {"u"}, {":"}}},
	{regexp.MustCompile(`(\b` + attached + `\s(?:[^\r\n|;&]*?\s)?-p)[^\s]+`), "-pPASSWORD of mysql", []words{{"mysql", "mariadb", "sshpass"}, {"-p"}}},
	{regexp.MustCompile(`(\bsshpass\s(?:[^\r\n|;&]*?\s)?-p\s+)[^\s]+`), "-p PASSWORD of sshpass", []words{{"sshpass"}, {"-p"}}},
	{regexp.MustCompile(`\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}`), "GitHub", []words{{"ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"}}},
	{regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{16,}`), "GitLab", []words{{"glpat-"}}},
	{regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{16,}`), "OpenAI, Anthropic", []words{{"sk-"}}},
	{regexp.MustCompile(`\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}`), "Stripe", []words{{"k_live_", "k_test_"}}},
	{regexp.MustCompile(`\bhf_[A-Za-z0-9]{20,}`), "Hugging Face", []words{{"hf_"}}},
	{regexp.MustCompile(`\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}`), "Slack", []words{{"xox", "xapp-"}}},
	{regexp.MustCompile(`\b[0-9]{8,10}:[A-Za-z0-9_-]{35}\b`), "Telegram bots", []words{{":"}}},
	{regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), "AWS", []words{{"akia", "asia"}}},
	{regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{35}\b`), "Google", []words{{"aiza"}}},
	{regexp.MustCompile(`\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_-]{30,}`), "package registries", []words{{"npm_", "pypi-"}}},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), "JSON Web Tokens (RFC 7519)", []words{{"eyj"}}},
}

// may says whether a text can have something of the form. low is the text in
// lower case, or empty where that is not what the patterns take for it: beyond
// ASCII some characters are another's other case.
func (f *form) may(low string) bool {
	for _, any := range f.has {
		if low != "" && !slices.ContainsFunc(any, func(w string) bool { return strings.Contains(low, w) }) {
			return false
		}
	}
	return true
}

func lower(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return ""
	}
	return strings.ToLower(s)
}

// without gives s without what has the form.
func (f *form) without(s string) string {
	return f.pattern.ReplaceAllStringFunc(s, func(found string) string {
		m := f.pattern.FindStringSubmatch(found)
		switch len(m) {
		case 2:
			return m[1] + Mark
		case 3:
			return m[1] + Mark + m[2]
		}
		return Mark
	})
}

// Text gives s without what looks like a secret.
func Text(s string) string {
	if s == "" {
		return s
	}
	low := lower(s)
	for i := range forms {
		f := &forms[i]
		if !f.may(low) {
			continue
		}
		before := s
		s = f.without(s)
		if s != before {
			low = lower(s)
		}
	}
	return s
}

var (
	// option is an option whose value is the next argument.
	option = regexp.MustCompile(`(?i)^--?` + name + `$`)
	// login is one whose next argument is USER:PASSWORD.
	login = regexp.MustCompile(`^(?:-[A-Za-z]*[uU]|--(?:proxy-)?user)$`)
	// program is one of those that take -pPASSWORD, wherever it lies.
	program = regexp.MustCompile(`(?:^|/)` + attached + `$`)
)

// attachable says whether program is worth a look.
func attachable(a string) bool {
	return strings.Contains(a, "mysql") || strings.Contains(a, "mariadb") || strings.Contains(a, "sshpass")
}

// Args is Text for each argument; what follows an option called like a secret
// goes whole, and so does a password that goes on over a space.
func Args(args []string) []string {
	out := make([]string, len(args))
	before, of := "", "" // the argument before, and the last program that takes -pPASSWORD
	for i, a := range args {
		user, password, pair := strings.Cut(a, ":")
		isOption := strings.HasPrefix(before, "-")
		switch {
		case isOption && !strings.HasPrefix(a, "-") && option.MatchString(before):
			out[i] = Mark
		case isOption && pair && !strings.HasPrefix(password, "//") && login.MatchString(before):
			out[i] = user + ":" + Mark
		case of != "" && strings.HasPrefix(a, "-p") && a != "-p":
			out[i] = "-p" + Mark
		case strings.HasSuffix(of, "sshpass") && before == "-p":
			out[i] = Mark
		default:
			out[i] = Text(a)
		}
		if before = a; attachable(a) && program.MatchString(a) {
			of = a
		}
	}
	return out
}
