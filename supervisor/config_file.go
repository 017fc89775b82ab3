// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/visible"
)

// maxConfig bounds one file, in bytes, and maxDropIns their number.
const (
	maxConfig  = 256 << 10
	maxDropIns = 256
)

// dropInDir is the directory beside the file whose *.toml are laid over it.
const dropInDir = "clawsup.d"

// ConfigError is what is wrong with the file, and where.
type ConfigError struct {
	File string
	Line int // from 1; 0 if the whole file is meant
	Text string
}

// Error gives "FILE:LINE: TEXT".
func (e *ConfigError) Error() string {
	where := visible.Text(e.File)
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, e.Line)
	}
	return where + ": " + visible.Line(e.Text)
}

// LoadConfig reads the file over the defaults, and then, sorted by name, each
// clawsup.d/*.toml beside it: a key's last value counts, and agents and
// workspaces are the same if their names are. With file empty that is
// DefaultConfig, which may be missing; a file that was named may not. Files and
// directories belong to root and nobody else can write them, since who can
// write the configuration decides what a sandbox is. Names that begin with a
// dot or don't end in .toml are passed over.
//
// The error joins a [*ConfigError] for everything that is wrong; errors.Join's
// Unwrap gives them one by one.
func LoadConfig(file string) (Config, error) {
	executable, err := os.Executable()
	if err != nil {
		executable = ""
	}
	c := DefaultsFor(executable)
	named := file != ""
	if !named {
		file = DefaultConfig
	}
	var faults []*ConfigError
	switch text, err := readOwned(file); {
	case err == nil:
		faults = c.parse(file, text)
	case named || !errors.Is(err, fs.ErrNotExist):
		return Config{}, err
	}
	dropIns, err := listDropIns(filepath.Join(filepath.Dir(file), dropInDir))
	if err != nil {
		return Config{}, err
	}
	for _, name := range dropIns {
		text, err := readOwned(name)
		if err != nil {
			return Config{}, err
		}
		faults = append(faults, c.parse(name, text)...)
	}
	// what is missing can't be told while something can't be read
	if len(faults) == 0 {
		faults = c.settle(file)
	}
	if len(faults) > 0 {
		errs := make([]error, len(faults))
		for i, f := range faults {
			errs[i] = f
		}
		return Config{}, errors.Join(errs...)
	}
	return c, nil
}

// listDropIns gives the files of the directory, which may be missing, in their order.
func listDropIns(dir string) ([]string, error) {
	fault := func(format string, args ...any) ([]string, error) {
		return nil, &ConfigError{File: dir, Text: fmt.Sprintf(format, args...)}
	}
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR):
		return fault("is not a directory")
	case err != nil:
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer d.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &st); err != nil {
		return fault("%v", err)
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return fault("must belong to root and be writable by nobody else: chown root, chmod go-w")
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fault("%v", err)
	}
	var files []string
	for _, name := range names {
		if strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			files = append(files, filepath.Join(dir, name))
		}
	}
	if len(files) > maxDropIns {
		return fault("holds %d files; put them together in at most %d", len(files), maxDropIns)
	}
	slices.Sort(files)
	return files, nil
}

// readOwned opens the file once and judges and reads what was opened.
func readOwned(file string) ([]byte, error) {
	fault := func(format string, args ...any) error {
		return &ConfigError{File: file, Text: fmt.Sprintf(format, args...)}
	}
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fault("is a symbolic link; name the file itself")
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	var st, dir unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fault("%v", err)
	}
	if err := unix.Stat(filepath.Dir(file), &dir); err != nil {
		return nil, fault("%v", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fault("is not a regular file")
	case st.Uid != 0 || st.Mode&0o022 != 0:
		return nil, fault("must belong to root and be writable by nobody else: chown root, chmod go-w")
	case dir.Uid != 0 || dir.Mode&0o022 != 0:
		return nil, fault("its directory must belong to root and be writable by nobody else: chown root, chmod go-w")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fault("%v", err)
	}
	if len(text) > maxConfig {
		return nil, fault("is larger than %d bytes", maxConfig)
	}
	return text, nil
}
