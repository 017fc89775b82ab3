// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
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

// step is one component on the way to a file: what the box shows of the host
// there, and where that leads if it is a link.
type step struct {
	shownAt
	link string // empty: it is none
}

// look is a look at a view, of one moment: what it saw once it doesn't ask the
// host for again.
type look struct {
	view
	seen   []step
	buffer [4096]byte // a link is at most PATH_MAX long, with its NUL
}

func (v view) look() *look { return &look{view: v} }

// systemPlaces are what a box without a rootfs shows of the host, links
// included, as far as programs are found through it.
var systemPlaces = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc/alternatives"}

func viewOf(spec *runtime.Spec) view {
	v := make(view, 0, len(systemPlaces)+len(spec.Read)+len(spec.Binds)+len(spec.Tmpfs))
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

// host gives the host's path for one of the box, which is in its shortest form;
// "" if it shows none there.
func (v view) host(path string) string {
	for _, s := range v {
		if !strings.HasPrefix(path, s.place) {
			continue
		}
		switch rest := path[len(s.place):]; {
		case rest != "" && rest[0] != '/' && s.place != "/":
			continue
		case s.source == "":
			return ""
		case rest == "":
			return s.source
		case rest[0] == '/' && s.source != "/":
			return s.source + rest
		default:
			return filepath.Join(s.source, rest)
		}
	}
	return ""
}

// maxLinks is how many symbolic links the kernel follows (path_resolution(7)).
const maxLinks = 40

// resolve follows path as the kernel would in the box. The way is what it
// passed, also where it leads nowhere.
func (l *look) resolve(path string) (box, host string, ok bool, way way) {
	way = make([]shownAt, 0, 8)
	links := 0
	at, rest := "/", path
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}
		next := at + "/" + name
		if at == "/" {
			next = "/" + name
		}
		s, ok, err := l.step(next)
		if !ok {
			if !l.above(next) {
				return "", "", false, way
			}
			at = next // a directory that leads to a place, or one in memory
			continue
		}
		way = append(way, s.shownAt)
		if err != nil { // nothing there
			return "", "", false, way
		}
		if s.link == "" {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", "", false, way
		}
		if filepath.IsAbs(s.link) {
			at = "/"
		}
		rest = s.link + "/" + rest
	}
	host = l.host(at)
	return at, host, host != "", way
}

// step looks at one path of the box; not ok: it shows nothing of the host there.
func (l *look) step(path string) (s step, ok bool, err error) {
	for _, s := range l.seen {
		if s.place == path {
			return s, true, nil
		}
	}
	source := l.host(path)
	if source == "" {
		return step{}, false, nil
	}
	s = step{shownAt: shownAt{path, source}}
	n, err := unix.Readlink(source, l.buffer[:])
	switch {
	case err == nil && n > 0:
		s.link = string(l.buffer[:n])
	case !errors.Is(err, unix.EINVAL): // EINVAL: no link
		return s, true, unix.ENOENT
	}
	l.seen = append(l.seen, s)
	return s, true, nil
}

// way is what was passed on the way to a file.
type way []shownAt

// firm says that root alone decides where it leads.
func (w way) firm() bool {
	known := map[string]bool{}
	return !slices.ContainsFunc(w, func(s shownAt) bool { return s.open(known) })
}

// open reports whether others than root can change or exchange the file: it
// is in the workspace, or they can write it or a directory above it. known are
// paths of the host of which that is sure already, down from the root.
func (s shownAt) open(known map[string]bool) bool {
	if s.place == rootfs.WorkspaceDir || strings.HasPrefix(s.place, rootfs.WorkspaceDir+"/") {
		return true
	}
	missing := false
	for path := s.source; ; path = filepath.Dir(path) {
		if known[path] && !missing {
			return false
		}
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
			break
		}
		missing = false
	}
	for path := s.source; !known[path]; path = filepath.Dir(path) {
		known[path] = true
	}
	return false
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
	as  string // of the box; not looked up in PATH any more
	way way
}

// firm says that root alone decides what file that is, and what is in it.
func (f *found) firm() bool { return f.Path != "" && f.way.firm() }

// firm is that of the executable at a path.
func (v view) firm(path string) bool {
	f := v.search(path, "/", nil)
	return f.firm()
}

func (v view) search(argv0, dir string, env []string) found {
	l := v.look()
	executable := func(path string) (found, bool) {
		f, mode, ok := l.regular(path)
		return f, ok && mode&0o111 != 0
	}
	switch {
	case strings.HasPrefix(argv0, "/"):
		if f, ok := executable(argv0); ok {
			return f
		}
	case strings.Contains(argv0, "/"):
		if f, ok := executable(dir + "/" + argv0); ok {
			return f
		}
	default:
		for _, e := range env {
			list, ok := strings.CutPrefix(e, "PATH=")
			if !ok {
				continue
			}
			for d := range strings.SplitSeq(list, ":") {
				if f, ok := executable(d + "/" + argv0); ok {
					return f
				}
			}
		}
	}
	return found{}
}
