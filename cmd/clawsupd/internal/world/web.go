// SPDX-License-Identifier: Apache-2.0

package world

import (
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// socket is the protocol of a WebSocket in the log.
const socket = "websocket"

// paths are those of the servers for everything:
//
//	/echo              what came, as JSON: Echo
//	/back              the credential that came, in some form: see back
//	/upload            how much came, and its SHA-256
//	/download?size=N   N bytes of Content
//	/wait, /events     a first part, then another for each value from Gate, ?parts=N together
//	/socket            a WebSocket that sends back each message
//	/token             an access token, as OAuth's endpoint for tokens does
func (w *World) paths() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/echo", echo)
	m.HandleFunc("/echo/{rest...}", echo)
	m.HandleFunc("/back", back)
	m.HandleFunc("/upload", upload)
	m.HandleFunc("/download", download)
	m.HandleFunc("/wait", func(rw http.ResponseWriter, r *http.Request) { w.parts(rw, r, "text/plain", "part %d\n") })
	m.HandleFunc("/events", func(rw http.ResponseWriter, r *http.Request) {
		w.parts(rw, r, "text/event-stream", "data: part %d\n\n")
	})
	m.HandleFunc("/socket", w.socket)
	m.HandleFunc("/token", w.issued.token)
	return m
}

// Echo is the answer of /echo.
type Echo struct {
	Method string      `json:"method"`
	Host   string      `json:"host"`
	Target string      `json:"target"`
	Proto  string      `json:"proto"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(io.LimitReader(r.Body, MaxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Echo{r.Method, r.Host, r.RequestURI, r.Proto, r.Header, string(b)})
}

// forms are ways to write a value in an answer.
var forms = map[string]func(string) string{
	"raw":       func(v string) string { return v },
	"base64":    func(v string) string { return base64.StdEncoding.EncodeToString([]byte(v)) },
	"base64url": func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) },
	"percent":   percent,
	"json":      quoted,
	"slashed":   func(v string) string { return strings.ReplaceAll(quoted(v), "/", `\/`) },
}

func quoted(v string) string {
	b, _ := json.Marshal(v) // of a string there is no error
	return string(b)
}

// percent writes everything but letters and digits as %XX.
func percent(v string) string {
	var b strings.Builder
	for _, c := range []byte(v) {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// back sends back the value of the header ?of= (Authorization if there is none),
// without its scheme, in the form ?as=: raw, base64, base64url, percent, json,
// slashed; header puts it into headers of the answer, split sends each byte by
// itself, gzip compresses. ?shift=N puts N bytes in front, before it is encoded.
func back(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	of := q.Get("of")
	if of == "" {
		of = "Authorization"
	}
	v := r.Header.Get(of)
	v = v[strings.LastIndexByte(v, ' ')+1:]
	shift, _ := strconv.Atoi(q.Get("shift"))
	v = strings.Repeat("x", min(max(shift, 0), 16)) + v
	w.Header().Set("Content-Type", "text/plain")
	switch as := q.Get("as"); as {
	case "header":
		w.Header().Set("X-Back", v)
		w.Header().Set("Location", "/echo?was="+percent(v))
	case "split":
		for _, c := range []byte("before " + v + " after\n") {
			_, _ = w.Write([]byte{c})
			_ = http.NewResponseController(w).Flush()
		}
	case "gzip":
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = fmt.Fprintf(z, "before %s after\n", v)
		_ = z.Close()
	default:
		form, ok := forms[as]
		if !ok {
			http.Error(w, "no such form", http.StatusNotFound)
			return
		}
		_, _ = fmt.Fprintf(w, "before %s after\n", form(v))
	}
}

func upload(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_, _ = fmt.Fprintf(w, "%d %x\n", n, sum.Sum(nil))
}

// Content gives n bytes that are always the same and can't be compressed.
func Content(n int64) io.Reader {
	return io.LimitReader(mathrand.NewChaCha8([32]byte{}), n)
}

// Digest is the SHA-256 of Content, in hexadecimal.
func Digest(n int64) string {
	sum := sha256.New()
	_, _ = io.Copy(sum, Content(n)) // neither fails
	return hex.EncodeToString(sum.Sum(nil))
}

func download(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
	if err != nil || n < 0 {
		http.Error(w, "no size", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	_, _ = io.Copy(w, Content(n))
}

// parts answers in parts: the first at once, each other after a value from Gate.
func (w *World) parts(rw http.ResponseWriter, r *http.Request, kind, format string) {
	n, err := strconv.Atoi(r.URL.Query().Get("parts"))
	if err != nil {
		n = math.MaxInt
	}
	rw.Header().Set("Content-Type", kind)
	for i := range n {
		if i > 0 {
			select {
			case <-w.Gate:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = fmt.Fprintf(rw, format, i)
		_ = http.NewResponseController(rw).Flush()
	}
}

// socket is a WebSocket that sends back each message.
func (w *World) socket(rw http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.UpgradeHTTP(r, rw)
	if err != nil {
		return // the client was told
	}
	defer conn.Close()
	w.streams.add(conn)
	defer w.streams.remove(conn)
	change := r.Context().Value(entry{}).(func(func(*Seen)))
	change(func(s *Seen) { s.Protocol = socket })
	for first := true; ; first = false {
		message, kind, err := wsutil.ReadClientData(conn)
		if err != nil {
			return
		}
		change(func(s *Seen) {
			s.Size += int64(len(message))
			if first {
				s.Body = message
			}
		})
		if err := wsutil.WriteServerMessage(conn, kind, message); err != nil {
			return
		}
	}
}

// issued are the tokens that /token gave.
type issued struct {
	mu     sync.Mutex
	tokens []string // mu
}

func (i *issued) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.FormValue("grant_type") == "" {
		http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
		return
	}
	token := "fresh/" + rand.Text()
	i.mu.Lock()
	i.tokens = append(i.tokens, token)
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
}

// Issued gives the tokens that /token gave, of all servers, the oldest first.
func (w *World) Issued() []string {
	w.issued.mu.Lock()
	defer w.issued.mu.Unlock()
	return append([]string(nil), w.issued.tokens...)
}

// moved sends to other places: /down to plain HTTP, /in to the host's loopback,
// everything else to the same path of Other.
func moved(w http.ResponseWriter, r *http.Request) {
	to := "https://" + string(Other) + r.URL.RequestURI()
	switch r.URL.Path {
	case "/down":
		to = "http://" + string(Plain) + "/echo"
	case "/in":
		to = "http://127.0.0.1/echo"
	}
	http.Redirect(w, r, to, http.StatusTemporaryRedirect)
}

// BotToken is what Bot wants in its paths.
const BotToken = "1234567890:AAExampleOfATokenThatNobodyHas_0123"

// bot answers /bot<BotToken>/METHOD as chat services do.
func bot(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	method, ok := strings.CutPrefix(r.URL.Path, "/bot"+BotToken+"/")
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"ok":false,"error_code":401}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"ok": true, "result": map[string]string{"method": method, "chat": r.FormValue("chat_id")}})
}
