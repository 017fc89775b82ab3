// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const value = "a-value-that-nobody-sees"

func TestLife(t *testing.T) {
	dir := state(t)
	s := openStore(t, dir)
	now := time.Date(2026, 3, 1, 12, 0, 0, 999, time.UTC)
	s.now = func() time.Time { return now }
	var told []string
	s.Watch(func(name string) {
		_, err := s.Show(name)
		told = append(told, fmt.Sprint(name, err == nil))
	})
	made := set(t, s, model("openai"), value)
	if made.Created != now.Truncate(time.Second) || made.Rotated != made.Created || !made.LastUsed.IsZero() {
		t.Errorf("%+v", made)
	}
	if _, err := s.Set(model("openai"), []byte("another value")); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	now = now.Add(Old + time.Second)
	if one, _ := s.Show("openai"); !one.Stale(now) || one.Stale(now.Add(-time.Minute)) {
		t.Errorf("%v at %v", one.Rotated, now)
	}
	s.Used("openai", now)
	s.Used("openai", now.Add(-time.Hour))
	s.Used("nobody", now)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	rotated, err := s.Rotate("openai", []byte("the next value"))
	if err != nil || rotated.Stale(now) || rotated.Created != made.Created || rotated.LastUsed != now.Truncate(time.Second) {
		t.Errorf("%+v, %v", rotated, err)
	}
	set(t, s, model("b"), value)

	s = openStore(t, dir)
	if got := s.List(); len(got) != 2 || got[0].Name != "b" || !reflect.DeepEqual(got[1], rotated) {
		t.Errorf("%+v", got)
	}
	if got := valueOf(t, s, "openai"); got != "the next value" {
		t.Error(got)
	}
	if err := s.Remove("b"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{s.Remove("b"), func() error { _, err := s.Value("b"); return err }(), func() error { _, err := s.Rotate("b", []byte(value)); return err }()} {
		if !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	}
	if got := openStore(t, dir).List(); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if want := []string{"openaitrue", "openaitrue", "btrue"}; !slices.Equal(told, want) {
		t.Errorf("told %v", told)
	}
}

// TestAtRest: nothing of a value is in the files, which are root's alone.
func TestAtRest(t *testing.T) {
	dir := state(t)
	s := openStore(t, dir)
	set(t, s, model("a"), value)
	for name, want := range map[string]os.FileMode{"secrets": 0o700, "secrets/a.json": 0o600, "secrets.key": 0o600} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	text, err := os.ReadFile(s.file("a"))
	if err != nil {
		t.Fatal(err)
	}
	var rec stored
	if err := json.Unmarshal(text, &rec); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(append(text, rec.Age...), []byte(value)) || !bytes.HasPrefix(rec.Age, []byte("age-encryption.org/v1\n-> X25519 ")) {
		t.Errorf("%s", rec.Age)
	}
	if err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "secrets")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

// edit changes a secret's file.
func edit(t *testing.T, s *Store, name string, change func(*stored)) {
	t.Helper()
	var rec stored
	if err := record.Read(s.file(name), &rec); err != nil {
		t.Fatal(err)
	}
	change(&rec)
	if err := record.Write(s.file(name), rec); err != nil {
		t.Fatal(err)
	}
}

// TestTampered: whatever is changed of a file, its value is not given out, not
// by the store that is open, and not by the next.
func TestTampered(t *testing.T) {
	other := func(t *testing.T, s *Store) (rec stored) {
		t.Helper()
		if err := record.Read(s.file("other"), &rec); err != nil {
			t.Fatal(err)
		}
		return rec
	}
	for _, c := range []struct {
		name   string
		change func(t *testing.T, s *Store, r *stored)
		says   string
	}{
		{"another host", func(_ *testing.T, _ *Store, r *stored) { r.Secret.Hosts = []string{"evil.example:443"} }, "is not what the value was encrypted with"},
		{"one more host", func(_ *testing.T, _ *Store, r *stored) {
			r.Secret.Hosts = append(r.Secret.Hosts, "evil.example:443")
		}, "is not what the value was encrypted with"},
		{"another place", func(_ *testing.T, _ *Store, r *stored) { r.Secret.Places = []packet.Place{{Kind: packet.Path}} }, "is not what the value was encrypted with"},
		{"cookies", func(_ *testing.T, _ *Store, r *stored) { r.Secret.Cookies = true }, "is not what the value was encrypted with"},
		{"captures", func(_ *testing.T, _ *Store, r *stored) {
			r.Secret.Captures = []packet.Capture{{Path: "/", Field: "a"}}
		}, "is not what the value was encrypted with"},
		{"nobody is asked", func(_ *testing.T, _ *Store, r *stored) { r.Secret.Ask = false }, "is not what the value was encrypted with"},
		{"not private", func(_ *testing.T, _ *Store, r *stored) { r.Secret.Private = false }, "is not what the value was encrypted with"},
		{"younger", func(_ *testing.T, _ *Store, r *stored) { r.Secret.Rotated = r.Secret.Rotated.Add(time.Hour) }, "is not what the value was encrypted with"},
		{"the value of another", func(t *testing.T, s *Store, r *stored) { r.Age = other(t, s).Age }, "is not what the value was encrypted with"},
		{"the file of another", func(t *testing.T, s *Store, r *stored) { *r = other(t, s) }, "it is about another secret"},
		{"a bit of the value", func(_ *testing.T, _ *Store, r *stored) { r.Age[len(r.Age)-1] ^= 1 }, "can't be decrypted"},
		{"a bit of the header", func(_ *testing.T, _ *Store, r *stored) { r.Age[60] ^= 1 }, "encrypted"},
		{"the end is gone", func(_ *testing.T, _ *Store, r *stored) { r.Age = r.Age[:len(r.Age)-20] }, "can't be decrypted"},
		{"no value", func(_ *testing.T, _ *Store, r *stored) { r.Age = nil }, "can't be decrypted"},
		{"format", func(_ *testing.T, _ *Store, r *stored) { r.Format = 2 }, "format 2 is not 1"},
		{"no hosts", func(_ *testing.T, _ *Store, r *stored) { r.Secret.Hosts = nil }, "it goes to 1 to"},
		{"its own fault", func(_ *testing.T, _ *Store, r *stored) { r.Secret.Wrong = "x" }, "it says of itself"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := state(t)
			s := openStore(t, dir)
			one := model("mine")
			one.Ask = true
			set(t, s, one, value)
			set(t, s, model("other"), "the value of the other")
			edit(t, s, "mine", func(r *stored) { c.change(t, s, r) })
			for _, s := range []*Store{s, openStore(t, dir)} {
				v, err := s.Value("mine")
				if v != nil || !errors.Is(err, ErrWrong) || !strings.Contains(err.Error(), s.file("mine")) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v", err)
				}
				if got := valueOf(t, s, "other"); got != "the value of the other" {
					t.Errorf("other: %s", got)
				}
			}
			s = openStore(t, dir)
			if got, err := s.Show("mine"); err != nil || !strings.Contains(got.Wrong, c.says) {
				t.Errorf("%+v, %v", got, err)
			}
			if _, err := s.Rotate("mine", []byte("another value")); !errors.Is(err, ErrWrong) {
				t.Error(err)
			}
			if err := s.Remove("mine"); err != nil {
				t.Error(err)
			}
			set(t, s, model("mine"), value)
		})
	}
}

// TestSwappedWhileOpen: what was whole when it was read, and is another whole
// file of the same name now, isn't believed.
func TestSwappedWhileOpen(t *testing.T) {
	dir := state(t)
	s := openStore(t, dir)
	set(t, s, model("a"), value)
	old, err := os.ReadFile(s.file("a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("a"); err != nil {
		t.Fatal(err)
	}
	other := model("a")
	other.Hosts = []string{"other.example.com:443"}
	set(t, s, other, value)
	if err := os.WriteFile(s.file("a"), old, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Used("a", time.Now())
	for _, got := range []string{valueOf(t, s, "a"), fmt.Sprint(s.Flush())} {
		if !strings.Contains(got, "has changed since it was read") {
			t.Error(got)
		}
	}
}

func TestKeys(t *testing.T) {
	dir := state(t)
	key := filepath.Join(dir, "secrets.key")
	s := openStore(t, dir)
	set(t, s, model("a"), value)
	mine, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	open := func() error { _, err := Open(filepath.Join(dir, "secrets"), key); return err }
	refused := func(what, says string) {
		t.Helper()
		if err := open(); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "AGE-SECRET") {
			t.Errorf("%s: %v", what, err)
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(os.Chmod(key, 0o640))
	refused("readable", "closed to everybody else")
	do(os.Chmod(key, 0o600))
	do(os.Chown(key, 12345, 0))
	refused("somebody else's", "closed to everybody else")
	do(os.Remove(key))
	refused("gone", "bring it back")
	do(os.Symlink("elsewhere", key))
	refused("a link", "too many levels")
	do(os.Remove(key))
	for _, text := range []string{"", "rubbish", string(mine) + string(mine), strings.Repeat("#", maxKey+1) + "\n" + string(mine), strings.TrimSpace(string(mine)) + "A"} {
		do(os.WriteFile(key, []byte(text), 0o600))
		refused("no key", "not one X25519 identity")
	}
	// As age-keygen writes it, and as systemd passes it.
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	if got := KeyFile(dir); got != key {
		t.Error(got)
	}
	do(os.WriteFile(filepath.Join(credentials, Credential), []byte("# created: today\n# public key: age1x\n"+string(mine)), 0o400))
	s, err = Open(filepath.Join(dir, "secrets"), KeyFile(dir))
	do(err)
	if got := valueOf(t, s, "a"); got != value {
		t.Error(got)
	}
	// Another whole key: nothing is given out, and what is there is kept.
	do(os.Remove(key))
	do(makeKey(key))
	s = openStore(t, dir)
	if got := valueOf(t, s, "a"); !strings.Contains(got, "encrypted with another key") {
		t.Error(got)
	}
	do(os.WriteFile(key, mine, 0o600))
	if got := valueOf(t, openStore(t, dir), "a"); got != value {
		t.Error(got)
	}
}

func TestDirectory(t *testing.T) {
	dir := state(t)
	s := openStore(t, dir)
	set(t, s, model("a"), value)
	at := filepath.Join(dir, "secrets")
	open := func() error { _, err := Open(at, filepath.Join(dir, "secrets.key")); return err }
	if err := os.WriteFile(filepath.Join(at, ".new-1"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "mode 0700") {
		t.Error(err)
	}
	if err := os.Chmod(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(); err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Error(err)
	}
}

func TestFull(t *testing.T) {
	s := openStore(t, state(t))
	for i := range MaxSecrets {
		s.secrets[fmt.Sprint("s", i)] = model(fmt.Sprint("s", i))
	}
	if _, err := s.Set(model("one-more"), []byte(value)); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if _, err := s.Rotate("s0", []byte(value)); err != nil {
		t.Error(err)
	}
}

func TestCapture(t *testing.T) {
	dir := state(t)
	s := openStore(t, dir)
	from := model("login")
	from.Shape, from.Ask = Plain, true
	from.Places = []packet.Place{{Kind: packet.Form, Name: "client_secret"}}
	from.Captures = []packet.Capture{{Path: "/oauth/token", Field: "access_token"}, {Path: "/oauth/token", Field: "refresh_token"}}
	from = set(t, s, from, value)
	one, err := s.Capture(from, "access_token", []byte("the first token"))
	if err != nil {
		t.Fatal(err)
	}
	if one.Name != "login.access_token" || one.From != "login/access_token" || !slices.Equal(one.Hosts, from.Hosts) || !one.Ask || !one.Private || one.Shape != Plain ||
		!slices.Equal(one.Places, []packet.Place{{Kind: packet.Header, Name: "Authorization"}, {Kind: packet.Form, Name: "access_token"}, {Kind: packet.JSON, Name: "access_token"}, {Kind: packet.Form, Name: "client_secret"}}) {
		t.Errorf("%+v", one)
	}
	token, err := Mint("x", JWT)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Capture(from, "access_token", []byte(token))
	if err != nil || again.Created != one.Created || again.Shape != JWT || valueOf(t, s, one.Name) != token {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := s.Capture(from, "id_token", []byte(token)); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, err := s.Capture(from, "access_token", []byte("a\nb\nc\nd\ne")); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "a\n") {
		t.Error(err)
	}
	set(t, s, model("login.refresh_token"), value)
	if _, err := s.Capture(from, "refresh_token", []byte(token)); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if _, err := s.Capture(Secret{Name: "nobody"}, "access_token", []byte(token)); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

// FuzzFile: whatever a file says, either its secret is Wrong, or its value was
// encrypted with what it says. Nothing else is given out.
func FuzzFile(f *testing.F) {
	dir := state(f)
	first := openStore(f, dir)
	set(f, first, model("a"), value)
	text, err := os.ReadFile(first.file("a"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(bytes.Replace(text, []byte("api.example.com"), []byte("api.example.org"), 1))
	f.Add(bytes.Replace(text, []byte(`"hosts"`), []byte(`"Hosts"`), 1))
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`null`))
	want := first.secrets["a"].sealed()
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(first.file("a"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, dir)
		one, err := s.Show("a")
		if err != nil {
			t.Fatal(err)
		}
		got := valueOf(t, s, "a")
		if one.Wrong == "" && (got != value || !bytes.Equal(one.sealed(), want)) {
			t.Errorf("%+v: %s", one, got)
		}
		if one.Wrong != "" && strings.Contains(got, value) {
			t.Errorf("%+v is wrong and has a value", one)
		}
	})
}
