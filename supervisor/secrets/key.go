// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/supervisor/record"
)

// Credential is the name of the key as a credential of systemd's.
const Credential = "clawsup-secrets"

// KeyFile gives the file that the key is in: the credential, where systemd has
// passed one, or secrets.key in the state directory.
func KeyFile(state string) string {
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		file := filepath.Join(dir, Credential)
		if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
			return file
		}
	}
	return filepath.Join(state, "secrets.key")
}

const maxKey = 4 << 10

// readKey reads an identity as age-keygen writes it: a line, and comments. No
// part of it is in an error.
func readKey(file string) (*age.X25519Identity, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("the key of the secrets: %w", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "fstat", Path: file, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != 0 || st.Mode&0o077 != 0 {
		return nil, fmt.Errorf("the key of the secrets %s must be a file of root's that is closed to everybody else (mode 0600): whoever could read it knows every secret, so rotate them before you change that", file)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	if err != nil {
		return nil, fmt.Errorf("the key of the secrets: %w", err)
	}
	defer clear(text)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if len(text) <= maxKey && len(lines) == 1 {
		if key, err := age.ParseX25519Identity(lines[0]); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("the key of the secrets %s is not one X25519 identity as age-keygen writes it", file)
}

// makeKey makes one where there is none.
func makeKey(file string) error {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	return record.Create(file, []byte(key.String()+"\n"))
}
