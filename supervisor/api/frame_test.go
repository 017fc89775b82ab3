// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// chunk is what one receive gives.
type chunk struct {
	text  string
	pid   int32
	files int
}

// devNull opens descriptors to pass.
func devNull(t testing.TB, n int) []int {
	t.Helper()
	var fds []int
	for range n {
		fd, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	return fds
}

// openFiles counts this process's descriptors.
func openFiles(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// feed runs chunks through a splitter. A frame's first byte says how many
// descriptors it claims. It gives the frames, "!" where a claim failed, and
// what ended it.
func feed(t testing.TB, chunks []chunk) (frames []string, err error) {
	var s splitter
	defer s.drop()
	for _, c := range chunks {
		fds := devNull(t, c.files) // which ride on the first bytes of it
		for text := c.text; ; {
			room, _ := s.space()
			if len(room) == 0 {
				t.Fatal("no room")
			}
			n := copy(room, text)
			if err := s.took(n, sender{Pid: c.pid}, fds); err != nil {
				return frames, err
			}
			fds, text = nil, text[n:]
			for {
				l, ok, err := s.next()
				if err != nil {
					return frames, err
				}
				if !ok {
					break
				}
				claims := 0
				if len(l.text) > 0 && l.text[0] == '3' {
					claims = streams
				}
				if l.from.Pid != c.pid {
					t.Fatalf("the frame %.20q is of %d, its last byte of %d", l.text, l.from.Pid, c.pid)
				}
				frame := string(l.text)
				got, err := s.claim(l, claims)
				if err != nil {
					frame += "!"
				}
				closeAll(got)
				frames = append(frames, frame)
			}
			if text == "" {
				break
			}
		}
	}
	return frames, nil
}

func TestSplit(t *testing.T) {
	long := strings.Repeat("x", MaxFrame)
	for name, test := range map[string]struct {
		chunks []chunk
		want   []string
		wrong  string
	}{
		"one":                   {[]chunk{{"a\n", 1, 0}}, []string{"a"}, ""},
		"pieces":                {[]chunk{{"a", 1, 0}, {"b\nc", 1, 0}, {"\n\n", 1, 0}}, []string{"ab", "c", ""}, ""},
		"no end":                {[]chunk{{"a\nb", 1, 0}}, []string{"a"}, ""},
		"the longest":           {[]chunk{{long + "\n" + long + "\nx\n", 1, 0}}, []string{long, long, "x"}, ""},
		"longer":                {[]chunk{{"a\n" + long + "x\n", 1, 0}}, []string{"a"}, "more than"},
		"without end":           {[]chunk{{long + long, 1, 0}}, nil, "more than"},
		"two senders":           {[]chunk{{"a\n", 1, 0}, {"b\n", 2, 0}}, []string{"a", "b"}, ""},
		"of two senders":        {[]chunk{{"a\nb", 1, 0}, {"c\n", 2, 0}}, []string{"a"}, "two senders"},
		"files":                 {[]chunk{{"3a\n", 1, 3}, {"3b\n", 1, 3}, {"c\n", 1, 0}}, []string{"3a", "3b", "c"}, ""},
		"files after a frame":   {[]chunk{{"a\n3b\n", 1, 3}}, []string{"a", "3b"}, ""},
		"files of a piece":      {[]chunk{{"3", 1, 3}, {"b\n", 1, 0}}, []string{"3b"}, ""},
		"files late":            {[]chunk{{"3", 1, 0}, {"b\n", 1, 3}}, []string{"3b"}, ""},
		"end and next":          {[]chunk{{"3a", 1, 3}, {"\n3b\n", 1, 3}}, []string{"3a", "3b"}, ""},
		"no files":              {[]chunk{{"3a\n", 1, 0}}, []string{"3a!"}, ""},
		"two files":             {[]chunk{{"3a\n", 1, 2}}, []string{"3a!"}, ""},
		"four files":            {[]chunk{{"3a\n", 1, 4}}, []string{"3a!"}, ""},
		"files for nobody":      {[]chunk{{"a\n", 1, 3}, {"3b\n", 1, 0}}, []string{"a!", "3b!"}, ""},
		"files of the one past": {[]chunk{{"a", 1, 3}, {"\n3b\n", 1, 0}}, []string{"a!", "3b!"}, ""},
		"files pile up":         {[]chunk{{"a", 1, 3}, {"a", 1, 3}, {"a\n", 1, 3}}, nil, "too many descriptors"},
	} {
		before := openFiles(t)
		got, err := feed(t, test.chunks)
		if !slices.Equal(got, test.want) || test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%s: %.60q, %v; want %.60q, %q", name, got, err, test.want, test.wrong)
		}
		if after := openFiles(t); after != before {
			t.Errorf("%s: %d descriptors before, %d after", name, before, after)
		}
	}
}

// TestSplitGivesBack: a long frame leaves no long buffer behind.
func TestSplitGivesBack(t *testing.T) {
	var s splitter
	total := 0
	for text := strings.Repeat("x", MaxFrame) + "\n"; text != ""; {
		room, grown := s.space()
		total += grown
		n := copy(room, text)
		text = text[n:]
		if err := s.took(n, sender{Pid: 1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if total != len(s.buf) || len(s.buf) != MaxFrame+1 {
		t.Errorf("%d bytes said, %d had", total, len(s.buf))
	}
	if _, ok, err := s.next(); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	_, grown := s.space()
	if total += grown; total != firstBuffer || len(s.buf) != firstBuffer {
		t.Errorf("%d bytes said, %d had", total, len(s.buf))
	}
}

// FuzzSplit: frames are what is between newlines, however it was cut.
func FuzzSplit(f *testing.F) {
	f.Add([]byte("a\nbb\n\n3c\nrest"), []byte{1, 3, 0x83, 2})
	f.Add([]byte("3a\n3b\n"), []byte{0x84, 0x82})
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		var chunks []chunk
		for rest := string(text); rest != ""; {
			n, files := len(rest), 0
			if len(cuts) > 0 {
				n, files = min(n, int(cuts[0]&0x7f)+1), int(cuts[0]>>7)*streams
				cuts = cuts[1:]
			}
			chunks = append(chunks, chunk{rest[:n], 1, files})
			rest = rest[n:]
		}
		before := openFiles(t)
		got, err := feed(t, chunks)
		if after := openFiles(t); after != before {
			t.Errorf("%d descriptors before, %d after", before, after)
		}
		if err != nil && strings.Contains(err.Error(), "too many descriptors") {
			return
		}
		if err != nil {
			t.Fatal(err) // one sender, and nothing too long
		}
		want := bytes.Split(text, []byte("\n"))
		if len(got) != len(want)-1 {
			t.Fatalf("%d frames, want %d", len(got), len(want)-1)
		}
		for i, frame := range got {
			if frame != string(want[i]) && frame != fmt.Sprintf("%s!", want[i]) {
				t.Errorf("frame %d is %q, want %q", i, frame, want[i])
			}
		}
	})
}
