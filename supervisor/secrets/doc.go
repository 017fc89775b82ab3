// SPDX-License-Identifier: Apache-2.0

// Package secrets keeps what no box may see: the values of secrets, encrypted
// at rest, with where each may go, and which skill's variable stands for which.
//
//	s, err := secrets.Open(state+"/secrets", secrets.KeyFile(state))
//	made, err := s.Set(secrets.Secret{Name: "openai", Binding: ...}, value)
//	placeholder, err := secrets.Mint("openai", made.Shape) // what a box gets
//	v, err := s.Value("openai")                            // in locked memory
//	defer v.Close()                                        // wipes it
//
// # At rest
//
// A secret is one file, NAME.json, of mode 0600 in a directory of root's that is
// closed to everybody else. Its metadata is clear text; its value is an age file
// (https://age-encryption.org/v1) for one X25519 identity. age encrypts what it
// holds with ChaCha20-Poly1305, under a key of 128 bits that is new for each
// file, stretched by HKDF-SHA-256. It was taken over AES-256-GCM since age is one
// small format with one implementation that many look at, since its nonces can't
// repeat by anybody's mistake, and since it takes the same time on processors
// without instructions for AES. Who has the key can read a value with the age
// program alone: the base64 text of "age" in the file.
//
// Before the value, inside, there is the metadata once more. Whenever a value is
// read, both must be the same to the byte: a file that was put together from two,
// that has another's name, or whose list of hosts was edited does not count. Such
// a secret is listed with what is Wrong with it, and its value is not given out.
//
// The identity is a systemd credential called clawsup-secrets or the file
// secrets.key in the state directory, which is made at first use. A key that is
// not root's, or that anybody else can read, is refused; and no new one is made
// while there are secrets that another one encrypted.
//
// Files are written whole (package record): killed at any point, the store has
// the secret as it was before or as it was meant to be.
//
// # Values
//
// 8 to 8,192 bytes of UTF-8 without control characters, without a space at
// either end: a header can carry nothing else, and what is shorter can't be
// masked in answers without masking what it isn't. So a key in PEM is no value:
// it has line ends, and who signs with a key doesn't send it.
//
// # Placeholders
//
// A box has a placeholder in a value's place: random, new for each call, with at
// least 128 bits that nobody can guess, and in the shape that the programs check
// before they send it. Shapes is the table. Programs that sign with a secret
// instead of sending it (AWS, for one) can't be served that way.
//
// # Limits
//
// A value in use lies in memory of its own: locked, left out of dumps, empty in a
// child. But age decrypts through buffers of the Go heap, and what is set comes
// through those of a socket: these are not wiped. The daemon's memory is therefore
// locked as a whole, and can't be dumped (cmd/clawsupd).
//
// Whoever knows the public half of the key and can write in the directory can
// make a secret, or put an old file of the same secret back. Only root can.
//
// Sources: age-encryption.org/v1, mlock(2), madvise(2), RFC 9110 5.6.2 (names of
// headers), systemd.exec(5) LoadCredential=.
package secrets
