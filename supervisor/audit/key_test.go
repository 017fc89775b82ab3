// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestKeyIsMadeOnce(t *testing.T) {
	options(t)
	path := filepath.Join(t.TempDir(), "key")
	keys := make([][]byte, 8)
	var group sync.WaitGroup
	for i := range keys {
		group.Go(func() {
			key, err := LoadKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	group.Wait()
	for _, k := range keys {
		if len(k) == 0 || !bytes.Equal(k, keys[0]) {
			t.Fatal("different keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("%v, %v", info, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("files left: %v", left)
	}
}

func TestKeyRefused(t *testing.T) {
	options(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	seed := bytes.Repeat([]byte{7}, 32)
	for name, spoil := range map[string]func() error{
		"short":          func() error { return os.WriteFile(path, seed[1:], 0o600) },
		"long":           func() error { return os.WriteFile(path, append(seed, 1), 0o600) },
		"empty":          func() error { return os.WriteFile(path, nil, 0o600) },
		"readable":       func() error { return os.WriteFile(path, seed, 0o640) },
		"somebody elses": func() error { os.WriteFile(path, seed, 0o600); return os.Chown(path, 1000, 0) },
		"folder":         func() error { return os.Mkdir(path, 0o700) },
		"link": func() error {
			os.WriteFile(path+"2", seed, 0o600)
			return os.Symlink(path+"2", path)
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); err == nil {
			t.Errorf("%s: taken", name)
		}
		os.Remove(path)
	}
}

func TestPublicKeyAsText(t *testing.T) {
	want := public(testKey(3))
	text := FormatPublic(want)
	if got, err := ParsePublic(text + "\n"); err != nil || !want.Equal(got) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", text[1:], text + "0", text[:len(text)-1], "ed25519:" + text, text[:len(text)-1] + "G", text[:len(text)-1] + "A"} {
		if _, err := ParsePublic(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
