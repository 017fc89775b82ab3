// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// authority makes certificates that a box trusts.
type authority struct {
	certificate *x509.Certificate
	key         any
	leafKey     *ecdsa.PrivateKey // of all names: it never leaves this process

	mu      sync.Mutex
	configs map[string]*tls.Config // mu; by name
}

const (
	maxConfigs = 256 // of one box; beyond, one is made anew each time
	leafEarly  = time.Hour
	leafLife   = 30 * 24 * time.Hour
)

// newAuthority reads a certificate and its key (PKCS #8), both DER.
func newAuthority(certificate, key []byte) (*authority, error) {
	c, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("its authority: %w", err)
	}
	k, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, errors.New("its authority: the key can't be read")
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &authority{certificate: c, key: k, leafKey: leaf, configs: map[string]*tls.Config{}}, nil
}

// config is that of TLS ended for a target. Tickets of sessions are good for
// that name alone.
func (a *authority) config(t target) (*tls.Config, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.configs[t.host]; c != nil && time.Now().Before(c.Certificates[0].Leaf.NotAfter.Add(-leafEarly)) {
		return c, nil
	}
	leaf, err := a.mint(t)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{*leaf},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1", "http/1.0"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return nil, t.named(hello.ServerName)
		},
	}
	if len(a.configs) < maxConfigs || a.configs[t.host] != nil {
		a.configs[t.host] = c
	}
	return c, nil
}

// mint makes a certificate of a server.
func (a *authority) mint(t target) (*tls.Certificate, error) {
	now := time.Now()
	template := &x509.Certificate{
		NotBefore: now.Add(-leafEarly), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if template.NotBefore.Before(a.certificate.NotBefore) {
		template.NotBefore = a.certificate.NotBefore
	}
	if template.NotAfter.After(a.certificate.NotAfter) {
		template.NotAfter = a.certificate.NotAfter
	}
	if len(t.host) <= 64 { // as much as a common name may have (RFC 5280, appendix A)
		template.Subject = pkix.Name{CommonName: t.host}
	}
	if t.addr.IsValid() {
		template.IPAddresses = []net.IP{t.addr.AsSlice()}
	} else {
		template.DNSNames = []string{t.host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, a.leafKey.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("a certificate for %s: %w", t.host, err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leafKey, Leaf: parsed}, nil
}
