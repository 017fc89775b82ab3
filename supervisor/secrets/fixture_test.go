// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SECRETS_TEST_CHILD"); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

// state is a state directory.
func state(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the store is root's")
	}
	return t.TempDir()
}

func openStore(t testing.TB, state string) *Store {
	t.Helper()
	s, err := Open(filepath.Join(state, "secrets"), filepath.Join(state, "secrets.key"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func model(name string) Secret {
	return Secret{Name: name, Owner: "uid 0 (root)", Shape: "openai", Private: true, Binding: Binding{
		Hosts:  []string{"api.example.com:443"},
		Places: []packet.Place{{Kind: packet.Header, Name: "Authorization"}},
	}}
}

func set(t testing.TB, s *Store, one Secret, value string) Secret {
	t.Helper()
	made, err := s.Set(one, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// valueOf gives a value, or the error's text.
func valueOf(t testing.TB, s *Store, name string) string {
	t.Helper()
	v, err := s.Value(name)
	if err != nil {
		return err.Error()
	}
	defer v.Close()
	return string(v.Bytes())
}
