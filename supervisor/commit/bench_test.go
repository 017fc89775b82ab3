// SPDX-License-Identifier: Apache-2.0

package commit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/changeset"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// BenchmarkCreate commits small files, to the disk.
func BenchmarkCreate(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			set := &changeset.Set{}
			files := memory{}
			content := strings.Repeat("x", 1024)
			for i := range n {
				name := fmt.Sprintf("d%03d", i/100)
				if i%100 == 0 {
					set.Entries = append(set.Entries, changeset.Entry{Kind: changeset.Created, Path: raw.String(name),
						After: changeset.State{Type: changeset.Directory, Mode: 0o755, Modified: 1e18}})
				}
				name += fmt.Sprintf("/%05d", i)
				files[name] = content
				set.Entries = append(set.Entries, created(name, content).Entries...)
			}
			for b.Loop() {
				b.StopTimer()
				o := order(b, newWorkspace(b, scratch(b)), newDir(b), set, files)
				b.StartTimer()
				commitAll(b, o)
			}
		})
	}
}

// BenchmarkLarge commits one file.
func BenchmarkLarge(b *testing.B) {
	const size = 256 << 20
	path := scratch(b) + "/source"
	block := []byte(strings.Repeat("0123456789abcdef", 1<<16))
	f, err := os.Create(path)
	must(b, err)
	h := sha256.New()
	for range size / len(block) {
		_, err := f.Write(block)
		must(b, err)
		h.Write(block)
	}
	must(b, f.Close())
	set := created("f", "")
	set.Entries[0].After.Size, set.Entries[0].After.Digest = size, "sha256:"+hex.EncodeToString(h.Sum(nil))
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		ws := newWorkspace(b, scratch(b))
		o := order(b, ws, newDir(b), set, one(path))
		b.StartTimer()
		commitAll(b, o)
		b.StopTimer()
		must(b, os.Remove(ws+"/f"))
		b.StartTimer()
	}
}

// one is a source of one file.
type one string

func (o one) Open(*changeset.Entry) (*os.File, error) { return os.Open(string(o)) }

// BenchmarkDelete commits the deletion of a tree of 10,000 files.
func BenchmarkDelete(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		ws := newWorkspace(b, scratch(b))
		set := &changeset.Set{}
		gone := func(path string) {
			var st unix.Stat_t
			must(b, unix.Lstat(ws+"/"+path, &st))
			set.Entries = append(set.Entries, changeset.Entry{Kind: changeset.Deleted, Path: raw.String(path),
				Before: changeset.State{Type: typeOf(&st), Mode: st.Mode & 0o7777, Modified: st.Mtim.Nano(), Identity: identityOf(&st)}})
		}
		mkdirs(b, ws, "tree")
		for i := range 100 {
			mkdirs(b, ws, fmt.Sprintf("tree/%03d", i))
			for j := range 100 {
				write(b, fmt.Sprintf("%s/tree/%03d/%03d", ws, i, j), "")
			}
		}
		gone("tree")
		for i := range 100 {
			gone(fmt.Sprintf("tree/%03d", i))
			for j := range 100 {
				gone(fmt.Sprintf("tree/%03d/%03d", i, j))
			}
		}
		o := order(b, ws, newDir(b), set, memory{})
		b.StartTimer()
		r, err := Commit(context.Background(), o)
		must(b, err)
		if r.Applied != len(set.Entries) {
			b.Fatalf("report: %d applied, %+v", r.Applied, r.Failed)
		}
	}
}
