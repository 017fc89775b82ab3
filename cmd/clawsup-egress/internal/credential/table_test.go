// SPDX-License-Identifier: Apache-2.0

package credential

import "testing"

// TestCredentialNames: names that APIs take credentials by, and names like them
// that open nothing.
func TestCredentialNames(t *testing.T) {
	for name, is := range map[string]bool{
		"auth_key": true, "app_key": true, "applicationKey": true, "application_key": true, "consumer_key": true, "bot_token": true, "user_token": true,
		"apiKey": true, "feed_token": true, "rss_token": true, "auth[token]": true, "X-Amz-Signature": true, "sessionKey": true, "accessKey": true,
		"page_token": false, "nextPageToken": false, "sort_key": false, "keyword": false, "max_tokens": false, "author": false, "chat_id": false,
	} {
		if credentialField(name) != is {
			t.Errorf("field %s: %v", name, !is)
		}
	}
	for name, is := range map[string]bool{
		"X-Api-Key": true, "X-Auth-Email": true, "PRIVATE-TOKEN": true, "Xi-Api-Key": true, "X-Shopify-Access-Token": true, "X-Session-Key": true,
		"X-Request-Id": false, "X-CSRF-Token": false, "Authority": false, "Accept": false, "Idempotency-Key": false,
	} {
		if credentialHeader(name) != is {
			t.Errorf("header %s: %v", name, !is)
		}
	}
}
