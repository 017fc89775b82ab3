// SPDX-License-Identifier: Apache-2.0

package supervisor_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/egress"
)

// What OpenSSL finds in the directory by a certificate's subject, and what is in
// the bundle, is the host's list and the box's own authority.
func TestTrust(t *testing.T) {
	authority, err := egress.NewAuthority(supervisor.TrustSubject, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	host := filepath.Join(t.TempDir(), "host.pem")
	for _, roots := range []string{"HOST'S OWN", "HOST'S OWN\n", ""} {
		if err := os.WriteFile(host, []byte(roots), 0o600); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "trust")
		trust, err := supervisor.MakeTrust(dir, host, authority.PEM())
		if err != nil {
			t.Fatal(err)
		}
		bundle, err := os.ReadFile(filepath.Join(dir, "ca-certificates.crt"))
		if err != nil {
			t.Fatal(err)
		}
		want := append([]byte(strings.TrimSuffix(roots, "\n")), '\n')
		if roots == "" {
			want = nil
		}
		if !bytes.Equal(bundle, append(want, authority.PEM()...)) {
			t.Errorf("with %q the bundle is\n%s", roots, bundle)
		}
		out, err := exec.Command("openssl", "verify", "-no-CAfile", "-CApath", dir, filepath.Join(dir, "clawsup-egress.pem")).CombinedOutput()
		if err != nil {
			t.Errorf("openssl verify: %v: %s", err, out)
		}
		if err := trust.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("the directory is still there: %v", err)
		}
	}
	if _, err := supervisor.MakeTrust(filepath.Join(t.TempDir(), "trust"), "/nonexistent/bundle", authority.PEM()); err != nil {
		t.Errorf("a host without certificates: %v", err)
	}
}
