// SPDX-License-Identifier: Apache-2.0

// Command liar is a clawsup-inspect that was taken over: it does what the
// content after tells it to, "say JSON" for instance. A package below testdata
// is in no other build.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/clawsup/clawsup/supervisor/difference"
)

func main() {
	_, after, err := difference.Receive(os.Stdin)
	if err != nil {
		panic(err)
	}
	switch order, rest, _ := strings.Cut(string(after.Bytes), " "); order {
	case "say":
		fmt.Print(rest)
	case "hang":
		time.Sleep(time.Hour)
	case "flood":
		for {
			fmt.Print(strings.Repeat("x", 1<<16))
		}
	case "fail":
		fmt.Fprint(os.Stderr, rest)
		os.Exit(1)
	}
}
