// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Listing is one line of a list of profiles.
type Listing struct {
	Name        string
	Description string
	Source      string // a path or "built in: NAME"
	Err         error  // why it can't be used
}

// maxListed is how many entries a profile directory has at most.
const maxListed = 1024

// List gives the profiles of dirs and the built-in ones, sorted by name: what
// Load finds under each name, broken ones with their error. A file that stands
// aside, as a built-in has its name and root doesn't own it alone, is listed
// with the error that says so. Directories that don't exist are passed over.
func List(dirs []string) ([]Listing, error) {
	names := map[string]bool{}
	for _, n := range Builtins() {
		names[n] = true
	}
	var list []Listing
	for _, dir := range dirs {
		files, err := profileFiles(dir)
		if err != nil {
			return nil, err
		}
		for _, path := range files {
			name := strings.TrimSuffix(filepath.Base(path), ".toml")
			if err := checkName(name); err != nil {
				list = append(list, Listing{Name: name, Source: path, Err: &Error{File: path, Text: err.Error()}})
				continue
			}
			names[name] = true
			if _, err := findIn(dir, name); isBuiltin(name) && errors.Is(err, fs.ErrNotExist) {
				list = append(list, Listing{Name: name, Source: path, Err: &Error{File: path,
					Text: "is not used, as a built-in profile has its name and root doesn't own it alone; rename it, or chown root and chmod go-w the file and its directory"}})
			}
		}
	}
	for name := range names {
		l, err := Load(name, dirs)
		if err != nil {
			list = append(list, Listing{Name: name, Source: sourceOf(name, dirs), Err: err})
			continue
		}
		list = append(list, Listing{Name: name, Description: l.Profile.Description, Source: l.Source})
	}
	slices.SortFunc(list, func(a, b Listing) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Source, b.Source))
	})
	return list, nil
}

// profileFiles gives the paths of dir's entries that end in .toml; none if
// there is no such directory.
func profileFiles(dir string) ([]string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{File: dir, Text: "the profile directory can't be opened: " + errors.Unwrap(err).Error()}
	}
	defer f.Close()
	names, err := f.Readdirnames(maxListed + 1)
	if err != nil && err != io.EOF {
		return nil, &Error{File: dir, Text: "the profile directory can't be read: " + err.Error()}
	}
	if len(names) > maxListed {
		return nil, &Error{File: dir, Text: fmt.Sprintf("the profile directory has more than %d entries; it should hold profiles alone", maxListed)}
	}
	var files []string
	for _, n := range names {
		if strings.HasSuffix(n, ".toml") {
			files = append(files, filepath.Join(dir, n))
		}
	}
	return files, nil
}

// sourceOf gives where Load looks first for a name that it can't load.
func sourceOf(name string, dirs []string) string {
	for _, dir := range dirs {
		path := filepath.Join(dir, name+".toml")
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return "built in: " + name
}
