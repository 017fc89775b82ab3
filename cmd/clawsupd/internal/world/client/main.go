// SPDX-License-Identifier: Apache-2.0

// Command client is what a program of Go's own makes of a box: it asks by
// net/http and by WebSocket, with nothing set but what the box has set.
//
//	client get URL                  prints the status and the answer
//	client websocket URL MESSAGE... prints the answer to each message
//	client many URL N               asks N times at once, prints how often which status came
//
// Tests build it without cgo, so that Go's own resolver is at work, and run it
// in boxes.
package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "get":
		return get(args[1])
	case len(args) > 2 && args[0] == "websocket":
		return talk(args[1], args[2:])
	case len(args) == 3 && args[0] == "many":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return many(args[1], n)
	}
	return fmt.Errorf("%q is nothing to do", args)
}

func get(url string) error {
	answer, err := http.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	fmt.Println(answer.Status)
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}

func talk(url string, messages []string) error {
	conn, _, _, err := ws.Dial(context.Background(), url)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, m := range messages {
		if err := wsutil.WriteClientText(conn, []byte(m)); err != nil {
			return err
		}
		answer, err := wsutil.ReadServerText(conn)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", answer)
	}
	return nil
}

func many(url string, n int) error {
	var mu sync.Mutex
	results := map[string]int{}
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			result := ""
			if answer, err := http.Get(url); err != nil {
				result = err.Error()
			} else {
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				result = answer.Status
			}
			mu.Lock()
			defer mu.Unlock()
			results[result]++
		})
	}
	all.Wait()
	for _, r := range slices.Sorted(maps.Keys(results)) {
		fmt.Println(results[r], r)
	}
	return nil
}
