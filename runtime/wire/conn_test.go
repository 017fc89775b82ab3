// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

func pair(t testing.TB) (*Conn, *Conn) {
	t.Helper()
	a, b, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	return NewConn(a), NewConn(b)
}

func TestFramesArrive(t *testing.T) {
	a, b := pair(t)
	defer b.Close()
	want := Event{Kind: Failed, Failure: &Failure{Step: StepLandlock, Message: "\x00\u202e"}}
	go func() {
		_ = a.Send(want)
		_ = a.Send(Signal{Number: 15})
		_ = a.Close()
	}()
	var got Event
	if err := b.Receive(&got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	var s Signal
	if err := b.Receive(&s); err != nil || s.Number != 15 {
		t.Errorf("%+v %v", s, err)
	}
	if err := b.Receive(&s); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestDescriptorsArrive(t *testing.T) {
	a, b := pair(t)
	defer a.Close()
	defer b.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	large := Call{Argv: []Text{Text(make([]byte, MaxString))}} // more than one segment
	go func() { _ = a.Send(large, int(r.Fd()), int(w.Fd())) }()
	body, fds, err := b.ReceiveRaw(2)
	if err != nil || len(fds) != 2 || len(body) < MaxString {
		t.Fatalf("%d bytes, %v, %v", len(body), fds, err)
	}
	for _, fd := range fds {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d stays open across exec: %v", fd, err)
		}
	}
	if _, err := unix.Write(fds[1], []byte("x")); err != nil {
		t.Error(err)
	}
	closeAll(fds)
}

// TestTextKeepsBytes: what is no Unicode arrives as it was sent.
func TestTextKeepsBytes(t *testing.T) {
	a, b := pair(t)
	defer b.Close()
	want := Call{Argv: Texts([]string{"rm", "a\xff\x00b", "", "\u2028"}), Dir: "/\xc3\x28"}
	go func() { _ = a.Send(want); _ = a.Close() }()
	var got Call
	if err := b.Receive(&got); err != nil || !reflect.DeepEqual(got.Argv, want.Argv) || got.Dir != want.Dir {
		t.Errorf("%q %q %v", got.Argv, got.Dir, err)
	}
}

// TestWrongNumberOfDescriptors closes what nobody asked for.
func TestWrongNumberOfDescriptors(t *testing.T) {
	for _, send := range []int{0, 1, 2, 4, 9} {
		a, b := pair(t)
		fds := make([]int, send)
		before := descriptors(t)
		go func() { _ = a.Send(Hello{}, fds...); _ = a.Close() }()
		_, got, err := b.ReceiveRaw(3)
		if !errors.Is(err, ErrFrame) || got != nil {
			t.Errorf("%d sent: %v %v", send, got, err)
		}
		_ = b.Close()
		// The goroutine's Close and ours took two away again.
		if now := descriptors(t); now > before {
			t.Errorf("%d sent: %d descriptors, there were %d", send, now, before)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestBadFrames(t *testing.T) {
	length := func(n uint32, body string) []byte {
		return append(binary.BigEndian.AppendUint32(nil, n), body...)
	}
	for name, test := range map[string]struct {
		bytes []byte
		want  error
	}{
		"too long":     {length(MaxFrame+1, ""), ErrFrame},
		"four GiB":     {length(1<<32-1, "{}"), ErrFrame},
		"short header": {[]byte{0, 0}, io.ErrUnexpectedEOF},
		"short body":   {length(10, "{}"), io.ErrUnexpectedEOF},
		"no JSON":      {length(3, "abc"), nil},
		"empty":        {length(0, ""), nil},
		"a step of nobody's": {length(uint32(len(`{"Kind":2,"Failure":{"Step":"x"}}`)),
			`{"Kind":2,"Failure":{"Step":"x"}}`), ErrFrame},
	} {
		a, b := pair(t)
		go func() { _, _ = unix.Write(a.fd, test.bytes); _ = a.Close() }()
		var e Event
		err := b.Receive(&e)
		if err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		_ = b.Close()
	}
	if err := NewConn(-1).SendRaw(make([]byte, MaxFrame+1)); !errors.Is(err, ErrFrame) {
		t.Errorf("sending too much: %v", err)
	}
}

func TestStepNames(t *testing.T) {
	seen := map[string]bool{}
	for s := StepNone; s < numSteps; s++ {
		text, _ := s.MarshalText()
		var back Step
		if err := back.UnmarshalText(text); err != nil || back != s || seen[string(text)] {
			t.Errorf("step %d: %q %v", s, text, err)
		}
		seen[string(text)] = true
	}
}

// FuzzReceive feeds a box's host whatever a broken init could say.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{0, 0, 0, 12, '{', '"', 'K', 'i', 'n', 'd', '"', ':', '3', '}'})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<16 {
			return // the socket's buffer: the writer must not block
		}
		a, b := pair(t)
		_, _ = unix.Write(a.fd, in)
		_ = a.Close()
		for {
			var e Event
			if err := b.Receive(&e); err != nil {
				break
			}
		}
		_ = b.Close()
	})
}

// FuzzText: any bytes come back.
func FuzzText(f *testing.F) {
	f.Add([]byte("a\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		body, err := json.Marshal(Text(in))
		if err != nil {
			t.Fatal(err)
		}
		var out Text
		if err := json.Unmarshal(body, &out); err != nil || string(out) != string(in) {
			t.Errorf("%q came back as %q, %v", in, out, err)
		}
	})
}
