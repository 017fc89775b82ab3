// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gobwas/ws"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

func testRand() *rand.Rand { return rand.New(rand.NewPCG(3, 4)) }

func asRefused(err error, refused **RefusedError) bool { return errors.As(err, refused) }

func frame(op ws.OpCode, fin bool, payload string) []byte {
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload)))); err != nil {
		panic(err) // which a buffer never gives reason for
	}
	return b.Bytes()
}

func text(payload string) []byte { return frame(ws.OpText, true, payload) }

// messagesOf reads what is sent back into "opcode payload" lines.
func messagesOf(t testing.TB, sent []byte) (list []string) {
	t.Helper()
	r := bytes.NewReader(sent)
	for r.Len() > 0 {
		h, err := ws.ReadHeader(r)
		if err != nil || !h.Masked || h.Length > MaxMessage {
			t.Fatalf("frame %+v: %v", h, err)
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			t.Fatal(err)
		}
		ws.Cipher(payload, h.Mask, 0)
		list = append(list, string('0'+rune(h.OpCode))+" "+string(payload))
	}
	return list
}

func gatewayFound(t testing.TB) *Found {
	t.Helper()
	f, refusal := newSet(t).Inspect("gateway.example.com", 443, request(t, get("/?v=10&encoding=json", "Upgrade: websocket", "Connection: Upgrade")))
	if refusal != nil || !f.NeedsMessages() {
		t.Fatalf("%+v, %+v", f, refusal)
	}
	return f
}

func fromCanaries(uses []packet.Use) (values []packet.Value, err error) {
	for _, v := range canaries() {
		for _, u := range uses {
			if u.Secret == v.Secret {
				values = append(values, v)
			}
		}
	}
	return values, nil
}

func TestMessages(t *testing.T) {
	identify := `{"op":2,"d":{"token":"` + gateway + `","x":1}}`
	sent := bytes.Join([][]byte{
		text(`{"op":1,"d":null}`),
		frame(ws.OpText, false, identify[:20]), frame(ws.OpPing, true, "p"), frame(ws.OpContinuation, true, identify[20:]),
		text("hello"), text(`{"d":{"token":""}}`), text(identify),
		frame(ws.OpClose, true, "\x03\xe8"),
	}, nil)
	asked := 0
	f := gatewayFound(t)
	got, err := io.ReadAll(f.Messages(iotest.OneByteReader(bytes.NewReader(sent)), func(uses []packet.Use) ([]packet.Value, error) {
		asked++
		if len(uses) != 1 || uses[0] != (packet.Use{Secret: "gateway", Place: packet.Place{Kind: packet.WebSocket, Name: "d.token"}}) {
			t.Errorf("uses %+v", uses)
		}
		return fromCanaries(uses)
	}))
	if err != nil {
		t.Fatal(err)
	}
	filled := `1 {"op":2,"d":{"token":"CANARY\"gateway\\value","x":1}}`
	want := []string{`1 {"op":1,"d":null}`, "9 p", filled, "1 hello", `1 {"d":{"token":""}}`, filled, "8 \x03\xe8"}
	if list := messagesOf(t, got); strings.Join(list, "\n") != strings.Join(want, "\n") || asked != 2 {
		t.Errorf("asked %d times, sent %q", asked, list)
	}
}

func TestMessagesRefused(t *testing.T) {
	unmasked := ws.MustCompileFrame(ws.NewTextFrame([]byte("{}")))
	compressed := text("{}")
	compressed[0] |= 0x40
	for _, test := range []struct {
		name string
		sent []byte
		kind packet.RefusalKind
	}{
		{"another token", text(`{"d":{"token":"mine"}}`), packet.RefusedCredential},
		{"another token in an array", text(`[{"d":{"token":"mine"}}]`), packet.RefusedCredential},
		{"another token in another case", text(`{"D":{"Token":"mine"}}`), packet.RefusedCredential},
		{"an object for a token", text(`{"d":{"token":{"a":"mine"}}}`), packet.RefusedCredential},
		{"two tokens", text(`{"d":{"token":"` + gateway + `"},"d":{"token":"` + gateway + `"}}`), packet.RefusedProtocol},
		{"a comment", text(`{"d":/**/{"token":"mine"}}`), packet.RefusedProtocol},
		{"elsewhere", text(`{"d":{"other":"` + gateway + `"}}`), packet.RefusedPlaceholder},
		{"another secret's", text(`{"d":{"text":"` + key + `"}}`), packet.RefusedPlaceholder},
		{"in no JSON", text(gateway), packet.RefusedPlaceholder},
		{"in a ping", frame(ws.OpPing, true, gateway), packet.RefusedPlaceholder},
		{"binary", frame(ws.OpBinary, true, "{}"), packet.RefusedProtocol},
		{"continued nothing", frame(ws.OpContinuation, true, "{}"), packet.RefusedProtocol},
		{"one within another", append(frame(ws.OpText, false, "{"), text("{}")...), packet.RefusedProtocol},
		{"long", text(strings.Repeat(" ", MaxMessage+1)), packet.RefusedProtocol},
		{"long in fragments", append(frame(ws.OpText, false, strings.Repeat(" ", MaxMessage)), frame(ws.OpContinuation, true, " ")...), packet.RefusedProtocol},
		{"unmasked", unmasked, packet.RefusedProtocol},
		{"compressed", compressed, packet.RefusedProtocol},
	} {
		got, err := io.ReadAll(gatewayFound(t).Messages(bytes.NewReader(test.sent), func([]packet.Use) ([]packet.Value, error) {
			t.Errorf("%s: values were asked for", test.name)
			return canaries(), nil
		}))
		var refused *RefusedError
		if !asRefused(err, &refused) || refused.Kind != test.kind || len(got) != 0 {
			t.Errorf("%s: %v, sent %q", test.name, err, got)
		} else if strings.Contains(refused.Detail, "mine") || strings.Contains(refused.Detail, gateway) {
			t.Errorf("%s: it says %q", test.name, refused.Detail)
		}
	}
}

func TestMessagesNoValue(t *testing.T) {
	no := errors.New("no")
	got, err := io.ReadAll(gatewayFound(t).Messages(bytes.NewReader(text(`{"d":{"token":"`+gateway+`"}}`)), func([]packet.Use) ([]packet.Value, error) { return nil, no }))
	if !errors.Is(err, no) || len(got) != 0 {
		t.Errorf("%v, sent %q", err, got)
	}
}

// Whatever a client sends: it is refused or cut off, or no placeholder is in what goes on.
func FuzzMessages(f *testing.F) {
	f.Add(text(`{"op":2,"d":{"token":"` + gateway + `"}}`))
	f.Add(append(frame(ws.OpText, false, `{"d"`), frame(ws.OpContinuation, true, `:1}`)...))
	f.Fuzz(func(t *testing.T, sent []byte) {
		got, err := io.ReadAll(gatewayFound(t).Messages(bytes.NewReader(sent), fromCanaries))
		if err != nil && strings.Contains(err.Error(), "CANARY") {
			t.Fatal(err)
		}
		for _, m := range messagesOf(t, got) {
			if strings.Contains(m, gateway) || strings.Contains(m, key) {
				t.Fatalf("a placeholder is left: %q", m)
			}
		}
	})
}
