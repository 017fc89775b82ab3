// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// write puts text into a file of a group in one system call. It never creates a file.
func write(dir, name, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// read returns a file of a group without the newline at its end.
func read(dir, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	return strings.TrimSpace(string(text)), err
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
		return 0, fmt.Errorf("%s has no number for %s", filepath.Join(dir, name), key)
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
