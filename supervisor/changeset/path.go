// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// proper says whether a path is one of a set: not empty, without NUL, without
// empty names, "." and "..".
func proper(path string) bool {
	if path == "" || len(path) > MaxPath || strings.IndexByte(path, 0) >= 0 {
		return false
	}
	for more := true; more; {
		var name string
		name, path, more = strings.Cut(path, "/")
		if name == "" || name == "." || name == ".." || len(name) > unix.NAME_MAX {
			return false
		}
	}
	return true
}

// join gives the path of a name in a directory; that of the root is empty.
func join(dir, name string) (string, error) {
	if dir == "" {
		return name, nil
	}
	if len(dir)+1+len(name) > MaxPath {
		return "", fmt.Errorf("%w: a path of more than %d bytes", ErrTooMany, MaxPath)
	}
	return dir + "/" + name, nil
}

// compare orders paths byte by byte, '/' before every other byte.
func compare(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if x, y := a[i], b[i]; x != y {
			switch {
			case x == '/':
				return -1
			case y == '/' || x > y:
				return 1
			}
			return -1
		}
	}
	return len(a) - len(b)
}

// inside says whether a path is beneath a directory.
func inside(dir, path string) bool {
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}

// LeadsOut says whether a symbolic link at a path may lead out of the workspace.
// Nothing is resolved: what comes after a name may be anywhere once it goes up,
// since the name may be that of another link.
func LeadsOut(path, target string) bool {
	if strings.HasPrefix(target, "/") {
		return true
	}
	up, named := strings.Count(path, "/"), false
	for name := range strings.SplitSeq(target, "/") {
		switch name {
		case "", ".":
		case "..":
			if up--; up < 0 || named {
				return true
			}
		default:
			named = true
		}
	}
	return false
}
