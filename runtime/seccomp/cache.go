// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"runtime"

	libseccomp "github.com/seccomp/libseccomp-golang"

	"github.com/clawsup/clawsup/runtime/kept"
)

// Cached is Compile for a program that runs for one call: compiling takes
// milliseconds, so what an earlier process compiled is kept in dir, which
// belongs to root and which nobody else can write (package kept). The file's
// name is a digest of everything that the filter is made from. That it can't be
// written is no error.
func Cached(dir string, groups []string) (Filter, error) {
	set, err := groupSet(groups)
	if err != nil {
		return Filter{}, err
	}
	file := filepath.Join(dir, source(effective(set)))
	if bpf, ok := kept.Read(file, 4096*instructionSize); ok && len(bpf) > 0 && len(bpf)%instructionSize == 0 {
		return Filter{bpf}, nil
	}
	f, err := Compile(groups)
	if err != nil {
		return Filter{}, err
	}
	_ = kept.Write(file, f.bpf)
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
