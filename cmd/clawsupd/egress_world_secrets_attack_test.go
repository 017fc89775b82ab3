// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/cmd/clawsupd/internal/world"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/secrets"
)

// newAsking starts a daemon whose profile "asking" has the secret api, and lets
// nothing out without a person. Its calls have a session, which grants are for.
func newAsking(t *testing.T, ask bool) *outside {
	t.Helper()
	o := newOutside(t, map[string]string{})
	o.session = "one"
	o.bindAPI(t, "api.test:443", apiValue, ask)
	o.write("profiles/asking.toml", "extends = \"web\"\n[workspace]\nmode = \"none\"\n[secrets]\nAPI_KEY = \"api\"\n")
	if _, err := try[api.Daemon](o.connect("admin"), api.Reload, api.Nothing{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.sealed(t) })
	return o
}

func (o *outside) bindAPI(t *testing.T, host, value string, ask bool) {
	t.Helper()
	_, err := try[secrets.Secret](o.connect("admin"), api.SecretSet, api.NewSecret{
		Name: "api", Value: []byte(value), Hosts: []string{host}, Public: true, Ask: ask,
		Places: []packet.Place{{Kind: packet.Header, Name: "Authorization"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// withKey says whether a server saw a value at a path.
func (o *outside) withKey(path, value string) bool {
	return len(o.world.Log.All(func(s world.Seen) bool {
		return s.Target == path && strings.Contains(s.Header.Get("Authorization"), value)
	})) > 0
}

const (
	bare  = `curl -sS https://api.test/echo/same`
	keyed = `curl -sS -H "Authorization: Bearer $API_KEY" https://api.test/echo/same`
)

// TestYesWithoutSecret: a yes to requests without a secret is none to one with it,
// that comes later or waits behind the first one, whether or not each use asks.
func TestYesWithoutSecret(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		ask    bool
	}{
		"later":                 {bare + `; ` + keyed, false},
		"later, and asked for":  {bare + `; ` + keyed, true},
		"behind, and asked for": {bare + ` & sleep 0.5; ` + keyed + ` & sleep 0.5; echo behind; wait`, true},
	} {
		o := newAsking(t, test.ask)
		g := o.submit(t, "asking", test.script)
		k := o.ticket(t, g.id)
		if strings.HasPrefix(name, "behind") {
			g.said("behind")
		}
		o.approve(t, k, "--for", "10m")
		if k = o.ticket(t, g.id); !strings.Contains(fmt.Sprint(k.Facts), "api, in header Authorization") {
			t.Errorf("%s: people were asked %+v", name, k)
		}
		if out, status := o.command("deny", k.ID); status != 0 {
			t.Fatalf("%d %s", status, out)
		}
		if got := g.end(); !strings.Contains(got.out, "denied") || o.withKey("/echo/same", apiValue) {
			t.Errorf("%s: the secret went out: %v", name, got)
		}
	}
}

// TestBoundElsewhereMeanwhile: a person takes a secret away, and gives its name to
// another value for another host, while a request with the first one is held. The
// new value doesn't go to the old host.
func TestBoundElsewhereMeanwhile(t *testing.T) {
	const other = "the-new-value-0123456789-for-another-host"
	o := newAsking(t, false)
	g := o.submit(t, "asking", keyed)
	k := o.ticket(t, g.id)
	if _, err := try[api.SecretRemoved](o.connect("admin"), api.SecretRemove, api.SecretRef{Secret: "api"}); err != nil {
		t.Fatal(err)
	}
	o.bindAPI(t, "other.test:443", other, false)
	o.approve(t, k)
	if got := g.end(); o.withKey("/echo/same", other) || o.withKey("/echo/same", apiValue) || !strings.Contains(got.out, "denied") {
		t.Errorf("it went out: %v", got)
	}
}
