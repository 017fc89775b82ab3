// SPDX-License-Identifier: Apache-2.0

package changes

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
)

// roleKey is the variable that makes this program a child of a test.
const roleKey = "CLAWSUP_CHANGES_TEST"

// roles are what a child does.
var roles = map[string]func(args []string) error{
	"hold":   func(args []string) error { return hold(args[0]) },
	"call":   goTo,
	"commit": committing,
	"gate":   func(args []string) error { return inside(args[0]) },
}

func TestMain(m *testing.M) {
	role := os.Getenv(roleKey)
	if role == "" {
		os.Exit(m.Run())
	}
	do, ok := roles[role]
	err := fmt.Errorf("unknown role %q", role)
	if ok {
		err = do(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// sayAndStay tells the parent a line, and waits to be killed, or for the parent's end.
func sayAndStay(line string) error {
	fmt.Println(line)
	_, err := io.Copy(io.Discard, os.Stdin)
	return errors.Join(errors.New("the parent is gone"), err)
}

// lines gives one line after the other; at the end, nothing.
func lines(r io.Reader) func() string {
	s := bufio.NewScanner(r)
	return func() string {
		if s.Scan() {
			return s.Text()
		}
		if err := s.Err(); err != nil && !errors.Is(err, os.ErrClosed) {
			return "error: " + err.Error()
		}
		return ""
	}
}
