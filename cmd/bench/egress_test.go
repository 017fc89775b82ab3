// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPeers: a client does each errand with the servers, directly.
func TestPeers(t *testing.T) {
	dir := t.TempDir()
	b := &beyond{dir: dir, roots: filepath.Join(dir, "roots.pem"), leaf: filepath.Join(dir, "leaf.pem"), key: filepath.Join(dir, "authority.pem")}
	if err := b.certify(); err != nil {
		t.Fatal(err)
	}
	server := &peer{trust: &tls.Config{}, http: map[string]*web{}}
	if err := server.certified(b.leaf); err != nil {
		t.Fatal(err)
	}
	r, err := server.serve(errand{})
	if err != nil {
		t.Fatal(err)
	}
	b.ports = r.Ports
	roots := x509.NewCertPool()
	text, err := os.ReadFile(b.roots)
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	const short = 20 * time.Millisecond
	for _, e := range []errand{
		{Do: "stream", URL: b.url("tcp", nameBytes, ""), Streams: 2, For: short},
		{Do: "stream", URL: b.url("tcp", nameBytes, ""), Up: true, For: short},
		{Do: "stream", URL: b.url("tls", nameSealed, ""), For: short},
		{Do: "stream", URL: b.url("https", nameWeb, "/stream"), For: short},
		{Do: "request", URL: b.url("http", nameWeb, "/"), Times: 3},
		{Do: "request", URL: b.url("https", nameWeb, "/"), Times: 3, Streams: 4},
		{Do: "request", URL: b.url("https", nameWeb, "/"), Times: 3, HTTP2: true},
		{Do: "connect", URL: b.url("tcp", nameBytes, ""), Times: 2},
		{Do: "connect", URL: b.url("https", nameWeb, "/"), Times: 2},
		{Do: "resolve", URL: b.url("dns", nameBytes, ""), Times: 2},
		{Do: "idle", URL: b.url("tcp", nameBytes, ""), Times: 5},
		{Do: "idle", URL: b.url("https", nameWeb, "/"), Times: 5},
	} {
		client := &peer{trust: &tls.Config{RootCAs: roots}, http: map[string]*web{}}
		scheme := map[bool]string{true: "dns"}[e.Do == "resolve"]
		for s := range b.ports {
			if len(e.URL) > len(s)+3 && e.URL[:len(s)+3] == s+"://" {
				scheme = s
			}
		}
		e.Connect, e.Streams = b.at(scheme), max(e.Streams, 1)
		got, err := errands[e.Do](client, e)
		if want := int64(e.Times * e.Streams); err != nil || got.Done == 0 || e.Times > 0 && got.Done != want {
			t.Errorf("%+v: %+v, %v", e, got, err)
		}
		if n, err := client.drop(errand{}); err != nil || e.Do == "idle" && n.Done != int64(e.Times) {
			t.Errorf("%+v: dropped %+v, %v", e, n, err)
		}
	}
}

// TestErrandsFail: what a server doesn't have is an error, and not a quick answer.
func TestErrandsFail(t *testing.T) {
	client := &peer{trust: &tls.Config{}, http: map[string]*web{}}
	for do := range errands {
		if do == "cpu" || do == "serve" || do == "drop" {
			continue
		}
		e := errand{Do: do, URL: "http://nowhere.bench.test:1/", Connect: "127.0.0.1:1", Times: 1, Streams: 1, For: time.Millisecond}
		if do == "resolve" {
			e.Connect = "256.0.0.1:1"
		}
		if got, err := errands[do](client, e); err == nil {
			t.Errorf("%s: %+v", do, got)
		}
	}
}

func TestOutcome(t *testing.T) {
	bytes := trial{errand: errand{Do: "stream"}}
	times := trial{errand: errand{Do: "request"}}
	paced := trial{errand: errand{Do: "request", Rest: time.Millisecond}}
	const s = time.Second
	for name, c := range map[string]struct {
		trial           trial
		way             way
		result          result
		between, server time.Duration
		one, cpu        time.Duration
	}{
		"bytes":        {bytes, way{}, result{Done: 2e9, Wall: s - streamWarm, CPU: s}, s, 2 * s, (s - streamWarm) / 2, time.Duration(4 * 0.95 / 2 * 1e9)},
		"times":        {times, way{}, result{Done: 10, Wall: s, CPU: s}, 0, s, s / 10, s / 5},
		"out of a box": {times, way{boxed: true}, result{Done: 10, Wall: s, CPU: s}, s, s, s / 10, s / 5},
		"with rests":   {paced, way{}, result{Done: 2, Wall: s, CPU: s, Each: []time.Duration{3, 3}}, 0, s, 3, s},
	} {
		got := newOutcome(c.trial, &c.way, c.result, c.between, c.server)
		if got.one != c.one || (got.cpu-c.cpu).Abs() > time.Microsecond {
			t.Errorf("%s: %v %v, want %v %v", name, got.one, got.cpu, c.one, c.cpu)
		}
	}
}
