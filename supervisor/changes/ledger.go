// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/commit"
)

// ledger is what a session made, as its commits left it: by identity and content.
// What was there before it isn't its own by being changed, whoever agreed to that. A name says nothing, since others may have put something
// else there; nor does an inode's number, which the file system gives again.
type ledger map[node]trace

// trace is how a commit left a file.
type trace struct {
	digest [digestSize]byte // zero: a directory
	ctime  int64            // nanoseconds since 1970
}

// node is a file.
type node struct{ dev, ino uint64 }

const (
	ledgerName = "ledger"
	digestSize = 32 // SHA-256
	rowSize    = 24 + digestSize
	// mostRows bounds the file. Beyond it the older half is forgotten: then a
	// person is asked once more.
	mostRows = 1 << 20
)

// made says whether what was there before an entry is the session's own. root
// is the workspace.
func (l ledger) made(e *changeset.Entry, root int) bool {
	if len(l) == 0 {
		return false
	}
	was, ok := l[node{e.Before.Dev, e.Before.Ino}]
	if !ok {
		return false
	}
	have, err := digest(e.Before.Type, e.Before.Digest)
	if err != nil || have != was.digest {
		return false
	}
	return e.Kind != changeset.Renamed || l.madeAll(root, string(e.From))
}

// madeAll says whether all that is in a directory is the session's own. What it
// contains isn't read: a file that has the ctime that the commit left is as it
// was then.
func (l ledger) madeAll(root int, path string) bool {
	fd, err := openBeneath(root, path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return roam(fd, func(_ int, _ string, st *unix.Stat_t) error {
		was, ok := l[node{st.Dev, st.Ino}]
		directory := st.Mode&unix.S_IFMT == unix.S_IFDIR
		if !ok || directory != (was.digest == [digestSize]byte{}) || !directory && was.ctime != st.Ctim.Nano() {
			return errors.New("it is another's")
		}
		return nil
	}) == nil
}

// digest gives that of a state as bytes.
func digest(t changeset.Type, text string) (sum [digestSize]byte, err error) {
	if t == changeset.Directory && text == "" {
		return sum, nil
	}
	b, err := hex.DecodeString(strings.TrimPrefix(text, "sha256:"))
	if err != nil || len(b) != digestSize {
		return sum, errors.Join(fmt.Errorf("%q is no digest", clip(text)), err)
	}
	return [digestSize]byte(b), nil
}

// readLedger gives a session's ledger; without a session, or one that made
// nothing, it is empty.
func (s *Store) readLedger(session string) (ledger, error) {
	if session == "" {
		return nil, nil
	}
	if err := checkSession(session); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.o.Dir, sessionsName, session, ledgerName), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decodeLedger(f)
}

// decodeLedger reads rows; of several about one file the last counts. What is
// no whole row, at the end, was being written when the machine stopped.
func decodeLedger(r io.Reader) (ledger, error) {
	text, err := io.ReadAll(io.LimitReader(r, 2*mostRows*rowSize))
	if err != nil {
		return nil, err
	}
	l := make(ledger, len(text)/rowSize)
	for ; len(text) >= rowSize; text = text[rowSize:] {
		n := node{binary.LittleEndian.Uint64(text), binary.LittleEndian.Uint64(text[8:])}
		l[n] = trace{[digestSize]byte(text[24:rowSize]), int64(binary.LittleEndian.Uint64(text[16:]))}
	}
	return l, nil
}

// row is one file that landed.
type row struct {
	node
	trace
}

func encodeRows(rows []row) []byte {
	text := make([]byte, 0, len(rows)*rowSize)
	for _, r := range rows {
		text = binary.LittleEndian.AppendUint64(text, r.dev)
		text = binary.LittleEndian.AppendUint64(text, r.ino)
		text = binary.LittleEndian.AppendUint64(text, uint64(r.ctime))
		text = append(text, r.digest[:]...)
	}
	return text
}

// note adds to a session's ledger what landed. It isn't waited for: what a
// power loss takes of it is asked about once more.
func (s *Store) note(ctx context.Context, session string, rows []row) error {
	if session == "" || len(rows) == 0 {
		return nil
	}
	dir, l, err := s.session(ctx, session)
	if err != nil {
		return err
	}
	defer l.release()
	f, err := os.OpenFile(filepath.Join(dir, ledgerName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(appendRows(f, rows), f.Close())
}

func appendRows(f *os.File, rows []row) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	have := st.Size() / rowSize
	if extra := have + int64(len(rows)) - mostRows; extra > 0 {
		if have, err = halve(f, have, extra); err != nil {
			return err
		}
		rows = rows[max(0, len(rows)-mostRows/2):]
	}
	_, err = f.WriteAt(encodeRows(rows), have*rowSize)
	return err
}

// halve forgets the older rows, so that there is room for a while.
func halve(f *os.File, have, extra int64) (int64, error) {
	stay := max(0, min(have/2, have-extra))
	text := make([]byte, stay*rowSize)
	if _, err := f.ReadAt(text, (have-stay)*rowSize); err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if err := f.Truncate(0); err != nil {
		return 0, err
	}
	_, err := f.WriteAt(text, 0)
	return stay, err
}

// learn notes what the commit made, for the session, and what it wrote of that.
func (p *piece) learn() error {
	if p.Session == "" {
		return nil
	}
	list, err := commit.Landed(filepath.Join(p.dir, commitName))
	if err != nil {
		return err
	}
	mine, err := p.store.readLedger(p.Session)
	if err != nil {
		return err
	}
	rows := make([]row, 0, len(list))
	for _, l := range list {
		if l.Entry.Kind != changeset.Created && !mine.made(l.Entry, -1) {
			continue
		}
		t := changeset.Regular
		if l.Digest == "" {
			t = changeset.Directory
		}
		sum, err := digest(t, l.Digest)
		if err != nil {
			return err
		}
		rows = append(rows, row{node{l.Identity.Dev, l.Identity.Ino}, trace{sum, l.Identity.Ctime}})
	}
	return p.store.note(context.Background(), p.Session, rows)
}
