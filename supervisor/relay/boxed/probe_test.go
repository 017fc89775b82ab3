// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"bytes"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	for line, ok := range map[string]bool{
		"HTTP/1.1 200 OK": true, "HTTP/1.0 204": true, "HTTP/1.1 299 x y z": true,
		"HTTP/1.1 302 Found": false, "HTTP/1.1 503 Service Unavailable": false, "HTTP/1.1 100 Continue": false,
		"HTTP/1.1 2000 OK": false, "HTTP/1.1 2x0 OK": false, "HTTP/2 200": false, "HTTP/1.1  200": false,
		"200 OK": false, "": false, "SSH-2.0-OpenSSH": false,
	} {
		if err := judge([]byte(line)); (err == nil) != ok {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// endless never says a line feed, and counts what was read of it.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	e.read += len(b)
	return len(b), nil
}

func TestFirstLineIsBounded(t *testing.T) {
	e := &endless{}
	if line, err := firstLine(e); err == nil || e.read > 2*maxStatus {
		t.Errorf("read %d bytes: %q, %v", e.read, line, err)
	}
	if line, err := firstLine(strings.NewReader("HTTP/1.1 200 OK")); err == nil {
		t.Errorf("half a line: %q", line)
	}
	if line, err := firstLine(strings.NewReader("HTTP/1.1 200 OK\r\nmore")); err != nil || string(line) != "HTTP/1.1 200 OK" {
		t.Errorf("%q, %v", line, err)
	}
}

func FuzzFirstLine(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		line, err := firstLine(bytes.NewReader(answer))
		if err != nil {
			return
		}
		if bytes.IndexByte(line, '\n') >= 0 {
			t.Errorf("%q is more than a line", line)
		}
		if judge(line) == nil && !bytes.HasPrefix(answer, []byte("HTTP/1.")) {
			t.Errorf("%q is a yes", answer)
		}
	})
}
