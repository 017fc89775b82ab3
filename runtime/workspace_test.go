// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
)

const ownerUID, ownerGID = 4242, 4343

// workspace makes a directory of somebody's, with a private file of theirs
// and one of root's.
func workspace(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "clawsup-workspace-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, owner := range map[string]int{"mine": ownerUID, "roots": 0} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, owner, ownerGID); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, ownerUID, ownerGID); err != nil {
		t.Fatal(err)
	}
	return dir
}

// workspaceSpec shows dir at /workspace instead of a scratch directory.
func workspaceSpec(t *testing.T, h *Host, dir string, writable bool) Spec {
	spec := probeSpec(t, h)
	spec.Tmpfs = spec.Tmpfs[:2]
	spec.Binds = append(spec.Binds, rootfs.Bind{
		Source: dir, Target: rootfs.WorkspaceDir, Writable: writable,
		Owner: &rootfs.Owner{UID: ownerUID, GID: ownerGID},
	})
	return spec
}

func TestWorkspaceKeepsItsOwner(t *testing.T) {
	h := testHost(t)
	dir := workspace(t)
	o := runCall(t, h, workspaceSpec(t, h, dir, true),
		testCall("sh", "-c", "cat mine; stat -c ' %u %g' mine; echo new > made; mkdir sub; mv mine sub/; cat roots"), "")
	if !strings.HasPrefix(o.out, "mine 1000 1000\n") || !strings.Contains(o.err, "roots: Permission denied") {
		t.Errorf("%q %q", o.out, o.err)
	}
	for _, file := range []string{"made", "sub", "sub/mine"} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, file), &st); err != nil || st.Uid != ownerUID || st.Gid != ownerGID {
			t.Errorf("%s: %v, owner %d:%d", file, err, st.Uid, st.Gid)
		}
	}
}

func TestReadOnlyWorkspace(t *testing.T) {
	h := testHost(t)
	dir := workspace(t)
	spec := workspaceSpec(t, h, dir, false)
	if o := runCall(t, h, spec, testCall("cat", "mine"), ""); o.out != "mine" {
		t.Errorf("%+v %q %q", o.Result, o.out, o.err)
	}
	for _, probe := range []string{"append", "truncate", "remove"} {
		if got := attack(t, h, spec, probe, "/workspace/mine"); got != "refused EROFS" && got != "refused EACCES" {
			t.Errorf("%s: %s", probe, got)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "mine"))
	if err != nil || string(b) != "mine" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

// TestNothingArmedLeavesTheWorkspace tries to bring out what would have power
// on the host.
func TestNothingArmedLeavesTheWorkspace(t *testing.T) {
	h := testHost(t)
	dir := workspace(t)
	spec := workspaceSpec(t, h, dir, true)
	for _, probe := range []string{"setuid", "setuid-open", "mknod", "fifo", "socket", "filecap"} {
		if got := attack(t, h, spec, probe, rootfs.WorkspaceDir); !strings.HasPrefix(got, "refused E") &&
			!strings.Contains(got, "permission denied") && !strings.Contains(got, "operation not permitted") {
			t.Errorf("%s: %s", probe, got)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if m := info.Mode(); m&(os.ModeSetuid|os.ModeSetgid|os.ModeDevice|os.ModeNamedPipe|os.ModeSocket) != 0 {
			t.Errorf("%s came out as %v", e.Name(), m)
		}
		if n, err := unix.Getxattr(filepath.Join(dir, e.Name()), "security.capability", nil); err == nil && n > 0 {
			t.Errorf("%s came out with capabilities", e.Name())
		}
	}
}

// TestLinksResolveInTheBox plants links that point out: what they name is
// the box's, not the host's.
func TestLinksResolveInTheBox(t *testing.T) {
	h := testHost(t)
	dir := workspace(t)
	file, alive := canary(t)
	for name, to := range map[string]string{"absolute": file, "dots": "../../../../../.." + file, "root": "/"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	spec := workspaceSpec(t, h, dir, true)
	for _, target := range []string{"absolute", "dots", "root" + file} {
		got := attack(t, h, spec, "write", "/workspace/"+target)
		if got != "refused ENOENT" && got != "refused EACCES" && got != "refused EROFS" {
			t.Errorf("%s: %s", target, got)
		}
	}
	alive()
}

// TestSubmountsStayOut mounts something inside the workspace: the box sees
// the empty directory beneath it.
func TestSubmountsStayOut(t *testing.T) {
	h := testHost(t)
	dir := workspace(t)
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", sub, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(sub, 0) })
	if err := os.WriteFile(filepath.Join(sub, "other"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if o := runCall(t, h, workspaceSpec(t, h, dir, true), testCall("ls", "-A", "sub"), ""); o.out != "" || o.ExitCode != 0 {
		t.Errorf("%+v %q %q", o.Result, o.out, o.err)
	}
}

func TestPreparationRefuses(t *testing.T) {
	h := testHost(t)
	dir := workspace(t)
	link := dir + "-link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(link) })
	for name, test := range map[string]struct {
		change func(*Spec)
		step   Step
		says   string
	}{
		"a link":        {func(s *Spec) { s.Binds[1].Source = link }, StepMount, "symbolic link"},
		"a link before": {func(s *Spec) { s.Binds[1].Source = link + "/mine" }, StepMount, "symbolic link"},
		"nothing":       {func(s *Spec) { s.Binds[1].Source = dir + "/none" }, StepMount, "no such file"},
		"another file":  {func(s *Spec) { s.Binds[1].Identity = rootfs.Identity{Dev: 1, Ino: 2} }, StepMount, "another file"},
		"read of none":  {func(s *Spec) { s.Read = []string{"/none"} }, StepMount, "no such file"},
		"no rootfs":     {func(s *Spec) { s.Rootfs = "/none" }, StepMount, "no such file"},
		"little memory": {func(s *Spec) { s.Group.Memory = 64 << 10 }, StepInit, "memory limit"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := workspaceSpec(t, h, dir, true)
			test.change(&spec)
			var before inventory
			for i := range 3 { // the first may open what the process keeps
				if i == 1 {
					before = takeInventory(t, h)
				}
				box, err := h.Prepare(context.Background(), spec)
				if err == nil {
					_ = box.Close()
					t.Fatal("prepared")
				}
				var e *Error
				if !errors.As(err, &e) || e.Step != test.step || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%v", err)
				}
			}
			takeInventory(t, h).same(t, before)
		})
	}
}

// TestGivenRootfs runs in a directory tree that is not the host's.
func TestGivenRootfs(t *testing.T) {
	h := testHost(t)
	root := t.TempDir()
	for _, dir := range []string{"usr", "etc", "tmp", "opt"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64"} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("/usr", filepath.Join(root, "usr"), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(root, "usr"), unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(root, "etc", "mine"), []byte("the rootfs's own"), 0o644); err != nil {
		t.Fatal(err)
	}
	spec := testSpec(t, h)
	spec.Rootfs = root
	o := runCall(t, h, spec, testCall("sh", "-c", "cat /etc/mine; ls /etc/passwd; touch /etc/x /opt/x"), "")
	if o.out != "the rootfs's own" || strings.Count(o.err, "cannot touch") != 2 {
		t.Errorf("%+v %q %q", o.Result, o.out, o.err)
	}
}

// TestLoweredIDMap: without the mapping the tool is a stranger in the
// workspace, which is safe and less useful.
func TestLoweredIDMap(t *testing.T) {
	h := testHost(t)
	dir := workspace(t)
	spec := workspaceSpec(t, h, dir, true)
	spec.Layers = wholePlan(t, h, layer.RootIDMap)
	spec.Binds[1].Owner = nil
	call := probeCall("read", "/workspace/mine")
	call.Dir = rootfs.TmpDir
	if o := runCall(t, h, spec, call, ""); o.out != "refused EACCES\n" {
		t.Errorf("%+v %q", o.Result, o.out)
	}
}
