// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Names that boxes know servers by. All are at 127.0.0.1, on the host.
const (
	nameBytes  = "bytes.bench.test"  // through = "tcp"
	nameSealed = "sealed.bench.test" // through = "tls"
	nameWeb    = "web.bench.test"    // HTTP, TLS ended
	nameAsked  = "asked.bench.test"  // a person is asked about each request
)

// beyond is what is reached: a server with its authority.
type beyond struct {
	dir    string
	roots  string // certificate of the authority
	leaf   string // certificate and key of the server
	key    string // certificate and key of the authority, which a rival signs with
	server *away
	ports  map[string]int // by scheme
}

func newBeyond(dir string) (*beyond, error) {
	b := &beyond{dir: dir, roots: filepath.Join(dir, "roots.pem"), leaf: filepath.Join(dir, "leaf.pem"), key: filepath.Join(dir, "authority.pem")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := b.certify(); err != nil {
		return nil, err
	}
	var err error
	if b.server, err = outside("the server", filepath.Join(dir, "server.log"), b.roots, b.leaf); err != nil {
		return nil, err
	}
	r, err := b.server.ask(errand{Do: "serve"})
	if err != nil {
		return nil, errors.Join(err, b.server.close())
	}
	b.ports = r.Ports
	return b, nil
}

// certify makes an authority and a certificate for all names.
func (b *beyond) certify() error {
	now := time.Now()
	template := func(n int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(n), Subject: pkix.Name{CommonName: name},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true,
		}
	}
	authority, leaf := template(1, "authority of the benchmark"), template(2, nameWeb)
	authority.IsCA, authority.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign|x509.KeyUsageDigitalSignature
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} // a rival knows it by that alone
	leaf.DNSNames, leaf.KeyUsage = []string{"*.bench.test"}, x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	var above *ecdsa.PrivateKey
	for _, c := range []struct {
		of    *x509.Certificate
		files []string
	}{{authority, []string{b.key}}, {leaf, []string{b.leaf}}} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		if above == nil {
			above = key
		}
		der, err := x509.CreateCertificate(rand.Reader, c.of, authority, key.Public(), above)
		if err != nil {
			return err
		}
		secret, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		both := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), certificate...)
		if c.of == authority {
			err = os.WriteFile(b.roots, certificate, 0o644)
		}
		if err := errors.Join(err, os.WriteFile(c.files[0], both, 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// at is the address of the server that speaks a scheme.
func (b *beyond) at(scheme string) string { return fmt.Sprintf("127.0.0.1:%d", b.ports[scheme]) }

// url is a server's, by a name.
func (b *beyond) url(scheme, name, path string) string {
	return fmt.Sprintf("%s://%s:%d%s", scheme, name, b.ports[scheme], path)
}

// config is what a site needs to know of it.
func (b *beyond) config() string {
	text := fmt.Sprintf("[network]\nrate = 1048576\nroots = %q\n[network.hosts]\n", b.roots)
	for _, name := range []string{nameBytes, nameSealed, nameWeb, nameAsked} {
		text += fmt.Sprintf("%q = \"127.0.0.1\"\n", name)
	}
	return text
}

// reaching is the profile of boxes that reach it: no bound that a measurement
// would run into.
func (b *beyond) reaching(tools string) string {
	return fmt.Sprintf(`extends = "web"
[files]
read = [%q]
[workspace]
mode = "none"
[limits]
memory = "2G"
cpu = 64
cpu_time = "2h"
wall_time = "2h"
open_files = 8192
net_connections = 8192
net_sent = "1T"
net_received = "1T"
[network]
default = "deny"
`, tools) + b.rules()
}

// rules are what the profile lets out.
func (b *beyond) rules() (text string) {
	for _, rule := range []struct {
		name, scheme, more string
	}{
		{nameBytes, "tcp", "through = \"tcp\"\ndecision = \"allow\"\n"},
		{nameSealed, "tls", "through = \"tls\"\ndecision = \"allow\"\n"},
		{nameWeb, "https", "decision = \"allow\"\n"},
		{nameWeb, "http", "scheme = \"http\"\ndecision = \"allow\"\n"},
		{nameAsked, "http", "scheme = \"http\"\ndecision = \"ask\"\n"},
	} {
		text += fmt.Sprintf("[[network.rule]]\nhost = %q\nports = [%d]\naddresses = [\"127.0.0.1/32\"]\n%s", rule.name, b.ports[rule.scheme], rule.more)
	}
	return text
}

func (b *beyond) close() error { return b.server.close() }
