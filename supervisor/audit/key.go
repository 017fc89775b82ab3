// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/record"
)

// LoadKey reads the signing key from the file at path: its seed, 32 bytes, in
// a regular file of root's that nobody else may read. A systemd credential
// is such a file. One that doesn't exist is made; of several that make it at
// once, all get the first one's.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the receipts' key %q: %w", path, err)
	}
	return readKey(path)
}

func readKey(path string) (ed25519.PrivateKey, error) {
	f, err := openOwn(unix.AT_FDCWD, path, unix.O_RDONLY)
	if err != nil {
		return nil, fmt.Errorf("receipts' key: %w", err)
	}
	defer f.Close()
	seed, err := io.ReadAll(io.LimitReader(f, ed25519.SeedSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the receipts' key: %w", err)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("receipts' key %q is not %d bytes long", path, ed25519.SeedSize)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// makeKey makes one where there is none.
func makeKey(path string) error {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never fails, as its documentation says
	return record.Create(path, seed)
}

const publicPrefix = "ed25519:"

// FormatPublic gives a public key as text: "ed25519:" and 64 hexadecimal digits.
func FormatPublic(public ed25519.PublicKey) string { return publicPrefix + hex.EncodeToString(public) }

// ParsePublic reads what FormatPublic gave; space around it is passed over.
func ParsePublic(text string) (ed25519.PublicKey, error) {
	digits, ok := strings.CutPrefix(strings.TrimSpace(text), publicPrefix)
	public := make([]byte, ed25519.PublicKeySize)
	if !ok || len(digits) != 2*len(public) || !lowHex(public, []byte(digits)) {
		return nil, fmt.Errorf("a public key is %q and %d hexadecimal digits in lower case", publicPrefix, 2*len(public))
	}
	return public, nil
}
