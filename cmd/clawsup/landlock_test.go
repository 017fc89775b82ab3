// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWithoutLandlock: a kernel that has none is refused by name, and goes
// only where the operator gave the layer up; doctor says both. It runs in the
// virtual machine, as packaging/vm/test nolandlock.
func TestWithoutLandlock(t *testing.T) {
	// landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION.
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1)
	if !errors.Is(errno, unix.ENOSYS) && !errors.Is(errno, unix.EOPNOTSUPP) {
		t.Skip("this kernel has Landlock")
	}
	b := newBench(t, "")
	if got := b.run("", "run", "--", "true"); got.status != 125 || !strings.Contains(got.err, "landlock: the kernel has no Landlock") || !strings.Contains(got.err, "lower") {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "doctor"); got.status != 2 || !strings.Contains(got.out, "landlock") {
		t.Errorf("%+v", got)
	}
	config, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	b.write("clawsup.toml", string(config)+"lower = [\"landlock\"]\n")
	if got := b.run("", "run", "--json", "--", "true"); got.status != 0 || !strings.Contains(got.out, `{"layer":"landlock","state":"lowered"`) {
		t.Errorf("%+v", got)
	}
	if got := b.run("", "doctor"); got.status != 1 || !strings.Contains(got.out, "lowered") {
		t.Errorf("%+v", got)
	}
}
