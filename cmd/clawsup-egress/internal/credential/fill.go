// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// errChanged is for a request that is not the one inspected.
var errChanged = errors.New("the request is not the one that was inspected")

// Fill puts values in where placeholders of Uses stand. r is what is sent, made
// of the inspected request: URL, headers, ContentLength and Body of it are
// changed, and answers are asked for without compression and, where a value
// goes out, whole: half of an echo can't be masked. body is what
// InspectBody was given; nil where NeedsBody is false. It fails, with errors that hold no value,
// where a value is missing or can't stand where it is to, and where the request
// has other placeholders than those inspected; r must not be sent then.
func (f *Found) Fill(r *http.Request, body []byte, values []packet.Value) ([]byte, error) {
	p := &filling{Found: f, values: map[string]string{}}
	for _, v := range values {
		p.values[v.Secret] = string(v.Value)
	}
	r.Header.Set("Accept-Encoding", "identity")
	if len(f.Uses) > 0 {
		r.Header.Del("Range")
		r.Header.Del("If-Range")
	}
	for _, put := range []func(*http.Request) error{p.path, p.query, p.headers} {
		if err := put(r); err != nil {
			return nil, err
		}
	}
	if f.needs {
		var err error
		if body, err = p.body(body); err != nil {
			return nil, err
		}
		r.ContentLength = int64(len(body))
		r.Header.Del("Content-Length")
		r.TransferEncoding = nil
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		if r.Body, _ = r.GetBody(); len(body) == 0 { // or the length would count as unknown
			r.Body = http.NoBody
		}
	}
	if !slices.Equal(inOrder(p.done), f.Uses) {
		return nil, errChanged
	}
	return body, nil
}

// filling is one Fill.
type filling struct {
	*Found
	values map[string]string
	done   []packet.Use
}

// value is what is put in, once rule has nothing against it.
func (p *filling) value(use packet.Use, rule func(string) error) (string, error) {
	value := p.values[use.Secret]
	err := rule(value)
	if value == "" {
		err = errors.New("there is none")
	}
	if err != nil {
		return "", fmt.Errorf("the value of secret %s for %s: %w", use.Secret, placeCalled(use.Place), err)
	}
	p.done = append(p.done, use)
	return value, nil
}

func placeCalled(p packet.Place) string {
	if p.Name == "" {
		return "the " + string(p.Kind)
	}
	return string(p.Kind) + " " + p.Name
}

func anything(string) error { return nil }

func (p *filling) path(r *http.Request) error {
	path := r.URL.EscapedPath()
	spots := pathSpots(p.here, path)
	if p.view.stray(path, spots) != "" {
		return errChanged
	}
	if len(spots) == 0 {
		return nil
	}
	path, err := splice(path, spots, func(use packet.Use) (string, error) {
		value, err := p.value(use, segmentRule)
		return url.PathEscape(value), err
	})
	if err != nil {
		return err
	}
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return fmt.Errorf("the value of secret %s makes another path", spots[0].use.Secret)
		}
	}
	decoded, err := url.PathUnescape(path)
	if err != nil { // it would say what stands there
		return errChanged
	}
	r.URL.Path, r.URL.RawPath = decoded, path
	if r.URL.EscapedPath() != path {
		return errChanged
	}
	return nil
}

func segmentRule(value string) error {
	if strings.ContainsAny(value, `/\?#%;`) || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("it can't be a part of one segment of a path")
	}
	return nil
}

func (p *filling) query(r *http.Request) error {
	query := r.URL.RawQuery
	spots := itemSpots(p.here, packet.QueryItem, items(query))
	if p.view.stray(query, spots) != "" {
		return errChanged
	}
	var err error
	r.URL.RawQuery, err = splice(query, spots, p.itemValue)
	return err
}

func (p *filling) itemValue(use packet.Use) (string, error) {
	value, err := p.value(use, anything)
	return url.QueryEscape(value), err
}

func (p *filling) headers(r *http.Request) error {
	for name, values := range r.Header {
		for i, value := range values {
			spots, refusal := p.headerSpots(name, value)
			if refusal != nil || p.view.stray(value, spots) != "" {
				return errChanged
			}
			if len(spots) == 0 {
				continue
			}
			var err error
			if spots[0].use.Place.Kind == packet.Basic {
				value, err = p.basic(value)
			} else {
				value, err = splice(value, spots, func(use packet.Use) (string, error) { return p.value(use, headerRule) })
			}
			if err != nil {
				return err
			}
			values[i] = value
		}
	}
	return nil
}

func headerRule(value string) error {
	if strings.ContainsFunc(value, control) || strings.Trim(value, " ") != value {
		return errors.New("a header has no control characters, and no spaces at its ends")
	}
	return nil
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

func (p *filling) basic(value string) (string, error) {
	b, _ := readBasic(value)
	uses, _ := b.uses(p.here)
	for i, use := range uses {
		if use.Secret == "" {
			continue
		}
		var err error
		b.half[i], err = p.value(use, func(value string) error {
			if strings.ContainsFunc(value, control) || i == 0 && strings.Contains(value, ":") {
				return errors.New("basic authentication has no control characters, and no colon in its user")
			}
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func (p *filling) body(body []byte) ([]byte, error) {
	spots, refusal := p.bodySpots(body)
	if refusal != nil || p.view.stray(string(body), spots) != "" {
		return nil, errChanged
	}
	text, err := splice(string(body), spots, func(use packet.Use) (string, error) {
		if use.Place.Kind == packet.Form {
			return p.itemValue(use)
		}
		return p.jsonValue(use)
	})
	return []byte(text), err
}

func (p *filling) jsonValue(use packet.Use) (string, error) {
	value, err := p.value(use, anything)
	if err != nil {
		return "", err
	}
	spelled, err := spell(value)
	if err != nil {
		return "", fmt.Errorf("the value of secret %s for %s: %w", use.Secret, placeCalled(use.Place), err)
	}
	return string(spelled), nil
}
