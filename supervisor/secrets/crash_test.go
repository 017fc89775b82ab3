// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// child sets, rotates and removes until it is killed, and says on stdout what it
// was told is durable: "NAME N" has a value of number N or a later one.
func child(dir string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	s, err := Open(filepath.Join(dir, "secrets"), filepath.Join(dir, "secrets.key"))
	if err != nil {
		fail(err)
	}
	for _, one := range s.List() {
		if one.Wrong != "" {
			fail(fmt.Errorf("%s", one.Wrong))
		}
		if err := s.Remove(one.Name); err != nil {
			fail(err)
		}
	}
	fmt.Println("empty 0")
	for i := 0; ; i++ {
		name := fmt.Sprint("s", i%3)
		text := []byte(fmt.Sprintf("%s has the value %09d", name, i))
		if i < 3 {
			_, err = s.Set(model(name), text)
		} else {
			_, err = s.Rotate(name, text)
		}
		if err != nil {
			fail(err)
		}
		fmt.Println(name, i)
		s.Used(name, time.Now())
		if err := s.Flush(); err != nil {
			fail(err)
		}
	}
}

// TestKilledAtAnyMoment: after each kill every secret that was told of is whole,
// with the last value that was told or the one that was being written.
func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("kills twenty processes")
	}
	dir := state(t)
	for round := range 20 {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), "SECRETS_TEST_CHILD="+dir)
		var complaint bytes.Buffer
		c.Stderr = &complaint
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		told := map[string]int{}
		in := bufio.NewReader(out)
		for n, until := 0, 1+rand.IntN(20); ; n++ {
			if n == until {
				// at a moment of its own within the next steps
				time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() { _ = c.Process.Kill() })
			}
			line, err := in.ReadString('\n')
			if err != nil {
				break
			}
			var name string
			var i int
			if _, err := fmt.Sscan(line, &name, &i); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			told[name] = i
		}
		_ = c.Wait()
		if complaint.Len() > 0 {
			t.Fatalf("round %d: %s", round, complaint.String())
		}
		delete(told, "empty")
		s := openStore(t, dir)
		for name, i := range told {
			got, later := valueOf(t, s, name), i+3
			if got != fmt.Sprintf("%s has the value %09d", name, i) && got != fmt.Sprintf("%s has the value %09d", name, later) {
				t.Errorf("round %d: %s was told to be %d, and is %q", round, name, i, got)
			}
		}
		for _, e := range entries(t, dir) {
			if strings.HasPrefix(e, ".") {
				t.Errorf("round %d: %s was left", round, e)
			}
		}
	}
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
