// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// aboutQuery is what a receipt has of a query: of path and query string digests,
// since programs put secrets there, and nothing of a body.
func aboutQuery(q *packet.Query) facts {
	var f facts
	f.add("host", q.Host)
	f.add("port", strconv.Itoa(int(q.Port)))
	f.add("through", string(q.Through))
	f.add("scheme", q.Scheme)
	f.add("method", cut(q.Method, 64))
	f.add("path digest", digestOf(q.Path))
	f.add("query digest", digestOf(q.Search))
	if q.Size != 0 {
		f.add("body", bytesText(q.Size))
	}
	f.add("secrets", secretsText(q.Uses))
	f.add("addresses", addressText(q.Addresses))
	return f
}

func digestOf(text string) string {
	if text == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func bytesText(n int64) string {
	if n < 0 {
		return "of a size that is not known beforehand"
	}
	return fmt.Sprintf("%d bytes", n)
}

func secretsText(uses []packet.Use) string {
	var words []string
	for _, u := range uses {
		words = append(words, u.Secret+" in "+placeText(u.Place))
	}
	return strings.Join(words, ", ")
}

func placeText(p packet.Place) string {
	if p.Name == "" {
		return string(p.Kind)
	}
	return string(p.Kind) + " " + visible.Text(cut(p.Name, 64))
}

func addressText(list []netip.Addr) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	return strings.Join(words, " ")
}

func literal(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
