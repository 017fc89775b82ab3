// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// file is an opened profile file. Everything about it comes from its one
// descriptor, so that nobody can swap it between the judgement and the reading.
type file struct {
	*os.File
	path    string
	stat    unix.Stat_t
	trusted bool // root owns it and its directory, and nobody else can write either
}

// open opens a profile file without following a link at its end or waiting for
// a FIFO's other end (open(2): O_NOFOLLOW, O_NONBLOCK). A file that doesn't
// exist is fs.ErrNotExist.
func open(path string) (*file, error) {
	dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openFault(path, err)
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, filepath.Base(path), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, openFault(path, err)
	}
	f := &file{File: os.NewFile(uintptr(fd), path), path: path}
	var dirStat unix.Stat_t
	if err := errors.Join(unix.Fstat(dir, &dirStat), unix.Fstat(fd, &f.stat)); err != nil {
		f.Close()
		return nil, openFault(path, err)
	}
	f.trusted = rootOnly(dirStat) && rootOnly(f.stat)
	return f, nil
}

// rootOnly reports whether root alone can write what st describes.
func rootOnly(st unix.Stat_t) bool { return st.Uid == 0 && st.Mode&0o022 == 0 }

func openFault(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: %w", visible(path), fs.ErrNotExist)
	case errors.Is(err, unix.ELOOP):
		return &Error{File: path, Text: "is a symbolic link; name the file itself"}
	case errors.Is(err, unix.ENXIO):
		return &Error{File: path, Text: "is not a regular file"}
	}
	return &Error{File: path, Text: "can't be opened: " + err.Error()}
}

// read gives the whole file, if it is a regular one of a reasonable size.
func (f *file) read() ([]byte, error) {
	if f.stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &Error{File: f.path, Text: "is not a regular file"}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, &Error{File: f.path, Text: "can't be read: " + err.Error()}
	}
	if len(data) > maxFile {
		return nil, &Error{File: f.path, Text: "is larger than 256 KiB, which no profile is"}
	}
	return data, nil
}

// fileID tells files apart whatever they are called.
type fileID struct{ dev, ino uint64 }

func (f *file) id() fileID { return fileID{f.stat.Dev, f.stat.Ino} }
