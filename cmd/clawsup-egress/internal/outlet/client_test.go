// SPDX-License-Identifier: Apache-2.0

package outlet

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/runtime/netns/origin"
)

// run runs a real client and gives what it writes.
func run(t *testing.T, env []string, argv ...string) string {
	t.Helper()
	program, err := exec.LookPath(argv[0])
	if err != nil {
		t.Skipf("needs %s", argv[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c := exec.CommandContext(ctx, program, argv[1:]...)
	c.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "NO_PROXY=", "GIT_CONFIG_NOSYSTEM=1"}, env...)
	c.Dir = t.TempDir()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// hello answers with what it was asked.
func hello(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(rw, "%s %s %s\n", r.Method, r.URL, body)
}

func TestCurlCaptured(t *testing.T) {
	for _, scheme := range []string{"http", "https"} {
		for _, version := range []string{"--http1.0", "--http1.1", "--http2"} {
			w := newWorld(t)
			port := w.server(scheme, hello)
			w.leads(port)
			out := run(t, nil, "curl", "-sS", version, "--cacert", w.inside.file(t), "--connect-to", "::"+w.gate, "-d", "data", at(scheme, port, "/path?query"))
			if out != "POST /path?query data\n" {
				t.Errorf("%s %s: %q", scheme, version, out)
			}
		}
	}
}

// clients that are told of a proxy by their environment, and of the box's authority.
func TestClientsWithProxy(t *testing.T) {
	clients := []struct {
		name string
		argv func(url string) []string
	}{
		{"curl", func(url string) []string { return []string{"curl", "-sS", url} }},
		{"wget", func(url string) []string { return []string{"wget", "-q", "-O-", url} }},
		{"python", func(url string) []string {
			return []string{"python3", "-c", "import sys,urllib.request as u;print(u.urlopen(sys.argv[1]).read().decode(),end='')", url}
		}},
	}
	for _, c := range clients {
		for _, proxy := range []string{"http", "socks5h", "socks5"} {
			if proxy != "http" && c.name != "curl" {
				continue
			}
			for _, scheme := range []string{"http", "https"} {
				t.Run(c.name+" "+proxy+" "+scheme, func(t *testing.T) {
					w := newWorld(t)
					port := w.server(scheme, hello)
					url := at(scheme, port, "/path")
					w.leadsToProxy(map[string]uint16{"http": origin.HTTPProxy, "socks5h": origin.SOCKS, "socks5": origin.SOCKS}[proxy])
					gate := proxy + "://" + w.gate
					env := []string{"http_proxy=" + gate, "https_proxy=" + gate, "SSL_CERT_FILE=" + w.inside.file(t), "CURL_CA_BUNDLE=" + w.inside.file(t)}
					argv := c.argv(url)
					switch {
					case c.name == "wget":
						argv = append(argv, "--ca-certificate="+w.inside.file(t))
					case proxy == "socks5": // it looks the name up by itself, and gets the address that stands for it
						a, err := w.box.names.Table.Address(name)
						if err != nil {
							t.Fatal(err)
						}
						argv = append(argv, "--resolve", fmt.Sprintf("%s:%d:%s", name, port, a))
					}
					if out := run(t, env, argv...); out != "GET /path \n" {
						t.Errorf("%q", out)
					}
					if q := w.asked(); len(q) != 1 || q[0].Host != name || q[0].Port != port || q[0].Scheme != scheme || q[0].Path != "/path" {
						t.Errorf("asked for %+v", q)
					}
				})
			}
		}
	}
}

func TestGitClone(t *testing.T) {
	repository := t.TempDir()
	git := func(argv ...string) {
		run(t, []string{"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"},
			append([]string{"git", "-C", repository}, argv...)...)
	}
	git("init", "-q", "-b", "main", ".")
	if err := os.WriteFile(filepath.Join(repository, "file"), []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	git("add", "file")
	git("commit", "-q", "-m", "first")
	git("update-server-info")
	w := newWorld(t)
	files := http.FileServer(http.Dir(filepath.Join(repository, ".git")))
	port := w.server("https", http.StripPrefix("/repository.git", files).ServeHTTP)
	w.leadsToProxy(origin.HTTPProxy)
	to := filepath.Join(t.TempDir(), "clone")
	run(t, []string{"https_proxy=http://" + w.gate, "GIT_SSL_CAINFO=" + w.inside.file(t)}, "git", "clone", "-q", at("https", port, "/repository.git"), to)
	if b, err := os.ReadFile(filepath.Join(to, "file")); err != nil || string(b) != "content\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestOpenSSL(t *testing.T) {
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		w := newWorld(t)
		w.leads(443)
		out := run(t, nil, "openssl", "s_client", version, "-connect", w.gate, "-servername", name, "-verify_hostname", name, "-CAfile", w.inside.file(t), "-verify_return_error", "-brief")
		if !strings.Contains(out, "Verification: OK") {
			t.Errorf("%s", out)
		}
	}
}

func TestNodeCaptured(t *testing.T) {
	w := newWorld(t)
	port := w.server("https", hello)
	w.leadsToProxy(origin.HTTPProxy)
	script := `const http=require("http"),tls=require("tls"),https=require("https");
const [gate,host,port]=process.argv.slice(1);const [h,p]=gate.split(":");
http.request({host:h,port:p,method:"CONNECT",path:host+":"+port}).on("connect",(r,s)=>{
 https.get({host,port,path:"/node",createConnection:()=>tls.connect({socket:s,servername:host})},a=>{a.pipe(process.stdout);a.on("end",()=>process.exit(0))})}).end()`
	if out := run(t, []string{"NODE_EXTRA_CA_CERTS=" + w.inside.file(t)}, "node", "-e", script, w.gate, name, fmt.Sprint(port)); out != "GET /node \n" {
		t.Errorf("%q", out)
	}
}

func TestProxyRefuses(t *testing.T) {
	w := newWorld(t)
	var seen int
	port := w.server("http", func(http.ResponseWriter, *http.Request) { seen++ })
	w.leadsToProxy(origin.HTTPProxy)
	for head, want := range map[string]string{
		"GET / HTTP/1.1\r\nHost: " + name:                                      "400",
		"GET https://" + name + "/ HTTP/1.1\r\nHost: " + name:                  "400",
		"GET ftp://" + name + "/ HTTP/1.1\r\nHost: " + name:                    "400",
		"GET http://127.0.0.1/ HTTP/1.1\r\nHost: " + name:                      "400",
		"GET http://2130706433/ HTTP/1.1\r\nHost: " + name:                     "400",
		"GET http://localhost/ HTTP/1.1\r\nHost: " + name:                      "400",
		"GET http://u:p@" + name + "/ HTTP/1.1\r\nHost: " + name:               "400",
		"CONNECT " + name + " HTTP/1.1\r\nHost: " + name:                       "400",
		"CONNECT 0x7f.1:80 HTTP/1.1\r\nHost: " + name:                          "400",
		"CONNECT [::1]:80 HTTP/1.1\r\nHost: " + name:                           "400",
		"CONNECT " + name + ":0 HTTP/1.1\r\nHost: " + name:                     "400",
		fmt.Sprintf("CONNECT %s:%d@127.0.0.1 HTTP/1.1\r\nHost: x", name, port): "400",
	} {
		c := w.dial()
		_, _ = io.WriteString(c, head+"\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		if !strings.HasPrefix(string(b), "HTTP/1.1 "+want) {
			t.Errorf("%q: %q", head, b)
		}
	}
	// Of an absolute form and a Host that disagree, the first counts, for both sides.
	c := w.dial()
	fmt.Fprintf(c, "GET http://%s:%d/ HTTP/1.1\r\nHost: other.example.com\r\nConnection: close\r\n\r\n", name, port)
	if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 200") {
		t.Errorf("%q", b)
	}
	if q := w.asked(); seen != 1 || len(q) != 1 || q[0].Host != name || q[0].Port != port {
		t.Errorf("%d requests, asked for %+v", seen, q)
	}
	// In a tunnel to one name, another is refused.
	fmt.Fprintf(w.tunnel(port), "GET / HTTP/1.1\r\nHost: other.example.com\r\nConnection: close\r\n\r\n")
	if seen != 1 {
		t.Error("it went out")
	}
}

// tunnel is a connection on which CONNECT has been answered.
func (w *world) tunnel(port uint16) io.ReadWriteCloser {
	w.t.Helper()
	c := w.dial()
	fmt.Fprintf(c, "CONNECT %s:%d HTTP/1.1\r\nHost: %s:%d\r\n\r\n", name, port, name, port)
	head := make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n"))
	if _, err := io.ReadFull(c, head); err != nil {
		w.t.Fatalf("%q, %v", head, err)
	}
	return c
}
