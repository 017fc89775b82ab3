// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// The parts of a line that stand at fixed places, so that a line's
// signature is found, and checked, before anything in it is parsed.
const (
	openKey  = `{"receipt":1,"key":"`
	openPrev = `","prev":"`
	openSeq  = `","seq":`
	openSig  = `,"sig":"`
	closeSig = `"}`

	stamp = "2006-01-02T15:04:05.000000000Z"

	sigLen  = len(openSig) + 2*ed25519.SignatureSize + len(closeSig)
	headLen = len(openKey) + 2*ed25519.PublicKeySize + len(openPrev) + 2*sha256.Size + len(openSeq)
	// room is more than a line has besides what Receipt.body makes: head, seq,
	// time, behind, sig and the line feed.
	room = headLen + 20 + len(`,"time":"",`) + len(stamp) + len(`"behind":,`) + 20 + sigLen + 1
)

// frame is a line taken apart as far as needed to check its place in the chain.
type frame struct {
	key    [ed25519.PublicKeySize]byte
	prev   [sha256.Size]byte
	seq    uint64
	signed []byte // what the signature is over; a copy
	sig    [ed25519.SignatureSize]byte
}

var errLine = errors.New("this is not a receipt's line")

// lowHex decodes text into all of to. It takes no upper-case digits: each
// value has one spelling.
func lowHex(to []byte, text []byte) bool {
	if bytes.ContainsAny(text, "ABCDEF") {
		return false
	}
	n, err := hex.Decode(to, text)
	return err == nil && n == len(to)
}

// takeApart finds the parts of a line (without its line feed) by their places
// alone. It doesn't look at anything between seq and sig.
func takeApart(line []byte) (frame, error) {
	var f frame
	if len(line) < headLen+sigLen || len(line) >= MaxLine {
		return f, errLine
	}
	rest := line
	field := func(open string, to []byte) bool {
		if !bytes.HasPrefix(rest, []byte(open)) {
			return false
		}
		rest = rest[len(open):]
		if !lowHex(to, rest[:2*len(to)]) {
			return false
		}
		rest = rest[2*len(to):]
		return true
	}
	if !field(openKey, f.key[:]) || !field(openPrev, f.prev[:]) || !bytes.HasPrefix(rest, []byte(openSeq)) {
		return f, errLine
	}
	number, _, ok := bytes.Cut(rest[len(openSeq):len(rest)-sigLen], []byte(","))
	seq, err := strconv.ParseUint(string(number[:min(len(number), 21)]), 10, 64)
	if !ok || err != nil || seq == 0 || number[0] == '0' {
		return f, errLine
	}
	f.seq = seq
	body := line[:len(line)-sigLen]
	rest = line[len(body):]
	if !field(openSig, f.sig[:]) || string(rest) != closeSig {
		return f, errLine
	}
	f.signed = append(append(make([]byte, 0, len(body)+1), body...), '}')
	return f, nil
}

func (f *frame) hash() [sha256.Size]byte { return sha256.Sum256(f.signed) }

func (f *frame) signedBy(public ed25519.PublicKey) bool {
	return bytes.Equal(f.key[:], public) && ed25519.Verify(public, f.signed, f.sig[:])
}

// seal makes the line, with its line feed, of what is to be signed.
func seal(signed []byte, key ed25519.PrivateKey) []byte {
	sig := ed25519.Sign(key, signed)
	line := make([]byte, 0, len(signed)-1+sigLen+1)
	line = append(line, signed[:len(signed)-1]...)
	line = append(line, openSig...)
	line = hex.AppendEncode(line, sig)
	return append(line, closeSig+"\n"...)
}

// unsigned gives what is signed of an entry: where it stands, and the body.
func unsigned(key ed25519.PublicKey, prev [sha256.Size]byte, seq uint64, at time.Time, behind time.Duration, body []byte) []byte {
	b := make([]byte, 0, room+len(body))
	b = append(b, openKey...)
	b = hex.AppendEncode(b, key)
	b = append(b, openPrev...)
	b = hex.AppendEncode(b, prev[:])
	b = append(b, openSeq...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, `,"time":"`...)
	b = at.UTC().AppendFormat(b, stamp)
	b = append(b, `",`...)
	if behind > 0 {
		b = append(b, `"behind":`...)
		b = strconv.AppendInt(b, int64(behind), 10)
		b = append(b, ',')
	}
	b = append(b, body...)
	return append(b, '}')
}

// body gives the fields from kind to facts.
func (r *Receipt) body() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, 512), `"kind":"`...)
	b = append(append(b, r.Kind.String()...), '"')
	for i, v := range r.subject() {
		if *v != "" {
			b = append(append(append(b, `,"`...), subjectNames[i]...), `":`...)
			b = appendString(b, *v)
		}
	}
	if r.Exit != nil {
		b = strconv.AppendInt(append(b, `,"exit":`...), int64(*r.Exit), 10)
	}
	if r.Usage != nil {
		u := *r.Usage
		for _, n := range [...]struct {
			open  string
			value int64
		}{
			{`,"usage":{"wall":`, int64(u.Wall)}, {`,"user":`, int64(u.User)}, {`,"system":`, int64(u.System)},
			{`,"memory":`, u.Memory}, {`,"pids":`, u.Pids}, {`,"written":`, u.Written}, {`,"output":`, u.Output},
		} {
			b = strconv.AppendInt(append(b, n.open...), n.value, 10)
		}
		b = append(b, '}')
	}
	for i, f := range r.Facts {
		open := `,{"name":`
		if i == 0 {
			open = `,"facts":[{"name":`
		}
		b = appendString(append(b, open...), f.Name)
		if utf8.ValidString(f.Value) {
			b = appendString(append(b, `,"value":`...), f.Value)
		} else {
			b = append(b, `,"bytes":"`...)
			b = append(base64.StdEncoding.AppendEncode(b, []byte(f.Value)), '"')
		}
		b = append(b, '}')
	}
	if len(r.Facts) > 0 {
		b = append(b, ']')
	}
	if len(b)+room > MaxLine {
		return nil, fmt.Errorf("%w: its line would have %d bytes, over %d", ErrReceipt, len(b)+room, MaxLine)
	}
	return b, nil
}

// appendString adds s, which is UTF-8, as a JSON string in printable ASCII.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	unit := func(u rune) {
		b = append(b, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
	}
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= '~':
			b = append(b, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			unit(high)
			unit(low)
		default:
			unit(r)
		}
	}
	return append(b, '"')
}

// wire is a line as encoding/json sees it.
type wire struct {
	Receipt   int    `json:"receipt"`
	Key       string `json:"key"`
	Prev      string `json:"prev"`
	Seq       uint64 `json:"seq"`
	Time      string `json:"time"`
	Behind    int64  `json:"behind"`
	Kind      string `json:"kind"`
	Call      string `json:"call"`
	Plan      string `json:"plan"`
	Profile   string `json:"profile"`
	Skill     string `json:"skill"`
	Requester string `json:"requester"`
	Effect    string `json:"effect"`
	Decision  string `json:"decision"`
	Rule      string `json:"rule"`
	Status    string `json:"status"`
	Exit      *int   `json:"exit"`
	Usage     *Usage `json:"usage"`
	Facts     []struct {
		Name  string  `json:"name"`
		Value string  `json:"value"`
		Bytes *[]byte `json:"bytes"`
	} `json:"facts"`
}

// receipt parses what was signed. Since an entry has one spelling, what isn't
// the spelling of its own meaning (a field twice, another order, a space) is
// an error.
func (f *frame) receipt() (Receipt, error) {
	var w wire
	d := json.NewDecoder(bytes.NewReader(f.signed))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", errLine, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Receipt{}, fmt.Errorf("%w: something follows the object", errLine)
	}
	at, err := time.Parse(stamp, w.Time)
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", errLine, err)
	}
	kind, _ := kindOf(w.Kind)
	r := Receipt{
		Seq: w.Seq, Time: at, Behind: time.Duration(w.Behind), Kind: kind,
		Call: w.Call, Plan: w.Plan, Profile: w.Profile, Skill: w.Skill, Requester: w.Requester,
		Effect: w.Effect, Decision: w.Decision, Rule: w.Rule, Status: w.Status, Exit: w.Exit, Usage: w.Usage,
	}
	for _, fact := range w.Facts {
		value := fact.Value
		if fact.Bytes != nil {
			value = string(*fact.Bytes)
		}
		r.Facts = append(r.Facts, Fact{fact.Name, value})
	}
	body, err := r.body()
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", errLine, err)
	}
	if !bytes.Equal(unsigned(f.key[:], f.prev, f.seq, at, r.Behind, body), f.signed) {
		return Receipt{}, fmt.Errorf("%w: it isn't spelled as this log spells it", errLine)
	}
	return r, nil
}
