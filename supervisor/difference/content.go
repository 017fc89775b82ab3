// SPDX-License-Identifier: Apache-2.0

package difference

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxContent bounds, in bytes, what of a file is compared.
const MaxContent = 1 << 20

// Content is the beginning of a file. The zero one is no file.
type Content struct {
	There bool
	Size  int64  // of the whole file, bytes
	Bytes []byte // its first ones, all or MaxContent
}

// Cut says whether there is more in the file.
func (c *Content) Cut() bool { return int64(len(c.Bytes)) < c.Size }

// ReadContent takes a file's beginning. A nil one is no file.
func ReadContent(f io.ReaderAt, size int64) (Content, error) {
	b := make([]byte, min(max(size, 0), MaxContent))
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) { // it became shorter
		size, err = int64(n), nil
	}
	return Content{There: true, Size: size, Bytes: b[:n]}, err
}

// header is 1 byte, 8 and 4.
const header = 1 + 8 + 4

// Send writes both contents.
func Send(w io.Writer, before, after Content) error {
	for _, c := range []*Content{&before, &after} {
		var head [header]byte
		if c.There {
			head[0] = 1
		}
		binary.BigEndian.PutUint64(head[1:], uint64(c.Size))
		binary.BigEndian.PutUint32(head[9:], uint32(len(c.Bytes)))
		if _, err := w.Write(head[:]); err != nil {
			return err
		}
		if _, err := w.Write(c.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// Receive reads what Send wrote, to the end of the stream.
func Receive(r io.Reader) (before, after Content, err error) {
	for _, c := range []*Content{&before, &after} {
		if *c, err = receive(r); err != nil {
			return Content{}, Content{}, err
		}
	}
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return Content{}, Content{}, errors.New("there is more than two contents")
	}
	return before, after, nil
}

func receive(r io.Reader) (Content, error) {
	var head [header]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Content{}, fmt.Errorf("a content's header: %w", err)
	}
	c := Content{There: head[0] == 1, Size: int64(binary.BigEndian.Uint64(head[1:]))}
	n := int64(binary.BigEndian.Uint32(head[9:]))
	if head[0] > 1 || c.Size < 0 || n != min(c.Size, MaxContent) || !c.There && n > 0 {
		return Content{}, errors.New("a content's header contradicts itself")
	}
	c.Bytes = make([]byte, n)
	if _, err := io.ReadFull(r, c.Bytes); err != nil {
		return Content{}, fmt.Errorf("a content of %d bytes: %w", n, err)
	}
	return c, nil
}
