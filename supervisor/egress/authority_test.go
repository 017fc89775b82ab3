// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// What an authority signs is trusted by who trusts it, as far as that goes.
func TestAuthority(t *testing.T) {
	a, err := NewAuthority("clawsup: session x", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(a.PEM())
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 || !bytes.Equal(block.Bytes, a.Certificate) {
		t.Fatalf("%s", a.PEM())
	}
	ca, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if !ca.IsCA || ca.MaxPathLen != 0 || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign || ca.SerialNumber.BitLen() < 64 || len(ca.SubjectKeyId) == 0 {
		t.Errorf("%+v", ca)
	}
	if life := time.Until(ca.NotAfter); life > time.Hour || life < 55*time.Minute {
		t.Errorf("it lives for %v", life)
	}
	key, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	leaf := func(template *x509.Certificate, parent *x509.Certificate, by any) (*x509.Certificate, *ecdsa.PrivateKey) {
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Minute), time.Now().Add(time.Minute)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, own.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, own
	}
	server, _ := leaf(&x509.Certificate{DNSNames: []string{"api.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, ca, key)
	if _, err := server.Verify(x509.VerifyOptions{DNSName: "api.example", Roots: roots}); err != nil {
		t.Error(err)
	}
	client, _ := leaf(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca, key)
	if _, err := client.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		t.Error("it vouches for clients")
	}
	below, belowKey := leaf(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, ca, key)
	third, _ := leaf(&x509.Certificate{DNSNames: []string{"api.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, below, belowKey)
	between := x509.NewCertPool()
	between.AddCert(below)
	if _, err := third.Verify(x509.VerifyOptions{DNSName: "api.example", Roots: roots, Intermediates: between}); err == nil {
		t.Error("there can be authorities below it")
	}
	b, err := NewAuthority("clawsup: session x", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.ParseCertificate(b.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	if other.SerialNumber.Cmp(ca.SerialNumber) == 0 || bytes.Equal(a.Key, b.Key) {
		t.Error("two are the same")
	}
}

func BenchmarkNewAuthority(b *testing.B) {
	for b.Loop() {
		if _, err := NewAuthority("session", time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}
