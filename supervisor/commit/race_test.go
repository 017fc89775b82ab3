// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// villain swaps, with the rights of the workspace's owner and as fast as it
// can, a directory of the workspace and a link to one outside that the owner
// may write in; and what is in it with other files.
type villain struct {
	turn  chan struct{} // of one: who has taken it out is at work, and the other rests
	hand  *hand
	root  int
	dir   int  // the directory that it swaps
	dirty bool // it may touch files too
	swaps int
	quit  chan struct{}
	done  chan struct{}
}

func (v *villain) run() {
	defer close(v.done)
	for n := 0; ; n++ {
		select {
		case <-v.turn:
		case <-v.quit:
			return
		}
		_ = v.hand.do(func() error {
			for range 4 {
				if unix.Renameat2(v.root, "d", v.root, "link", unix.RENAME_EXCHANGE) == nil {
					v.swaps++
				}
				if v.dirty && n%3 == 0 {
					_ = unix.Renameat2(v.dir, "f", v.root, "mine", unix.RENAME_EXCHANGE)
				}
				if v.dirty && n%7 == 0 {
					_ = unix.Renameat2(v.root, "r", v.root, "link", unix.RENAME_EXCHANGE)
				}
			}
			return nil
		})
		v.turn <- struct{}{}
	}
}

// exact is a picture with ctimes: nothing was touched, whatever it is now.
func exact(t *testing.T, root string) map[string]string {
	t.Helper()
	out := picture(t, root)
	for name := range out {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(root, name), &st))
		out[name] += fmt.Sprint(" ", st.Ino, st.Ctim, st.Nlink)
	}
	var st unix.Stat_t
	must(t, unix.Lstat(root, &st))
	out["."] = fmt.Sprint(st.Ino, st.Ctim, st.Mtim)
	return out
}

// TestRace commits ten thousand times (CLAWSUP_COMMIT_ROUNDS) against a
// villain. Nothing outside of the workspace is touched, and what the report
// says was applied is in the directory that was judged, and the rest is not.
func TestRace(t *testing.T) {
	rounds := 10000
	if testing.Short() {
		rounds = 500
	}
	if n, err := strconv.Atoi(os.Getenv("CLAWSUP_COMMIT_ROUNDS")); err == nil {
		rounds = n
	}
	ws := mounted(t, "tmpfs", 64)
	outside := filepath.Dir(ws)
	canary, dirs := filepath.Join(outside, "canary"), filepath.Join(outside, "commits")
	must(t, os.Mkdir(dirs, 0o700))
	mkdirs(t, outside, "canary")
	for _, name := range []string{"f", "g"} {
		write(t, canary+"/"+name, "canary")
	}
	untouched := exact(t, canary)
	root, err := os.Open(ws)
	must(t, err)
	defer root.Close()
	h, err := lend(owner)
	must(t, err)
	v := &villain{hand: h, root: int(root.Fd()), turn: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	go v.run()
	defer func() {
		close(v.quit)
		<-v.done
		h.end()
	}()
	r := race{t: t, ws: ws, root: root, dirs: dirs, villain: v}
	for n := range rounds {
		r.round(n)
		if n%100 == 0 || n == rounds-1 {
			equal(t, exact(t, canary), untouched)
		}
	}
	t.Logf("%d rounds, %d swaps, %d entries applied, %d not", rounds, v.swaps, r.applied, r.left)
	if r.applied == 0 || r.left == 0 || v.swaps < rounds {
		t.Error("there was no race")
	}
}

type race struct {
	t             *testing.T
	ws            string
	root          *os.File
	dirs          string
	villain       *villain
	applied, left int
}

// round is called with the villain at rest, and leaves it so.
func (r *race) round(n int) {
	t := r.t
	must(t, empty(r.ws))
	mkdirs(t, r.ws, "d", "r")
	for _, name := range []string{"f", "g"} {
		write(t, r.ws+"/d/"+name, "old")
	}
	write(t, r.ws+"/mine", "mine")
	must(t, os.Symlink("../canary", r.ws+"/link"))
	d, err := os.Open(r.ws + "/d")
	must(t, err)
	defer d.Close()
	e, err := os.Open(r.ws + "/r")
	must(t, err)
	defer e.Close()
	before := func(path string) changeset.State {
		var st unix.Stat_t
		must(t, unix.Lstat(r.ws+"/"+path, &st))
		return changeset.State{Type: typeOf(&st), Mode: st.Mode & 0o7777, Size: 3, Modified: st.Mtim.Nano(), Identity: identityOf(&st)}
	}
	set := &changeset.Set{Entries: []changeset.Entry{
		{Kind: changeset.Modified, Path: "d/f", Before: before("d/f"), After: regular("new")},
		{Kind: changeset.Deleted, Path: "d/g", Before: before("d/g")},
		{Kind: changeset.Created, Path: "d/n", After: regular("new")},
	}}
	if n%4 == 0 {
		set.Entries = append(set.Entries, changeset.Entry{Kind: changeset.Renamed, Path: "d/r", From: "r", Before: before("r"), After: before("r")})
	}
	dir := filepath.Join(r.dirs, strconv.Itoa(n))
	must(t, os.Mkdir(dir, 0o700))
	r.villain.dir, r.villain.dirty = int(d.Fd()), n%2 == 0
	r.villain.turn <- struct{}{}
	report, err := Commit(context.Background(), Order{Set: set, Source: memory{"d/f": "new", "d/n": "new"}, Root: r.root, Owner: owner, Dir: dir})
	<-r.villain.turn
	must(t, err)
	r.verdict(n, d, e, set, report)
	must(t, os.RemoveAll(dir))
}

func (r *race) verdict(n int, d, e *os.File, set *changeset.Set, report *Report) {
	t := r.t
	left := map[raw.String]bool{}
	for _, list := range [][]Left{report.Refused, report.Conflicts, report.Failed} {
		for _, l := range list {
			left[l.Path] = true
		}
	}
	if report.Applied+len(left) != len(set.Entries) {
		t.Fatalf("round %d: %d applied and %d left of %d: %+v", n, report.Applied, len(left), len(set.Entries), report)
	}
	r.applied += report.Applied
	r.left += len(left)
	in := func(dir *os.File) (path string, content func(name string) string) {
		path = fmt.Sprintf("/proc/self/fd/%d/", dir.Fd())
		return path, func(name string) string {
			b, err := os.ReadFile(path + name)
			if err != nil {
				return ""
			}
			return string(b)
		}
	}
	here, content := in(d)
	_, other := in(e) // which may have been at d when the commit began
	// The villain may have put its own in the place of f, and so have taken the
	// new file away, be it before the commit took back what it had done.
	f, mine := content("f"), ""
	if b, err := os.ReadFile(r.ws + "/mine"); err == nil {
		mine = string(b)
	}
	applied := func(path raw.String) bool { return !left[path] }
	switch {
	case applied("d/f") && f != "new" && mine != "new":
		t.Fatalf("round %d: d/f was applied, and is %q (mine: %q): %+v", n, f, mine, report)
	case !applied("d/f") && f == "new":
		t.Fatalf("round %d: d/f was left, and is %q: %+v", n, f, report)
	case applied("d/g") != (content("g") == ""):
		t.Fatalf("round %d: d/g applied is %v, and it is %q: %+v", n, applied("d/g"), content("g"), report)
	case applied("d/n") != (content("n") == "new" || other("n") == "new"):
		t.Fatalf("round %d: d/n applied is %v, and it is %q: %+v", n, applied("d/n"), content("n"), report)
	}
	if len(set.Entries) > 3 {
		_, err := os.Lstat(here + "r")
		if applied("d/r") != (err == nil) {
			t.Fatalf("round %d: d/r applied is %v: %v: %+v", n, applied("d/r"), err, report)
		}
	}
}

// empty removes what is in a directory.
func empty(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
