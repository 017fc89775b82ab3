// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// bodyKind is how a body is read.
type bodyKind int

const (
	otherBody bodyKind = iota // also where nothing says how
	formBody
	jsonBody
	multipartBody
)

// kindOf goes by Content-Type; the boundary is of multipart/form-data.
func kindOf(header http.Header) (kind bodyKind, boundary string) {
	values := header.Values("Content-Type")
	if len(values) != 1 {
		return otherBody, ""
	}
	media, parameters, err := mime.ParseMediaType(values[0])
	switch {
	case err != nil:
		return otherBody, ""
	case media == "application/x-www-form-urlencoded":
		return formBody, ""
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		return jsonBody, ""
	case media == "multipart/form-data":
		return multipartBody, parameters["boundary"]
	}
	return otherBody, ""
}

// hasBody reports whether there is one, or may be.
func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// encoded reports whether a body is compressed, or the like.
func encoded(header http.Header) bool {
	for _, v := range header.Values("Content-Encoding") {
		if v != "" && !strings.EqualFold(v, "identity") {
			return true
		}
	}
	return false
}

// expectBody decides how the body is to be looked at. A form to a host of a
// secret always is, since forms have credentials; other bodies are where a secret has a place
// in bodies of that host, whatever they say they are, for servers guess.
func (f *Found) expectBody(r *http.Request) *packet.Refusal {
	f.body, f.boundary = kindOf(r.Header)
	if len(f.here) == 0 || !hasBody(r) {
		return nil
	}
	inBodies := f.bound(packet.JSON) || f.bound(packet.Form)
	f.needs = f.body == formBody || inBodies && f.body != multipartBody
	switch {
	case len(r.Header.Values("Content-Type")) > 1:
		return f.refuse(packet.RefusedProtocol, "two headers Content-Type")
	case f.body == multipartBody && (f.boundary == "" || encoded(r.Header)):
		return f.refuse(packet.RefusedProtocol, "the parts of a form can't be looked at, and a secret is for this host")
	case f.needs && encoded(r.Header):
		return f.refuse(packet.RefusedProtocol, "a compressed body can't be looked at, and a secret of this host has its place in bodies")
	}
	return nil
}

// InspectBody looks at the whole body, where NeedsBody says so, and adds to
// Uses. Its Refusals are of the kinds of Inspect's.
func (f *Found) InspectBody(body []byte) *packet.Refusal {
	spots, refusal := f.bodySpots(body)
	if refusal != nil {
		return refusal
	}
	if refusal := f.stray("the body", string(body), spots); refusal != nil {
		return refusal
	}
	if f.body == formBody || f.body == otherBody && f.bound(packet.Form) {
		if refusal := f.inspectItems("form field", packet.Form, string(body), items(string(body)), spots); refusal != nil {
			return refusal
		}
	}
	f.used(spots...)
	return nil
}

// bodySpots finds placeholders in a body.
func (f *Found) bodySpots(body []byte) ([]spot, *packet.Refusal) {
	text := bytes.TrimLeft(body, "\ufeff \t\r\n")
	isJSON := len(text) > 0 && (f.body == jsonBody || text[0] == '{' || text[0] == '[')
	if !isJSON || !f.bound(packet.JSON) {
		if f.body == formBody {
			return itemSpots(f.here, packet.Form, items(string(body))), nil
		}
		return nil, nil
	}
	spots, bad, err := fieldSpots(f.here, packet.JSON, body)
	switch {
	case err != nil:
		return nil, f.refuse(packet.RefusedProtocol, "a body for a host whose secret has its place in JSON: %v", err)
	case bad != nil:
		return nil, f.foreign("JSON field " + bad.Place.Name)
	}
	return spots, nil
}

// Watch gives a body that streams. Reading fails with a *RefusedError where a
// placeholder of the box passes, and gives nothing of it; or, to a host of a
// secret, where a part of a form carries another credential.
func (f *Found) Watch(body io.ReadCloser) io.ReadCloser {
	if body == nil {
		return nil
	}
	if f.body == multipartBody && len(f.here) > 0 {
		body = newParts(body, f, f.boundary)
	}
	if len(f.view.holders) == 0 {
		return body
	}
	return &holding{from: body, scan: newScan(f.view.finder()), match: func(_ []byte, needle, _, _ int) error {
		return &RefusedError{*f.refuse(packet.RefusedPlaceholder, "the placeholder of secret %s is in the body, where it may not stand", f.view.holders[needle].Secret)}
	}}
}
