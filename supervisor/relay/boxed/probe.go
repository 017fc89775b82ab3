// SPDX-License-Identifier: Apache-2.0

package boxed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// maxStatus bounds what is read of an answer, in bytes: its first line alone
// is of interest.
const maxStatus = 64 << 10

// probe asks once and tells clawsupd.
func (s *Server) probe(o packet.Order, socket *os.File) {
	defer socket.Close()
	w := packet.Word{Kind: packet.Probed, ID: o.ID, OK: true}
	if err := ask(o, socket); err != nil {
		w.OK, w.Detail = false, clip(err.Error())
	}
	_ = s.say(w)
}

func ask(o packet.Order, socket *os.File) error {
	if err := socket.SetDeadline(time.Now().Add(o.Timeout)); err != nil {
		return err
	}
	if err := connected(socket); err != nil {
		return err
	}
	if o.Path == "" {
		return nil
	}
	request := "GET " + o.Path + " HTTP/1.1\r\nHost: " + o.Host + "\r\nUser-Agent: clawsup\r\nConnection: close\r\n\r\n"
	if _, err := io.WriteString(socket, request); err != nil {
		return err
	}
	line, err := firstLine(socket)
	if err != nil {
		return err
	}
	return judge(line)
}

// firstLine reads up to the first line feed, and bounds it.
func firstLine(r io.Reader) ([]byte, error) {
	var line []byte
	buf := make([]byte, 4<<10)
	for len(line) < maxStatus {
		n, err := r.Read(buf)
		line = append(line, buf[:n]...)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			return bytes.TrimSuffix(line[:i], []byte("\r")), nil
		}
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the answer ended within its first line")
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the answer's first line has no end")
}

// judge reads a status line (RFC 9112, 4). 200 to 299 is a yes.
func judge(line []byte) error {
	version, rest, _ := bytes.Cut(line, []byte(" "))
	status, _, _ := bytes.Cut(rest, []byte(" "))
	if !bytes.Equal(version, []byte("HTTP/1.1")) && !bytes.Equal(version, []byte("HTTP/1.0")) {
		return errors.New("the answer is not HTTP")
	}
	if len(status) != 3 || len(bytes.Trim(status, "0123456789")) > 0 {
		return errors.New("the answer has no status")
	}
	if status[0] != '2' {
		return fmt.Errorf("status %s", status)
	}
	return nil
}
