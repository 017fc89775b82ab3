// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// open opens a file or directory of a group; it never creates one. Go's own files would be registered with its poller, since
// these can be polled, at the price of four more system calls for each.
func open(name string, flags int) (int, error) {
	for {
		fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}

// openFile is open of what stays open or is handed out.
func openFile(name string, flags int) (*os.File, error) {
	fd, err := open(name, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// put writes text to a file of a group in one system call.
func put(fd int, name, text string) error {
	for {
		_, err := unix.Write(fd, []byte(text))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "write", Path: name, Err: err}
		}
	}
}

// get reads a file of a group from its beginning, without white space around it.
func get(fd int, name string) (string, error) {
	// Nearly all have less than this, and what is less than a page the kernel gives at once (seq_file.rst): then there is no
	// end to be asked for.
	var first [512]byte
	text := first[:0]
	for {
		if len(text) == cap(text) {
			text = slices.Grow(text, cap(text))
		}
		n, err := unix.Pread(fd, text[len(text):cap(text)], int64(len(text)))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", &os.PathError{Op: "read", Path: name, Err: err}
		}
		text = text[:len(text)+n]
		if n == 0 || len(text) < len(first) {
			return string(bytes.TrimSpace(text)), nil
		}
	}
}

// write puts text into a file of a group in one system call.
func write(dir, file, text string) error {
	name := dir + "/" + file
	fd, err := open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return put(fd, name, text)
}

// read returns a file of a group without white space around it.
func read(dir, file string) (string, error) {
	name := dir + "/" + file
	fd, err := open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return get(fd, name)
}

// readAt reads a file that stays open; it fails when the group is gone.
func readAt(f *os.File) (string, error) {
	var buf [512]byte
	n, err := f.ReadAt(buf[:], 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return string(buf[:n]), nil
}

// gone reports whether err says that a group or its file no longer exists. A file that was open when its group was
// removed answers ENODEV.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

// value returns the number behind key in a flat keyed file ("key number" lines), and whether the key is there.
func value(text, key string) (uint64, bool) {
	for line := range strings.Lines(text) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if k != key {
			continue
		}
		n, err := strconv.ParseUint(v, 10, 64)
		return n, err == nil
	}
	return 0, false
}

// readValue reads the number behind key from a flat keyed file of a group.
func readValue(dir, name, key string) (uint64, error) {
	text, err := read(dir, name)
	if err != nil {
		return 0, err
	}
	n, ok := value(text, key)
	if !ok {
		return 0, fmt.Errorf("%s/%s has no number for %s", dir, name, key)
	}
	return n, nil
}

// groups returns dir and all groups below it, children before parents; nothing if dir does not exist.
func groups(dir string) ([]string, error) {
	var st unix.Stat_t
	switch err := unix.Lstat(dir, &st); {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case err != nil:
		return nil, &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Nlink <= 2 { // the kernel counts child groups there; listing some forty files to find none is dear
		return []string{dir}, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !gone(err) {
		return nil, err
	}
	var all []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		below, err := groups(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return append(all, dir), nil
}

// members returns the ids of the processes in one group; none if it does not exist. The file must be opened anew for each
// reading: v1 shows an open one what it saw first.
func members(dir string) ([]int, error) {
	text, err := read(dir, "cgroup.procs")
	// A threaded v2 group has no list; its processes are in that of the nearest domain above, the leaf or below it.
	if err != nil && !gone(err) && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, err
	}
	var pids []int
	for line := range strings.FieldsSeq(text) {
		pid, err := strconv.Atoi(line)
		if err != nil {
			return nil, fmt.Errorf("%s/cgroup.procs: %w", dir, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// processes returns the ids of all processes in the groups at and below each of dirs, sorted and without repetition.
// Groups that don't exist have none.
func processes(dirs []string) ([]int, error) {
	var pids []int
	for _, dir := range dirs {
		tree, err := groups(dir)
		if err != nil {
			return nil, err
		}
		for _, g := range tree {
			more, err := members(g)
			if err != nil {
				return nil, err
			}
			pids = append(pids, more...)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// describe names up to three processes for an error message.
func describe(pids []int) string {
	var b strings.Builder
	for i, pid := range pids {
		if i == 3 {
			fmt.Fprintf(&b, " and %d more", len(pids)-i)
			break
		}
		comm, _ := read("/proc/"+strconv.Itoa(pid), "comm")
		fmt.Fprintf(&b, " %d (%q)", pid, comm)
	}
	return strings.TrimSpace(b.String())
}
