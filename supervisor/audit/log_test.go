// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if os.Getenv("AUDIT_TEST_WRITER") != "" {
		writer()
		return
	}
	os.Exit(m.Run())
}

func testKey(b byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = b
	return ed25519.NewKeyFromSeed(seed)
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func options(t testing.TB) Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a log is root's")
	}
	base := t.TempDir()
	return Options{Dir: filepath.Join(base, "log"), Anchor: filepath.Join(base, "head"), Key: testKey(1)}
}

// put makes an anchor's file.
func put(a *Anchor, path string) error {
	s := slots{path: path}
	defer s.close()
	return s.renew(a)
}

func open(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func add(t testing.TB, l *Log, call string) uint64 {
	t.Helper()
	seq, err := l.Append(context.Background(), Receipt{Kind: Decision, Call: call})
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func verify(t testing.TB, o Options) *Report {
	t.Helper()
	a, err := ReadAnchor(o.Anchor)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Verify(o.Dir, public(o.Key), a)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func intact(t testing.TB, o Options) *Report {
	t.Helper()
	r := verify(t, o)
	for _, p := range r.Problems {
		t.Error(p)
	}
	return r
}

func all(t testing.TB, dir string, from uint64) []Receipt {
	t.Helper()
	var list []Receipt
	for r, err := range Read(dir, from) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	o := options(t)
	l := open(t, o)
	zero, neg := 0, -1
	want := []Receipt{
		{Kind: Decision, Call: "c1", Plan: "sha256:aa", Profile: "sha256:bb", Skill: "sha256:cc", Requester: "uid 1000", Effect: "exec", Decision: "ask", Rule: "default"},
		{Kind: Outcome, Call: "c1", Status: "exited", Exit: &zero, Usage: &Usage{1, 2, 3, 4, 5, 6, 7}},
		{Kind: Agent, Exit: &neg, Facts: []Fact{{"controls", "\x00\x1b[2J\r\n\x7f"}, {"wide", "\u202e\u2028é😀\ufffd"}, {"bytes", "\xff\xfe\n"}, {"empty", ""}, {`na"me\`, `</script>&"\`}}},
		{Kind: Generation, Status: "a\nb"},
	}
	for i := range want {
		seq, err := l.Append(context.Background(), want[i])
		if err != nil {
			t.Fatal(err)
		}
		if seq != uint64(i+2) { // the first began the segment
			t.Errorf("entry %d has number %d", i, seq)
		}
		want[i].Seq = seq
	}
	got := all(t, o.Dir, 2)
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if time.Since(got[i].Time) > time.Hour {
			t.Errorf("entry %d is of %v", i, got[i].Time)
		}
		got[i].Time = time.Time{}
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
	closeLog(t, l)
	text, err := os.ReadFile(filepath.Join(o.Dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range text {
		if b != '\n' && (b < ' ' || b > '~') {
			t.Fatalf("byte %#x in the file", b)
		}
	}
	intact(t, o)
}

func TestManyWriters(t *testing.T) {
	o := options(t)
	o.Segment = 20_000
	l := open(t, o)
	const writers, each = 16, 50
	var group sync.WaitGroup
	numbers := make([][]uint64, writers)
	for w := range writers {
		group.Go(func() {
			for i := range each {
				seq, err := l.Append(context.Background(), Receipt{Kind: Decision, Call: fmt.Sprintf("%d.%d", w, i)})
				if err != nil {
					t.Error(err)
					return
				}
				numbers[w] = append(numbers[w], seq)
			}
		})
	}
	group.Wait()
	closeLog(t, l)
	r := intact(t, o)
	if r.Anchored != r.Last || r.First != 1 || r.Entries != r.Last {
		t.Errorf("%+v", r)
	}
	firsts, _ := segments(o.Dir)
	if len(firsts) < 3 || r.Entries != uint64(writers*each+len(firsts)) {
		t.Errorf("%d entries in %d segments", r.Entries, len(firsts))
	}
	calls := make(map[uint64]string)
	for _, e := range all(t, o.Dir, 0) {
		calls[e.Seq] = e.Call
	}
	for w := range numbers {
		for i, seq := range numbers[w] {
			if calls[seq] != fmt.Sprintf("%d.%d", w, i) {
				t.Errorf("entry %d is %q, not %d.%d", seq, calls[seq], w, i)
			}
			if i > 0 && seq <= numbers[w][i-1] {
				t.Errorf("writer %d: %d after %d", w, seq, numbers[w][i-1])
			}
		}
	}
	for _, from := range []uint64{0, 1, 2, firsts[1] - 1, firsts[1], firsts[2] + 1, r.Last, r.Last + 1} {
		if got, want := len(all(t, o.Dir, from)), int(r.Last+1-max(from, 1)); got != want {
			t.Errorf("from %d: %d entries, want %d", from, got, want)
		}
	}
	for e := range Read(o.Dir, 3) { // stopping early is fine
		if e.Seq != 3 {
			t.Error(e.Seq)
		}
		break
	}
}

func TestBeginKeepsOrder(t *testing.T) {
	o := options(t)
	l := open(t, o)
	var list []*Pending
	for i := range 40 {
		p, err := l.Begin(context.Background(), Receipt{Kind: Outcome, Call: fmt.Sprint(i)})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	for i, p := range list {
		if _, err := p.Wait(context.Background()); err != nil {
			t.Fatal(err)
		}
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		if seq, err := p.Wait(cancelled); err != nil || seq != uint64(i+2) {
			t.Errorf("entry %d: %d, %v", i, seq, err)
		}
	}
}

func TestFullQueueBlocksUntilTheContextEnds(t *testing.T) {
	l := &Log{queue: make(chan *Pending)} // nobody takes from it
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Begin(ctx, Receipt{Kind: Agent}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p := &Pending{done: make(chan struct{})}
	if _, err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestReopened(t *testing.T) {
	o := options(t)
	o.Segment = 3000
	last := uint64(0)
	for round := range 6 {
		l := open(t, o)
		for i := range 3 {
			if seq := add(t, l, fmt.Sprintf("%d.%d", round, i)); seq <= last {
				t.Fatalf("entry %d after %d", seq, last)
			} else {
				last = seq
			}
		}
		closeLog(t, l)
		if _, err := l.Append(context.Background(), Receipt{Kind: Agent}); err != ErrClosed {
			t.Error(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
	}
	if r := intact(t, o); r.Last != last || r.Repairs != 0 {
		t.Errorf("%+v", r)
	}
}

func TestCloseWritesWhatWasBegun(t *testing.T) {
	o := options(t)
	l := open(t, o)
	p, err := l.Begin(context.Background(), Receipt{Kind: Agent, Status: "stopped"})
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	if seq, err := p.Wait(context.Background()); err != nil || seq != 2 {
		t.Errorf("%d, %v", seq, err)
	}
	if a := l.Anchor(); a == nil || a.Seq != 2 || !a.SignedBy(public(o.Key)) {
		t.Errorf("anchor %v", a)
	}
}

func TestOneWriterOnly(t *testing.T) {
	o := options(t)
	l := open(t, o)
	if _, err := Open(o); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Fatalf("second writer: %v", err)
	}
	closeLog(t, l)
	open(t, o)
}

func TestClockSetBack(t *testing.T) {
	o := options(t)
	l := open(t, o)
	noon := time.Date(2030, 1, 1, 12, 0, 0, 5, time.UTC)
	times := []time.Time{noon, noon, noon.Add(-time.Hour), noon.Add(-time.Minute), noon.Add(time.Second)}
	i := 0
	l.tail.clock = func() time.Time { i++; return times[min(i, len(times))-1] } // before anything is committed
	for range 4 {
		add(t, l, "")
	}
	closeLog(t, l)
	got := all(t, o.Dir, 0)
	for i, want := range []time.Duration{0, 0, time.Hour, time.Minute, 0} {
		if got[i].Behind != want || !got[i].Time.Equal(times[i]) || got[i].Seq != uint64(i+1) {
			t.Errorf("entry %d: %+v", i+1, got[i])
		}
	}
	if r := intact(t, o); r.Set != 2 || r.Behind != time.Hour || !r.Latest.Equal(times[4]) {
		t.Errorf("%+v", r)
	}
	// The latest time is remembered over a restart: now is before 2030.
	l = open(t, o)
	add(t, l, "")
	closeLog(t, l)
	if e := all(t, o.Dir, 6)[0]; !e.Time.Add(e.Behind).Equal(times[4]) {
		t.Errorf("%+v", e)
	}
}

func TestReceiptsThatAreRefused(t *testing.T) {
	long := func(n int) string { return string(make([]byte, n)) }
	full := make([]Fact, 3)
	for i := range full {
		full[i] = Fact{"n", long(MaxValue)} // six bytes each once they are spelled
	}
	for name, r := range map[string]Receipt{
		"no kind":      {},
		"unknown kind": {Kind: Kind(len(kinds))},
		"own rule":     {Kind: Administration, Rule: "audit.repair"},
		"long field":   {Kind: Agent, Status: long(MaxField + 1)},
		"no UTF-8":     {Kind: Agent, Status: "\xff"},
		"many facts":   {Kind: Agent, Facts: make([]Fact, MaxFacts+1)},
		"no name":      {Kind: Agent, Facts: []Fact{{"", "x"}}},
		"long name":    {Kind: Agent, Facts: []Fact{{long(MaxName + 1), "x"}}},
		"name":         {Kind: Agent, Facts: []Fact{{"\xff", "x"}}},
		"long value":   {Kind: Agent, Facts: []Fact{{"n", long(MaxValue + 1)}}},
		"long line":    {Kind: Agent, Facts: full},
	} {
		l := &Log{queue: make(chan *Pending, 1)}
		if _, err := l.Begin(context.Background(), r); !errors.Is(err, ErrReceipt) || len(l.queue) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	l := open(t, options(t))
	// As long as can be: the bound is the line's, and it holds.
	body := 0
	r := Receipt{Kind: Agent, Facts: []Fact{{"n", ""}, {"n", ""}, {"n", ""}, {"n", ""}}}
	for i := range r.Facts {
		r.Facts[i].Value = fmt.Sprintf("%0*d", MaxValue, 0)
	}
	for {
		b, err := r.body()
		if err == nil {
			body = len(b)
			break
		}
		r.Facts[3].Value = r.Facts[3].Value[1:]
	}
	if body+room != MaxLine {
		t.Errorf("body of %d bytes", body)
	}
	if _, err := l.Append(context.Background(), r); err != nil {
		t.Error(err)
	}
	closeLog(t, l)
	if n := len(all(t, l.tail.dir.Name(), 0)); n != 2 {
		t.Errorf("%d entries", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	o := options(t)
	try := func(name string, o Options) {
		t.Helper()
		if l, err := Open(o); err == nil {
			l.Close()
			t.Errorf("%s: opened", name)
		}
	}
	inside := o
	inside.Anchor = filepath.Join(o.Dir, "head")
	try("anchor inside", inside)
	none := o
	none.Key = nil
	try("no key", none)
	os.Chmod(o.Dir, 0o750)
	try("folder open to the group", o)
	os.Chmod(o.Dir, 0o700)
	os.Chown(o.Dir, 1000, 0)
	try("somebody else's folder", o)
	os.Remove(o.Dir)
	os.Symlink(t.TempDir(), o.Dir)
	try("symbolic link", o)
	os.Remove(o.Dir)

	l := open(t, o)
	add(t, l, "")
	closeLog(t, l)
	other := o
	other.Key = testKey(2)
	try("another key", other)
	os.Chmod(filepath.Join(o.Dir, segmentName(1)), 0o644)
	try("segment open to all", o)
}
