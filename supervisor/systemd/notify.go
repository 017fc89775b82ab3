// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/daemon"
)

// maxStatus bounds the line that systemctl shows.
const maxStatus = 256

// Ready says that the daemon serves, after its start or a reload, with a line
// that systemctl status shows.
func Ready(status string) (told bool, err error) {
	return notify(daemon.SdNotifyReady, statusLine(status))
}

// Reloading says that a reload begins, and when it did, as Type=notify-reload
// wants it. Ready ends it, whether what was loaded is used or not.
func Reloading() (told bool, err error) {
	return notify(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the daemon ends.
func Stopping(status string) (told bool, err error) {
	return notify(daemon.SdNotifyStopping, statusLine(status))
}

// Status gives the line that systemctl status shows.
func Status(text string) (told bool, err error) { return notify(statusLine(text)) }

// Alive is for the watchdog.
func Alive() (told bool, err error) { return notify(daemon.SdNotifyWatchdog) }

// Watchdog gives how often Alive is to be called, half of the time after which
// systemd kills the service; 0 if it doesn't.
func Watchdog() (time.Duration, error) {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0, fmt.Errorf("watchdog: %w", err)
	}
	return d / 2, nil
}

// notify sends assignments, one a line.
func notify(lines ...string) (bool, error) {
	told, err := daemon.SdNotify(false, strings.Join(lines, "\n"))
	if err != nil {
		return false, fmt.Errorf("notify systemd: %w", err)
	}
	return told, nil
}

// statusLine makes an assignment of a text. A line break in it would be the
// beginning of another, such as MAINPID.
func statusLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	if len(text) > maxStatus {
		text = strings.ToValidUTF8(text[:maxStatus], "")
	}
	return "STATUS=" + text
}
