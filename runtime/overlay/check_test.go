// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

func TestCheck(t *testing.T) {
	m, dir := testMaker(t), t.TempDir()
	w, refused := openDir(t), overlayDir(t)
	all := m.Check(dir, small, w, refused, filepath.Join(dir, "absent"))
	var good []string
	for _, r := range all {
		switch r.Name {
		case "a layer over " + refused:
			if r.Err == nil || !strings.Contains(r.Err.Error(), "overlay") || r.Do != doMove {
				t.Errorf("%s: %v; %s", r.Name, r.Err, r.Do)
			}
		case "a layer over " + filepath.Join(dir, "absent"):
			if !errors.Is(r.Err, os.ErrNotExist) {
				t.Errorf("%s: %v", r.Name, r.Err)
			}
		default:
			if r.Err != nil {
				t.Errorf("%s: %v; %s", r.Name, r.Err, r.Do)
			}
			good = append(good, r.Name)
		}
	}
	if len(all) != 9 || len(good) != 7 {
		t.Errorf("%d were checked, of which good: %q", len(all), good)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v is left: %v", entries, err)
	}
	if all := m.Check(dir, Size{Bytes: maxBytes, Files: 1}, w); all[len(all)-1].Name != "room for a layer in "+dir || all[len(all)-1].Do == "" {
		t.Errorf("for a layer larger than the disk: %v", all[len(all)-1])
	}
}

// Each thing that a host may lack is an error that says what to do, from Make
// and from Check, and nothing is left behind.
func TestMissing(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	bind := func(over string) error { return unix.Mount(empty, over, "", unix.MS_BIND, "") }
	for _, c := range []struct {
		name, do string
		hide     func(dir string) error
	}{
		{"mke2fs", "install e2fsprogs", func(string) error {
			for _, place := range mke2fsPlaces {
				if _, err := os.Stat(place); err == nil {
					if err := bind(place); err != nil {
						return err
					}
				}
			}
			return nil
		}},
		{"loop devices", "modprobe loop", func(string) error {
			if err := unix.Mount("tmpfs", "/dev", "tmpfs", 0, ""); err != nil {
				return err
			}
			return unix.Mknod("/dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3)))
		}},
		{"room for a layer", "read-only", func(dir string) error {
			if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
				return err
			}
			return unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}},
		{"room for a layer", "make room", func(dir string) error { return unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m") }},
	} {
		t.Run(c.do, func(t *testing.T) {
			// A maker without any empty image yet.
			dir := t.TempDir()
			m := New(mkdir(t, dir, "stage"), "/bin/true", "")
			state := mkdir(t, dir, "state")
			var made error
			var checked []Requirement
			err := rootfs.OnOwnThread(func() error {
				if err := errors.Join(rootfs.Isolate(), c.hide(state)); err != nil {
					return err
				}
				_, made = m.Make(filepath.Join(state, "layer.img"), small, owner)
				checked = m.Check(state, small)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !isRefusal(made) || !strings.Contains(made.Error(), c.do) {
				t.Errorf("Make: %v", made)
			}
			missing := 0
			for _, r := range checked {
				if strings.HasPrefix(r.Name, c.name) {
					if r.Err == nil || !strings.Contains(r.Do, c.do) {
						t.Errorf("%s: %v; %s", r.Name, r.Err, r.Do)
					}
					missing++
				} else if r.Err != nil {
					t.Errorf("%s: %v; %s", r.Name, r.Err, r.Do)
				}
			}
			if missing != 1 || len(checked) != 5 {
				t.Errorf("%v was checked", checked)
			}
			if entries, err := os.ReadDir(state); err != nil || len(entries) > 0 {
				t.Errorf("%v is left: %v", entries, err)
			}
		})
	}
}
