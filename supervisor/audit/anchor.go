// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Anchor names the last entry of a log at some time. See the package comment
// for what it proves.
type Anchor struct {
	Key     [ed25519.PublicKeySize]byte
	Segment uint64 // first sequence number of the segment that the entry is in
	Offset  int64  // where its line begins there
	Seq     uint64
	Hash    [sha256.Size]byte // sha256 of what is signed of the entry
	Sig     [ed25519.SignatureSize]byte
}

const (
	openAnchor = `{"anchor":1,"key":"%x","segment":%d,"offset":%d,"seq":%d,"hash":"%x"`
	maxAnchor  = 1 << 10
)

// signed is what an anchor's signature is over. It begins unlike an entry, so
// that neither can be passed off as the other.
func (a *Anchor) signed() []byte {
	return fmt.Appendf(nil, openAnchor+"}", a.Key, a.Segment, a.Offset, a.Seq, a.Hash)
}

func (a *Anchor) sign(key ed25519.PrivateKey) {
	copy(a.Key[:], key.Public().(ed25519.PublicKey))
	copy(a.Sig[:], ed25519.Sign(key, a.signed()))
}

// SignedBy says whether the anchor was signed with the key of public.
func (a *Anchor) SignedBy(public ed25519.PublicKey) bool {
	return bytes.Equal(a.Key[:], public) && ed25519.Verify(public, a.signed(), a.Sig[:])
}

// String is the anchor's one line of JSON, as it is in its file.
func (a *Anchor) String() string {
	return fmt.Sprintf(openAnchor+openSig+"%x"+closeSig, a.Key, a.Segment, a.Offset, a.Seq, a.Hash, a.Sig)
}

// ParseAnchor reads what String gave, with a line feed behind it or without.
// It doesn't check the signature.
func ParseAnchor(text []byte) (*Anchor, error) {
	var w struct {
		Anchor  int    `json:"anchor"`
		Key     string `json:"key"`
		Segment uint64 `json:"segment"`
		Offset  int64  `json:"offset"`
		Seq     uint64 `json:"seq"`
		Hash    string `json:"hash"`
		Sig     string `json:"sig"`
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) > maxAnchor {
		return nil, fmt.Errorf("this is not an anchor: it has %d bytes", len(text))
	}
	if err := json.Unmarshal(text, &w); err != nil {
		return nil, fmt.Errorf("this is not an anchor: %w", err)
	}
	a := &Anchor{Segment: w.Segment, Offset: w.Offset, Seq: w.Seq}
	for _, field := range []struct {
		text string
		to   []byte
	}{{w.Key, a.Key[:]}, {w.Hash, a.Hash[:]}, {w.Sig, a.Sig[:]}} {
		if len(field.text) == 2*len(field.to) {
			hex.Decode(field.to, []byte(field.text)) // what isn't hexadecimal shows below
		}
	}
	if a.String() != string(text) {
		return nil, fmt.Errorf("this is not an anchor as this log spells it")
	}
	return a, nil
}

// ReadAnchor reads an anchor's file. An error that is fs.ErrNotExist says that there is none.
func ReadAnchor(path string) (*Anchor, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("anchor of the receipts: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAnchor+2))
	if err != nil {
		return nil, fmt.Errorf("anchor of the receipts: %w", err)
	}
	a, err := ParseAnchor(text)
	if err != nil {
		return nil, fmt.Errorf("anchor of the receipts %q: %w", path, err)
	}
	return a, nil
}

// replace writes the anchor to its file: whole, or not at all. It
// syncs the bytes, so that a crash can't leave an empty file; it doesn't
// sync the name, since an older anchor is a good one.
func (a *Anchor) replace(path string) error {
	next := path + ".new"
	if err := os.Remove(next); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("anchor of the receipts: %w", err)
	}
	f, err := openOwn(unix.AT_FDCWD, next, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return fmt.Errorf("anchor of the receipts: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString(a.String() + "\n"); err != nil {
		return fmt.Errorf("anchor of the receipts: %w", err)
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return fmt.Errorf("sync the anchor of the receipts: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("anchor of the receipts: %w", err)
	}
	return nil
}

// outside refuses an anchor within the log's folder: who cuts off the log's
// end would have it at hand.
func outside(anchor, dir string) error {
	there, err := os.Stat(filepath.Dir(anchor))
	if err != nil {
		return fmt.Errorf("folder of the receipts' anchor: %w", err)
	}
	here, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if os.SameFile(here, there) {
		return fmt.Errorf("the receipts' anchor %q must be outside of their folder", anchor)
	}
	return nil
}
