// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func rowsOf(n int, from uint64) []row {
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{node{1, from + uint64(i)}, trace{digest: [digestSize]byte{byte(i)}, ctime: -int64(i)}}
	}
	return rows
}

func TestLedgerFile(t *testing.T) {
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "ledger"), os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer file.Close()
	load := func() ledger {
		t.Helper()
		_, err := file.Seek(0, 0)
		must(t, err)
		l, err := decodeLedger(file)
		must(t, err)
		return l
	}
	must(t, appendRows(file, rowsOf(3, 10)))
	later := rowsOf(3, 10)[1]
	later.ctime = 99
	must(t, appendRows(file, []row{later}))
	if l := load(); len(l) != 3 || l[node{1, 11}].ctime != 99 || l[node{1, 12}].ctime != -2 || l[node{1, 12}].digest[0] != 2 {
		t.Errorf("%v", l)
	}
	// A row that was being written.
	_, err = file.WriteAt(make([]byte, rowSize-1), 4*rowSize)
	must(t, err)
	if l := load(); len(l) != 3 {
		t.Errorf("%v", l)
	}
	must(t, appendRows(file, rowsOf(1, 20)))
	if l := load(); len(l) != 4 || l[node{1, 20}].ctime != 0 {
		t.Errorf("%v", l)
	}
	// Full: the newest stay.
	must(t, appendRows(file, rowsOf(mostRows-5, 100)))
	must(t, appendRows(file, rowsOf(10, 1)))
	st, err := file.Stat()
	must(t, err)
	l := load()
	if n := st.Size() / rowSize; n > mostRows || n < mostRows/2 {
		t.Errorf("%d rows", n)
	}
	if _, ok := l[node{1, 100 + mostRows - 6}]; !ok {
		t.Error("the newest is gone")
	}
	if _, ok := l[node{1, 20}]; ok {
		t.Error("the oldest is there")
	}
}

func FuzzLedger(f *testing.F) {
	f.Add([]byte{})
	f.Add(encodeRows(rowsOf(2, 1)))
	f.Add(encodeRows(rowsOf(2, 1))[:rowSize+7])
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := decodeLedger(bytes.NewReader(text))
		if err != nil || len(l) > len(text)/rowSize {
			t.Errorf("%d of %d bytes, %v", len(l), len(text), err)
		}
		for n, tr := range l {
			if !bytes.Contains(text, encodeRows([]row{{n, tr}})) {
				t.Errorf("%v was never written", n)
			}
		}
	})
}
