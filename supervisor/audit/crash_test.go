// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// writer is the child that is killed: it appends, and says on stdout which
// entries it was told are durable.
func writer() {
	dir := os.Getenv("AUDIT_TEST_WRITER")
	l, err := Open(Options{Dir: filepath.Join(dir, "log"), Anchor: filepath.Join(dir, "head"), Key: testKey(1), Segment: 8000})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var out sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				call := fmt.Sprintf("%d.%d.%d", os.Getpid(), w, i)
				seq, err := l.Append(context.Background(), Receipt{Kind: Outcome, Call: call})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Printf("%d %s\n", seq, call)
				out.Unlock()
			}
		}()
	}
	select {}
}

func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("kills a hundred writers")
	}
	o := options(t)
	o.Segment = 8000
	acknowledged := make(map[uint64]string)
	for round := range 100 {
		child := exec.Command("/proc/self/exe")
		child.Env = append(os.Environ(), "AUDIT_TEST_WRITER="+filepath.Dir(o.Dir))
		var complaint bytes.Buffer
		child.Stderr = &complaint
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		// Killed at a moment somewhere after some entry; the rest of what it said still counts.
		in := bufio.NewReader(out)
		for n, until := 0, rand.IntN(30); ; n++ {
			if n == until {
				child.Process.Kill()
			}
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			var seq uint64
			var call string
			if _, err := fmt.Sscan(line, &seq, &call); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if acknowledged[seq] != "" {
				t.Fatalf("entry %d twice", seq)
			}
			acknowledged[seq] = call
		}
		child.Wait()
		if complaint.Len() > 0 {
			t.Fatalf("round %d: %s", round, complaint.String())
		}
	}
	closeLog(t, open(t, o))
	r := intact(t, o)
	have := make(map[uint64]string)
	for _, e := range all(t, o.Dir, 0) {
		have[e.Seq] = e.Call
	}
	for seq, call := range acknowledged {
		if have[seq] != call {
			t.Errorf("entry %d is %q, not %q", seq, have[seq], call)
		}
	}
	t.Logf("%d acknowledged, %d entries, %d repairs", len(acknowledged), r.Entries, r.Repairs)
}

// half leaves a log as a crash in the middle of a write does, and gives the half line.
func half(t *testing.T, o Options) []byte {
	t.Helper()
	l := open(t, o)
	add(t, l, "durable")
	before := l.tail.size
	add(t, l, "half")
	name := filepath.Join(o.Dir, segmentName(l.tail.first))
	closeLog(t, l)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	// The anchor of before the last entry.
	f, err := takeApart(bytes.Split(text, []byte("\n"))[1])
	if err != nil {
		t.Fatal(err)
	}
	a := Anchor{Segment: 1, Offset: int64(bytes.IndexByte(text, '\n') + 1), Seq: 2, Hash: f.hash()}
	a.sign(o.Key)
	if err := put(&a, o.Anchor); err != nil {
		t.Fatal(err)
	}
	cut := before + (int64(len(text))-before)/2
	if err := os.Truncate(name, cut); err != nil {
		t.Fatal(err)
	}
	return text[before:cut]
}

func TestHalfALineIsCutOffAndToldOf(t *testing.T) {
	o := options(t)
	torn := half(t, o)
	r := verify(t, o)
	if len(r.Problems) != 1 || r.Problems[0].Fault != Torn || r.Problems[0].Line != 3 {
		t.Fatalf("before: %v", r.Problems)
	}
	if n := len(all(t, o.Dir, 0)); n != 2 {
		t.Errorf("%d entries before", n)
	}
	closeLog(t, open(t, o))
	r = intact(t, o)
	list := all(t, o.Dir, 0)
	if r.Repairs != 1 || len(list) != 3 || list[1].Call != "durable" || list[2].Rule != ruleRepair {
		t.Errorf("%+v %+v", r, list)
	}
	kept, err := os.ReadFile(filepath.Join(o.Dir, tornName(2)))
	if err != nil || !bytes.Equal(kept, torn) {
		t.Errorf("kept %q, %v", kept, err)
	}
	closeLog(t, open(t, o)) // and told of once
	if r = intact(t, o); r.Repairs != 1 || r.Entries != 3 {
		t.Errorf("%+v", r)
	}
}

// Wherever a write of several lines is cut, each whole line stays, and the log goes on.
func TestCutAtEveryPlace(t *testing.T) {
	o := options(t)
	l := open(t, o)
	add(t, l, "durable")
	closeLog(t, l)
	anchor, start := l.Anchor(), l.tail.size
	l = open(t, o)
	add(t, l, "a")
	add(t, l, "b")
	name := filepath.Join(o.Dir, segmentName(1))
	closeLog(t, l)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for cut := int(start); cut <= len(text); cut += 11 {
		if err := os.WriteFile(name, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := put(anchor, o.Anchor); err != nil {
			t.Fatal(err)
		}
		closeLog(t, open(t, o))
		whole := bytes.Count(text[:cut], []byte("\n"))
		repairs := 0
		if text[cut-1] != '\n' {
			repairs = 1
		}
		if r := intact(t, o); r.Repairs != repairs || r.Entries != uint64(whole+repairs) || r.Anchored != r.Last {
			t.Fatalf("cut at %d: %+v", cut, r)
		}
		os.Remove(filepath.Join(o.Dir, tornName(uint64(whole))))
	}
}

// A crash between cutting and telling must not make the cut a silent one.
func TestRepairThatWasStopped(t *testing.T) {
	o := options(t)
	torn := half(t, o)
	dir, err := openDir(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	tl := &tail{dir: dir, anchor: slots{path: o.Anchor}, key: o.Key, public: public(o.Key), limit: segmentBytes, clock: wall}
	if _, err := tl.resume(o.Dir); err != nil {
		t.Fatal(err)
	}
	tl.place()
	tl.close() // cut, and not a word
	if r := intact(t, o); r.Repairs != 0 {
		t.Fatalf("%+v", r)
	}
	closeLog(t, open(t, o))
	list := all(t, o.Dir, 3)
	if len(list) != 1 || list[0].Rule != ruleRepair || list[0].Facts[1].Value != fmt.Sprint(len(torn)) {
		t.Errorf("%+v", list)
	}
}

func TestHalfTheFirstLineOfASegment(t *testing.T) {
	o := options(t)
	o.Segment = 1 // each commit its own
	l := open(t, o)
	add(t, l, "a")
	closeLog(t, l)
	name := filepath.Join(o.Dir, segmentName(3))
	for _, text := range []string{"", `{"receipt":1,"key":"`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		tl, _, err := resume(o)
		if err != nil {
			t.Fatal(err)
		}
		if tl.size != 0 || tl.first != 3 || tl.before != segmentName(1) || tl.durable.seq != 2 {
			t.Errorf("%+v", tl)
		}
		tl.place()
		tl.close()
	}
	l = open(t, o)
	add(t, l, "b")
	closeLog(t, l)
	if r := intact(t, o); r.Repairs != 1 {
		t.Errorf("%+v", r)
	}
}

func TestLostAnchorIsToldOf(t *testing.T) {
	o := options(t)
	l := open(t, o)
	add(t, l, "a")
	closeLog(t, l)
	os.Remove(o.Anchor)
	closeLog(t, open(t, o))
	list := all(t, o.Dir, 3)
	if len(list) != 1 || list[0].Rule != ruleAnchor {
		t.Errorf("%+v", list)
	}
	intact(t, o)
}

// tmpfs mounts a small file system at a new folder.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=256k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	o := options(t)
	for _, anchorToo := range []bool{true, false} {
		for _, segment := range []int64{0, 3000} {
			t.Run(fmt.Sprintf("anchor=%v,segment=%d", anchorToo, segment), func(t *testing.T) {
				disk := tmpfs(t)
				o := o
				o.Dir, o.Segment = filepath.Join(disk, "log"), segment
				if anchorToo {
					o.Anchor = filepath.Join(disk, "head")
				} else {
					o.Anchor = filepath.Join(t.TempDir(), "head")
				}
				filler := filepath.Join(disk, "filler")
				if err := os.WriteFile(filler, make([]byte, 150<<10), 0o600); err != nil {
					t.Fatal(err)
				}
				l := open(t, o)
				ctx := context.Background()
				r := Receipt{Kind: Outcome, Facts: []Fact{{"n", strings.Repeat("x", 2000)}}}
				var last uint64
				var full error
				for range 1000 {
					seq, err := l.Append(ctx, r)
					if err != nil {
						full = err
						break
					}
					last = seq
				}
				if !isENOSPC(full) || !strings.Contains(full.Error(), "make room") {
					t.Fatalf("after %d entries: %v", last, full)
				}
				for range 3 { // it stays refused while it is full
					if _, err := l.Append(ctx, r); !isENOSPC(err) {
						t.Fatal(err)
					}
				}
				// Whole as it is: an anchor behind is no fault, half a line would be.
				intact(t, o)
				list := all(t, o.Dir, last)
				if len(list) == 0 || list[0].Seq != last {
					t.Errorf("entry %d is gone", last)
				}
				if err := os.Remove(filler); err != nil {
					t.Fatal(err)
				}
				again := add(t, l, "room again")
				closeLog(t, l)
				if got := intact(t, o); got.Last != again || got.Anchored != again {
					t.Errorf("%+v", got)
				}
				closeLog(t, open(t, o))
			})
		}
	}
}

// An anchor that can't be written stops the log after the entry that it is about.
func TestAnchorsDiskFull(t *testing.T) {
	o := options(t)
	disk := tmpfs(t)
	o.Anchor = filepath.Join(disk, "head")
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 256<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, o)
	add(t, l, "durable")
	for range 3 {
		if _, err := l.Append(context.Background(), Receipt{Kind: Agent}); !isENOSPC(err) {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if seq := add(t, l, "room again"); seq != 3 {
		t.Errorf("entry %d", seq)
	}
	closeLog(t, l)
	intact(t, o)
}

func isENOSPC(err error) bool { return errors.Is(err, unix.ENOSPC) }
