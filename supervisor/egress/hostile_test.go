// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

// The canary can be reached, by a decision that names it: what the other tests
// find refused is refused and not merely broken.
func TestConnect(t *testing.T) {
	c := newCanary(t)
	w := newWorld(t)
	b := w.open(BoxOptions{})
	f := w.start()
	f.opened()
	w.judge.says(packet.Verdict{Allow: true, Rule: "a rule", Ticket: "t1", Networks: prefixes("127.0.0.1/32")})
	q := packet.Query{Through: packet.TCP, Host: "local.example", Port: c.port()}
	v := f.ask(b, q)
	if !v.Allow || v.Decision == 0 || v.Ticket != "t1" {
		t.Fatalf("%+v", v)
	}
	socket, why := f.connect(b.id, v.Decision, c.at)
	if socket == nil {
		t.Fatal(why)
	}
	got, err := c.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if _, err := socket.WriteString("x"); err != nil {
		t.Error(err)
	}
	if n, err := got.Read(make([]byte, 1)); n != 1 {
		t.Error(err)
	}
	f.say(packet.Word{Kind: packet.Ended, Box: b.id, Decision: v.Decision, Traffic: &packet.Traffic{
		Sent: 1, Received: -5, Error: strings.Repeat("x", 2*packet.MaxDetail), Status: -7, Took: -1, Address: strings.Repeat("1", 1000),
	}})
	e := w.end()
	if e.query.Host != q.Host || e.verdict.Rule != "a rule" || e.verdict.Decision != v.Decision {
		t.Errorf("%+v", e)
	}
	if tr := e.traffic; tr.Sent != 1 || tr.Received != 0 || len(tr.Error) != packet.MaxDetail || tr.Status != 0 || tr.Took != 0 || tr.Address != "" {
		t.Errorf("%+v", tr)
	}
	if socket, why := f.connect(b.id, v.Decision, c.at); socket != nil || why != errNoDecision.Error() {
		t.Errorf("after its end: %s", why)
	}
	// Once is enough.
	f.say(packet.Word{Kind: packet.Ended, Box: b.id, Decision: v.Decision, Traffic: &packet.Traffic{}})
	f.ask(b, q)
	if len(w.judge.ends) != 0 {
		t.Error("it ended twice")
	}
	c.untouched()
}

// Addresses that no decision is about, asked for with one that is.
func TestConnectElsewhere(t *testing.T) {
	c := newCanary(t)
	port := c.port()
	at := func(address string) string { return netip.AddrPortFrom(netip.MustParseAddr(address), port).String() }
	own := []string{}
	w := newWorld(t)
	all, err := w.egress.own.addresses(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		own = append(own, at(a.String()))
	}
	b, other := w.open(BoxOptions{}), w.open(BoxOptions{})
	f := w.start()
	f.opened()
	f.opened()
	some := []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("8.8.8.8")}
	for _, c := range []struct {
		name    string
		host    string
		known   []netip.Addr // before it was decided
		verdict packet.Verdict
		tries   []string
	}{
		{"a name", "a.example", nil, packet.Verdict{}, slices.Concat(own, []string{
			c.at, at("127.9.9.9"), at("0.0.0.0"), at("::"), at("::1"), at("::ffff:127.0.0.1"), at("::127.0.0.1"), at("64:ff9b::7f00:1"), at("2002:7f00:1::"),
			at("169.254.169.254"), at("fd00:ec2::254"), at("10.1.2.3"), at("192.168.0.1"), at("172.16.0.1"), at("100.64.0.1"), at("198.18.0.1"),
			at("224.0.0.1"), at("255.255.255.255"), at("fe80::1"), at("fe80::1%lo"), at("ff02::1"),
			fmt.Sprintf("8.8.8.8:%d", port+1), "8.8.8.8:0",
		})},
		{"private networks that a rule names", "a.example", nil, packet.Verdict{Networks: prefixes("10.0.0.0/8", "0.0.0.0/0", "::/0")}, slices.Concat(own, []string{
			c.at, at("::ffff:127.0.0.1"), at("::ffff:10.1.2.3"), at("169.254.169.254"), at("192.168.0.1"),
		})},
		{"a name that was looked up", "a.example", some, packet.Verdict{Networks: prefixes("127.0.0.1/32")}, []string{c.at, at("8.8.4.4"), at("::ffff:8.8.8.8")}},
		{"a name with addresses of the configuration", "a.example", nil, packet.Verdict{Addresses: some, Networks: prefixes("127.0.0.1/32")}, []string{c.at, at("8.8.4.4")}},
		{"an address", "8.8.8.8", nil, packet.Verdict{Networks: prefixes("127.0.0.1/32")}, []string{c.at, at("8.8.4.4"), at("::ffff:8.8.8.8")}},
		{"loopback, which no rule names", "127.0.0.1", nil, packet.Verdict{}, []string{c.at}},
	} {
		c.verdict.Allow = true
		w.judge.says(c.verdict)
		for _, to := range c.tries {
			v := f.ask(b, packet.Query{Through: packet.TCP, Host: c.host, Port: port, Addresses: c.known})
			if !v.Allow {
				t.Fatalf("%s: %+v", c.name, v)
			}
			if socket, why := f.connect(b.id, v.Decision, to); socket != nil || why == "" {
				t.Errorf("%s: %s can be reached", c.name, to)
			}
		}
	}

	// Decisions that are others', or none's.
	w.judge.asks(func(_ context.Context, q packet.Query) packet.Verdict {
		return packet.Verdict{Allow: q.Host == "a.example", Networks: prefixes("127.0.0.1/32")}
	})
	v := f.ask(b, packet.Query{Through: packet.TCP, Host: "a.example", Port: port})
	for name, try := range map[string][2]int{
		"another box's":   {other.id, v.Decision},
		"one to come":     {b.id, v.Decision + 1},
		"none":            {b.id, 0},
		"one below zero":  {b.id, -1},
		"one of long ago": {b.id, 1 << 40},
	} {
		if socket, why := f.connect(try[0], try[1], c.at); socket != nil || why != errNoDecision.Error() {
			t.Errorf("%s: %q", name, why)
		}
	}
	if denied := f.ask(b, packet.Query{Through: packet.TCP, Host: "b.example", Port: port}); denied.Allow || denied.Decision != 0 {
		t.Errorf("%+v", denied)
	}
	c.untouched()

	// One decision is no licence for a thousand connections.
	for range packet.MaxConnects {
		if _, why := f.connect(b.id, v.Decision, c.at); why != "" {
			t.Fatal(why)
		}
	}
	if _, why := f.connect(b.id, v.Decision, c.at); why == "" {
		t.Error("it has no bound")
	}
	for range packet.MaxConnects {
		got, err := c.l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = got.Close()
	}

	// A box that is shut.
	v = f.ask(b, packet.Query{Through: packet.TCP, Host: "a.example", Port: port})
	closed := make(chan error)
	go func() { closed <- b.Close() }()
	if o := f.want(packet.Shut); o.ID != b.id {
		t.Errorf("%+v", o)
	}
	if socket, why := f.connect(b.id, v.Decision, c.at); socket != nil {
		t.Errorf("while it is shut: %q", why)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	for name, kind := range map[string]packet.WordKind{"name": packet.Name, "ask": packet.Ask, "capture": packet.CaptureToken} {
		f.say(packet.Word{Kind: kind, Box: b.id, Host: "a.example", Query: &packet.Query{}, Captured: &packet.Captured{}})
		if o := f.want(packet.Answer); o.Verdict.Allow || o.Verdict.Reason != shutReason {
			t.Errorf("%s: %+v", name, o.Verdict)
		}
	}
	if socket, why := f.connect(b.id, v.Decision, c.at); socket != nil || why != shutReason {
		t.Errorf("afterwards: %q", why)
	}
	c.untouched()
}

// Words that make no sense end the helper.
func TestSenselessWords(t *testing.T) {
	c := newCanary(t)
	to := netip.MustParseAddrPort(c.at)
	for name, words := range map[string][]packet.Word{
		"a box that there is none of":       {{Kind: packet.Name, ID: 1, Box: 77, Host: "a.example"}},
		"no box":                            {{Kind: packet.Ask, ID: 1, Query: &packet.Query{}}},
		"a box below zero":                  {{Kind: packet.Connect, ID: 1, Box: -1, Address: to}},
		"the end of another's":              {{Kind: packet.Ended, Box: 2, Traffic: &packet.Traffic{}}},
		"an id that is none":                {{Kind: packet.Ask, Box: 1, Query: &packet.Query{}}},
		"an id below zero":                  {{Kind: packet.Leave, ID: -1}},
		"a question about nothing":          {{Kind: packet.Ask, ID: 1, Box: 1}},
		"a token of nothing":                {{Kind: packet.CaptureToken, ID: 1, Box: 1}},
		"an end of nothing":                 {{Kind: packet.Ended, Box: 1, Decision: 1}},
		"a refusal of nothing":              {{Kind: packet.Refused, Box: 1}},
		"a refusal of a kind that is none":  {{Kind: packet.Refused, Box: 1, Refusal: &packet.Refusal{Kind: "approved"}}},
		"a resolver below zero":             {{Kind: packet.Lookup, ID: 1, Server: -1}},
		"a word that is none":               {{Kind: packet.Over + 1, ID: 1, Box: 1}},
		"a relay that it was not given":     {{Kind: packet.Dial, ID: 1, Relay: 1}},
		"a question that is asked already":  {{Kind: packet.Ask, ID: 5, Box: 1, Query: new(get("a.example"))}, {Kind: packet.Ask, ID: 5, Box: 1, Query: new(get("b.example"))}},
		"a token in place of a question":    {{Kind: packet.Ask, ID: 5, Box: 1, Query: new(get("token.example"))}, {Kind: packet.CaptureToken, ID: 5, Box: 1, Captured: &packet.Captured{Secret: "s", Field: "f", Value: []byte("x")}}},
		"an answer to a probe of a relay's": {{Kind: packet.Probed, ID: 1, OK: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.open(BoxOptions{Bindings: []packet.Binding{{
				Secret: "s", Placeholder: "p", Hosts: []string{"token.example:443"}, Places: []packet.Place{{Kind: packet.Header, Name: "X"}},
				Captures: []packet.Capture{{Path: "/", Field: "f"}},
			}}})
			w.judge.waits()
			f := w.start()
			f.opened()
			f.want(packet.Bind)
			if strings.HasPrefix(name, "a token in place") {
				// The endpoint has to be one that was allowed.
				w.judge.says(packet.Verdict{Allow: true})
				id := f.say(packet.Word{Kind: packet.Ask, Box: 1, Query: new(get("token.example"))})
				if o := f.want(packet.Answer); o.ID != id || !o.Verdict.Allow {
					t.Fatalf("%+v", o)
				}
				w.judge.waits()
			}
			for _, word := range words {
				if err := f.conn.Send(word, nil); err != nil {
					t.Fatal(err)
				}
			}
			if why := f.awaitEnd(); !strings.Contains(why, packet.ErrPacket.Error()) && !strings.Contains(why, "never given") {
				t.Error(why)
			}
		})
	}
	c.untouched()
}

// Questions whose form is wrong are not the judge's.
func TestQueriesThatAreNone(t *testing.T) {
	w := newWorld(t)
	b := w.open(BoxOptions{Fields: []string{"chat_id"}})
	f := w.start()
	f.opened()
	with := func(change func(*packet.Query)) packet.Query {
		q := get("a.example")
		change(&q)
		return q
	}
	for name, q := range map[string]packet.Query{
		"upper case":          get("A.example"),
		"dot at the end":      get("a.example."),
		"no host":             get(""),
		"with a port":         get("a.example:80"),
		"decimal":             get("2130706433"),
		"octal":               get("0177.0.0.1"),
		"zone":                get("fe80::1%eth0"),
		"brackets":            get("[::1]"),
		"another script":      get("аpi.example"),
		"escape":              get("a\x1b[2J.example"),
		"long":                get(strings.Repeat("a.", 200) + "example"),
		"port":                with(func(q *packet.Query) { q.Port = 0 }),
		"way":                 with(func(q *packet.Query) { q.Through = "udp" }),
		"bytes with a path":   with(func(q *packet.Query) { q.Through = packet.TCP }),
		"unopened with a use": {Through: packet.TLS, Host: "a.example", Port: 443, Uses: []packet.Use{{Secret: "s"}}},
		"scheme":              with(func(q *packet.Query) { q.Scheme = "ftp" }),
		"method with a space": with(func(q *packet.Query) { q.Method = "GET /" }),
		"no method":           with(func(q *packet.Query) { q.Method = "" }),
		"path":                with(func(q *packet.Query) { q.Path = "x" }),
		"path with a query":   with(func(q *packet.Query) { q.Path = "/?x" }),
		"path with a line":    with(func(q *packet.Query) { q.Path = "/\nAllow: yes" }),
		"long path":           with(func(q *packet.Query) { q.Path = "/" + strings.Repeat("x", packet.MaxPath) }),
		"query with a line":   with(func(q *packet.Query) { q.Search = "a=1\r\n" }),
		"long query":          with(func(q *packet.Query) { q.Search = strings.Repeat("x", packet.MaxSearch+1) }),
		"size":                with(func(q *packet.Query) { q.Size = -2 }),
		"field":               with(func(q *packet.Query) { q.Fields = []packet.Field{{Name: "other"}} }),
		"many fields":         with(func(q *packet.Query) { q.Fields = slices.Repeat([]packet.Field{{Name: "chat_id"}}, maxFields+1) }),
		"no addresses":        with(func(q *packet.Query) { q.Addresses = make([]netip.Addr, 1) }),
		"many addresses": with(func(q *packet.Query) {
			q.Addresses = slices.Repeat([]netip.Addr{netip.MustParseAddr("8.8.8.8")}, maxAddresses+1)
		}),
	} {
		if v := f.ask(b, q); v.Allow || v.Reason == "" {
			t.Errorf("%s: %+v", name, v)
		}
		if r := w.refusal(); r.Kind != packet.RefusedProtocol {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if n := w.judge.questions(); n != 0 {
		t.Errorf("the judge was asked %d times", n)
	}
	good := with(func(q *packet.Query) {
		q.Method, q.Path, q.Search, q.Size, q.Unread = "X-M!", "/%2e/ü"[:5]+"~:@", "q=a b&ü", -1, true
		q.Fields = []packet.Field{{Name: "chat_id", Value: "\x00"}}
	})
	if v := f.ask(b, good); !v.Allow {
		t.Errorf("%+v", v)
	}
	for _, host := range []string{"", "A.example", "a..example", "2130706433", "a\n.example", strings.Repeat("a", 300)} {
		f.say(packet.Word{Kind: packet.Name, Box: b.id, Host: host})
		if v := f.want(packet.Answer).Verdict; v.Allow {
			t.Errorf("name %q", host)
		}
	}
	if w.judge.names() != 0 {
		t.Error("the judge was asked for names that are none")
	}
}

// A value is in the answer to a question that uses its secret, where its binding says.
func TestSecrets(t *testing.T) {
	w := newWorld(t)
	header := packet.Place{Kind: packet.Header, Name: "Authorization"}
	binding := packet.Binding{Secret: "openai", Placeholder: "sk-placeholder", Hosts: []string{"api.example:443", "*.eu.example:443", "[2001:db8::1]:443"}, Places: []packet.Place{header}}
	foreign := packet.Binding{Secret: "bank", Hosts: []string{"bank.example:443", "api.example:443"}, Places: []packet.Place{header}}
	b := w.open(BoxOptions{Bindings: []packet.Binding{binding, foreign}})
	all := []packet.Value{{Secret: "openai", Value: []byte("sk-value")}, {Secret: "bank", Value: []byte("bank-value")}}
	w.judge.name = func(string) packet.Verdict { return packet.Verdict{Allow: true, Early: true, Values: all} }
	f := w.start()
	f.opened()
	f.want(packet.Bind)
	f.want(packet.Bind)
	w.judge.says(packet.Verdict{Allow: true, Values: all, Placeholder: "x", Early: true, Rule: "r"})
	use := func(host string, uses ...packet.Use) packet.Query {
		q := get(host)
		q.Uses = uses
		return q
	}
	for _, host := range []string{"api.example", "a.b.eu.example", "2001:db8::1"} {
		v := f.ask(b, use(host, packet.Use{Secret: "openai", Place: header}))
		if !v.Allow || len(v.Values) != 1 || string(v.Values[0].Value) != "sk-value" {
			t.Errorf("%s: %+v", host, v)
		}
		if v.Placeholder != "" || v.Early {
			t.Errorf("%s: the answer has what it is not about: %+v", host, v)
		}
	}
	if v := f.ask(b, use("api.example")); !v.Allow || len(v.Values) != 0 {
		t.Errorf("without a use: %+v", v)
	}
	asked := w.judge.questions()
	for name, q := range map[string]packet.Query{
		"another host":                   use("evil.example", packet.Use{Secret: "openai", Place: header}),
		"the suffix itself":              use("eu.example", packet.Use{Secret: "openai", Place: header}),
		"another place":                  use("api.example", packet.Use{Secret: "openai", Place: packet.Place{Kind: packet.QueryItem, Name: "key"}}),
		"another header":                 use("api.example", packet.Use{Secret: "openai", Place: packet.Place{Kind: packet.Header, Name: "X-Key"}}),
		"a secret that the box has not":  use("api.example", packet.Use{Secret: "bank", Place: header}),
		"both":                           use("api.example", packet.Use{Secret: "openai", Place: header}, packet.Use{Secret: "bank", Place: header}),
		"a secret that there is none of": use("api.example", packet.Use{Secret: "root", Place: header}),
		"too many":                       use("api.example", slices.Repeat([]packet.Use{{Secret: "openai", Place: header}}, maxUses+1)...),
		"another port, with the same end": func() packet.Query {
			q := use("api.example", packet.Use{Secret: "openai", Place: header})
			q.Port = 8443
			return q
		}(),
	} {
		if v := f.ask(b, q); v.Allow || len(v.Values) != 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if w.judge.questions() != asked {
		t.Error("the judge was asked about secrets where they may not be")
	}
	w.judge.says(packet.Verdict{Values: all, Reason: "no"})
	if v := f.ask(b, use("api.example", packet.Use{Secret: "openai", Place: header})); len(v.Values) != 0 || v.Reason != "no" {
		t.Errorf("denied: %+v", v)
	}
	f.say(packet.Word{Kind: packet.Name, Box: b.id, Host: "api.example"})
	if v := f.want(packet.Answer).Verdict; !v.Allow || !v.Early || len(v.Values) != 0 {
		t.Errorf("a name: %+v", v)
	}
	// What can't be sent is a no, and no decision.
	w.judge.says(packet.Verdict{Allow: true, Values: []packet.Value{{Secret: "openai", Value: make([]byte, packet.MaxPacket)}}})
	if v := f.ask(b, use("api.example", packet.Use{Secret: "openai", Place: header})); v.Allow {
		t.Error("an answer that is too long is a yes")
	}
	w.judge.says(packet.Verdict{Allow: true})
	b.Unbind("openai")
	if o := f.want(packet.Unbind); o.Secret != "openai" {
		t.Errorf("%+v", o)
	}
	if v := f.ask(b, use("api.example", packet.Use{Secret: "openai", Place: header})); v.Allow {
		t.Error("a secret that is no more")
	}
	f.conn.Close()
	f.awaitEnd()
	for len(w.judge.ends) > 0 {
		if e := <-w.judge.ends; len(e.verdict.Values) != 0 {
			t.Error("values are kept")
		}
	}
}

// TestBoundElsewhereMeanwhile: a yes that took a while is none to what the secret
// is now.
func TestBoundElsewhereMeanwhile(t *testing.T) {
	w := newWorld(t)
	header := packet.Place{Kind: packet.Header, Name: "Authorization"}
	binding := packet.Binding{Secret: "openai", Placeholder: "sk-placeholder", Hosts: []string{"api.example:443"}, Places: []packet.Place{header}}
	b := w.open(BoxOptions{Bindings: []packet.Binding{binding}})
	f := w.start()
	f.opened()
	f.want(packet.Bind)
	q := get("api.example")
	q.Uses = []packet.Use{{Secret: "openai", Place: header}}
	v := b.still(&q, packet.Verdict{Allow: true, Values: []packet.Value{{Secret: "openai", Value: []byte("sk-value")}}})
	if !v.Allow || len(v.Values) != 1 {
		t.Errorf("as it was: %+v", v)
	}
	binding.Hosts = []string{"other.example:443"}
	if err := b.Bind(binding); err != nil {
		t.Fatal(err)
	}
	v = b.still(&q, packet.Verdict{Allow: true, Ticket: "t", Values: []packet.Value{{Secret: "openai", Value: []byte("the other's")}}})
	if v.Allow || len(v.Values) != 0 || v.Ticket != "t" {
		t.Errorf("bound elsewhere: %+v", v)
	}
	if e := <-w.judge.ends; len(e.verdict.Values) != 0 {
		t.Error("the judge is told the value")
	}
}

func TestCapture(t *testing.T) {
	w := newWorld(t)
	b := w.open(BoxOptions{Bindings: []packet.Binding{
		{Secret: "app", Placeholder: "p", Hosts: []string{"auth.example:443"}, Captures: []packet.Capture{{Path: "/token", Field: "access_token"}}},
		{Secret: "other", Hosts: []string{"auth.example:443"}, Captures: []packet.Capture{{Path: "/token", Field: "access_token"}}},
	}})
	var taken atomic.Int32
	w.judge.capture = func(c packet.Captured) packet.Verdict {
		taken.Add(1)
		return packet.Verdict{Allow: true, Placeholder: "new", Values: []packet.Value{{Secret: "app", Value: c.Value}}}
	}
	f := w.start()
	f.opened()
	f.want(packet.Bind)
	f.want(packet.Bind)
	capture := func(secret, field string, value []byte) packet.Verdict {
		t.Helper()
		f.say(packet.Word{Kind: packet.CaptureToken, Box: b.id, Captured: &packet.Captured{Secret: secret, Field: field, Value: value}})
		return *f.want(packet.Answer).Verdict
	}
	token := []byte("token")
	if v := capture("app", "access_token", token); v.Allow {
		t.Error("nothing was allowed yet")
	}
	elsewhere := get("auth.example")
	f.ask(b, elsewhere)
	if v := capture("app", "access_token", token); v.Allow {
		t.Error("another path was allowed")
	}
	q := get("auth.example")
	q.Path = "/token"
	decision := f.ask(b, q).Decision
	for name, v := range map[string]packet.Verdict{
		"a secret that the box has not": capture("other", "access_token", token),
		"none":                          capture("x", "access_token", token),
		"another field":                 capture("app", "refresh_token", token),
		"too long":                      capture("app", "access_token", make([]byte, maxToken+1)),
	} {
		if v.Allow {
			t.Error(name)
		}
	}
	if taken.Load() != 0 {
		t.Errorf("%d tokens were taken", taken.Load())
	}
	if v := capture("app", "access_token", token); !v.Allow || v.Placeholder != "new" || len(v.Values) != 0 {
		t.Errorf("%+v", v)
	}
	f.say(packet.Word{Kind: packet.Ended, Box: b.id, Decision: decision, Traffic: &packet.Traffic{Status: 200}})
	w.end()
	if v := capture("app", "access_token", token); v.Allow || taken.Load() != 1 {
		t.Error("it has ended")
	}
}

// Floods are bounded, and the helper that an honest one can't be told from
// goes on.
func TestFloods(t *testing.T) {
	w := newWorld(t)
	b := w.open(BoxOptions{})
	f := w.start()
	f.opened()
	began := time.Now()

	// Questions without an answer.
	w.judge.waits()
	q := get("a.example")
	var ids []int
	for range packet.MaxBoxAsks {
		ids = append(ids, f.say(packet.Word{Kind: packet.Ask, Box: b.id, Query: &q}))
	}
	if v := f.ask(b, q); v.Reason != errTooMany.Error() {
		t.Errorf("%+v", v)
	}
	if r := w.refusal(); r.Kind != packet.RefusedCap {
		t.Errorf("%+v", r)
	}
	for _, id := range ids {
		f.say(packet.Word{Kind: packet.Leave, ID: id})
	}
	f.say(packet.Word{Kind: packet.Leave, ID: 1 << 30}) // nobody's
	for range ids {
		if e := w.end(); e.traffic.Error != errLeft {
			t.Errorf("%+v", e)
		}
	}
	w.judge.says(packet.Verdict{Allow: true})

	// Decisions without an end: the oldest go.
	var first int
	for i := range packet.MaxDecisions {
		if v := f.ask(b, q); i == 0 {
			first = v.Decision
		}
	}
	f.ask(b, q)
	if e := w.end(); e.verdict.Decision != first || e.traffic.Error == "" {
		t.Errorf("%+v, want the end of %d", e, first)
	}

	// Long ones: what is kept of them all is bounded too.
	long := q
	long.Path = "/" + strings.Repeat("x", packet.MaxPath-1)
	for range 2 * maxKept / packet.MaxPath {
		f.ask(b, long)
	}
	b.mu.Lock()
	kept, live := b.kept, len(b.decisions)
	b.mu.Unlock()
	if kept > maxKept {
		t.Errorf("%d decisions take %d bytes", live, kept)
	}
	for range live {
		f.ask(b, q) // which are short again
	}
	for len(w.judge.ends) > 0 {
		<-w.judge.ends
	}
	b.mu.Lock()
	live = len(b.decisions)
	b.mu.Unlock()

	// Names.
	for range 3 * packet.WordsBurst {
		f.say(packet.Word{Kind: packet.Name, Box: b.id, Host: "a.example"})
		f.want(packet.Answer)
	}
	if most := packet.WordsBurst + int(time.Since(began).Seconds()*packet.WordsPerSecond); w.judge.names() > most {
		t.Errorf("the judge was asked for %d names, %d would be right", w.judge.names(), most)
	}

	// Refusals are told up to a bound, and then counted.
	const refusals = 4 * atOnce
	for range refusals {
		f.say(packet.Word{Kind: packet.Refused, Box: b.id, Refusal: &packet.Refusal{Kind: packet.RefusedName, Host: strings.Repeat("x", 1000), Detail: strings.Repeat("y", 1000)}})
	}
	f.ask(b, q)
	told := len(w.judge.refusals)
	if most := atOnce + int(time.Since(began).Seconds()*aSecond) + 1; told > most {
		t.Errorf("the judge was told %d refusals, %d would be right", told, most)
	}
	if r := w.refusal(); len(r.Host) > maxHost || len(r.Detail) > packet.MaxDetail {
		t.Errorf("%d, %d", len(r.Host), len(r.Detail))
	}
	for len(w.judge.refusals) > 0 {
		<-w.judge.refusals
	}
	go func() { f.want(packet.Shut); f.conn.Close() }()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if r := w.refusal(); !strings.HasPrefix(r.Detail, fmt.Sprint(refusals-told)) {
		t.Errorf("%d were told: %+v", told, r)
	}
	if n := len(w.judge.ends); n != live+1 { // and one that was allowed meanwhile
		t.Errorf("%d decisions ended at last, there were %d", n, live+1)
	}
}

// Boxes that ask all they can leave room for the next one, however many they are,
// and however long what they ask is.
func TestFloodsLeaveRoom(t *testing.T) {
	for _, c := range []struct {
		name  string
		long  int // bytes of a field
		boxes int
	}{{"many", 0, 6}, {"long, of one box", 60 << 10, 1}, {"long, of many", 60 << 10, 6}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			told := make(chan struct{})
			defer close(told)
			go func() {
				for {
					select {
					case <-w.judge.refusals: // which has not room for those of so many boxes
					case <-told:
						return
					}
				}
			}()
			var boxes []*Box
			for range c.boxes + 1 {
				boxes = append(boxes, w.open(BoxOptions{Fields: []string{"text"}}))
			}
			f := w.start()
			for range boxes {
				f.opened()
			}
			w.judge.asks(func(ctx context.Context, q packet.Query) packet.Verdict {
				if q.Host != "last.example" {
					<-ctx.Done()
				}
				return packet.Verdict{Allow: ctx.Err() == nil}
			})
			q := get("a.example")
			q.Fields = []packet.Field{{Name: "text", Value: strings.Repeat("x", c.long)}}
			for _, b := range boxes[:c.boxes] {
				for range min(packet.MaxBoxAsks, 2*maxWeight/max(c.long, 1)) {
					f.say(packet.Word{Kind: packet.Ask, Box: b.id, Query: &q})
				}
			}
			short := get("a.example")
			for range 200 { // and what is left behind long ones
				f.say(packet.Word{Kind: packet.Ask, Box: boxes[0].id, Query: &short})
			}
			last := get("last.example")
			id := f.say(packet.Word{Kind: packet.Ask, Box: boxes[c.boxes].id, Query: &last})
			for {
				if o := f.want(packet.Answer); o.ID == id {
					if !o.Verdict.Allow {
						t.Errorf("%+v", o.Verdict)
					}
					break
				}
			}
		})
	}
}

// Long questions are bounded by their length.
func TestLongQuestions(t *testing.T) {
	w := newWorld(t)
	b := w.open(BoxOptions{Fields: []string{"text"}})
	f := w.start()
	f.opened()
	w.judge.waits()
	const long = 48 << 10
	q := get("a.example")
	q.Fields = []packet.Field{{Name: "text", Value: strings.Repeat("x", long)}}
	var ids []int
	for range maxWeight/long + 1 {
		ids = append(ids, f.say(packet.Word{Kind: packet.Ask, Box: b.id, Query: &q}))
	}
	if o := f.want(packet.Answer); o.Verdict.Reason != errTooMany.Error() {
		t.Errorf("%+v", o.Verdict)
	}
	for _, id := range ids {
		f.say(packet.Word{Kind: packet.Leave, ID: id})
	}
	for len(f.orders) > 0 { // those that were one too many
		f.want(packet.Answer)
	}
	if err := f.conn.Send(packet.Word{Kind: packet.Name, ID: 1 << 30, Box: b.id, Host: "a.example"}, nil); err != nil {
		t.Fatal(err)
	}
	for f.want(packet.Answer).ID != 1<<30 {
	}
	for range w.judge.questions() {
		w.end() // all that were left are over
	}
	w.judge.says(packet.Verdict{Allow: true})
	if v := f.ask(b, q); !v.Allow {
		t.Errorf("there is no room any more: %+v", v)
	}
}
