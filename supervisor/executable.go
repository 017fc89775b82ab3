// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
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

// resolve follows path as the kernel would in the box.
func (v view) resolve(path string) (box, host string, ok bool) {
	links := 0
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
				return "", "", false
			}
			at = next // a directory that leads to a place, or one in memory
			continue
		}
		to, err := os.Readlink(source)
		if err != nil {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", "", false
		}
		if filepath.IsAbs(to) {
			at = "/"
		}
		rest = append(strings.Split(to, "/"), rest...)
	}
	return at, v.host(at), v.host(at) != ""
}

// above reports whether path is a place or leads to one.
func (v view) above(path string) bool {
	return slices.ContainsFunc(v, func(s shownAt) bool { return strings.HasPrefix(s.place+"/", path+"/") })
}

// find gives the executable that a command means in the box.
func (v view) find(argv0, dir string, env []string) Executable {
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
		box, host, ok := v.resolve(c)
		if !ok {
			continue
		}
		var st unix.Stat_t
		if unix.Lstat(host, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
			continue
		}
		return Executable{Path: box, Host: host, Identity: identityOf(&st), Size: st.Size, Changed: st.Ctim.Nano()}
	}
	return Executable{}
}
