// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// Cached is Compile for a program that runs for one call: compiling takes
// milliseconds, so what an earlier process compiled is kept in dir, which
// belongs to root and which nobody else can write. The file's name is a digest
// of everything that the filter is made from, and its end is a digest of the
// filter. A file that is missing, damaged or not root's is made anew; that it
// can't be written is no error.
func Cached(dir string, groups []string) (Filter, error) {
	set, err := groupSet(groups)
	if err != nil {
		return Filter{}, err
	}
	file := filepath.Join(dir, source(effective(set)))
	if f, ok := readFilter(file); ok {
		return f, nil
	}
	f, err := Compile(groups)
	if err != nil {
		return Filter{}, err
	}
	_ = writeFilter(file, f)
	return f, nil
}

// source names what a filter is made from: the rows, the library, the
// architecture and the number where unknown calls begin.
func source(rows []Row) string {
	h := sha256.New()
	major, minor, micro := libseccomp.GetLibraryVersion()
	fmt.Fprintf(h, "%d.%d.%d %s %x\n", major, minor, micro, runtime.GOARCH, preamble())
	for _, r := range rows {
		fmt.Fprintf(h, "%s %d", r.Call, r.Answer)
		for _, a := range r.When {
			fmt.Fprintf(h, " %d %x %x", a.Pos, a.Mask, a.Value)
		}
		h.Write([]byte{'\n'})
	}
	return hex.EncodeToString(h.Sum(nil))
}

func readFilter(file string) (Filter, bool) {
	fd, err := unix.Open(file, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return Filter{}, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Mode&0o022 != 0 {
		return Filter{}, false
	}
	const limit = 4096*instructionSize + sha256.Size
	b := make([]byte, limit+1)
	n, err := unix.Read(fd, b)
	if err != nil || n > limit || n <= sha256.Size || (n-sha256.Size)%instructionSize != 0 {
		return Filter{}, false
	}
	bpf, end := b[:n-sha256.Size], b[n-sha256.Size:n]
	if sum := sha256.Sum256(bpf); !bytes.Equal(sum[:], end) {
		return Filter{}, false
	}
	return Filter{bpf}, true
}

// writeFilter puts the file in place whole, however many write it at once.
func writeFilter(file string, f Filter) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(file), ".new-")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(f.bpf)
	_, err = t.Write(append(f.Bytes(), sum[:]...))
	if err = errors.Join(err, t.Close()); err == nil {
		err = os.Rename(t.Name(), file)
	}
	if err != nil {
		_ = os.Remove(t.Name())
	}
	return err
}
