// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// resume finds the end of the log, and cuts off half a line there. What is to
// be written down about that it returns.
func resume(o Options) (*tail, []Receipt, error) {
	dir, err := openDir(o.Dir)
	if err != nil {
		return nil, nil, err
	}
	t := &tail{dir: dir, anchor: slots{path: o.Anchor}, key: o.Key, public: o.Key.Public().(ed25519.PublicKey), limit: o.Segment, since: o.Since, clock: wall}
	repairs, err := t.resume(o.Dir)
	if err != nil {
		t.close()
		return nil, nil, err
	}
	return t, repairs, nil
}

func (t *tail) resume(path string) ([]Receipt, error) {
	if err := outside(t.anchor.path, path); err != nil {
		return nil, err
	}
	firsts, err := segments(path)
	if err != nil {
		return nil, err
	}
	var repairs []Receipt
	anchor, err := ReadAnchor(t.anchor.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		anchor = nil
		if len(firsts) > 0 {
			repairs = append(repairs, Receipt{Kind: Administration, Rule: ruleAnchor, Status: "missing"})
		}
	case err != nil:
		return nil, err
	case !bytes.Equal(anchor.Key[:], t.public):
		return nil, &Problem{Fault: Foreign, File: "anchor", Detail: "it is signed with " + FormatPublic(anchor.Key[:])}
	case !anchor.SignedBy(t.public):
		return nil, &Problem{Fault: Edited, File: "anchor"}
	}

	if anchor != nil && t.since > 0 {
		if err := chain(path, t.public, t.since, anchor); err != nil {
			return nil, err
		}
	}
	from, offset := 0, int64(0)
	if anchor != nil {
		if from = slices.Index(firsts, anchor.Segment); from < 0 {
			return nil, &Problem{Fault: Truncated, From: anchor.Segment, To: anchor.Seq, File: segmentName(anchor.Segment), Detail: "the segment is gone"}
		}
		offset = anchor.Offset
		// The anchored entry itself is known by its hash, and gives the rest.
		t.durable.seq = anchor.Seq - 1
		t.written.Store(anchor)
	}
	var ahead *Anchor // of the last entry, if the anchor isn't that
	var torn []byte
	for i := from; i < len(firsts); i++ {
		if torn != nil {
			return nil, &Problem{Fault: Edited, File: segmentName(firsts[i-1]), From: t.durable.seq + 1, To: t.durable.seq + 1, Detail: "half a line, and a segment after it"}
		}
		if t.file != nil {
			t.file.Close()
		}
		if i > 0 {
			t.before = segmentName(firsts[i-1])
		}
		t.first = firsts[i]
		if offset == 0 && t.first != t.durable.seq+1 {
			return nil, &Problem{Fault: Missing, From: t.durable.seq + 1, To: t.first - 1, File: segmentName(t.first), Detail: "it doesn't begin where the one before it ends"}
		}
		if t.file, err = openOwn(int(t.dir.Fd()), segmentName(t.first), unix.O_RDWR); err != nil {
			return nil, err
		}
		var last *Anchor
		if last, torn, err = t.read(offset, anchor); err != nil {
			return nil, err
		}
		if last != nil {
			ahead = last
		}
		offset, anchor = 0, nil
	}
	if torn != nil {
		if err := t.cut(torn); err != nil {
			return nil, err
		}
	}
	repair, err := t.repaired()
	if err != nil {
		return nil, err
	}
	if ahead != nil {
		t.post(ahead)
	}
	return append(repairs, repair...), nil
}

// read goes on through the segment from offset, and gives an anchor, not signed
// yet, for the last entry past the one given, and the half line at the end; either can
// be nil. The first line has to be the anchor's, if there is one.
func (t *tail) read(offset int64, anchor *Anchor) (last *Anchor, torn []byte, err error) {
	name := segmentName(t.first)
	wrong := func(fault Fault, detail string) error {
		return &Problem{Fault: fault, File: name, From: t.durable.seq + 1, To: t.durable.seq + 1, Detail: fmt.Sprintf("at byte %d: %s", t.size, detail)}
	}
	t.size = offset
	in := bufio.NewReaderSize(io.NewSectionReader(t.file, offset, 1<<62), MaxLine)
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF && anchor != nil:
			return nil, nil, &Problem{Fault: Truncated, From: anchor.Seq, To: anchor.Seq, File: name, Detail: "the entry that the anchor names isn't there"}
		case err == io.EOF && len(line) == 0:
			return last, nil, nil
		case err == io.EOF:
			return last, bytes.Clone(line), nil
		case err == bufio.ErrBufferFull:
			return nil, nil, wrong(Edited, "a line without an end")
		case err != nil:
			return nil, nil, fmt.Errorf("read %s: %w", name, err)
		}
		f, err := takeApart(line[:len(line)-1])
		if err != nil {
			return nil, nil, wrong(Edited, err.Error())
		}
		if !f.signedBy(t.public) {
			return nil, nil, wrong(Edited, "the signature isn't good, or another key's")
		}
		if f.seq != t.durable.seq+1 {
			return nil, nil, wrong(Reordered, fmt.Sprintf("entry %d is here", f.seq))
		}
		if anchor != nil && f.hash() != anchor.Hash {
			return nil, nil, wrong(Forked, "it isn't the entry that the anchor names")
		}
		if anchor == nil && f.prev != t.durable.hash {
			return nil, nil, wrong(Forked, "it doesn't follow the entry before it")
		}
		r, err := f.receipt()
		if err != nil {
			return nil, nil, wrong(Edited, err.Error())
		}
		t.durable = head{seq: f.seq, hash: f.hash(), latest: r.Time.Add(r.Behind)}
		if anchor == nil {
			last = &Anchor{Segment: t.first, Offset: t.size, Seq: f.seq, Hash: f.hash()}
		}
		t.size += int64(len(line))
		anchor = nil
	}
}

// cut moves half a line out of the log. It is kept until an entry tells of it,
// and longer: an operator may want to look.
func (t *tail) cut(torn []byte) error {
	name := tornName(t.durable.seq)
	f, err := openOwn(int(t.dir.Fd()), name, unix.O_RDWR|unix.O_CREAT|unix.O_APPEND)
	if err != nil {
		return loud("keep half a line", err)
	}
	defer f.Close()
	// There already if a crash came before the cut, or with another half line
	// in front if it came while the entry about that was written.
	kept, err := io.ReadAll(io.LimitReader(f, maxTorn))
	if err == nil && !bytes.HasSuffix(kept, torn) {
		_, err = f.Write(torn)
	}
	if err != nil {
		return loud("keep half a line", err)
	}
	if err := errors.Join(f.Sync(), t.dir.Sync()); err != nil {
		return loud("keep half a line", err)
	}
	t.ragged = true
	return t.mend()
}

// maxTorn bounds what is read of kept half lines: there are few, of a line at most.
const maxTorn = 16 * MaxLine

// repaired gives the entry about a half line that was cut off behind the last
// entry, now or by an Open that didn't get as far as to write it.
func (t *tail) repaired() ([]Receipt, error) {
	name := tornName(t.durable.seq)
	f, err := openOwn(int(t.dir.Fd()), name, unix.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	torn, err := io.ReadAll(io.LimitReader(f, maxTorn))
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(torn)
	return []Receipt{{Kind: Administration, Rule: ruleRepair, Status: "torn", Facts: []Fact{
		{"after", strconv.FormatUint(t.durable.seq, 10)},
		{"bytes", strconv.Itoa(len(torn))},
		{"sha256", hex.EncodeToString(sum[:])},
		{"kept", name},
	}}}, nil
}
