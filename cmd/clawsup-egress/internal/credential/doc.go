// SPDX-License-Identifier: Apache-2.0

// Package credential looks at one HTTP request of a box for secrets, puts their
// values in after a yes, and masks values in what comes back. It runs in the
// boxed clawsup-egress: what it reads was chosen by a hostile program and by
// hostile servers, and what it holds are the values that this box was given.
//
// In order, for a request:
//
//	set.Bind(binding)                         as clawsupd tells; one Set for a box
//	found, refusal := set.Inspect(host, port, r)
//	if found.NeedsBody()                      the caller reads at most MaxBody bytes; more is refused
//	        refusal = found.InspectBody(body)
//	else
//	        r.Body = found.Watch(r.Body)      fails the read where a placeholder passes
//	fields, unread := Fields(names, r, body)
//	...                                       clawsupd is asked, with found.Uses, found.Path(), found.Search()
//	body, err = found.Fill(out, body, values) out is what goes upstream
//	...
//	mask.Header(answer.Header); answer.Body = mask.Reader(answer.Body)
//
// A Refusal never holds a value or a placeholder, only names of secrets and of
// places, and neither does any error.
//
// # Placeholders
//
// A placeholder is random; a box has one for each secret that it may use. At a
// place and a host of its binding, spelled as it is (percent-encoded in a query,
// a path, a form; JSON-escaped in JSON; in base64 in Basic), it becomes a Use.
// It is looked for everywhere else: method, host, path, query, names and values of
// headers, names of trailers, and bodies, there also in another case,
// percent-encoded, JSON-escaped, and in base64 at its three alignments. A request
// that has it there is refused. This is for the record more than for safety: a
// placeholder opens nothing, so one that is hidden in a compressed or encrypted
// body, which nobody can look at, is harmless.
//
// # Other credentials
//
// A host that any secret is bound to is that secret's: a program that was taken
// over must not reach an account of its own there. Refused are headers, query
// fields and form fields, also of multipart/form-data, that carry credentials
// (table.go), userinfo, and every place that a secret is bound to there and that holds something else. Where a
// secret is bound to the path, a path without a placeholder of such a secret is
// refused, whoever asks, and before the placeholder there are only short plain
// segments, so that no other token fits in there.
//
// What this does not see: credentials in JSON fields that no secret is bound to,
// in bodies of other types, in messages of WebSockets, and in headers and
// fields with names that say nothing. Client certificates are never sent.
//
// # Masking
//
// A value that comes back is overwritten with asterisks of the same length: raw,
// percent-encoded, JSON-escaped (wholly or in part, with hexadecimal digits of
// either case), and in base64 of both alphabets at its three alignments, also
// within percent-encoding and JSON. Of base64 the characters at both ends
// that also hold bits of what stands around are left. A header or a trailer that
// has a value in its name, in whatever case, is left out. Not seen are values in
// parts (lines of wrapped base64, or ranges, which no request that carries a
// value may ask for), in compressed answers (they are not asked for), in another
// case, with characters beyond the basic plane in JSON's escapes, and in any
// encoding that a server makes up: masking is against echoes and logs, not
// against a server that has the value anyway. Values of fewer than MinMasked
// bytes are not masked.
package credential
