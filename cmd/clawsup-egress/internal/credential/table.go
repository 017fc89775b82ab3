// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"slices"
	"strings"
)

// What carries credentials. Names are looked up as the servers that are
// generous do: in lower case, a hyphen is an underscore.

// credentialHeaders are headers that are credentials by their whole name.
var credentialHeaders = set(
	"authorization", "proxy_authorization", "authentication",
	"api_key", "apikey", "x_api_key", "x_apikey", "x_key", "x_auth", "auth", "dpop",
	"x_amz_credential", "x_functions_key", "ocp_apim_subscription_key", "x_rapidapi_key", "x_master_key",
	"x_parse_rest_api_key", "x_algolia_api_key", "x_goog_iam_authority_selector",
	"dd_api_key", "dd_application_key", "x_honeycomb_team", "fastly_key", "x_client_cert", "x_forwarded_client_cert",
)

// credentialWords are words that a header has nowhere in its name but where it
// is a credential; words are what hyphens and underscores part.
var credentialWords = set(
	"authorization", "authentication", "auth", "token", "secret", "password", "passwd", "passphrase", "credential", "credentials",
	"apikey", "jwt", "bearer", "signature", "hmac", "accesskey",
)

// credentialPairs are two such words, one behind the other.
var credentialPairs = set("api_key", "access_key", "auth_key", "account_key", "subscription_key", "secret_key", "private_key", "session_key", "application_key", "app_key", "consumer_key", "license_key")

// harmless are names that have such words and open nothing.
var harmless = set(
	"x_csrf_token", "x_xsrf_token", "csrf_token", "x_csrftoken",
	"page_token", "pagetoken", "next_token", "nexttoken", "next_page_token", "nextpagetoken", "continuation_token", "continuationtoken",
	"sync_token", "synctoken",
)

// credentialFields are fields of queries and forms that are credentials by
// their whole name.
var credentialFields = set(
	"access_token", "accesstoken", "token", "auth", "auth_token", "authtoken", "authorization", "bearer", "bearer_token", "jwt",
	"api_key", "apikey", "api_token", "apitoken", "key", "x_api_key", "appid", "app_id_token",
	"password", "passwd", "passphrase", "pwd", "pass", "secret", "client_secret", "clientsecret", "client_assertion", "assertion",
	"refresh_token", "id_token", "session_token", "sessiontoken", "private_token", "job_token", "subscription_key",
	"oauth_token", "oauth_signature", "oauth_verifier", "credential", "credentials", "hmac",
	"sig", "signature", "awsaccesskeyid", "googleaccessid", "x_amz_credential", "x_amz_signature", "x_amz_security_token",
	"x_goog_credential", "x_goog_signature", "x_oss_signature", "x_oss_credential", "ossaccesskeyid", "x_cos_security_token",
)

// credentialEndings are what names of such fields end with; underscores are as
// well left out, as in sessionKey.
var credentialEndings = endings("access_token", "auth_token", "bot_token", "user_token", "feed_token", "rss_token", "security_token",
	"_secret", "_password", "_signature", "_credential", "_jwt")

func endings(more ...string) []string {
	for pair := range credentialPairs {
		more = append(more, pair, strings.ReplaceAll(pair, "_", ""))
	}
	return more
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// plainName is how names are looked up.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '-', '.', ' ':
			return '_'
		}
		return r
	}, strings.ToLower(strings.TrimSpace(name)))
}

// credentialHeader reports whether a header carries credentials. Cookie is
// another matter.
func credentialHeader(name string) bool {
	name = plainName(name)
	if harmless[name] {
		return false
	}
	if credentialHeaders[name] {
		return true
	}
	words := strings.Split(name, "_")
	for i, word := range words {
		if credentialWords[word] || i > 0 && credentialPairs[words[i-1]+"_"+word] {
			return true
		}
	}
	return false
}

// credentialField reports whether a field of a query or a form does.
func credentialField(name string) bool {
	name, _, _ = strings.Cut(plainName(name), "[") // as in auth[token]
	return !harmless[name] && (credentialFields[name] ||
		slices.ContainsFunc(credentialEndings, func(end string) bool { return strings.HasSuffix(name, end) }))
}

// fillers are passwords that go with a token in the place of the user, and open
// nothing.
var fillers = set("", "x", "x-oauth-basic", "x-oauth-token", "api_token", "unused")
