// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// flags gives the VmFlags of the mapping that has an address: see proc(5) on smaps.
func flags(t *testing.T, address uintptr) []string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	within := false
	for in := bufio.NewScanner(f); in.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(in.Text(), "%x-%x ", &from, &to); n == 2 {
			within = from <= address && address < to
		}
		if list, ok := strings.CutPrefix(in.Text(), "VmFlags:"); ok && within {
			return strings.Fields(list)
		}
	}
	return nil
}

// TestValueMemory: locked (lo), in no dump (dd), wiped in a child (wf); and gone
// after Close.
func TestValueMemory(t *testing.T) {
	s := openStore(t, state(t))
	set(t, s, model("a"), value)
	v, err := s.Value("a")
	if err != nil {
		t.Fatal(err)
	}
	address := uintptr(unsafe.Pointer(&v.Bytes()[0]))
	got := flags(t, address)
	for _, want := range []string{"lo", "dd", "wf"} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s: %v", want, got)
		}
	}
	if string(v.Bytes()) != value {
		t.Errorf("%q", v.Bytes())
	}
	v.Close()
	v.Close()
	if len(v.Bytes()) > 0 || slices.Contains(flags(t, address), "lo") {
		t.Errorf("%q is still there", v.Bytes())
	}
}

func TestCheckValue(t *testing.T) {
	for _, c := range []struct {
		value string
		ok    bool
	}{
		{"12345678", true},
		{"1234567", false},
		{strings.Repeat("x", MaxValue), true},
		{strings.Repeat("x", MaxValue+1), false},
		{"pass word é", true},
		{" password", false},
		{"password ", false},
		{"pass\nword", false},
		{"pass\x00word", false},
		{"password\u0085", false},
		{"password\x7f", false},
		{"password\xff", false},
	} {
		err := CheckValue([]byte(c.value))
		if (err == nil) != c.ok || err != nil && strings.Contains(err.Error(), "word") {
			t.Errorf("%q: %v", c.value, err)
		}
	}
}
