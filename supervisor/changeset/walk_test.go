// SPDX-License-Identifier: Apache-2.0

package changeset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWalk(t *testing.T) {
	for _, x := range []struct {
		name, lower, call, want string
	}{
		{"nothing", "echo a >a; mkdir d", "cat a; ls d", ""},
		{"touched", "echo a >a; mkdir d; echo b >d/b", "touch a d d/b; : >>a; chmod 700 d; chmod 755 d", ""},
		{"rewritten as it was", "echo a >a", "echo b >a; echo a >a; cp a b; mv b a", ""},
		{"made and removed", "mkdir d", "echo a >d/a; rm d/a; mkdir e; rmdir e; ln -s x l; rm l", ""},
		{"file", "echo a >a; echo b >b; echo c >c", "echo n >n; echo more >>a; rm b; chmod 600 c",
			"modified a \n deleted b \n changed c \n created n"},
		{"in a directory", "mkdir -p d/e; echo a >d/e/a", "echo b >>d/e/a; echo n >d/e/n", "modified d/e/a \n created d/e/n"},
		{"directory mode", "mkdir d", "chmod 700 d", "changed d"},
		{"attributes", "echo a >a; attr user.a 01 a; echo b >b; mkdir d", "attr user.a 02 a; attr user.b 01 b; attr user.d '' d",
			"changed a \n changed b \n changed d"},
		{"overlay attributes of the call's", "mkdir d; echo a >d/a", "mkdir n; attr user.overlay.opaque 79 n d; attr user.overlay.whiteout '' n",
			"changed d \n created n"},
		{"directory gone", "mkdir -p d/e; echo a >d/e/a; echo b >d/b; ln -s b d/l", "rm -r d", "deleted d \n deleted d/b \n deleted d/e \n deleted d/e/a \n deleted d/l"},
		{"order", "mkdir a; touch a/x a! a-b", "rm -r a a! a-b; touch 'a b'", "deleted a \n deleted a/x \n created a b \n deleted a! \n deleted a-b"},
		{"opaque", "mkdir d; echo a >d/a; echo b >d/b; mkdir d/s d/t; echo x >d/s/x", "rm -r d; mkdir d d/s; echo a >d/a; echo c >d/c",
			"deleted d/b \n created d/c \n deleted d/s/x \n deleted d/t"},
		{"new in an opaque one", "mkdir -p d/s/t; echo x >d/s/x; echo y >d/s/t/y", "mv d/s/t t; rm -r d; mkdir -p d/s; mv t d/s/t", "deleted d/s/x"},
		{"moved back into a new one", "mkdir -p d/s; echo a >d/a; echo x >d/s/x", "mv d/s t; mv d e; mkdir d; mv t d/s; rm d/s/x", "created d \n renamed d/s <d/s \n deleted d/s/x \n renamed e <d"},
		{"directory to file", "mkdir d; echo a >d/a", "rm -r d; echo f >d", "deleted d \n created d \n deleted d/a"},
		{"file to directory", "echo f >d", "rm d; mkdir d; echo a >d/a", "deleted d \n created d \n created d/a"},
		{"and back", "mkdir d; echo a >d/a", "rm -r d; echo f >d; rm d; mkdir d; echo a >d/a", ""},
		{"file to link", "echo a >a; mkdir d", "rm a; ln -s d a; rm -r d; ln -s a d", "modified a >d \n deleted d \n created d >a"},
		{"link to file", "ln -s a l", "rm l; echo x >l", "modified l"},
		{"link", "ln -s a l; ln -s a k", "ln -sfn b l; ln -sfn a k", "modified l >b"},
		{"file moved", "echo a >a", "mv a b", "deleted a \n created b"},
		{"file moved over another", "echo a >a; echo b >b", "mv a b", "deleted a \n modified b"},
		{"files swapped", "echo a >a; echo b >b", "mv a c; mv b a; mv c b", "modified a \n modified b"},
		{"directory moved", "mkdir -p d/s; echo a >d/a; echo b >d/s/b", "mv d e", "renamed e <d"},
		{"directory moved and moved back", "mkdir d; echo a >d/a", "mv d e; mv e d", ""},
		{"directory moved twice", "mkdir -p d/s x; echo a >d/s/a", "mv d x/e; mv x/e f", "renamed f <d"},
		{"directory moved and changed", "mkdir d; echo a >d/a; echo b >d/b; echo c >d/c", "mv d e; echo n >>e/a; rm e/b; echo x >e/x; chmod 600 e/c; chmod 700 e",
			"deleted d/b \n renamed e <d \n modified e/a <d/a \n changed e/c <d/c \n created e/x"},
		{"changed, then moved", "mkdir d; echo a >d/a; echo b >d/b", "echo n >>d/a; rm d/b; mv d e", "deleted d/b \n renamed e <d \n modified e/a <d/a"},
		{"moved and made anew", "mkdir d; echo a >d/a", "mv d e; mkdir d; echo b >d/a", "created d \n created d/a \n renamed e <d"},
		{"moved and a file in its place", "mkdir d; echo a >d/a", "mv d e; echo b >d", "created d \n renamed e <d"},
		{"directories swapped", "mkdir a b; echo a >a/x; echo b >b/x", "mv a c; mv b a; mv c b", "renamed a <b \n renamed b <a"},
		{"moved into a new one", "mkdir d; echo a >d/a", "mkdir -p n/m; mv d n/m/d", "created n \n created n/m \n renamed n/m/d <d"},
		{"moved into a moved one", "mkdir d e; echo a >d/a; echo b >e/b", "mv d f; mv e f/g", "renamed f <d \n renamed f/g <e"},
		{"moved out of a moved one", "mkdir -p d/s/t; echo a >d/s/a; echo b >d/b", "mv d e; mv e/s f; mv f/t e/t", "renamed e <d \n renamed e/t <d/s/t \n renamed f <d/s"},
		{"moved within its parent, which was moved", "mkdir -p d/s; echo a >d/s/a", "mv d/s d/t; mv d e; echo x >e/t/x", "renamed e <d \n renamed e/t <d/s \n created e/t/x"},
		{"moved out of what is gone", "mkdir -p d/s; echo a >d/a; echo b >d/s/b", "mv d/s s; rm -r d", "deleted d \n deleted d/a \n renamed s <d/s"},
		{"moved to where another was", "mkdir a b; echo 1 >a/x; echo 2 >b/x; echo 3 >b/y", "rm -r b; mv a b; rm b/x", "deleted a/x \n deleted b \n renamed b <a \n deleted b/x \n deleted b/y"},
		{"moved aside and put back into a moved one", "mkdir -p p q/x; echo 1 >p/a; echo 2 >q/x/b", "mv q/x t; rmdir q; mv p q; mv t q/x",
			"deleted q \n renamed q <p \n renamed q/x <q/x"},
		{"parent and child change places", "mkdir -p a/b; echo 1 >a/1; echo 2 >a/b/2", "mv a/b c; mv a c/b; mv c a", "renamed a <a/b \n renamed a/b <a"},
		{"deep moves", "mkdir -p a/b/c/d; echo x >a/b/c/d/x", "mv a/b/c c; mv c/d d; mv a d/a; echo y >>d/x; echo z >d/a/b/z", "renamed c <a/b/c \n renamed d <a/b/c/d \n renamed d/a <a \n created d/a/b/z \n modified d/x <a/b/c/d/x"},
		{"hard links that are new", "echo a >a", "echo n >n; ln n m; mkdir d; ln n d/k", "created d \n created d/k \n created m =d/k \n created n =d/k"},
		{"a further name of an old file", "echo a >a", "ln a b; ln a c", "created b \n created c =b"},
		{"an old file of several names", "echo a >a; ln a b; ln a c; ln a d", "echo x >>a; rm b; chmod 600 c", "modified a linked \n deleted b linked \n modified c linked"},
		{"links that lead out", "mkdir d; ln -s x d/x; ln -s /y y", "cd d; ln -s ../a in; ln -s ../../a out; ln -s /etc abs; ln -s in/../a through; ln -sfn .. x; ln -s ../.. up; rm ../y",
			"created d/abs >/etc leaves \n created d/in >../a \n created d/out >../../a leaves \n created d/through >in/../a leaves \n created d/up >../.. leaves \n modified d/x >.. \n deleted y"},
		{"special files", "echo a >a; mkfifo f g h; mkdir d; touch d/x", "mkfifo p; rm a; mkfifo a; chmod 600 f; touch g; rm h; echo h >h; rm -r d; mkfifo d",
			"deleted a \n dropped a \n deleted d \n dropped d \n deleted d/x \n dropped f \n modified h \n dropped p"},
		{"setuid", "echo a >a; cp /bin/true s; chmod 4755 s; mkdir d; chmod 2775 d", "chmod 6755 a; cp /bin/true n; chmod u+s n; touch s; chmod 2755 d; mkdir k; chmod g+s k; echo u >d/u",
			"changed a privileged \n changed d \n created d/u \n created k privileged \n created n privileged"},
		{"file capabilities", "cp /bin/true c; attr security.capability " + capability + " c; cp /bin/true d", "chmod 700 c; attr security.capability " + capability + " d", "changed c privileged \n changed d privileged"},
		{"access lists", "echo a >a; echo b >b; echo c >c; attr system.posix_acl_access " + acl + " a c; mkdir d", "echo x >>a; attr system.posix_acl_access " + acl + " b; attr system.posix_acl_access " + more + " c; attr system.posix_acl_default " + acl + " d; echo n >d/n",
			"modified a attributes \n changed b attributes \n changed c attributes \n changed d attributes \n created d/n attributes"},
		{"another's", "echo a >a; echo b >b; chown 7:7 a b; mkdir d; chown 7 d; echo c >d/c", "echo x >>a; cp b c; mv c b; rm -r d", "modified a foreign \n deleted d foreign \n deleted d/c"},
		{"long names", "touch $(printf %0255d 1)", "mv $(printf %0255d 1) $(printf %0255d 2)",
			"deleted " + strings.Repeat("0", 254) + "1 \n created " + strings.Repeat("0", 254) + "2"},
		{"exchanged with a file", "mkdir d; echo a >d/a; echo f >f", "mv d t; mv f d; mv t f", "created d \n deleted f \n renamed f <d"},
	} {
		t.Run(x.name, func(t *testing.T) {
			want(t, prepare(t, x.lower).call(x.call).walk(), x.want)
		})
	}
}

// Names are bytes.
func TestWalkNames(t *testing.T) {
	s := prepare(t, `printf a >$'a\nb'; printf b >$'\xff\xfe'; mkdir $'d\x01'; printf c >$'d\x01/\xc3'`)
	s.call(`rm $'a\nb'; printf x >>$'\xff\xfe'; mv $'d\x01' $'e\x80'; rm $'e\x80/\xc3'; printf n >$'\u202e'`)
	set := s.walk()
	wanted := []string{"deleted a\nb", "deleted d\x01/\xc3", "renamed e\x80 <d\x01", "created \u202e", "modified \xff\xfe"}
	if got := shorts(set); !slices.Equal(got, wanted) {
		t.Errorf("%q, not %q", got, wanted)
	}
	if e := find(t, set, Deleted, "a\nb"); e.Before.Digest != sum("a") {
		t.Error(e.Before)
	}
}

func TestWalkStates(t *testing.T) {
	s := prepare(t, "printf one >a; printf gone >b; chmod 640 a; attr user.k 76 a; ln -s there l; chown 7:8 b; touch -d @5.000000007 a")
	s.call("printf four >a; rm b; ln -sfn where l; chmod 4711 a; touch -d @9 a")
	set := s.walk()
	want(t, set, "modified a privileged \n deleted b foreign \n modified l >where")
	a := find(t, set, Modified, "a")
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(s.lower, "a"), &st))
	id := Identity{Dev: st.Dev, Ino: st.Ino, Ctime: st.Ctim.Nano()}
	if a.Before.Identity != id || a.Before.Mode != 0o640 || a.Before.Modified != 5e9+7 || a.Before.Digest != sum("one") || a.Before.Size != 3 || a.Before.Links != 1 {
		t.Errorf("%+v, not of %+v", a.Before, id)
	}
	if a.After.Mode != 0o711 || a.After.Modified != 9e9 || a.After.Digest != sum("four") || a.After.Size != 4 || (a.After.Identity != Identity{}) {
		t.Errorf("%+v", a.After)
	}
	if len(a.After.Xattrs) != 1 || a.After.Xattrs[0].Name != "user.k" || string(a.After.Xattrs[0].Value) != "v" {
		t.Errorf("%+v", a.After.Xattrs)
	}
	if b := find(t, set, Deleted, "b"); b.Before.UID != 7 || b.Before.GID != 8 || b.Before.Digest != sum("gone") || !b.After.zero() {
		t.Errorf("%+v", b)
	}
	if l := find(t, set, Modified, "l"); l.Before.Digest != sum("there") || l.After.Digest != sum("where") || l.After.Size != 5 || l.Before.Type != Symlink {
		t.Errorf("%+v", l)
	}
	count := Count{Modified: 2, Deleted: 1, Added: 4, Removed: 7}
	if got := set.Count(); got != count || got.Entries() != 3 {
		t.Errorf("%+v", got)
	}
}

// What the workspace became under the call.
func TestWalkConflicts(t *testing.T) {
	for _, x := range []struct {
		name, lower, call, host, want string
	}{
		{"written", "echo a >a; echo b >b", "echo x >>a; echo y >>b", "echo h >>a", "modified a conflict \n modified b"},
		{"replaced", "echo a >a", "echo x >>a", "echo h >n; mv n a", "modified a conflict"},
		{"made alike", "echo a >a", "echo x >a", "echo x >a", ""},
		{"removed", "echo a >a; mkdir d", "echo x >>a; chmod 700 d", "rm a; rmdir d", "created a conflict \n created d conflict"},
		{"came", "", "echo x >a; mkdir d; echo y >d/y", "echo h >a; mkdir d; echo h >d/y; echo h >d/h", "modified a conflict \n deleted d/h conflict \n modified d/y conflict"},
		{"file where a directory came to be", "", "mkdir d; echo y >d/y", "echo h >d", "deleted d conflict \n created d \n created d/y"},
		{"deleted and written", "mkdir -p d/e; echo a >d/e/a; echo b >d/b", "rm -r d", "echo h >>d/e/a", "deleted d conflict \n deleted d/b \n deleted d/e conflict \n deleted d/e/a conflict"},
		{"deleted by both", "echo a >a; mkdir d; echo b >d/b", "rm -r a d", "rm -r a d", ""},
		{"the moved one is gone", "mkdir -p d/e; echo a >d/e/a", "mv d/e f; echo x >>f/a; echo n >f/n", "rm -r d/e", "created f conflict \n created f/a conflict \n created f/n"},
		{"the moved one changed", "mkdir d; echo a >d/a; echo b >d/b", "mv d e; echo x >>e/b", "touch d/new; echo h >>d/b", "renamed e <d conflict \n modified e/b <d/b conflict"},
		{"the moved file's origin is gone", "echo a >a; echo b >b", "mv a c; mv b d", "rm a", "deleted b \n created c conflict \n created d"},
		{"the moved file's origin was written", "echo a >a", "mv a c", "echo h >>a", "deleted a conflict \n created c conflict"},
		{"the mode", "echo a >a", "echo x >>a", "chmod 600 a", "modified a conflict"},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := prepare(t, x.lower).call(x.call)
			s.host(x.host)
			want(t, s.walk(), x.want)
		})
	}
}

// TestLate: what a file system stamped in the second in which the call began may be
// of before or after, where it counts in seconds.
func TestLate(t *testing.T) {
	w := &walker{begin: 7_300_000_000}
	for ctime, want := range map[int64]bool{
		6_000_000_000: false, 7_000_000_000: true, 8_000_000_000: true,
		6_999_999_999: false, 7_000_000_001: false, 7_299_999_999: false, 7_300_000_000: true,
	} {
		if w.late(ctime) != want {
			t.Errorf("%d: %v", ctime, !want)
		}
	}
}

func TestWalkUnsure(t *testing.T) {
	s := prepare(t, "echo a >a; echo b >b; mkdir d").call("echo x >>a; rm b; mv d e; echo n >n")
	set, err := s.try(func(l *Layer) { l.Unsure = true })
	must(t, err)
	want(t, set, "modified a conflict \n deleted b conflict \n renamed e <d conflict \n created n")
	set, err = s.try(func(l *Layer) { l.Begin = time.Unix(0, 0) })
	must(t, err)
	want(t, set, "modified a conflict \n deleted b conflict \n renamed e <d conflict \n created n")
}

func TestWalkOwner(t *testing.T) {
	s := prepare(t, "echo a >a; echo b >b; chown 7 a").call("echo x >>a; rm b")
	set, err := s.try(func(l *Layer) { l.Owner = 7 })
	must(t, err)
	want(t, set, "modified a \n deleted b foreign")
}

// Links swapped in for directories of the workspace lead nowhere.
func TestWalkFollowsNothing(t *testing.T) {
	s := prepare(t, "mkdir -p d/e g; echo a >d/e/a; echo b >g/b; echo c >c")
	s.call("echo x >>d/e/a; rm -r g; mv d/e f; rm c")
	canary := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(canary, "e"), 0o700))
	must(t, os.WriteFile(filepath.Join(canary, "e", "a"), []byte("canary"), 0o600))
	must(t, os.WriteFile(filepath.Join(canary, "b"), []byte("canary"), 0o600))
	s.host("mv d .d; mv g .g; rm c; ln -s " + canary + " d; ln -s " + canary + " g; ln -s " + canary + "/b c")
	set := s.walk()
	want(t, set, "deleted c conflict \n deleted d conflict \n created d conflict \n created f conflict \n created f/a \n deleted g conflict")
	for _, e := range set.Entries {
		if e.Before.Digest == sum("canary") || e.Before.Type == Directory || e.Before.Type == Regular {
			t.Errorf("it was followed: %+v", e)
		}
	}
}

// A mount in the workspace is not the workspace's.
func TestWalkMounts(t *testing.T) {
	s := prepare(t, "mkdir -p d m; echo a >d/a; echo b >m/b").call("rm -r d m")
	alone := make(chan *Set)
	go func() { // with a mount namespace of its own, which ends with the thread
		defer close(alone)
		lock(t)
		if err := errors.Join(unix.Mount("none", filepath.Join(s.lower, "m"), "tmpfs", 0, ""), os.WriteFile(filepath.Join(s.lower, "m", "canary"), nil, 0o600)); err != nil {
			t.Error(err)
			return
		}
		set, err := s.try(nil)
		if err != nil {
			t.Error(err)
		}
		alone <- set
	}()
	if set := <-alone; set != nil {
		want(t, set, "deleted d \n deleted d/a \n deleted m conflict")
	}
}

// Paths past PATH_MAX, and the bounds of depth and length.
func TestWalkDeep(t *testing.T) {
	nest := func(dir, name string, levels int) {
		fd := open(t, dir)
		for range levels {
			must(t, unix.Mkdirat(fd, name, 0o755))
			next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			must(t, err)
			_ = unix.Close(fd)
			fd = next
		}
		file, err := unix.Openat(fd, "end", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
		must(t, err)
		_, err = unix.Write(file, []byte("end"))
		must(t, err)
		_, _ = unix.Close(file), unix.Close(fd)
	}
	long := strings.Repeat("x", 255)
	path := strings.Repeat(long+"/", 100) + "end"
	s := prepare(t, "")
	nest(s.merged, long, 100)
	set := s.walk()
	if e := find(t, set, Created, path); len(set.Entries) != 101 || e.After.Digest != sum("end") {
		t.Errorf("%d entries, %+v", len(set.Entries), e)
	}

	s = prepare(t, "")
	nest(s.lower, long, 100)
	s.begin = tick(t, s.lower)
	s.call("rm -r " + long)
	set = s.walk()
	if e := find(t, set, Deleted, path); len(set.Entries) != 101 || e.Before.Digest != sum("end") || set.Count().Conflicts != 0 {
		t.Errorf("%d entries, %+v", len(set.Entries), e)
	}

	s = prepare(t, "")
	nest(s.merged, "d", MaxDepth)
	if n := len(s.walk().Entries); n != MaxDepth+1 {
		t.Error(n)
	}
	for _, x := range []struct {
		where  func(*stage) string
		name   string
		levels int
	}{
		{func(s *stage) string { return s.merged }, "d", MaxDepth + 1},
		{func(s *stage) string { return s.lower }, "d", MaxDepth + 1},
		{func(s *stage) string { return s.merged }, long, MaxPath/256 + 1},
		{func(s *stage) string { return s.lower }, long, MaxPath/256 + 1},
	} {
		s := prepare(t, "")
		nest(x.where(s), x.name, x.levels)
		if x.where(s) == s.lower {
			must(t, unix.Mknod(filepath.Join(s.upper, x.name), unix.S_IFCHR, 0))
		}
		if set, err := s.try(nil); !errors.Is(err, ErrTooMany) {
			t.Errorf("%d levels: %v, %v", x.levels, set, err)
		}
	}
}

func TestWalkSparse(t *testing.T) {
	s := prepare(t, "truncate -s 3M a; printf x | dd of=a bs=1 seek=1M conv=notrunc status=none; cp --sparse=never a b; truncate -s 15T p; truncate -s 15T q; truncate -s 15T r")
	s.call("touch a; cp --sparse=always b c; truncate -s 4M n; truncate -s 14T p; rm q; echo r >r.new; mv r.new r; truncate -s 15T z; rm b")
	started := time.Now()
	set := s.walk()
	t.Log(time.Since(started))
	want(t, set, "deleted b \n created c \n created n \n dropped p \n deleted q \n modified r \n dropped z")
	if b, c := find(t, set, Deleted, "b"), find(t, set, Created, "c"); b.Before.Digest != c.After.Digest || c.After.Size != 3<<20 {
		t.Error(b.Before, c.After)
	}
	if n := find(t, set, Created, "n"); n.After.Digest != sum(strings.Repeat("\x00", 4<<20)) {
		t.Error(n.After)
	}
	if p := find(t, set, Dropped, "p"); p.Before.Size != 15<<40 || p.After.Size != 14<<40 || p.After.Digest != "" {
		t.Error(p)
	}
	if q := find(t, set, Deleted, "q"); q.Before.Size != 15<<40 || q.Before.Digest != "" {
		t.Error(q)
	}
}

// Holes are charged to one walk, however many files have them.
func TestWalkHoles(t *testing.T) {
	w := newWalker(context.Background(), Layer{})
	w.holes = 3 << 20
	if err := errors.Join(w.zeros(1<<20), w.zeros(2<<20)); err != nil || w.holes != 0 {
		t.Error(err, w.holes)
	}
	if err := w.zeros(1); !errors.Is(err, errHoles) {
		t.Error(err)
	}
}

func TestWalkTooMany(t *testing.T) {
	s := prepare(t, "mkdir d; touch d/1 d/2 d/3").call("rm -r d; touch n")
	for most, fails := range map[int]bool{4: true, 5: false, 1: true} {
		if set, err := s.try(func(l *Layer) { l.Most = most }); errors.Is(err, ErrTooMany) != fails {
			t.Errorf("%d: %v, %v", most, set, err)
		}
	}
}

func TestWalkCancelled(t *testing.T) {
	s := prepare(t, "").call("touch a")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l := Layer{Upper: open(t, s.upper), Lower: open(t, s.lower)}
	defer unix.Close(l.Upper)
	defer unix.Close(l.Lower)
	if _, err := Walk(ctx, l); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// Attributes are carried up to a bound, and beyond it are told of. ext4 has no
// room for so many.
func TestWalkManyAttributes(t *testing.T) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	must(t, err)
	defer unix.Close(fs)
	must(t, unix.FsconfigCreate(fs))
	upper, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(upper)
	file := fmt.Sprintf("/proc/self/fd/%d/a", upper)
	must(t, os.WriteFile(file, []byte("a"), 0o600))
	value := make([]byte, 10_000)
	var carried []string
	for i := range 8 {
		name := fmt.Sprintf("user.%d", i)
		must(t, unix.Setxattr(file, name, value, 0))
		if (i+1)*(len(name)+len(value)) <= MaxXattrs {
			carried = append(carried, name)
		}
	}
	set, err := prepare(t, "").try(func(l *Layer) { l.Upper = upper })
	must(t, err)
	want(t, set, "created a attributes")
	var got []string
	for _, x := range set.Entries[0].After.Xattrs {
		got = append(got, string(x.Name))
	}
	if !slices.Equal(got, carried) {
		t.Errorf("%q are carried, not %q", got, carried)
	}
	if _, err := Decode(bytes.NewReader(encoded(t, set))); err != nil {
		t.Error(err)
	}

	s := prepare(t, "echo a >a; attr user.k $(printf %06000d 7) a").call("attr user.k $(printf %06000d 8) a; attr user.empty '' a")
	e := find(t, s.walk(), Changed, "a")
	if len(e.After.Xattrs) != 2 || len(e.Before.Xattrs) != 1 || len(e.After.Xattrs[1].Value) != 3000 || e.After.Xattrs[0].Value == nil {
		t.Errorf("%+v", e)
	}
}

// A layer that no kernel left is an error, not a set.
func TestWalkForgedLayers(t *testing.T) {
	for _, redirect := range []string{"", "/", "..", "/../x", "a/b", "/a//b", "/a/", ".", "/a/./b", "/a\x00b"} {
		s := prepare(t, "mkdir a; echo x >a/x")
		must(t, os.Mkdir(filepath.Join(s.upper, "n"), 0o755))
		must(t, unix.Setxattr(filepath.Join(s.upper, "n"), markRedirect, []byte(redirect), 0))
		if set, err := s.try(nil); err == nil {
			t.Errorf("%q: %q", redirect, shorts(set))
		}
	}
	s := prepare(t, "mkdir a; echo x >a/x")
	for _, name := range []string{"n", "m"} {
		must(t, os.Mkdir(filepath.Join(s.upper, name), 0o755))
		must(t, unix.Setxattr(filepath.Join(s.upper, name), markRedirect, []byte("/a"), 0))
	}
	if set, err := s.try(nil); err == nil {
		t.Errorf("%q", shorts(set))
	}
}

// Whatever comes of a walk, its descriptors are closed.
func TestWalkDescriptors(t *testing.T) {
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(list)
	}
	s := prepare(t, "mkdir -p a/b/c d e/f; echo x >a/b/c/x; echo y >e/f/y").call("mv a/b b; echo z >>b/c/x; rm -r e; mkdir -p e/g; echo n >e/g/n; chmod 700 d")
	before := count()
	set := s.walk()
	for most := 1; most < len(set.Entries); most++ {
		if _, err := s.try(func(l *Layer) { l.Most = most }); !errors.Is(err, ErrTooMany) {
			t.Error(most, err)
		}
	}
	must(t, unix.Setxattr(filepath.Join(s.upper, "e", "g"), markRedirect, []byte("/../x"), 0))
	if _, err := s.try(nil); err == nil {
		t.Error("the layer was taken")
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors are open, and %d were", after, before)
	}
}
