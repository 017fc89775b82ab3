// SPDX-License-Identifier: Apache-2.0

// Command clawsup-inspect reads bytes that a stranger wrote and prints what they
// mean as one bounded JSON object. clawsupd runs it in an empty box for every
// single question, so that a mistake in a parser costs nothing but the answer.
//
// It needs no /proc, no network, no environment and nothing but what it is asked
// about: a folder, or what comes in on standard input. What it answers is taken
// for a stranger's word, bounded and checked (packages skills and difference); no
// decision rests on a difference that it shows. Build it with CGO_ENABLED=0.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/skills/frontmatter"
)

const usage = `usage: clawsup-inspect skill DIR
       clawsup-inspect diff

skill reads the front matter of DIR/SKILL.md and prints one JSON object:
  {"manifest":{...}}                       exit status 0
  {"error":{"message":"...","line":N}}     exit status 1

diff takes two contents of a file from standard input, framed as clawsupd does,
and prints how they differ:
  {"lines":["-old","+new"],"cut":false}    exit status 0

Made to be run by clawsup in an empty box. By hand it is safe, and shows what
clawsup would see.
`

// memoryLimit makes the collector work harder rather than the box run out.
const memoryLimit = 64 << 20

func main() {
	runtime.GOMAXPROCS(1)
	debug.SetMemoryLimit(memoryLimit)
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run returns the exit status.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 1 && (args[0] == "--help" || args[0] == "-h"):
		io.WriteString(stdout, usage)
		return 0
	case len(args) == 1 && args[0] == "diff":
		if err := diff(stdin, stdout); err != nil {
			fmt.Fprintf(stderr, "clawsup-inspect: %v\n", err)
			return 1
		}
		return 0
	case len(args) != 2 || args[0] != "skill":
		io.WriteString(stderr, usage)
		return 2
	}
	out, failed := inspect(args[1])
	if _, err := stdout.Write(out); err != nil {
		fmt.Fprintf(stderr, "clawsup-inspect: %v\n", err)
		return 1
	}
	if failed {
		return 1
	}
	return 0
}

// inspect returns what to print, at most skills.MaxManifest bytes.
func inspect(dir string) (out []byte, failed bool) {
	file, err := readSkill(filepath.Join(dir, "SKILL.md"))
	var m skills.Manifest
	if err == nil {
		m, err = frontmatter.Parse(file)
	}
	if err == nil {
		if out = encode(skills.Inspection{Manifest: &m}); len(out) <= skills.MaxManifest {
			return out, false
		}
		err = fmt.Errorf("the manifest is longer than %d bytes", skills.MaxManifest)
	}
	var ie *skills.InspectError
	if !errors.As(err, &ie) {
		ie = &skills.InspectError{Message: err.Error()}
	}
	return encode(skills.Inspection{Error: ie}), true
}

// encode ends the object with a line feed. Strings, numbers and lists of them
// can always be written.
func encode(in skills.Inspection) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(in); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// readSkill opens the file once and never waits for what is behind it.
func readSkill(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	// Parse says when it is too long: one byte more is enough for that.
	b, err := io.ReadAll(io.LimitReader(f, skills.MaxSkillMD+1))
	if err != nil {
		return nil, cause(err)
	}
	return b, nil
}

// cause leaves out the path: it is always SKILL.md.
func cause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
