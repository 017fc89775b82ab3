// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/clawsup/clawsup/supervisor/changeset"
)

// player does random things to a tree. With one seed it does the same to
// another tree that is alike.
type player struct {
	t    *testing.T
	root string
	r    *rand.Rand
	now  int64 // of mtimes: each is set, so that two trees can be compared
}

// names are few, so that paths meet.
func (p *player) name() string {
	return []string{"a", "b", "c", "d", "e\n", "\xff\xfe"}[p.r.IntN(6)]
}

// list gives all paths of the tree, sorted, and the directories among them.
func (p *player) list() (all, dirs []string) {
	dirs = []string{"."}
	must(p.t, filepath.WalkDir(p.root+"/.", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(p.root+"/.", path)
		if err != nil || name == "." {
			return err
		}
		all = append(all, name)
		if d.IsDir() {
			dirs = append(dirs, name)
		}
		return nil
	}))
	return all, dirs
}

// play does one thing; what the kernel refuses is refused to both trees.
func (p *player) play() {
	all, dirs := p.list()
	in := func(name string) string { return p.root + "/" + name }
	fresh := in(dirs[p.r.IntN(len(dirs))] + "/" + p.name())
	some := in("nothing")
	if len(all) > 0 {
		some = in(all[p.r.IntN(len(all))])
	}
	n := p.r.IntN(100)
	p.now += 1e9
	switch kind := p.r.IntN(10); kind {
	case 0, 1:
		if info, err := os.Lstat(fresh); err == nil && !info.Mode().IsRegular() {
			return
		}
		if os.WriteFile(fresh, []byte(strconv.FormatInt(p.now, 10)), 0o644) == nil { // a time alone would be no change
			p.own(fresh)
		}
	case 2:
		if os.Mkdir(fresh, 0o755) == nil {
			p.own(fresh)
		}
	case 3:
		if os.Symlink(strconv.Itoa(n), fresh) == nil {
			must(p.t, os.Lchown(fresh, owner.UID, owner.GID))
		}
	case 4:
		if info, err := os.Lstat(some); err == nil && info.Mode().IsRegular() {
			must(p.t, os.WriteFile(some, []byte("more "+strconv.FormatInt(p.now, 10)), 0o644))
			p.own(some)
		}
	case 5:
		must(p.t, os.RemoveAll(some))
	case 6, 7, 8:
		// mv(1): a renamed file has its old mtime, on both sides.
		_ = os.Rename(some, fresh)
	case 9:
		if info, err := os.Lstat(some); err == nil && info.Mode()&os.ModeSymlink == 0 {
			must(p.t, os.Chmod(some, []os.FileMode{0o700, 0o755, 0o644, 0o600, 0o775}[n%5]))
		}
	}
}

func (p *player) own(path string) {
	must(p.t, os.Chown(path, owner.UID, owner.GID))
	info, err := os.Lstat(path)
	must(p.t, err)
	if !info.IsDir() {
		must(p.t, stamp(-1, path, p.now))
	}
}

// TestProperty commits random sets, and compares with the same done on a plain
// copy. Then it undoes them, and compares with before.
func TestProperty(t *testing.T) {
	rounds := 60
	if n, err := strconv.Atoi(os.Getenv("CLAWSUP_COMMIT_ROUNDS")); err == nil {
		rounds = n
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { propertyRound(t, seed) })
	}
}

func propertyRound(t *testing.T, seed uint64) {
	ws := newWorkspace(t, scratch(t))
	first := &player{t: t, root: ws, r: rand.New(rand.NewPCG(seed, 1))}
	for range 40 {
		first.play()
	}
	twin := filepath.Join(scratch(t), "twin")
	if out, err := exec.Command("cp", "-a", ws, twin).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	before := picture(t, ws)
	equal(t, picture(t, twin), before)
	do := func(root string) {
		p := &player{t: t, root: root, r: rand.New(rand.NewPCG(seed, 2)), now: 1e18}
		for range 3 + seed%40 {
			p.play()
		}
	}
	set, source := perform(t, ws, do)
	do(twin)
	want := picture(t, twin)
	equal(t, picture(t, ws), before)
	dir := newDir(t)
	commitAll(t, order(t, ws, dir, set, source))
	equal(t, picture(t, ws), want)
	leftovers(t, ws)
	landed, err := Landed(dir)
	must(t, err)
	checkLanded(t, ws, set, landed)
	back, trash, err := Undo(context.Background(), dir, openDir(t, ws), nil)
	must(t, err)
	var text bytes.Buffer
	must(t, back.Encode(&text))
	back, err = changeset.Decode(&text) // it is kept as any other
	must(t, err)
	commitAll(t, order(t, ws, newDir(t), back, trash))
	equal(t, picture(t, ws), before)
}

// checkLanded wants everything that was made to be told, as it is.
func checkLanded(t *testing.T, ws string, set *changeset.Set, landed []Landing) {
	t.Helper()
	told := map[string]Landing{}
	for _, l := range landed {
		told[string(l.Path)] = l
	}
	root := openDir(t, ws)
	p := newPlace(int(root.Fd()), ^uint32(0))
	defer p.forget()
	n := 0
	for _, e := range set.Entries {
		if e.Kind != changeset.Created && e.Kind != changeset.Modified {
			continue
		}
		n++
		st, err := p.look(string(e.Path), inode{})
		must(t, err)
		if l := told[string(e.Path)]; l.Identity != identityOf(&st) || l.Digest != e.After.Digest {
			t.Errorf("%q: landed says %+v, it is %+v %s", e.Path, l, identityOf(&st), e.After.Digest)
		}
	}
	if n != len(landed) {
		t.Errorf("%d files landed, %d were made", len(landed), n)
	}
}
