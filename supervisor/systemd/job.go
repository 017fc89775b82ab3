// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"context"
	"fmt"
	"os"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Ends says whether systemd stops this service for good, by 'systemctl stop'
// or because the host goes down, and not to start it again: then it keeps none
// of the stored descriptors. That is so when a job of type "stop" is at work
// for the unit; a restart has one of its own type, and a signal from elsewhere
// none (org.freedesktop.systemd1(5), ListJobs). Without systemd it is false.
func Ends(ctx context.Context) (bool, error) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return false, nil
	}
	// Not over the bus's own daemon, which may have ended before this one.
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return false, fmt.Errorf("reach systemd: %w", err)
	}
	defer conn.Close()
	unit, err := conn.GetUnitNameByPID(ctx, uint32(os.Getpid()))
	if err != nil {
		return false, fmt.Errorf("ask systemd for this process's unit: %w", err)
	}
	jobs, err := conn.ListJobsContext(ctx)
	if err != nil {
		return false, fmt.Errorf("ask systemd for its jobs: %w", err)
	}
	for _, j := range jobs {
		if j.Unit == unit && j.JobType == "stop" {
			return true, nil
		}
	}
	return false, nil
}
