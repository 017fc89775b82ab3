// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/clawsup/clawsup/runtime/rootfs"
)

// Trust is a directory of certificates that a box sees in place of the host's:
// the same ones, and the authority under which clawsup-egress ends TLS for it.
type Trust struct{ Dir string }

// trustDirs are where programs look for certificates, on Debian and on Fedora.
var trustDirs = []string{"/etc/ssl/certs", "/etc/pki/tls/certs"}

// Names of files in the directory. The first two are one, with everything; the
// last is how OpenSSL finds the authority by its subject (see TrustSubject).
const (
	trustBundle    = "ca-certificates.crt"
	trustBundleToo = "ca-bundle.crt"
	trustAuthority = "clawsup-egress.pem"
	trustHash      = "866934c0.0"
)

// TrustSubject is the common name of every authority (its organization is clawsup too). It is always the same,
// so that its hash (openssl-rehash(1)) is known; which of them a box trusts is
// told by the key.
const TrustSubject = "clawsup egress"

// trust is one such variable.
type trust struct{ name, file, why string }

// trusting are the variables by which programs are told of certificates, with
// the file each wants. What ignores them reads the directory.
var trusting = []trust{
	{"SSL_CERT_FILE", trustBundle, "OpenSSL, Go, rustls"},
	{"CURL_CA_BUNDLE", trustBundle, "curl of other builds"},
	{"REQUESTS_CA_BUNDLE", trustBundle, "Python requests, pip: they bring their own list"},
	{"PIP_CERT", trustBundle, "pip without requests"},
	{"GIT_SSL_CAINFO", trustBundle, "git"},
	{"CARGO_HTTP_CAINFO", trustBundle, "cargo"},
	{"AWS_CA_BUNDLE", trustBundle, "AWS's tools"},
	{"DENO_CERT", trustAuthority, "Deno adds it to its own list"},
	{"NODE_EXTRA_CA_CERTS", trustAuthority, "Node adds it to its own list"},
}

// trustDir is where the directory appears in a box: the first of trustDirs that
// its root has. The host's own /etc is made for each box, and so is a directory
// that the host lacks.
func trustDir(root string) (string, error) {
	for _, dir := range trustDirs {
		if info, err := os.Lstat(filepath.Join("/", root, dir)); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	if root == "" {
		return trustDirs[0], nil
	}
	return "", fmt.Errorf("%s is nowhere below %s, and there the box would be told which certificates to trust: make it, empty", trustDirs[0], root)
}

// MakeTrust makes the directory, which must not exist. roots are the host's
// certificates, authority the box's own, both PEM.
func MakeTrust(dir, roots string, authority []byte) (t *Trust, err error) {
	host, err := os.ReadFile(roots)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	t = &Trust{Dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	if len(host) > 0 && !bytes.HasSuffix(host, []byte("\n")) {
		host = append(host, '\n')
	}
	for name, content := range map[string][]byte{
		trustBundle: append(slices.Clip(host), authority...), trustAuthority: authority,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return nil, err
		}
	}
	for name, to := range map[string]string{trustBundleToo: trustBundle, trustHash: trustAuthority} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return t, os.Chmod(dir, 0o755) // past the umask
}

// Close removes the directory. Boxes that have it mounted don't.
func (t *Trust) Close() error { return os.RemoveAll(t.Dir) }

// Bind shows it in a box whose root is given; empty: the host's own directories.
func (t *Trust) Bind(root string) (rootfs.Bind, error) {
	at, err := trustDir(root)
	return rootfs.Bind{Source: t.Dir, Target: at, Apart: true}, err
}

// TrustEnvironment gives the variables for a box whose root is given, without
// those that env has already.
func TrustEnvironment(root string, env map[string]string) (map[string]string, error) {
	at, err := trustDir(root)
	if err != nil {
		return nil, err
	}
	more := map[string]string{}
	for _, v := range trusting {
		if _, set := env[v.name]; !set {
			more[v.name] = filepath.Join(at, v.file)
		}
	}
	return more, nil
}
