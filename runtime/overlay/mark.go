// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// mark stands at the beginning of an image, in the kilobyte that ext4 leaves to
// boot loaders. It is written only while the image is attached to no device.
type mark struct {
	Magic [16]byte
	Size  Size
	Boot  [40]byte // boot_id of the machine's run in which the layer was opened; zeros: it was closed
}

// magic names the format, and changes with what is in the file system too.
var magic = [16]byte{'c', 'l', 'a', 'w', 's', 'u', 'p', ' ', 'l', 'a', 'y', 'e', 'r', ' ', '1', '\n'}

// markSize is what is read of an image: the mark's kilobyte and ext4's own
// superblock.
const markSize = 2048

var errNoLayer = errors.New("it is no image of a layer, or of another version of clawsup")

// parseMark reads the beginning of an image and tells whether the file system in
// it was unmounted in order. In ext4's superblock, at byte 1024, s_magic is at
// 0x38 and s_state at 0x3a: 1 is clean, 2 is errors seen
// (Documentation/filesystems/ext4/super.rst).
func parseMark(b []byte) (m mark, clean bool, err error) {
	if len(b) < markSize {
		return mark{}, false, errNoLayer
	}
	if _, err := binary.Decode(b, binary.LittleEndian, &m); err != nil {
		return mark{}, false, err
	}
	super := b[1024:]
	if m.Magic != magic || binary.LittleEndian.Uint16(super[0x38:]) != 0xef53 || m.Size.check() != nil {
		return mark{}, false, errNoLayer
	}
	return m, binary.LittleEndian.Uint16(super[0x3a:]) == 1, nil
}

func readMark(image *os.File) (mark, bool, error) {
	b := make([]byte, markSize)
	if _, err := image.ReadAt(b, 0); errors.Is(err, io.EOF) {
		return mark{}, false, errNoLayer
	} else if err != nil {
		return mark{}, false, err
	}
	return parseMark(b)
}

// writeMark writes the mark of a layer that is opened in the machine's run boot,
// or of one that is closed.
func writeMark(image *os.File, size Size, boot string) error {
	m := mark{Magic: magic, Size: size}
	if copy(m.Boot[:], boot) != len(boot) {
		return fmt.Errorf("a boot_id of %d bytes", len(boot))
	}
	b, err := binary.Append(nil, binary.LittleEndian, m)
	if err == nil {
		_, err = image.WriteAt(b, 0)
	}
	return err
}

// bootID names the machine's run since it was started (random(4)).
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// boot is the machine's run in which the layer was opened; empty: it was closed.
func (m *mark) boot() string { return string(bytes.TrimRight(m.Boot[:], "\x00")) }
