// SPDX-License-Identifier: Apache-2.0

package packet

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b *Conn, raw *os.File) {
	t.Helper()
	ours, theirs, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	a, b = New(ours), New(theirs)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b, theirs
}

func TestMessagesArrive(t *testing.T) {
	a, b, _ := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	sent := Order{Kind: Probe, ID: 7, Host: "127.0.0.1:1", Path: "/readyz", Timeout: 5}
	if err := a.Send(sent, w); err != nil {
		t.Fatal(err)
	}
	var got Order
	file, err := b.Receive(&got)
	if err != nil || got != sent || file == nil {
		t.Fatalf("%+v, %v, %v", got, file, err)
	}
	defer file.Close()
	if _, err := file.WriteString("x"); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(io.LimitReader(r, 1)); err != nil || string(b) != "x" {
		t.Errorf("the descriptor is another's: %q, %v", b, err)
	}
	_ = a.Close()
	if _, err := b.Receive(&got); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// descriptors counts what this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestHostileMessages(t *testing.T) {
	a, _, raw := pair(t)
	before := descriptors(t)
	for _, c := range []struct {
		name   string
		body   string
		rights []int
	}{
		{"no object", "rubbish", nil},
		{"an array", `[1]`, nil},
		{"unknown field", `{"kind":1,"id":1,"approved":true}`, nil},
		{"two objects", `{"kind":1,"id":1}{"kind":1,"id":2}`, nil},
		{"too long", `{"detail":"` + strings.Repeat("x", MaxPacket) + `"}`, nil},
		{"deep", strings.Repeat("[", MaxPacket), nil},
		{"a number that is none", `{"kind":1e99,"id":1}`, nil},
		{"three descriptors", `{"kind":1,"id":1}`, []int{0, 1, 2}},
		{"more than there is room for", `{"kind":1,"id":1}`, []int{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}},
		{"rubbish with a descriptor", `rubbish`, []int{0}},
	} {
		var rights []byte
		if c.rights != nil {
			rights = unix.UnixRights(c.rights...)
		}
		if err := unix.Sendmsg(int(raw.Fd()), []byte(c.body), rights, nil, 0); err != nil {
			t.Fatal(err)
		}
		var w Word
		if file, err := a.Receive(&w); !errors.Is(err, ErrPacket) || file != nil {
			t.Errorf("%s: %+v, %v", c.name, w, err)
		}
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors were open, now %d", before, after)
	}
}

func TestSendRefusesWhatIsTooLong(t *testing.T) {
	a, _, _ := pair(t)
	if err := a.Send(Order{Path: strings.Repeat("x", MaxPacket)}, nil); !errors.Is(err, ErrPacket) {
		t.Error(err)
	}
}

// What Decode takes can be said again and means the same.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"kind":1,"id":2,"relay":3}`, `{"kind":2,"id":1,"detail":"\u0000"}`, `{"id":-1}`, `{}`, `null`,
		`{"kind":5,"id":1,"box":1,"query":{"through":"http","host":"a.example","port":443,"addresses":["192.0.2.1","::1%eth0"]}}`,
		`{"kind":8,"id":1,"box":1,"decision":3,"address":"[2001:db8::1]:443"}`, `{"kind":10,"box":1,"traffic":{"sent":1,"received":-1,"took":1}}`,
		`{"kind":6,"captured":{"secret":"x","field":"y","value":"AAE="}}`, `[[[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var w, again Word
		if Decode(body, &w) != nil {
			return
		}
		text, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode(text, &again); err != nil || !reflect.DeepEqual(again, w) {
			t.Errorf("%s became %s: %v", body, text, err)
		}
	})
}
