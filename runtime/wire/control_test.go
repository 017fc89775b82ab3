// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func controlPair(t testing.TB) (int, int) {
	t.Helper()
	a, b, err := ControlPair()
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// TestPackets: each is whole, in order, also after the sender is gone.
func TestPackets(t *testing.T) {
	a, b := controlPair(t)
	defer unix.Close(b)
	if err := SendPacket(b, Order{Kind: Tell}); err != nil { // which a never reads
		t.Fatal(err)
	}
	states := []State{{Protocol: Protocol}, {Protocol: 7, Failure: &Failure{StepExec, "no"}}, {Outcome: &Outcome{Status: 9}}}
	for _, s := range states {
		if err := SendPacket(a, s); err != nil {
			t.Fatal(err)
		}
	}
	_ = unix.Close(a)
	for _, want := range states {
		var got State
		if err := ReceivePacket(b, &got, 0); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v %v, want %+v", got, err, want)
		}
	}
	if err := ReceivePacket(b, &State{}, 0); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	if err := SendPacket(b, Order{}); !errors.Is(err, unix.EPIPE) {
		t.Errorf("to nobody: %v", err)
	}
}

// TestPacketsDoNotWait: a reader that doesn't read holds nobody up.
func TestPacketsDoNotWait(t *testing.T) {
	a, b := controlPair(t)
	defer unix.Close(a)
	defer unix.Close(b)
	for {
		err := SendPacket(a, State{Failure: &Failure{Message: strings.Repeat("x", 10_000)}})
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := SendPacket(a, State{Failure: &Failure{Message: strings.Repeat("x", MaxPacket)}}); !errors.Is(err, ErrFrame) {
		t.Errorf("too large: %v", err)
	}
	var o Order
	if err := ReceivePacket(a, &o, unix.MSG_DONTWAIT); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("nothing there: %v", err)
	}
}

// TestCallDescriptors: as many as the call says, and no others.
func TestCallDescriptors(t *testing.T) {
	for _, test := range []struct {
		call Call
		want int
	}{
		{Call{}, 3}, {Call{Watch: true}, 5}, {Call{Socket: true}, 4}, {Call{Watch: true, Socket: true}, 6},
		{Call{Service: &Service{LogMax: 1}, Socket: true}, 4},
	} {
		for send := range MaxDescriptors + 2 {
			a, b := pair(t)
			go func() { _ = a.Send(test.call, make([]int, send)...); _ = a.Close() }()
			var got Call
			_, fds, err := b.ReceiveCall(&got)
			if (err == nil) != (send == test.want) || len(fds) != 0 && len(fds) != test.want {
				t.Errorf("%+v with %d: %v %v", test.call, send, fds, err)
			}
			closeAll(fds)
			_ = b.Close()
		}
	}
}

// FuzzPacket gives either side any bytes.
func FuzzPacket(f *testing.F) {
	for _, s := range []string{`{"Kind":1}`, `{"Kind":2,"Signal":15}`, `{"Protocol":2,"Outcome":{"Status":0}}`, `{"Failure":{"Step":"exec"}}`, "", "null", "{"} {
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, packet []byte, rights bool) {
		a, b := controlPair(t)
		defer unix.Close(b)
		var oob []byte
		if rights {
			oob = unix.UnixRights(int(os.Stdin.Fd()))
		}
		err := unix.Sendmsg(a, packet, oob, nil, unix.MSG_NOSIGNAL)
		if err != nil {
			_ = unix.Close(a)
			t.Skip(err)
		}
		if err := SendPacket(a, Order{Kind: Send, Signal: 15}); err != nil {
			t.Skip(err)
		}
		_ = unix.Close(a)
		var s State
		err = ReceivePacket(b, &s, 0)
		if len(packet) > 0 && err != nil && !errors.Is(err, ErrFrame) {
			t.Fatalf("%v", err)
		}
		if err == nil && (len(packet) > MaxPacket || rights) {
			t.Fatalf("taken: %d bytes, with a descriptor: %v", len(packet), rights)
		}
		var o Order // whatever it was, the next is whole
		if err := ReceivePacket(b, &o, 0); err != nil || o.Signal != 15 {
			t.Fatalf("after it: %+v %v", o, err)
		}
	})
}
