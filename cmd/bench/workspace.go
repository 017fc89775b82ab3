// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// ownerID is uid and gid of the workspaces' owner: no account of the host, and
// not root, whose rights a commit gives up.
const ownerID = 51000

// fresh are workspaces of which each call has one of its own, as it was made.
type fresh struct {
	dir  string
	fill func(dir string) error // nil: it begins empty
	heap bool                   // what the calls made stays until the end
}

// path is the workspace of a call; as an argument of what is spawned, with
// callNumber in it, that of any.
func (f fresh) path(n int) string { return filepath.Join(f.dir, fmt.Sprintf("0-%d", n)) }

func (f fresh) spawned() string { return filepath.Join(f.dir, callNumber) }

// before makes the workspace of a call, and removes the one before. Many files
// are better left: on ext4 without a journal those made next are slower for
// minutes, since it looks for an inode that was not deleted just now
// (fs/ext4/ialloc.c, recently_deleted).
func (f fresh) before(n int) error {
	dir := f.path(n)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if !f.heap {
		if err := os.RemoveAll(f.path(n - 1)); err != nil {
			return err
		}
	}
	if f.fill != nil {
		if err := f.fill(dir); err != nil {
			return err
		}
	}
	return owned(dir)
}

// owned gives a tree to the workspaces' owner.
func owned(dir string) error {
	return filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, ownerID, ownerID))
	})
}

// perFolder is how many files a folder of a wide workspace has.
const perFolder = 1000

// makeWide makes a workspace of so many empty files, besides those that
// touchThree touches.
func makeWide(dir string, files int) error {
	var group sync.WaitGroup
	const workers = 2
	failed := make([]error, workers)
	for w := range workers {
		group.Go(func() {
			for d := w; d*perFolder < files; d += workers {
				folder := filepath.Join(dir, fmt.Sprintf("folder%d", d))
				failed[w] = os.MkdirAll(folder, 0o755)
				for i := d * perFolder; i < min((d+1)*perFolder, files) && failed[w] == nil; i++ {
					failed[w] = os.WriteFile(filepath.Join(folder, fmt.Sprintf("file%d", i)), nil, 0o644)
				}
			}
		})
	}
	group.Wait()
	err := writeFiles(dir, map[string]string{"at/kept": "line\n", "at/new-": "to be deleted\n"})
	return errors.Join(append(failed, err, owned(dir))...)
}

// The package tree: so many packages with so many files each.
const (
	treePackages = 40
	treeFiles    = 50
)

// makeTarballs writes the packages of a tree as npm packs them, beside a
// package.json that wants them all.
func makeTarballs(dir string) error {
	wants := ""
	for p := range treePackages {
		text, err := tarball(p)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("package%d", p)
		if err := writeFiles(dir, map[string]string{"tarballs/" + name + ".tgz": string(text)}); err != nil {
			return err
		}
		if p > 0 {
			wants += ", "
		}
		wants += fmt.Sprintf("%q: %q", name, "file:tarballs/"+name+".tgz")
	}
	return writeFiles(dir, map[string]string{"package.json": "{\"name\": \"tree\", \"version\": \"1.0.0\", \"dependencies\": {" + wants + "}}\n"})
}

// tarball is one package.
func tarball(p int) ([]byte, error) {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	add := func(name, text string) error {
		err := w.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		_, werr := w.Write([]byte(text))
		return errors.Join(err, werr)
	}
	err := add("package.json", fmt.Sprintf("{\"name\": \"package%d\", \"version\": \"1.0.0\", \"main\": \"lib/file0.js\"}\n", p))
	for f := range treeFiles - 1 {
		err = errors.Join(err, add(fmt.Sprintf("lib/part%d/file%d.js", f%5, f),
			fmt.Sprintf("module.exports = %d;\n%s", f, bytes.Repeat([]byte("// a line of a library\n"), 20+p))))
	}
	err = errors.Join(err, w.Close(), zip.Close())
	return out.Bytes(), err
}

// makeOwnedRepository is makeRepository for the workspaces' owner, whom the index
// knows.
func makeOwnedRepository(dir string) error {
	if err := makeRepository(dir); err != nil {
		return err
	}
	repository := filepath.Join(dir, "repository")
	if err := owned(repository); err != nil {
		return err
	}
	if out, err := exec.Command("/usr/bin/git", "-c", "safe.directory=*", "-C", repository, "update-index", "-q", "--refresh").CombinedOutput(); err != nil {
		return fmt.Errorf("git update-index: %w: %s", err, out)
	}
	// And no more than what this wrote: the index has the times of the files.
	return owned(filepath.Join(repository, ".git"))
}

// makeFlat makes a directory of so many small files.
func makeFlat(dir string, files int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d", i)), []byte("what was there before\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}
