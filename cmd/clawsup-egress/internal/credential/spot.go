// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// spot is where a placeholder stands in a text, spelled in whatever way that
// text has.
type spot struct {
	from, to int
	use      packet.Use
}

// splice puts new text in at spots, which are in order.
func splice(text string, spots []spot, replace func(packet.Use) (string, error)) (string, error) {
	var b strings.Builder
	last := 0
	for _, s := range spots {
		with, err := replace(s.use)
		if err != nil {
			return "", err
		}
		b.WriteString(text[last:s.from])
		b.WriteString(with)
		last = s.to
	}
	b.WriteString(text[last:])
	return b.String(), nil
}

// item is a field of a query or of a form.
type item struct {
	name, value string // decoded
	whole       bool   // both could be decoded
	from, to    int    // of the value, as it stands
}

// items takes a query or a form apart as the URL Standard's
// application/x-www-form-urlencoded parser does.
func items(text string) []item {
	var list []item
	for from := 0; from <= len(text); {
		to := len(text)
		if n := strings.IndexByte(text[from:], '&'); n >= 0 {
			to = from + n
		}
		if from < to {
			name, value, _ := strings.Cut(text[from:to], "=")
			i := item{from: to - len(value), to: to}
			var bad, worse error
			i.name, bad = url.QueryUnescape(name)
			i.value, worse = url.QueryUnescape(value)
			i.whole = bad == nil && worse == nil
			if bad != nil {
				i.name = name
			}
			if worse != nil {
				i.value = value
			}
			list = append(list, i)
		}
		from = to + 1
	}
	return list
}

// placed calls f for each place of a kind of bindings.
func placed(bindings []*packet.Binding, kind packet.PlaceKind, f func(*packet.Binding, packet.Place)) {
	for _, b := range bindings {
		for _, p := range b.Places {
			if p.Kind == kind {
				f(b, p)
			}
		}
	}
}

// holder gives the use of a placeholder that is all of a text, at a place of
// that kind and name.
func holder(bindings []*packet.Binding, kind packet.PlaceKind, name, text string) (use packet.Use, ok bool) {
	placed(bindings, kind, func(b *packet.Binding, p packet.Place) {
		if b.Placeholder != "" && b.Placeholder == text && (p.Name == name || kind == packet.Header && strings.EqualFold(p.Name, name)) {
			use, ok = packet.Use{Secret: b.Secret, Place: p}, true
		}
	})
	return use, ok
}

// itemSpots finds placeholders in a query or a form.
func itemSpots(bindings []*packet.Binding, kind packet.PlaceKind, list []item) []spot {
	var spots []spot
	for _, i := range list {
		if use, ok := holder(bindings, kind, i.name, i.value); ok && i.whole {
			spots = append(spots, spot{i.from, i.to, use})
		}
	}
	return spots
}

// headerSpot finds a placeholder that is alone in a header, or behind a scheme
// of RFC 9110, section 11.1.
func headerSpot(bindings []*packet.Binding, name, value string) (spot, bool) {
	from := 0
	if scheme, rest, ok := strings.Cut(value, " "); ok && isToken(scheme) {
		from = len(value) - len(rest)
	}
	use, ok := holder(bindings, packet.Header, name, value[from:])
	return spot{from, len(value), use}, ok
}

// basic is what stands in a header of the scheme Basic of RFC 7617.
type basic struct {
	scheme string // as it is spelled
	half   [2]string
}

var halves = [2]string{"user", "password"}

func readBasic(value string) (basic, bool) {
	scheme, rest, ok := strings.Cut(value, " ")
	if !ok || !strings.EqualFold(scheme, "basic") {
		return basic{}, false
	}
	text, err := base64.StdEncoding.DecodeString(strings.Trim(rest, " "))
	if err != nil {
		return basic{}, false
	}
	user, password, ok := strings.Cut(string(text), ":")
	return basic{scheme, [2]string{user, password}}, ok
}

func (b basic) String() string {
	return b.scheme + " " + base64.StdEncoding.EncodeToString([]byte(b.half[0]+":"+b.half[1]))
}

// uses gives which halves are placeholders.
func (b basic) uses(bindings []*packet.Binding) (uses [2]packet.Use, any bool) {
	for i, half := range b.half {
		if use, ok := holder(bindings, packet.Basic, halves[i], half); ok {
			uses[i], any = use, true
		}
	}
	return uses, any
}

// pathSpots finds placeholders in an escaped path, each in a segment of its own
// whose other text, like all segments before it, is plain: whoever has a token
// of another account can't put it in front.
func pathSpots(bindings []*packet.Binding, path string) []spot {
	var spots []spot
	from := 0
	for segment := range strings.SplitSeq(path, "/") {
		s, ok := segmentSpot(bindings, segment)
		switch {
		case ok:
			spots = append(spots, spot{from + s.from, from + s.to, s.use})
		case !plain(segment):
			return spots
		}
		from += len(segment) + 1
	}
	return spots
}

// segmentSpot finds a placeholder, percent-encoded or not, with plain text
// around.
func segmentSpot(bindings []*packet.Binding, segment string) (found spot, ok bool) {
	decoded, err := url.PathUnescape(segment)
	if err != nil {
		return spot{}, false
	}
	placed(bindings, packet.Path, func(b *packet.Binding, p packet.Place) {
		if b.Placeholder == "" {
			return
		}
		before, after, has := strings.Cut(decoded, b.Placeholder)
		if !has || !plain(before) || !plain(after) || !strings.HasPrefix(segment, before) || !strings.HasSuffix(segment, after) {
			return
		}
		found, ok = spot{len(before), len(segment) - len(after), packet.Use{Secret: b.Secret, Place: p}}, true
	})
	return found, ok
}

// plain reports whether a piece of a path is too short, or of too few
// characters, to be the token of anybody.
func plain(segment string) bool {
	return len(segment) <= maxPlain && !strings.ContainsFunc(segment, func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z')
	})
}

const maxPlain = 24

// fieldSpots finds placeholders in a JSON text; bad says which place holds
// something else.
func fieldSpots(bindings []*packet.Binding, kind packet.PlaceKind, text []byte) (spots []spot, bad *packet.Use, err error) {
	type field struct {
		path []string
		use  packet.Use
	}
	var fields []field
	placed(bindings, kind, func(b *packet.Binding, p packet.Place) {
		fields = append(fields, field{strings.Split(p.Name, "."), packet.Use{Secret: b.Secret, Place: p}})
	})
	err = walk(text, func(e element) error {
		for _, f := range fields {
			exact, nearly := e.is(f.path)
			if !exact && !nearly {
				continue
			}
			use, ok := holder(bindings, kind, f.use.Place.Name, e.text)
			switch {
			case exact && e.kind == stringElement && ok:
				if !slices.ContainsFunc(spots, func(s spot) bool { return s.from == e.from }) {
					spots = append(spots, spot{e.from, e.to, use})
				}
			case e.kind == stringElement && e.text == "" || e.kind == wordElement && e.text == "null":
			default:
				bad = &f.use
			}
		}
		return nil
	})
	return spots, bad, err
}

// inside reports whether a stretch is within one of the spots.
func inside(spots []spot, from, to int) bool {
	return slices.ContainsFunc(spots, func(s spot) bool { return s.from <= from && to <= s.to })
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}
