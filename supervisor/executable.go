// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Executable is the file that a command means, found through the box's tree
// from the host's side. The zero Executable means that it could not be told:
// it may be in a place that only the box has.
type Executable struct {
	Path     string // in the box, links resolved
	Host     string // the same file on the host
	Identity rootfs.Identity
	Size     int64
	Changed  int64 // ctime, in nanoseconds since 1970
}

// shownAt says which directory of the host a box shows at a place.
type shownAt struct{ place, source string }

// view is the box's tree as far as it shows the host's, deepest places first.
type view []shownAt

// systemPlaces are what a box without a rootfs shows of the host, links
// included, as far as programs are found through it.
var systemPlaces = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives"}

func viewOf(spec *runtime.Spec) view {
	var v view
	if spec.Rootfs != "" {
		v = append(v, shownAt{"/", spec.Rootfs})
	} else {
		for _, p := range systemPlaces {
			v = append(v, shownAt{p, p})
		}
	}
	for _, p := range spec.Read {
		v = append(v, shownAt{p, p})
	}
	for _, b := range spec.Binds {
		v = append(v, shownAt{b.Target, b.Source})
	}
	for _, t := range spec.Tmpfs {
		v = append(v, shownAt{t.Target, ""})
	}
	slices.SortStableFunc(v, func(a, b shownAt) int { return len(b.place) - len(a.place) })
	return v
}

// host gives the host's path for one of the box; "" if it shows none there.
func (v view) host(path string) string {
	for _, s := range v {
		rest, ok := strings.CutPrefix(path, s.place)
		if ok && (rest == "" || rest[0] == '/' || s.place == "/") {
			if s.source == "" {
				return ""
			}
			return filepath.Join(s.source, rest)
		}
	}
	return ""
}

// maxLinks is how many symbolic links the kernel follows (path_resolution(7)).
const maxLinks = 40

// resolve follows path as the kernel would in the box. firm says that root
// alone decides where it leads; it counts for a path that leads nowhere, too.
func (v view) resolve(path string) (box, host string, ok bool, firm func() bool) {
	links := 0
	var way []shownAt
	firm = func() bool { return !slices.ContainsFunc(way, shownAt.open) }
	rest := strings.Split(path, "/")
	at := "/"
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := filepath.Join(at, name)
		source := v.host(next)
		if source == "" {
			if !v.above(next) {
				return "", "", false, firm
			}
			at = next // a directory that leads to a place, or one in memory
			continue
		}
		way = append(way, shownAt{next, source})
		to, err := os.Readlink(source)
		if errors.Is(err, unix.EINVAL) { // no link
			at = next
			continue
		}
		if err != nil { // nothing there
			return "", "", false, firm
		}
		if links++; links > maxLinks {
			return "", "", false, firm
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return at, v.host(at), v.host(at) != "", firm
}

// open reports whether others than root can change or exchange the file: it
// is in the workspace, or they can write it or a directory above it.
func (s shownAt) open() bool {
	if s.place == rootfs.WorkspaceDir || strings.HasPrefix(s.place, rootfs.WorkspaceDir+"/") {
		return true
	}
	missing := false
	for path := s.source; ; path = filepath.Dir(path) {
		var st unix.Stat_t
		switch err := unix.Lstat(path, &st); {
		case err == unix.ENOENT && path != "/":
			missing = true // whoever can write the directory could make it
			continue
		case err != nil || st.Uid != 0:
			return true
		}
		// In a sticky directory others can make files, and not touch root's (unlink(2)).
		sticky := st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0 && !missing
		if link := st.Mode&unix.S_IFMT == unix.S_IFLNK; st.Mode&0o022 != 0 && !link && !sticky {
			return true
		}
		if path == "/" {
			return false
		}
		missing = false
	}
}

// above reports whether path is a place or leads to one.
func (v view) above(path string) bool {
	return slices.ContainsFunc(v, func(s shownAt) bool { return strings.HasPrefix(s.place+"/", path+"/") })
}

// find gives the executable that a command means in the box.
func (v view) find(argv0, dir string, env []string) Executable {
	return v.search(argv0, dir, env).Executable
}

// found is an executable with the path that led to it.
type found struct {
	Executable
	as   string // of the box; not looked up in PATH any more
	firm bool   // root alone decides what file that is, and what is in it
}

func (v view) search(argv0, dir string, env []string) found {
	var candidates []string
	switch {
	case strings.HasPrefix(argv0, "/"):
		candidates = []string{argv0}
	case strings.Contains(argv0, "/"):
		candidates = []string{dir + "/" + argv0}
	default:
		for _, e := range env {
			if list, ok := strings.CutPrefix(e, "PATH="); ok {
				for _, d := range strings.Split(list, ":") {
					candidates = append(candidates, d+"/"+argv0)
				}
			}
		}
	}
	for _, c := range candidates {
		if f, mode, ok := v.regular(c); ok && mode&0o111 != 0 {
			return f
		}
	}
	return found{}
}
