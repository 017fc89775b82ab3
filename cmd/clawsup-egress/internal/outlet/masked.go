// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"bytes"
	"errors"
	"io"

	"github.com/clawsup/clawsup/cmd/clawsup-egress/internal/credential"
)

// masked is what comes from a server, without the values that the box was given
// until that moment: also those that were given while it was waited for.
type masked struct {
	box    *box
	server io.ReadCloser
	mask   *credential.Mask // of seen
	seen   io.Reader        // what is passed on; nil: mask has changed

	early []byte // was read when mask had changed
	err   error  // behind early
}

func (b *box) masked(server io.ReadCloser) *masked { return &masked{box: b, server: server} }

// errNewMask ends a reading that goes on with another mask.
var errNewMask = errors.New("there is a new mask")

func (m *masked) Read(p []byte) (int, error) {
	for {
		if m.seen == nil {
			m.mask = m.box.mask.Load()
			m.seen = m.mask.Reader(unmasked{m})
		}
		n, err := m.seen.Read(p)
		if !errors.Is(err, errNewMask) {
			return n, err
		}
		m.seen = nil
		if n > 0 {
			return n, nil
		}
	}
}

func (m *masked) Close() error { return m.server.Close() }

// unmasked is what is behind a masked.
type unmasked struct{ *masked }

func (u unmasked) Read(p []byte) (int, error) {
	m := u.masked
	if len(m.early) > 0 {
		n := copy(p, m.early)
		m.early = m.early[n:]
		return n, nil
	}
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.server.Read(p)
	if n > 0 && m.box.mask.Load() != m.mask {
		m.early, m.err = bytes.Clone(p[:n]), err
		return 0, errNewMask
	}
	return n, err
}
