// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/record"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Store is the secrets of a host. Any goroutine may use it; a second process
// must not.
type Store struct {
	dir string
	key *age.X25519Identity
	now func() time.Time

	// changing is held while something changes and until the watchers know it,
	// so that they hear of changes in their order.
	changing sync.Mutex
	watchers []func(name string) // changing

	// files is held while a file and what is known of it change together.
	files sync.RWMutex

	mu      sync.Mutex
	secrets map[string]Secret // mu; by name
	used    map[string]bool   // mu; those whose LastUsed is not in the file yet
}

// Open reads what is there, and makes directory and key where there is nothing.
// A file that does not count is no error: its secret is Wrong.
func Open(dir, key string) (*Store, error) {
	if err := openDir(dir); err != nil {
		return nil, err
	}
	if err := record.Sweep(dir); err != nil {
		return nil, err
	}
	names, err := stocked(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, now: time.Now, secrets: map[string]Secret{}, used: map[string]bool{}}
	s.key, err = readKey(key)
	if errors.Is(err, fs.ErrNotExist) {
		if len(names) > 0 {
			return nil, fmt.Errorf("%w, and there are %d secrets in %s that it encrypted: bring it back, or move them away", err, len(names), dir)
		}
		if err := makeKey(key); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the key of the secrets %s: %w", key, err)
		}
		s.key, err = readKey(key)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		rec, v, err := s.open(name)
		if err != nil {
			rec.Secret.Wrong = err.Error()
		} else {
			v.Close()
		}
		s.secrets[name] = rec.Secret
	}
	return s, nil
}

// openDir makes the directory if it is missing, and refuses one that others can
// look into.
func openDir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err == nil {
		if err := record.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the store of secrets: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s must be a directory of root's that is closed to everybody else (mode 0700): look at what is in it before you change that", dir)
	}
	return nil
}

// stocked gives the names of what is in the directory.
func stocked(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffix)
		if !ok || CheckName(name) != nil {
			return nil, fmt.Errorf("%s is in the store of secrets and is none: move it away", visible.Quote(filepath.Join(dir, e.Name())))
		}
		names = append(names, name)
	}
	return names, nil
}

// List gives all secrets by name.
func (s *Store) List() []Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Secret, 0, len(s.secrets))
	for _, one := range s.secrets {
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Secret) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Show gives one secret, or ErrUnknown.
func (s *Store) Show(name string) (Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.secrets[name]
	if !ok {
		return Secret{}, fmt.Errorf("%w: %s", ErrUnknown, visible.Quote(name))
	}
	return one, nil
}

// Watch has f called with the name of each secret that was set, rotated,
// captured or removed from now on, in that order, before the method that did it
// returns. f must not change the store.
func (s *Store) Watch(f func(name string)) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.watchers = append(s.watchers, f)
}

// Set stores a new secret: ErrExists if there is one of its name. Its times are
// now; the caller wipes the value.
func (s *Store) Set(one Secret, value []byte) (Secret, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if _, err := s.Show(one.Name); err == nil {
		return Secret{}, fmt.Errorf("%w: %s", ErrExists, one.Name)
	}
	one.Created = s.moment()
	return s.put(one, value)
}

// Rotate gives a secret another value.
func (s *Store) Rotate(name string, value []byte) (Secret, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	one, err := s.sound(name)
	if err != nil {
		return Secret{}, err
	}
	return s.put(one, value)
}

// moment is now as a file has it.
func (s *Store) moment() time.Time { return s.now().UTC().Truncate(time.Second) }

// sound gives a secret whose file counts.
func (s *Store) sound(name string) (Secret, error) {
	one, err := s.Show(name)
	if err == nil && one.Wrong != "" {
		return Secret{}, fmt.Errorf("%w: %s; look at it, then remove the secret and set it again", ErrWrong, one.Wrong)
	}
	return one, err
}

// put writes a secret with the value that it gets now. changing is held.
func (s *Store) put(one Secret, value []byte) (Secret, error) {
	one.Rotated, one.Wrong = s.moment(), ""
	one.Shape = cmp.Or(one.Shape, Plain)
	if err := errors.Join(one.Check(), CheckValue(value)); err != nil {
		return Secret{}, err
	}
	s.mu.Lock()
	_, there := s.secrets[one.Name]
	full := !there && len(s.secrets) >= MaxSecrets
	s.mu.Unlock()
	if full {
		return Secret{}, ErrFull
	}
	sealed, err := seal(s.key.Recipient(), one, value)
	if err != nil {
		return Secret{}, fmt.Errorf("encrypt secret %s: %w", one.Name, err)
	}
	if err := s.write(stored{Format: format, Secret: one, Age: sealed}); err != nil {
		return Secret{}, fmt.Errorf("write secret %s: %w", one.Name, err)
	}
	s.tell(one.Name)
	return one, nil
}

// write writes a file, and what is known of it then.
func (s *Store) write(rec stored) error {
	s.files.Lock()
	defer s.files.Unlock()
	if err := record.Write(s.file(rec.Secret.Name), rec); err != nil {
		return err
	}
	s.mu.Lock()
	s.secrets[rec.Secret.Name] = rec.Secret
	s.mu.Unlock()
	return nil
}

// Remove removes a secret for good, also one that is Wrong.
func (s *Store) Remove(name string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if _, err := s.Show(name); err != nil {
		return err
	}
	// Out of memory first: if the file can't be removed, it is used no more until the next start.
	s.mu.Lock()
	delete(s.secrets, name)
	delete(s.used, name)
	s.mu.Unlock()
	s.tell(name)
	return record.Remove(s.file(name))
}

// tell says that a secret has changed. changing is held.
func (s *Store) tell(name string) {
	for _, f := range s.watchers {
		f(name)
	}
}

// Value reads the value of a secret from its file. The caller closes it.
func (s *Store) Value(name string) (*Value, error) {
	s.files.RLock()
	defer s.files.RUnlock()
	one, err := s.sound(name)
	if err != nil {
		return nil, err
	}
	rec, v, err := s.open(name)
	if err == nil && !bytes.Equal(rec.Secret.sealed(), one.sealed()) {
		v.Close()
		err = fmt.Errorf("%s has changed since it was read", s.file(name))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrong, err)
	}
	return v, nil
}

// Used notes that a secret was put into a request. Flush writes it.
func (s *Store) Used(name string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.secrets[name]
	if at = at.UTC().Truncate(time.Second); !ok || !at.After(one.LastUsed) {
		return
	}
	one.LastUsed = at
	s.secrets[name] = one
	s.used[name] = true
}

// Flush writes down when secrets were used last. What is noted between two of
// them is lost if the daemon is killed.
func (s *Store) Flush() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.mu.Lock()
	var names []string
	for name := range s.used {
		names = append(names, name)
	}
	clear(s.used)
	s.mu.Unlock()
	var errs []error
	for _, name := range names {
		one, err := s.sound(name)
		if err != nil {
			continue
		}
		rec, err := s.read(name)
		if err == nil && !bytes.Equal(rec.Secret.sealed(), one.sealed()) {
			err = fmt.Errorf("%s has changed since it was read", s.file(name))
		}
		if err == nil {
			rec.Secret.LastUsed = one.LastUsed
			err = record.Write(s.file(name), rec)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
