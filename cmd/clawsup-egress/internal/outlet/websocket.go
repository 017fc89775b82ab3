// SPDX-License-Identifier: Apache-2.0

package outlet

import "io"

// webSocketConn is the server's end of a WebSocket, as httputil.ReverseProxy
// copies to and from it.
type webSocketConn struct {
	x      *exchange
	server io.ReadWriteCloser
	from   io.Reader // masked

	messages *io.PipeWriter // nil: what the program says is not looked at
}

func (s *webSocketConn) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	s.x.conn.touch()
	return n, err
}

func (s *webSocketConn) Write(p []byte) (int, error) {
	if s.messages != nil {
		return s.messages.Write(p)
	}
	n, err := s.server.Write(p)
	s.x.traffic.sent.Add(int64(n))
	return n, err
}

// look has messages looked at on their way to the server.
func (s *webSocketConn) look() {
	r, w := io.Pipe()
	s.messages = w
	go func() {
		_, err := io.Copy(writer(func(p []byte) (int, error) {
			n, err := s.server.Write(p)
			s.x.traffic.sent.Add(int64(n))
			return n, err
		}), s.x.found.Messages(r, s.x.values))
		s.x.failed(err)
		_ = r.CloseWithError(io.ErrClosedPipe)
		_ = s.Close()
	}()
}

// Close ends both directions.
func (s *webSocketConn) Close() error {
	if s.messages != nil {
		_ = s.messages.Close()
	}
	return s.server.Close()
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
