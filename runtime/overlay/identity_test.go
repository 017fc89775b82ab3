// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Owner and tool change places, both ways, and nobody else moves.
func TestSwapped(t *testing.T) {
	m := testMaker(t)
	root, other := rootfs.Owner{}, rootfs.Owner{UID: 7, GID: 8}
	for _, c := range []struct{ owner, tool rootfs.Owner }{
		{owner, tool},
		{tool, owner},
		{root, tool},
		{owner, owner},
		{rootfs.Owner{UID: 1000, GID: 1000}, rootfs.Owner{UID: 1001, GID: 1001}},
		{rootfs.Owner{UID: 1000, GID: 100}, rootfs.Owner{UID: 1000, GID: 200}},
		{rootfs.Owner{UID: 1000, GID: 0}, rootfs.Owner{UID: 2000, GID: 1}},
		{rootfs.Owner{UID: 1<<32 - 2, GID: 1}, rootfs.Owner{UID: 1, GID: 1<<32 - 2}},
	} {
		t.Run(fmt.Sprint(c.owner, c.tool), func(t *testing.T) {
			w := openDir(t)
			for name, of := range map[string]rootfs.Owner{"owners": c.owner, "tools": c.tool, "others": other, "roots": root} {
				file := filepath.Join(w, name)
				if err := os.WriteFile(file, []byte(name), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chown(file, of.UID, of.GID); err != nil {
					t.Fatal(err)
				}
			}
			// Everybody may write these two, and delete in the directory.
			for name, mode := range map[string]os.FileMode{"others": 0o666, "roots": 0o666, ".": 0o777} {
				if err := os.Chmod(filepath.Join(w, name), mode); err != nil {
					t.Fatal(err)
				}
			}
			before := snapshot(t, w)
			swap := func(o rootfs.Owner) rootfs.Owner {
				uids := map[int]int{c.owner.UID: c.tool.UID, c.tool.UID: c.owner.UID}
				gids := map[int]int{c.owner.GID: c.tool.GID, c.tool.GID: c.owner.GID}
				if id, ok := uids[o.UID]; ok {
					o.UID = id
				}
				if id, ok := gids[o.GID]; ok {
					o.GID = id
				}
				return o
			}
			l := makeLayer(t, m, small)
			if c.tool == root {
				t.Fatal("a shell of root's proves nothing")
			}
			out, err := insideAs(t, l, w, c.owner, c.tool, `
				stat -c "%n %u:%g" owners tools others roots
				echo new > new; echo more >> owners; echo more >> others; echo more >> roots; mv tools moved; rm moved
				stat -c "%n %u:%g" new owners others roots`)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			line := func(name string, o rootfs.Owner) string { return fmt.Sprintf("%s %d:%d\n", name, o.UID, o.GID) }
			want := line("owners", c.tool) + line("tools", swap(c.tool)) + line("others", other) + line("roots", swap(root)) +
				line("new", c.tool) + line("owners", c.tool) + line("others", other) + line("roots", swap(root))
			if out != want {
				t.Errorf("the tool sees\n%s, not\n%s", out, want)
			}
			want = line("new", c.owner) + line("owners", c.owner) + line("others", other) + line("roots", root)
			if got := upper(t, l, `stat -c "%n %u:%g" new owners others roots`); got != want {
				t.Errorf("the layer holds\n%s, not\n%s", got, want)
			}
			if got := upper(t, l, `stat -c "%F %t:%T" tools`); got != "character special file 0:0\n" {
				t.Errorf("the deleted file is %q in the layer", got)
			}
			if after := snapshot(t, w); after != before {
				t.Errorf("the workspace was\n%s\nand is\n%s", before, after)
			}
		})
	}
}

// What isn't the tool's stays out of its reach, as on the host.
func TestOthersFiles(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), "mkdir d; echo x > mine")
	for name, mode := range map[string]os.FileMode{"secret": 0o600, "foreign": 0o644, "d/kept": 0o644} {
		if err := os.WriteFile(filepath.Join(w, name), []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	// A directory of root's in which the workspace's owner may not delete.
	if err := os.Chown(filepath.Join(w, "d"), 0, 0); err != nil {
		t.Fatal(err)
	}
	l := makeLayer(t, m, small)
	inside(t, l, w, `
		! cat secret 2>/dev/null; cat foreign >/dev/null; ! echo x 2>/dev/null >> foreign; ! rm -f d/kept 2>/dev/null
		! chown 0 mine 2>/dev/null; ! chmod 644 secret 2>/dev/null; ! mknod dev c 1 3 2>/dev/null; ! mknod whiteout c 0 0 2>/dev/null
		rm -f foreign; echo mine > foreign`) // in a directory of one's own
	if got := upper(t, l, "ls"); got != "foreign\n" {
		t.Errorf("the layer holds %q", got)
	}
	// Marks of the overlay can't be made by hand.
	tree := mount(t, l, w, owner, tool)
	defer unix.Close(tree)
	at := openDir(t)
	err := rootfs.OnOwnThread(func() error {
		if err := rootfs.Isolate(); err != nil {
			return err
		}
		if err := unix.MoveMount(tree, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return err
		}
		out, err := shell(at, tool, `mkdir made; /usr/bin/python3 -c '
import os
for name in ("trusted.overlay.opaque", "trusted.overlay.redirect", "security.capability"):
    try:
        os.setxattr("made", name, b"y")
        print(name)
    except OSError as e:
        pass
os.setxattr("made", "user.overlay.opaque", b"y")
' || test ! -x /usr/bin/python3`)
		if out != "" {
			t.Errorf("%q could be set", out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The overlay is nosuid and nodev, whatever lies in the workspace.
func TestSetuidAndDevices(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), ":")
	program, err := os.ReadFile("/usr/bin/id")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"copied", "below"} {
		file := filepath.Join(w, name)
		if err := os.WriteFile(file, program, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
			t.Fatal(err)
		}
	}
	device := filepath.Join(w, "zero")
	if err := unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(device, 0o666); err != nil {
		t.Fatal(err)
	}
	l := makeLayer(t, m, small)
	got := inside(t, l, w, `mv below above; ./copied -u; ./copied -g; ./above -u; head -c 1 zero 2>&1 || true
		cp copied own; chmod 6755 own; ./own -u
		grep " $PWD " /proc/self/mountinfo | cut -d" " -f6`)
	want := "61234\n62345\n61234\nhead: cannot open 'zero' for reading: Permission denied\n61234\nrw,nosuid,nodev,relatime\n"
	if got != want {
		t.Errorf("the tool gets\n%s, not\n%s", got, want)
	}
	if got := upper(t, l, "stat -c '%a %U' own above"); !strings.HasPrefix(got, "6755 ") {
		t.Errorf("in the layer it is %q", got) // kept, for the change set to tell
	}
}

func TestIdsAreChecked(t *testing.T) {
	m, w := testMaker(t), workspace(t, openDir(t), ":")
	l := makeLayer(t, m, small)
	lower, err := os.Open(w)
	if err != nil {
		t.Fatal(err)
	}
	defer lower.Close()
	for _, bad := range []rootfs.Owner{{UID: -1}, {GID: -1}, {UID: 1<<32 - 1}, {GID: 1 << 40}} {
		if _, err := l.Mount(int(lower.Fd()), owner, bad); err == nil {
			t.Errorf("a tool with %v has a mount", bad)
		}
		if _, err := l.Mount(int(lower.Fd()), bad, tool); err == nil {
			t.Errorf("an owner with %v has a mount", bad)
		}
	}
}
