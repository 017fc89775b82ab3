// SPDX-License-Identifier: Apache-2.0

package credential

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
)

// MaxBody bounds a body that is read whole, in bytes.
const MaxBody = 1 << 20

// RefusedError ends the reading of a body or of a WebSocket in which something
// stands that may not leave.
type RefusedError struct{ packet.Refusal }

func (e *RefusedError) Error() string { return e.Detail }

// Found is what one request has. It is for one goroutine, but Watch's and
// Messages's readers may be read by others.
type Found struct {
	Uses []packet.Use // in order, each once

	view         *view
	here         []*packet.Binding // of this host
	host         string
	port         uint16
	body         bodyKind
	boundary     string // of multipartBody
	needs        bool
	path, search string
}

// Path is the path for packet.Query: as it is sent, with (SECRET) in the place
// of a placeholder, as in /bot(telegram)/getMe, so that rules can name it and
// nobody is shown a placeholder. In what stands before that there are no parentheses, see plain.
func (f *Found) Path() string { return f.path }

// Search is the query for packet.Query: as it is sent, with (SECRET) in the
// place of a placeholder. A program can write that too: Uses counts.
func (f *Found) Search() string { return f.search }

// NeedsBody reports whether the body is to be read whole, at most MaxBody bytes
// of it, and given to InspectBody and Fill; a longer one is to be refused.
func (f *Found) NeedsBody() bool { return f.needs }

// NeedsMessages reports whether a WebSocket to this host is to be read through
// Messages. The caller then takes Sec-WebSocket-Extensions out of the
// handshake, since a compressed message can't be looked at.
func (f *Found) NeedsMessages() bool { return f.bound(packet.WebSocket) }

// bound reports whether a secret has a place of that kind on this host, whether
// or not the box has its placeholder.
func (f *Found) bound(kind packet.PlaceKind) (is bool) {
	placed(f.here, kind, func(*packet.Binding, packet.Place) { is = true })
	return is
}

// boundName reports whether a secret has a place of that kind and name on this
// host; servers that take no account of case are thought of.
func (f *Found) boundName(kind packet.PlaceKind, name string) (is bool) {
	placed(f.here, kind, func(_ *packet.Binding, p packet.Place) { is = is || looseName(p.Name) == looseName(name) })
	return is
}

func (f *Found) used(spots ...spot) {
	for _, s := range spots {
		f.Uses = append(f.Uses, s.use)
	}
	f.Uses = inOrder(f.Uses)
}

func inOrder(uses []packet.Use) []packet.Use {
	slices.SortFunc(uses, compareUses)
	return slices.Compact(uses)
}

func compareUses(a, b packet.Use) int {
	return cmp.Or(strings.Compare(a.Secret, b.Secret), strings.Compare(string(a.Place.Kind), string(b.Place.Kind)), strings.Compare(a.Place.Name, b.Place.Name))
}

func (f *Found) refuse(kind packet.RefusalKind, format string, args ...any) *packet.Refusal {
	detail := fmt.Sprintf(format, args...)
	if len(detail) > packet.MaxDetail {
		detail = detail[:packet.MaxDetail-3] + "..."
	}
	return &packet.Refusal{Kind: kind, Host: f.host, Port: f.port, Detail: detail}
}

// stray refuses a placeholder that stands outside of the spots of a text.
func (f *Found) stray(where, text string, spots []spot) *packet.Refusal {
	secret := f.view.stray(text, spots)
	if secret == "" {
		return nil
	}
	if len(f.here) == 0 || !slices.ContainsFunc(f.here, func(b *packet.Binding) bool { return b.Secret == secret }) {
		return f.refuse(packet.RefusedPlaceholder, "the placeholder of secret %s is in %s, and the secret is not for this host", secret, where)
	}
	return f.refuse(packet.RefusedPlaceholder, "the placeholder of secret %s is in %s, where it may not stand, or not like this", secret, where)
}

// stray gives the secret of a placeholder outside of spots.
func (v *view) stray(text string, spots []spot) (secret string) {
	if len(v.holders) == 0 {
		return ""
	}
	v.finder().find(text, func(needle, from, to int) {
		if secret == "" && !inside(spots, from, to) {
			secret = v.holders[needle].Secret
		}
	})
	return secret
}

// foreign refuses another credential.
func (f *Found) foreign(where string) *packet.Refusal {
	return f.refuse(packet.RefusedCredential, "%s is a credential, and on this host only that of secret %s is one%s", where, f.here[0].Secret, f.hint())
}

func (f *Found) hint() string {
	for _, b := range f.here {
		if b.Placeholder != "" {
			return ""
		}
	}
	return ", which this box has no placeholder of"
}

// called shows a name that a program chose.
func called(kind, name string) string {
	const most = 40
	if len(name) > most {
		name = name[:most]
	}
	return kind + " " + strconv.QuoteToASCII(name)
}

// header is like called, of a header.
func headerCalled(name string) string { return called("header", http.CanonicalHeaderKey(name)) }
