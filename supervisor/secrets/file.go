// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/clawsup/clawsup/supervisor/record"
)

// format is the version of a secret's file.
const format = 1

// stored is a secret as its file has it.
type stored struct {
	Format int    `json:"format"`
	Secret Secret `json:"secret"`
	Age    []byte `json:"age"` // of sealed metadata, a line feed, and the value
}

const suffix = ".json"

func (s *Store) file(name string) string { return filepath.Join(s.dir, name+suffix) }

// sealed is the metadata as it is beside the value: all but when it was used. A
// field that a later version adds must be left out where it has no value.
func (s Secret) sealed() []byte {
	s.LastUsed, s.Wrong = time.Time{}, ""
	text, err := json.Marshal(s)
	if err != nil {
		panic("secrets: metadata that JSON can't hold: " + err.Error()) // it is checked, and its times are of this era
	}
	return append(text, '\n')
}

// seal encrypts a value with the metadata that it belongs to.
func seal(to age.Recipient, s Secret, value []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to)
	if err != nil {
		return nil, err
	}
	for _, part := range [][]byte{s.sealed(), value} {
		if _, err := w.Write(part); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil { // it is what writes the end
		return nil, err
	}
	return out.Bytes(), nil
}

// unseal gives the value that was encrypted with this metadata.
func unseal(key age.Identity, s Secret, sealed []byte) (_ *Value, err error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), key)
	if err != nil {
		if _, other := errors.AsType[*age.NoIdentityMatchError](err); other {
			return nil, errors.New("its value was encrypted with another key")
		}
		return nil, errors.New("its value can't be decrypted")
	}
	want := s.sealed()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		clear(got)
		if err != nil && n == 0 && !errors.Is(err, io.EOF) {
			return nil, errors.New("its value can't be decrypted")
		}
		return nil, errors.New("what it says of the secret is not what the value was encrypted with")
	}
	v, err := newValue()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.Close()
		}
	}()
	n, err := io.ReadFull(r, v.region[:MaxValue+1])
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("its value can't be decrypted, or is too long")
	}
	v.n = n
	if err := CheckValue(v.Bytes()); err != nil {
		return nil, err
	}
	return v, nil
}

// read reads one secret's file. What is wrong with it names the file. With an
// error the metadata is what the file says, if it says any.
func (s *Store) read(name string) (stored, error) {
	file := s.file(name)
	var rec stored
	if err := record.Read(file, &rec); err != nil {
		return stored{Secret: Secret{Name: name}}, err
	}
	switch err := rec.Secret.Check(); {
	case rec.Format != format:
		return stored{Secret: Secret{Name: name}}, fmt.Errorf("%s: format %d is not %d", file, rec.Format, format)
	case err != nil:
		return stored{Secret: Secret{Name: name}}, fmt.Errorf("%s: %w", file, err)
	case rec.Secret.Name != name:
		rec.Secret.Name = name
		return rec, fmt.Errorf("%s: it is about another secret", file)
	case rec.Secret.Wrong != "":
		return rec, fmt.Errorf("%s: it says of itself that something is wrong", file)
	}
	return rec, nil
}

// open reads a file and the value in it.
func (s *Store) open(name string) (stored, *Value, error) {
	rec, err := s.read(name)
	if err != nil {
		return rec, nil, err
	}
	v, err := unseal(s.key, rec.Secret, rec.Age)
	if err != nil {
		return rec, nil, fmt.Errorf("%s: %w", s.file(name), err)
	}
	return rec, v, nil
}
