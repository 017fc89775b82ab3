// SPDX-License-Identifier: Apache-2.0

package skills_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// This package is linked into a root process: it must not be able to interpret
// what strangers wrote, JSON of clawsup-inspect aside.
func TestImports(t *testing.T) {
	if os.Getenv("CLAWSUP_VM") != "" {
		t.Skip("the guest has no Go toolchain")
	}
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const own = "github.com/clawsup/clawsup/skills"
	found := false
	for _, p := range strings.Fields(string(out)) {
		first, _, _ := strings.Cut(p, "/")
		switch {
		case p == own:
			found = true
		case strings.Contains(first, ".") && !strings.HasPrefix(p, "golang.org/x/sys/"),
			strings.HasPrefix(p, "archive/"), strings.HasPrefix(p, "compress/"), strings.HasPrefix(p, "net/"),
			strings.HasPrefix(p, "text/template"), p == "encoding/xml", p == "encoding/gob", p == "os/exec":
			t.Errorf("it imports %s", p)
		}
	}
	if !found {
		t.Errorf("go list did not show %s", own)
	}
}
