// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

const partsType = "multipart/form-data; boundary=bound"

// watched gives a body to a host of a secret.
func watched(t testing.TB, body io.Reader) io.Reader {
	t.Helper()
	r := request(t, post("/", partsType, "x", "Authorization: Bearer "+key))
	f, refusal := newSet(t).Inspect("api.example.com", 443, r)
	if refusal != nil || f.NeedsBody() {
		t.Fatalf("%+v %+v", f, refusal)
	}
	return f.Watch(io.NopCloser(body))
}

func part(header, value string) string {
	return "--bound\r\n" + header + "\r\n\r\n" + value + "\r\n"
}

func TestParts(t *testing.T) {
	const disposition = "Content-Disposition: form-data; name="
	file := part(disposition+`"file"; filename="f.html"`+"\r\nContent-Type: text/html", strings.Repeat(`<input name="password">`+"\r\n--boun\r\n\n", 1000))
	for _, test := range []struct {
		name, body string
		kind       packet.RefusalKind // empty: it passes
	}{
		{"fields and a file", "preamble\r\n" + part(disposition+"channel", "C1") + file + part(disposition+`"text"`, "token") + "--bound--\r\nepilogue", ""},
		{"another credential", part(disposition+`"token"`, "mine") + "--bound--", packet.RefusedCredential},
		{"the last part", file + part(disposition+"token", "mine"), packet.RefusedCredential},
		{"without carriage returns", strings.ReplaceAll(file+part(disposition+`"token"`, "mine"), "\r", ""), packet.RefusedCredential},
		{"behind spaces", "--bound \t\r\n" + disposition + "\"TOKEN\"\r\n\r\nmine", packet.RefusedCredential},
		{"behind the last boundary", "--bound--\r\n" + part(disposition+`"token"`, "mine"), packet.RefusedCredential},
		{"a boundary in a header", "--bound\r\nX: a\r\n" + part(disposition+`"token"`, "mine"), packet.RefusedProtocol},
		{"two names", part(disposition+`"a"`+"\r\n"+disposition+`"token"`, "mine"), packet.RefusedProtocol},
		{"two parameters", part(disposition+`"a"; name="token"`, "mine"), packet.RefusedProtocol},
		{"an endless header", "--bound\r\nX: " + strings.Repeat("a", maxPartHeader), packet.RefusedProtocol},
		{"an endless boundary", "--bound" + strings.Repeat(" ", maxPartHeader), packet.RefusedProtocol},
		{"a placeholder", part(disposition+"channel", key), packet.RefusedPlaceholder},
	} {
		for _, from := range []io.Reader{strings.NewReader(test.body), iotest.OneByteReader(strings.NewReader(test.body))} {
			got, err := io.ReadAll(watched(t, from))
			if test.kind == "" {
				if err != nil || string(got) != test.body {
					t.Errorf("%s: %v, %d bytes of %d", test.name, err, len(got), len(test.body))
				}
				continue
			}
			var refused *RefusedError
			if !asRefused(err, &refused) || refused.Kind != test.kind {
				t.Errorf("%s: %v, want %s", test.name, err, test.kind)
			}
			if strings.Contains(string(got), "mine") {
				t.Errorf("%s: the credential came through", test.name)
			}
		}
	}
	for _, media := range []string{"multipart/form-data", partsType + "\nContent-Encoding: gzip"} {
		if _, refusal := newSet(t).Inspect("api.example.com", 443, request(t, post("/", media, "x"))); refusal == nil {
			t.Errorf("%s passes", media)
		}
	}
}

// Whatever passes has no part that a server would take for a credential.
func FuzzParts(f *testing.F) {
	f.Add([]byte("--bound\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--bound--\r\n"), uint64(1))
	f.Add([]byte("--bound\r\nContent-Disposition: form-data; name=token\r\n\r\n1\r\n--bound--\r\n"), uint64(2))
	f.Add([]byte("--bound\nContent-Disposition: form-data; name*=utf-8''%74oken\n\n1\n--bound--"), uint64(3))
	f.Fuzz(func(t *testing.T, body []byte, seed uint64) {
		got, err := io.ReadAll(watched(t, &chunks{body, rand.New(rand.NewPCG(seed, 0))}))
		if err != nil {
			return
		}
		if !bytes.Equal(got, body) {
			t.Fatal("the body was changed")
		}
		r := &http.Request{Method: "POST", Header: http.Header{"Content-Type": {partsType}}, Body: io.NopCloser(bytes.NewReader(body))}
		parts, err := r.MultipartReader()
		for err == nil {
			var p *multipart.Part
			if p, err = parts.NextRawPart(); err == nil && credentialField(p.FormName()) {
				t.Fatalf("a part %q passed", p.FormName())
			}
		}
	})
}
