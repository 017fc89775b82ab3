// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStamp: what is there when a call begins is not stamped later.
func TestStamp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x")
	for range 100 {
		must(t, os.WriteFile(file, []byte("x"), 0o600))
		var st unix.Stat_t
		must(t, unix.Lstat(file, &st)) // the next stamp is a fine one
		now, err := stamp()
		must(t, err)
		if made := time.Unix(st.Ctim.Unix()); now.Before(made) {
			t.Fatalf("changed at %v, before %v", made, now)
		}
	}
}

func TestAfter(t *testing.T) {
	now, err := stamp()
	must(t, err)
	later, err := after(t.Context(), now)
	must(t, err)
	if !later.After(now) {
		t.Errorf("%v is not after %v", later, now)
	}
	if _, err := after(t.Context(), now.Add(time.Hour)); err != nil { // the clock was set back
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := after(ctx, now.Add(mostSlew)); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}
