// SPDX-License-Identifier: Apache-2.0

package skills

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Find returns the folder that ref means, as an absolute path without symbolic
// links. A ref with a slash, "." and ".." are paths, resolved as the kernel
// would. Anything else is a skill's name and is looked up below each of paths in
// turn; paths must be absolute, and no component of them or of what they hold
// may be a symbolic link, since the owner of a skill path need not be root.
//
// Find only says where; whether the folder is a skill is for Store.Add.
func Find(ref string, paths []string) (string, error) {
	if strings.IndexByte(ref, 0) >= 0 {
		return "", fmt.Errorf("skill %s: there is a NUL byte in it", quote(ref))
	}
	if strings.ContainsRune(ref, '/') || ref == "." || ref == ".." {
		return findPath(ref)
	}
	if err := checkName(ref); err != nil {
		return "", fmt.Errorf("%w (a path to a folder needs a slash in it)", err)
	}
	return findName(ref, paths)
}

func findPath(ref string) (string, error) {
	dir, err := filepath.Abs(ref)
	if err != nil {
		return "", fmt.Errorf("skill %s: %w", quote(ref), err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", fmt.Errorf("skill %s: %w", quote(ref), cause(err))
	}
	if err := isFolder(dir); err != nil {
		return "", fmt.Errorf("skill %s: %w", quote(ref), err)
	}
	return dir, nil
}

func findName(name string, paths []string) (string, error) {
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			return "", fmt.Errorf("skill path %s is not absolute; give it with a leading slash", quote(p))
		}
		dir := filepath.Join(p, name)
		err := isFolder(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("skill %s in %s: %w", quote(name), quote(p), err)
		}
		return dir, nil
	}
	if len(paths) == 0 {
		return "", fmt.Errorf("no skill %s: no skill paths are configured; give the folder's path, such as ./%s", quote(name), name)
	}
	shown := make([]string, len(paths))
	for i, p := range paths {
		shown[i] = quote(p)
	}
	return "", fmt.Errorf("no skill %s: looked in %s", quote(name), strings.Join(shown, ", "))
}

// isFolder says whether dir itself, not what it links to, is a directory.
func isFolder(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return cause(err)
	case info.Mode()&fs.ModeSymlink != 0:
		return errors.New("it is a symbolic link; give the path of the folder itself")
	case !info.IsDir():
		return errors.New("it is not a folder")
	}
	return nil
}

// cause drops the path that package os puts into its errors, which may hold
// characters that a terminal acts on: the caller has said it, quoted.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
