// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"golang.org/x/sys/unix"
)

// keeperName is the first argument that makes a keeper of this program.
const keeperName = "keeper"

// keep is the main function of a process that has a server as its child, and
// gets the orphans that the server leaves: they must not be taken for a
// contestant's. It prints the server's pid, passes SIGTERM on, and ends with it.
func keep(argv []string) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	c := exec.Command(argv[0], argv[1:]...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	if _, err := fmt.Println(c.Process.Pid); err != nil {
		return err
	}
	go func() {
		for range term {
			_ = c.Process.Signal(unix.SIGTERM)
		}
	}()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait: %w", err)
		case err != nil || pid != c.Process.Pid:
		case status.Exited() && status.ExitStatus() == 0:
			return nil
		default:
			return fmt.Errorf("%s ended with status %#x", argv[0], uint32(status))
		}
	}
}
