// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"reflect"
	"strings"
	"testing"
)

func TestCaptures(t *testing.T) {
	s := newSet(t)
	if got := s.Captures("login.example.com", 443, "/token"); !reflect.DeepEqual(got, []Capture{{"client", "access_token"}}) {
		t.Errorf("captures %+v", got)
	}
	if got := append(s.Captures("login.example.com", 443, "/token/"), s.Captures("login.example.com", 8443, "/token")...); len(got) != 0 {
		t.Errorf("captures %+v", got)
	}
	body := []byte(`{"a":["access_token"], "access_token" : "CANARY\u002d1" , "expires_in":3600}`)
	token, ok, err := Token(body, "access_token")
	if err != nil || !ok || string(token) != "CANARY-1" {
		t.Fatalf("%q %v %v", token, ok, err)
	}
	got, err := Replace(body, "access_token", "ph-1")
	if err != nil || string(got) != `{"a":["access_token"], "access_token" : "ph-1" , "expires_in":3600}` {
		t.Errorf("%s %v", got, err)
	}
	if _, ok, err := Token([]byte(`{"error":"no"}`), "access_token"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	for _, bad := range []string{
		`{"access_token":"CANARY","access_token":"CANARY"}`, `[{"access_token":"CANARY"}]`, `{"access_token":{"x":"CANARY"}}`,
		`{"access_token":"CANARY"`, `access_token=CANARY`, `{"Access_Token":"CANARY"}`, "{\"access_token\":\"CANARY\xff\"}",
		`{"access_token":"` + strings.Repeat("CANARY", MaxToken) + `"}`,
	} {
		if _, ok, err := Token([]byte(bad), "access_token"); ok || err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%.100s: %v %v", bad, ok, err)
		}
	}
}

// A token that is found is gone once it is replaced, and the answer is as good as before.
func FuzzToken(f *testing.F) {
	f.Add([]byte(`{"a":{"b":"t"},"c":1}`))
	f.Add([]byte(`{"a":[{"b":"t"}],"A":{"b":"t"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		token, ok, err := Token(body, "a.b")
		if err != nil || !ok {
			return
		}
		replaced, err := Replace(body, "a.b", "placeholder")
		if err != nil {
			t.Fatal(err)
		}
		again, ok, err := Token(replaced, "a.b")
		if err != nil || !ok || string(again) != "placeholder" {
			t.Fatalf("%q in place of %q: %v", again, token, err)
		}
	})
}
