// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/clawsup/clawsup/supervisor/changeset"
)

// plot is what a child of the test is to do until it kills itself.
type plot struct {
	Recover bool
	Set     string // a file
	Upper   string
	Undo    string // directory of a commit to undo instead of Set
	Root    string
	Dir     string
	Kill    int // the write before which it ends
}

const plotVariable = "CLAWSUP_COMMIT_PLOT"

// TestMain runs a plot in a child.
func TestMain(m *testing.M) {
	text := os.Getenv(plotVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var p plot
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	n := 0
	before = func(string) {
		if n++; n == p.Kill {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if err := p.run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (p *plot) run() error {
	open := func() (*os.File, error) { return os.Open(p.Root) }
	if p.Recover {
		_, err := Recover(context.Background(), p.Dir, open)
		return err
	}
	root, err := open()
	if err != nil {
		return err
	}
	o := Order{Root: root, Owner: owner, Dir: p.Dir, Source: layer(p.Upper)}
	if p.Undo != "" {
		o.Set, o.Source, err = Undo(context.Background(), p.Undo, root, nil)
	} else {
		var f *os.File
		if f, err = os.Open(p.Set); err == nil {
			o.Set, err = changeset.Decode(f)
		}
	}
	if err != nil {
		return err
	}
	r, err := Commit(context.Background(), o)
	if err == nil && len(r.Conflicts)+len(r.Failed) > 0 {
		err = fmt.Errorf("report: %+v", r)
	}
	return err
}

// play runs a plot and says whether it came to its end.
func (p plot) play(t *testing.T) bool {
	t.Helper()
	text, err := json.Marshal(p)
	must(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), plotVariable+"="+string(text))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return false
	}
	if err != nil {
		t.Fatalf("write %d: %v: %s", p.Kill, err, out)
	}
	return true
}

// busy makes a workspace and a set with a step of every kind.
func busy(t *testing.T) (ws string, p plot, old, new map[string]string) {
	t.Helper()
	ws = newWorkspace(t, scratch(t))
	mkdirs(t, ws, "a", "b/in", "gone/deep", "shut", "dir")
	write(t, ws+"/a/1", "1")
	write(t, ws+"/b/in/2", "2")
	write(t, ws+"/gone/deep/3", "3")
	write(t, ws+"/gone/4", "4")
	write(t, ws+"/shut/5", "5")
	write(t, ws+"/6", "6")
	write(t, ws+"/file", "7")
	write(t, ws+"/dir/8", "8")
	must(t, os.Chmod(ws+"/shut", 0o555))
	old = picture(t, ws)
	var upper layer
	set, source := perform(t, ws, func(view string) {
		must(t, os.Rename(view+"/a", view+"/x"))
		must(t, os.Rename(view+"/b", view+"/a"))
		must(t, os.Rename(view+"/x", view+"/b"))
		mkdirs(t, view, "new")
		must(t, os.Rename(view+"/a/in", view+"/new/in"))
		write(t, view+"/b/1", "one")
		must(t, os.RemoveAll(view+"/gone"))
		write(t, view+"/shut/5", "five")
		must(t, os.Chmod(view+"/6", 0o600))
		must(t, os.Remove(view+"/file"))
		mkdirs(t, view, "file")
		write(t, view+"/file/in", "in")
		must(t, os.Link(view+"/file/in", view+"/file/other"))
		must(t, os.RemoveAll(view+"/dir"))
		write(t, view+"/dir", "file")
		new = picture(t, view+"/.")
	})
	upper = source.(layer)
	f, err := os.Create(filepath.Join(scratch(t), "set"))
	must(t, err)
	must(t, set.Encode(f))
	must(t, f.Close())
	return ws, plot{Set: f.Name(), Upper: string(upper), Root: ws}, old, new
}

func leftovers(t *testing.T, root string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), hiddenPrefix) {
			t.Errorf("left over: %s", path)
		}
		return err
	}))
}

// recoverHere recovers in this process, to the end.
func recoverHere(t *testing.T, p plot) *Report {
	t.Helper()
	r, err := Recover(context.Background(), p.Dir, func() (*os.File, error) { return os.Open(p.Root) })
	must(t, err)
	return r
}

// TestCrash kills a commit before each of its writes, one after the other, and
// wants the old tree or the new, nothing between, and the old one back by undo.
// The undo is killed at one of its writes too, and so is what recovers.
func TestCrash(t *testing.T) {
	ws, p, old, new := busy(t)
	committed, taken := 0, 0
	for k := 1; ; k++ {
		p.Dir, p.Kill = newDir(t), k
		over := p.play(t)
		again := plot{Recover: true, Root: ws, Dir: p.Dir, Kill: k%23 + 1}
		for !over && again.Kill < 1000 && !again.play(t) { // it too is killed, later and later
			again.Kill += 7
		}
		r := recoverHere(t, p)
		leftovers(t, ws)
		got := picture(t, ws)
		switch {
		case r == nil:
			taken++
			equal(t, got, old)
		default:
			committed++
			if len(r.Conflicts)+len(r.Failed) > 0 {
				t.Fatalf("write %d: report: %+v", k, r)
			}
			equal(t, got, new)
			// Back by undo, which is killed too; then a new workspace, since
			// this one has other files now.
			u := plot{Undo: p.Dir, Root: ws, Dir: newDir(t), Kill: k}
			if !u.play(t) {
				if recoverHere(t, u) == nil {
					equal(t, picture(t, ws), new)
					must(t, os.RemoveAll(u.Dir))
					must(t, os.Mkdir(u.Dir, 0o700))
					u.Kill = 0
					u.play(t)
				}
			}
			leftovers(t, ws)
			equal(t, picture(t, ws), old)
			var q plot
			ws, q, old, new = busy(t)
			p.Set, p.Upper, p.Root = q.Set, q.Upper, q.Root
		}
		if over {
			break
		}
	}
	t.Logf("%d taken back, %d finished", taken, committed)
	if taken < 20 || committed < 20 {
		t.Errorf("%d were taken back, %d finished: the test missed something", taken, committed)
	}
}
