// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// Capture keeps a token that a token endpoint gave for a secret, as the secret
// NAME.FIELD. It goes to the hosts that the other goes to, and stands where that
// may stand, as Authorization, or in the field that it came in, in which a token
// goes back to be renewed. It is as private as the other is, and asked for alike.
// A later one takes its place. A secret of that name that came from elsewhere is
// ErrExists; a field that the binding does not name is ErrInvalid.
func (s *Store) Capture(from Secret, field string, value []byte) (Secret, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	is, err := s.sound(from.Name)
	if err != nil {
		return Secret{}, err
	}
	if !slices.ContainsFunc(is.Captures, func(c packet.Capture) bool { return c.Field == field }) {
		return Secret{}, invalidf("secret %s captures no field %s", is.Name, visible.Quote(field))
	}
	one := Secret{
		Name: is.Name + "." + field, Owner: is.Owner, Created: s.moment(), From: is.Name + "/" + field,
		Shape: Plain, Private: is.Private, Ask: is.Ask,
		Binding: Binding{Hosts: slices.Clone(is.Hosts), Cookies: is.Cookies},
	}
	if bytes.HasPrefix(value, []byte("eyJ")) && bytes.Count(value, []byte(".")) == 2 {
		one.Shape = JWT
	}
	last := field[strings.LastIndexByte(field, '.')+1:]
	for _, p := range append([]packet.Place{
		{Kind: packet.Header, Name: "Authorization"}, {Kind: packet.Form, Name: last}, {Kind: packet.JSON, Name: last},
	}, is.Places...) {
		if !slices.Contains(one.Places, p) && len(one.Places) < MaxPlaces && !(p.Kind == packet.Basic && p.Name == "user" && hasColon(one.Shape)) {
			one.Places = append(one.Places, p)
		}
	}
	if old, err := s.Show(one.Name); err == nil {
		if old.From != one.From {
			return Secret{}, fmt.Errorf("%w: %s, and it was not captured", ErrExists, one.Name)
		}
		one.Created, one.LastUsed = old.Created, old.LastUsed
	}
	return s.put(one, value)
}
