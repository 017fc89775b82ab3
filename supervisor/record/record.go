// SPDX-License-Identifier: Apache-2.0

// Package record keeps one JSON object in one file of root's own, so that it
// is there whole after a crash or a power loss, or the one before it is.
//
//	err := record.Write(dir+"/session.json", s)     // durable when it returns
//	err := record.Read(dir+"/session.json", &s)
//	err := record.Remove(dir+"/session.json")
//	err := record.Create(dir+"/key", bytes)         // no object: what is made once
//
// Write makes a new file beside it, syncs that, renames it into place and
// syncs the directory (rename(2), fsync(2)). What it leaves when it is killed
// begins with ".new-" and is removed by Sweep.
//
// Read takes a regular file of root's that nobody else can write, of at most
// Max bytes, with one JSON object that has no unknown field. Anything else is
// an error: a record that isn't understood whole is not believed in part.
//
// Limits: the directory must exist and be root's alone; two processes must not
// write one record.
package record

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Max bounds a record, in bytes.
const Max = 1 << 20

// unfinished begins the names of files that are being written.
const unfinished = ".new-"

// Write puts v, as JSON, into file.
func Write(file string, v any) (err error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if len(text) >= Max {
		return fmt.Errorf("%s: a record of %d bytes is more than %d", file, len(text), Max)
	}
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, unfinished) // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return SyncDir(dir)
}

// Create puts content into a file that is not there yet, durably, and for root
// alone to read. Where there is one the error is fs.ErrExist: of several that
// make it at once, one does.
func Create(file string, content []byte) error {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, unfinished) // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil {
		return err
	}
	return SyncDir(dir)
}

// Remove removes file, durably. That it is gone already is no error.
func Remove(file string) error {
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return SyncDir(filepath.Dir(file))
}

// SyncDir makes what was done to a directory's names durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Read fills v from file.
func Read(file string, v any) error {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: file, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s is not a file of root's that nobody else can write", file)
	}
	text, err := io.ReadAll(io.LimitReader(f, Max+1))
	if err != nil {
		return err
	}
	if len(text) > Max {
		return fmt.Errorf("%s is larger than %d bytes", file, Max)
	}
	return decode(file, text, v)
}

func decode(file string, text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: there is more than one object", file)
	}
	return nil
}

// Sweep removes what a killed Write left in dir.
func Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), unfinished) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
