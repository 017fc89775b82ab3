// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/ring"
)

// DefaultLogs is how much Logs gives where nobody says, in bytes.
const DefaultLogs = 64 << 10

// maxLogs is how much it gives at most: it travels in one frame, in base64.
const maxLogs = 512 << 10

// openLogs opens the two files of what the agent writes, in a directory of root's own.
func (a *Agent) openLogs(flags int) (log runtime.ServiceLog, err error) {
	log.Max = max(int64(a.o.Config.LogMax)/int64(len(log.Files)), 1)
	for i := range log.Files {
		name := filepath.Join(a.o.Dir, fmt.Sprintf("log.%d", i))
		f, err := os.OpenFile(name, flags|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return log, errors.Join(err, closeLogs(log))
		}
		log.Files[i] = f
	}
	return log, nil
}

func closeLogs(log runtime.ServiceLog) error {
	var errs []error
	for _, f := range log.Files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Logs gives the last n bytes that the agent wrote; 0 means DefaultLogs. What
// is written meanwhile may be missing.
func (a *Agent) Logs(n int64) ([]byte, error) {
	if n <= 0 {
		n = DefaultLogs
	}
	n = min(n, maxLogs)
	log, err := a.openLogs(os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // it never ran
	}
	if err != nil {
		return nil, err
	}
	defer closeLogs(log)
	newer, err := ring.Newer(log.Files, log.Max)
	if err != nil {
		return nil, err
	}
	end, err := tail(log.Files[newer], n)
	if err != nil || int64(len(end)) >= n {
		return end, err
	}
	begin, err := tail(log.Files[1-newer], n-int64(len(end)))
	return append(begin, end...), err
}

// tail reads the last n bytes of a file, or fewer if it shrinks meanwhile.
func tail(f *os.File, n int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n = min(n, info.Size())
	b := make([]byte, n)
	got, err := f.ReadAt(b, info.Size()-n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:got], err
}
