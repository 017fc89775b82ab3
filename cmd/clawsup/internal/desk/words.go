// SPDX-License-Identifier: Apache-2.0

package desk

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// spell writes words in one line from which split gets them back: each as it
// is where it is plain, else in quotes with escapes as Go's strings have them.
func spell(words []string) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = visible.Text(w)
		if strings.ContainsAny(w, " '") {
			list[i] = visible.Quote(w)
		}
	}
	return strings.Join(list, " ")
}

// split reads what spell wrote, or a person typed: words between spaces, those
// in double quotes with escapes. Nothing else is special: there is no shell.
func split(text string) ([]string, error) {
	var words []string
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		var word string
		if text[0] == '"' {
			quoted, err := strconv.QuotedPrefix(text)
			if err == nil {
				word, err = strconv.Unquote(quoted)
			}
			if err != nil {
				return nil, fmt.Errorf("word %d has no end of its quotes, or an escape that is none", len(words)+1)
			}
			if text = text[len(quoted):]; text != "" && text[0] != ' ' {
				return nil, fmt.Errorf("after word %d a space is missing", len(words)+1)
			}
		} else {
			word, text, _ = strings.Cut(text, " ")
			if strings.ContainsAny(word, `"\`) {
				return nil, fmt.Errorf("word %d has a quote or a backslash in it: put the whole word in double quotes", len(words)+1)
			}
		}
		words = append(words, word)
	}
	return words, nil
}

// command gives the words of a ticket's command, which its facts have quoted:
// all in "command", or one there and the others in "argument 1" and so on.
func command(t *approval.Ticket) ([]string, error) {
	var quoted []string
	for _, f := range t.Facts {
		if f.Name == "command" || strings.HasPrefix(f.Name, "argument ") {
			quoted = append(quoted, f.Value)
		}
	}
	return split(strings.Join(quoted, " "))
}
