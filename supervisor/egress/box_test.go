// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// address is where a listener is.
func address(t testing.TB, file *os.File) string {
	t.Helper()
	var at string
	err := control(file, func(fd int) error {
		name, err := unix.Getsockname(fd)
		if err == nil {
			v4 := name.(*unix.SockaddrInet4)
			at = netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port)).String()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// A helper that ends: the next one is told everything again, connections wait
// meanwhile, questions end, and what was allowed has ended.
func TestHelperStartsAgain(t *testing.T) {
	w := newWorld(t)
	early := w.open(BoxOptions{Name: "early", Connections: 7, Sent: 8, Received: 9, Fields: []string{"chat_id"}, Data: "mine"})
	if early.Data() != "mine" || early.Name() != "early" {
		t.Error("it has forgotten its options")
	}
	bound := packet.Binding{Secret: "s", Placeholder: "p", Hosts: []string{"a.example:443"}, Places: []packet.Place{{Kind: packet.Header, Name: "X"}}}
	if err := early.Bind(bound); err != nil {
		t.Fatal(err)
	}
	gone := bound
	gone.Secret = "gone"
	if err := early.Bind(gone); err != nil {
		t.Fatal(err)
	}
	early.Unbind("gone")

	first := w.start()
	check := func(f *fake) {
		t.Helper()
		o := f.want(packet.Open)
		want := &packet.Box{Certificate: authority().Certificate, Key: authority().Key, Connections: 7, Sent: 8, Received: 9, Fields: []string{"chat_id"}, Resolvers: o.Box.Resolvers}
		if !reflect.DeepEqual(o.Box, want) || address(t, o.file) != address(t, early.ends.TCP) {
			t.Errorf("%+v", o.Box)
		}
		if d := f.want(packet.Datagrams); d.ID != o.ID || address(t, d.file) != address(t, early.ends.UDP) {
			t.Errorf("%+v", d)
		}
		if b := f.want(packet.Bind); b.ID != o.ID || !reflect.DeepEqual(*b.Binding, bound) {
			t.Errorf("%+v", b)
		}
	}
	check(first)
	late := w.open(BoxOptions{})
	if id := first.opened(); id != late.id {
		t.Errorf("box %d", id)
	}
	if err := late.Close(); err != nil {
		t.Error(err)
	}
	if o := first.want(packet.Shut); o.ID != late.id {
		t.Errorf("%+v", o)
	}
	if err := errors.Join(late.Close(), late.Bind(bound)); err != nil {
		t.Error(err)
	}
	late.Unbind("s")

	decision := first.ask(early, get("a.example")).Decision
	w.judge.waits()
	first.say(packet.Word{Kind: packet.Ask, Box: early.id, Query: new(get("b.example"))})
	first.say(packet.Word{Kind: packet.Name, Box: early.id, Host: "a.example"}) // once this is answered, that is asked
	first.want(packet.Answer)
	_ = first.conn.Close()
	first.awaitEnd()
	ended := map[string]string{}
	for range 2 {
		e := w.end()
		ended[e.query.Host] = e.traffic.Error
	}
	if ended["a.example"] != errHelperEnded || ended["b.example"] != errLeft {
		t.Errorf("%v", ended)
	}

	waiting, err := net.Dial("tcp", address(t, early.ends.TCP))
	if err != nil {
		t.Fatal("nobody listens while there is no helper:", err)
	}
	defer waiting.Close()
	w.judge.says(packet.Verdict{Allow: true})
	second := w.start()
	check(second)
	second.say(packet.Word{Kind: packet.Ended, Box: early.id, Decision: decision, Traffic: &packet.Traffic{}})
	if _, why := second.connect(early.id, decision, "8.8.8.8:443"); why != errNoDecision.Error() {
		t.Errorf("a decision outlived its helper: %q", why)
	}
	if v := second.ask(early, get("a.example")); !v.Allow || v.Decision <= decision {
		t.Errorf("%+v", v)
	}
	second.say(packet.Word{Kind: packet.Ended, Box: early.id, Decision: decision + 2, Traffic: &packet.Traffic{}})
	if len(w.judge.ends) > 1 {
		t.Error("a decision ended twice")
	}
}

// Who asked has gone: its question ends, and so does what was allowed of it in
// the same moment.
func TestLeave(t *testing.T) {
	w := newWorld(t)
	b := w.open(BoxOptions{})
	f := w.start()
	f.opened()
	w.judge.waits()
	id := f.say(packet.Word{Kind: packet.Ask, Box: b.id, Query: new(get("a.example"))})
	f.say(packet.Word{Kind: packet.Leave, ID: id})
	if e := w.end(); e.traffic.Error != errLeft || e.verdict.Decision == 0 {
		t.Errorf("%+v", e)
	}
	w.judge.says(packet.Verdict{Allow: true})
	v := f.ask(b, get("b.example"))
	f.say(packet.Word{Kind: packet.Leave, ID: f.last})
	if e := w.end(); e.traffic.Error != errLeft || e.verdict.Decision != v.Decision {
		t.Errorf("%+v", e)
	}
	// An id is free again once its question is over.
	f.say(packet.Word{Kind: packet.Ask, ID: id, Box: b.id, Query: new(get("a.example"))})
	if o := f.want(packet.Answer); o.ID != id || !o.Verdict.Allow {
		t.Errorf("%+v", o)
	}
}

// Close waits for what the helper says became of what was allowed, and the judge
// hears nothing afterwards.
func TestClose(t *testing.T) {
	w := newWorld(t)
	b, silent := w.open(BoxOptions{}), w.open(BoxOptions{})
	f := w.start()
	f.opened()
	f.opened()
	decision := f.ask(b, get("a.example")).Decision
	lost := f.ask(silent, get("b.example")).Decision
	w.judge.waits()
	f.say(packet.Word{Kind: packet.Ask, Box: b.id, Query: new(get("c.example"))})
	f.say(packet.Word{Kind: packet.Name, Box: b.id, Host: "a.example"})
	f.want(packet.Answer)
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	f.want(packet.Shut)
	if e := w.end(); e.query.Host != "c.example" || e.traffic.Error == "" {
		t.Errorf("%+v", e)
	}
	f.say(packet.Word{Kind: packet.Ended, Box: b.id, Decision: decision, Traffic: &packet.Traffic{Status: 200, Sent: 3}})
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if e := w.end(); e.verdict.Decision != decision || e.traffic.Sent != 3 || e.traffic.Error != "" {
		t.Errorf("%+v", e)
	}
	if err := silent.Close(); err != nil { // which waits in vain
		t.Error(err)
	}
	if e := w.end(); e.verdict.Decision != lost || e.traffic.Error != shutReason {
		t.Errorf("%+v", e)
	}
	f.want(packet.Shut)
	f.say(packet.Word{Kind: packet.Refused, Box: b.id, Refusal: &packet.Refusal{Kind: packet.RefusedName}})
	f.say(packet.Word{Kind: packet.Ended, Box: silent.id, Decision: lost, Traffic: &packet.Traffic{}})
	f.say(packet.Word{Kind: packet.Name, Box: b.id, Host: "a.example"})
	if v := f.want(packet.Answer).Verdict; v.Allow {
		t.Errorf("%+v", v)
	}
	if len(w.judge.ends)+len(w.judge.refusals) > 0 {
		t.Error("the judge was told of a box that is gone")
	}
	if c, err := net.Dial("tcp", address(t, w.open(BoxOptions{}).ends.TCP)); err != nil {
		t.Error(err)
	} else {
		_ = c.Close()
	}
}

// What can't be told to the helper is no box.
func TestOpenRefuses(t *testing.T) {
	w := newWorld(t)
	here := func(f func() error) error { return f() }
	long := strings.Repeat("x", packet.MaxPacket)
	for name, o := range map[string]BoxOptions{
		"nothing":           {},
		"no authority":      {In: here},
		"no namespace":      {Authority: authority()},
		"fields":            {In: here, Authority: authority(), Fields: []string{long}},
		"a binding":         {In: here, Authority: authority(), Bindings: []packet.Binding{{Secret: long}}},
		"a secret of none":  {In: here, Authority: authority(), Bindings: []packet.Binding{{}}},
		"a broken entrance": {In: func(func() error) error { return os.ErrNotExist }, Authority: authority()},
	} {
		if _, err := w.egress.Open(o); err == nil {
			t.Error(name)
		}
	}
	b := w.open(BoxOptions{})
	if err := b.Bind(packet.Binding{Secret: long}); !errors.Is(err, packet.ErrPacket) {
		t.Error(err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a way out of nothing")
	}
}

// A helper that reads nothing is ended, and the next one is told.
func TestHelperThatDoesNotRead(t *testing.T) {
	w := newWorld(t)
	b := w.open(BoxOptions{Bindings: []packet.Binding{{Secret: "s"}}})
	ours, theirs, err := packet.Pair()
	if err != nil {
		t.Fatal(err)
	}
	if err := theirs.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.helper.Converse(context.Background(), packet.New(ours)); err == nil {
		t.Error("it was taken for a helper")
	}
	f := w.start()
	f.opened()
	f.want(packet.Bind)
	if v := f.ask(b, get("a.example")); !v.Allow {
		t.Errorf("%+v", v)
	}
}

// Names are passed on with what belongs to one.
func TestName(t *testing.T) {
	w := newWorld(t)
	full := packet.Verdict{
		Allow: true, Early: true, Networks: prefixes("10.0.0.0/8"), Addresses: []netip.Addr{netip.MustParseAddr("10.1.1.1")},
		Passing: []packet.Passing{{Port: 22, Through: packet.TCP}},
	}
	w.judge.name = func(host string) packet.Verdict {
		if host == "a.example" || host == "192.0.2.1" {
			return full
		}
		return packet.Verdict{Reason: "no rule", Early: true, Passing: full.Passing}
	}
	b := w.open(BoxOptions{})
	f := w.start()
	f.opened()
	for host, want := range map[string]packet.Verdict{"a.example": full, "192.0.2.1": full, "b.example": {Reason: "no rule"}} {
		f.say(packet.Word{Kind: packet.Name, Box: b.id, Host: host})
		if v := f.want(packet.Answer).Verdict; !reflect.DeepEqual(*v, want) {
			t.Errorf("%s: %+v", host, v)
		}
	}
}

// TestOver: that a helper has said all of a box is no surprise, whenever it comes.
func TestOver(t *testing.T) {
	w := newWorld(t)
	b := w.open(BoxOptions{})
	f := w.start()
	f.opened()
	f.say(packet.Word{Kind: packet.Over, Box: b.id}) // too early
	if v := f.ask(b, get("a.example")); !v.Allow {
		t.Errorf("%+v", v)
	}
	closed := make(chan error, 1)
	go func() { closed <- b.Close() }()
	f.want(packet.Shut)
	f.say(packet.Word{Kind: packet.Over, Box: b.id})
	if err := <-closed; err != nil {
		t.Error(err)
	}
	f.say(packet.Word{Kind: packet.Over, Box: b.id}) // too late
	other := w.open(BoxOptions{})
	f.opened()
	if v := f.ask(other, get("a.example")); !v.Allow {
		t.Errorf("%+v", v)
	}
}
