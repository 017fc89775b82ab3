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
	"strings"
)

// Mark stands where something was taken out.
const Mark = "[redacted]"

// form is how a secret looks. Group 1, if there is one, stays.
type form struct {
	pattern *regexp.Regexp
	what    string
}

// name is how variables, options and fields are called that hold secrets.
const name = `[A-Za-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|auth[_-]?key)[A-Za-z0-9_.-]*`

// attached are programs that take a password right behind -p.
const attached = `(?:mysql(?:dump|admin|import)?|mariadb(?:-dump|-admin|-import)?|sshpass)`

// forms are matched in time linear to the text, as all that package regexp takes.
var forms = []form{
	{regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$)`), "a private key in PEM"},
	{regexp.MustCompile(`(?i)(\b[a-z][a-z0-9+.-]*://[^/\s:@]*:)[^@/\s]+(@)`), "the password of a URL"},
	{regexp.MustCompile(`(?i)(\b(?:bearer|basic|token)\s+)[A-Za-z0-9._~+/=-]{8,}`), "what an Authorization header holds"},
	{regexp.MustCompile(`(?i)(\b` + name + `["']?\s*[=:]\s*["']?)[^\s"'&;,]+`), "NAME=value, NAME: value"},
	{regexp.MustCompile(`(?i)(\b(?:set-)?cookie["']?\s*:\s*["']?)(?:="[^"\r\n]*"|[^"'\r\n])+`), "Cookie: and Set-Cookie:, to the end"},
	{regexp.MustCompile(`((?:^|\s)(?:-[A-Za-z]*[uU]\s+|-[uU]|--(?:proxy-)?user[\s=]+)["']?[^\s:"']*:)/?[^\s"'/][^\s"']*`), "-u USER:PASSWORD of curl"},
	{regexp.MustCompile(`(\b` + attached + `\s(?:[^\r\n|;&]*?\s)?-p)[^\s]+`), "-pPASSWORD of mysql"},
	{regexp.MustCompile(`(\bsshpass\s(?:[^\r\n|;&]*?\s)?-p\s+)[^\s]+`), "-p PASSWORD of sshpass"},
	{regexp.MustCompile(`\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}`), "GitHub"},
	{regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{16,}`), "GitLab"},
	{regexp.MustCompile(`\bsk-[A-Za-z0-9_-]{16,}`), "OpenAI, Anthropic"},
	{regexp.MustCompile(`\b[sr]k_(?:live|test)_[A-Za-z0-9]{10,}`), "Stripe"},
	{regexp.MustCompile(`\bhf_[A-Za-z0-9]{20,}`), "Hugging Face"},
	{regexp.MustCompile(`\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}`), "Slack"},
	{regexp.MustCompile(`\b[0-9]{8,10}:[A-Za-z0-9_-]{35}\b`), "Telegram bots"},
	{regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`), "AWS"},
	{regexp.MustCompile(`\bAIza[A-Za-z0-9_-]{35}\b`), "Google"},
	{regexp.MustCompile(`\bnpm_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_-]{30,}`), "package registries"},
	{regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*`), "JSON Web Tokens (RFC 7519)"},
}

// Text gives s without what looks like a secret.
func Text(s string) string {
	for _, f := range forms {
		s = f.pattern.ReplaceAllStringFunc(s, func(found string) string {
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

// Args is Text for each argument; what follows an option called like a secret
// goes whole, and so does a password that goes on over a space.
func Args(args []string) []string {
	out := make([]string, len(args))
	before, of := "", "" // the argument before, and the last program that takes -pPASSWORD
	for i, a := range args {
		user, password, pair := strings.Cut(a, ":")
		switch {
		case option.MatchString(before) && !strings.HasPrefix(a, "-"):
			out[i] = Mark
		case login.MatchString(before) && pair && !strings.HasPrefix(password, "//"):
			out[i] = user + ":" + Mark
		case of != "" && strings.HasPrefix(a, "-p") && a != "-p":
			out[i] = "-p" + Mark
		case strings.HasSuffix(of, "sshpass") && before == "-p":
			out[i] = Mark
		default:
			out[i] = Text(a)
		}
		if before = a; program.MatchString(a) {
			of = a
		}
	}
	return out
}
