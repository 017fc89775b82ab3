// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What a call wrote outlives the process that had the layer open, killed in
// whatever way, and nothing has to be cleaned up.
func TestKilled(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), "echo old > file; mkdir dir")
	dir := t.TempDir()
	if err := os.Symlink(w, filepath.Join(dir, "workspace")); err != nil {
		t.Fatal(err)
	}
	mkdir(t, dir, "stage")
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), victimEnv+"="+dir)
	c.Stderr = os.Stderr
	if _, err := c.StdinPipe(); err != nil { // open until it is killed
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ready := make([]byte, 6)
	_, err = io.ReadFull(out, ready)
	_ = c.Process.Kill()
	_ = c.Wait()
	if err != nil || string(ready) != "ready\n" {
		t.Fatalf("the victim said %q: %v", ready, err)
	}
	image := filepath.Join(dir, "layer.img")
	l, err := m.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	if got := upper(t, l, "cat file; ls"); got != "new\ndir\nfile\n" {
		t.Errorf("the layer holds %q", got)
	}
	if n := attachedTo(t, image); n != 1 {
		t.Errorf("%d devices have the image", n)
	}
	// And it can go on.
	inside(t, l, w, "[ $(cat file) = new ]; echo newer > file")
	if got := upper(t, l, "cat file"); got != "newer\n" {
		t.Errorf("then the layer holds %q", got)
	}
	if err := l.Discard(); err != nil {
		t.Fatal(err)
	}
	awaitDetached(t, image)
}

// victim opens a layer, has it mounted, writes into it, and waits for the end.
func victim(dir string) int {
	err := func() error {
		m := &Maker{Stage: filepath.Join(dir, "stage"), Program: "/bin/true"}
		l, err := m.Make(filepath.Join(dir, "layer.img"), small, owner)
		if err != nil {
			return err
		}
		lower, err := os.Open(filepath.Join(dir, "workspace"))
		if err != nil {
			return err
		}
		tree, err := l.Mount(int(lower.Fd()), owner, tool)
		if err != nil {
			return err
		}
		for path, mode := range map[string]uint32{"file": unix.S_IFREG, "dir": unix.S_IFDIR} {
			name := fmt.Sprintf("/proc/self/fd/%d/%s", tree, path)
			if mode == unix.S_IFREG {
				err = os.WriteFile(name, []byte("new\n"), 0)
			} else {
				err = os.Chmod(name, 0o711)
			}
			if err != nil {
				return err
			}
		}
		fmt.Println("ready")
		_, err = io.Copy(io.Discard, os.Stdin) // until it is killed, or the parent's end
		return err
	}()
	fmt.Fprintln(os.Stderr, err)
	return 1
}
