// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
	openAnchor = `{"anchor":1,"key":"`
	maxAnchor  = 1 << 10
)

// fields adds an anchor's line without its end.
func (a *Anchor) fields(b []byte) []byte {
	b = hex.AppendEncode(append(b, openAnchor...), a.Key[:])
	b = strconv.AppendUint(append(b, `","segment":`...), a.Segment, 10)
	b = strconv.AppendInt(append(b, `,"offset":`...), a.Offset, 10)
	b = strconv.AppendUint(append(b, `,"seq":`...), a.Seq, 10)
	return append(hex.AppendEncode(append(b, `,"hash":"`...), a.Hash[:]), '"')
}

// signed is what an anchor's signature is over. It begins unlike an entry, so
// that neither can be passed off as the other.
func (a *Anchor) signed() []byte { return append(a.fields(make([]byte, 0, 256)), '}') }

func (a *Anchor) sign(key ed25519.PrivateKey) {
	copy(a.Key[:], key.Public().(ed25519.PublicKey))
	copy(a.Sig[:], ed25519.Sign(key, a.signed()))
}

// SignedBy says whether the anchor was signed with the key of public.
func (a *Anchor) SignedBy(public ed25519.PublicKey) bool {
	return bytes.Equal(a.Key[:], public) && ed25519.Verify(public, a.signed(), a.Sig[:])
}

// String is the anchor's one line of JSON, as it is in its file but for the
// spaces behind it there.
func (a *Anchor) String() string { return string(a.line(make([]byte, 0, maxAnchor))) }

// line adds what String gives.
func (a *Anchor) line(b []byte) []byte {
	b = append(a.fields(b), openSig...)
	return append(hex.AppendEncode(b, a.Sig[:]), closeSig...)
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
