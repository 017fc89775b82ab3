// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"time"
)

// Authority is what a box trusts, so that TLS can be ended at the helper. It is
// made for one session, is in no other box, and its key is in no box at all.
type Authority struct {
	Certificate []byte // DER
	Key         []byte // DER, PKCS #8
}

// early is how far an authority reaches back: the clock of the host may be set
// back a little.
const early = time.Hour

// NewAuthority makes one of ECDSA P-256 (RFC 5280) that may sign certificates
// of servers, of any name, but of no further authorities. The name is for people who look at it.
func NewAuthority(name string, life time.Duration) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{ // without a serial number: a random one is taken
		Subject:   pkix.Name{CommonName: name, Organization: []string{"clawsup"}},
		NotBefore: now.Add(-early), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage:    x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	a := new(Authority)
	if a.Certificate, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	if a.Key, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	return a, nil
}

// PEM is the certificate as bundles have it.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate})
}
