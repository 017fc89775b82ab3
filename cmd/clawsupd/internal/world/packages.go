// SPDX-License-Identifier: Apache-2.0

package world

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Package is the name of what Wheels and Packages have, in version 1.0.0: a module of
// Python, or of JavaScript, that says Bloom.
const Package = "sunflower"

// Bloom is what can be read from the packages and the repository.
const Bloom = "in bloom"

// Repository is the path of what Git has: one file README with Bloom, on branch main.
const Repository = "/garden.git"

// newRepository makes a repository below dir and gives what serves it.
func newRepository(dir string) (http.Handler, error) {
	home := filepath.Join(dir, "git")
	work, bare := filepath.Join(home, "work"), home+Repository
	if err := os.MkdirAll(work, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(work, "README"), []byte(Bloom+"\n"), 0o644); err != nil {
		return nil, err
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
	git := func(args ...string) (string, error) {
		c := exec.Command("git", append([]string{"-C", work, "-c", "user.name=gardener", "-c", "user.email=gardener@git.test"}, args...)...)
		c.Env = env
		out, err := c.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "README"}, {"commit", "-q", "-m", "seed"}, {"clone", "-q", "--bare", ".", bare}} {
		if _, err := git(args...); err != nil {
			return nil, err
		}
	}
	path, err := git("--exec-path")
	return &cgi.Handler{
		Path:   filepath.Join(path, "git-http-backend"),
		Stderr: io.Discard,
		Logger: log.New(io.Discard, "", 0),
		Env:    append(env, "GIT_PROJECT_ROOT="+home, "GIT_HTTP_EXPORT_ALL=1"),
	}, err
}

// newWheel makes a wheel (PEP 427) and gives an index that has it (PEP 503).
func newWheel() (http.Handler, error) {
	const info = Package + "-1.0.0.dist-info/"
	files := []struct{ name, text string }{
		{Package + "/__init__.py", "print(" + `"` + Bloom + `"` + ")\n"},
		{info + "METADATA", "Metadata-Version: 2.1\nName: " + Package + "\nVersion: 1.0.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
	}
	var record strings.Builder
	for _, f := range files {
		sum := sha256.Sum256([]byte(f.text))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", f.name, base64.RawURLEncoding.EncodeToString(sum[:]), len(f.text))
	}
	record.WriteString(info + "RECORD,,\n")
	files = append(files, struct{ name, text string }{info + "RECORD", record.String()})
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.Create(f.name)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	const file = Package + "-1.0.0-py3-none-any.whl"
	m := http.NewServeMux()
	m.HandleFunc("/simple/"+Package+"/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<!DOCTYPE html><html><body><a href=\"/files/%s#sha256=%x\">%s</a></body></html>\n", file, sha256.Sum256(b.Bytes()), file)
	})
	m.HandleFunc("/files/"+file, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, file, time.Time{}, bytes.NewReader(b.Bytes()))
	})
	return m, nil
}

// newTarball makes a package of JavaScript and gives a registry that has it.
func newTarball() (http.Handler, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	for _, f := range []struct{ name, text string }{
		{"package/package.json", `{"name":"` + Package + `","version":"1.0.0","main":"index.js"}`},
		{"package/index.js", "console.log('" + Bloom + "')\n"},
	} {
		if err := t.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text))}); err != nil {
			return nil, err
		}
		if _, err := t.Write([]byte(f.text)); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	const file = "/" + Package + "/-/" + Package + "-1.0.0.tgz"
	sum := sha512.Sum512(b.Bytes())
	m := http.NewServeMux()
	m.HandleFunc("/"+Package, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"name":      Package,
			"dist-tags": map[string]string{"latest": "1.0.0"},
			"versions": map[string]any{"1.0.0": map[string]any{
				"name": Package, "version": "1.0.0", "main": "index.js",
				"dist": map[string]string{"tarball": "https://" + string(Packages) + file, "integrity": "sha512-" + base64.StdEncoding.EncodeToString(sum[:])},
			}},
		})
	})
	m.HandleFunc(file, func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(b.Bytes()) })
	return m, nil
}
