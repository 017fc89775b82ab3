// SPDX-License-Identifier: Apache-2.0

// Package kept keeps what took a while to work out, in files of root's, for
// the next process that would work it out again.
//
// A file is its content and, at the end, a SHA-256 digest of it: a file that a
// crash cut off or a disk damaged is told by that. It is no protection from
// root, and needs none: nobody else can write the directory, and what is read
// is checked to be root's. What a content was made from belongs into its name,
// so that nothing ever has to be changed; whoever can't find, read or trust a
// file works the content out anew.
package kept

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Read gives the content of a file, if it is a regular one of root's that
// nobody else can write, whole, and at most limit bytes long.
func Read(file string, limit int) ([]byte, bool) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	f := os.NewFile(uintptr(fd), file)
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Mode&0o022 != 0 {
		return nil, false
	}
	if st.Size < sha256.Size || st.Size > int64(limit)+sha256.Size {
		return nil, false
	}
	b := make([]byte, st.Size)
	if n, err := f.ReadAt(b, 0); err != nil || int64(n) != st.Size {
		return nil, false
	}
	content, end := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sum := sha256.Sum256(content); !bytes.Equal(sum[:], end) {
		return nil, false
	}
	return content, true
}

// Write puts a file in place whole, however many write it at once, and makes
// its directory, for root alone, if need be.
func Write(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(file), ".new-") // 0600
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	_, err = t.Write(append(bytes.Clone(content), sum[:]...))
	if err = errors.Join(err, t.Close()); err == nil {
		err = os.Rename(t.Name(), file)
	}
	if err != nil {
		_ = os.Remove(t.Name())
	}
	return err
}
