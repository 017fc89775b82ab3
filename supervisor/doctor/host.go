// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/cgroup"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/supervisor"
)

type look = func(context.Context) (Level, string, string)

func kernel(host layer.Host) look {
	return func(context.Context) (Level, string, string) {
		landlock := "no Landlock"
		if host.Landlock > 0 {
			landlock = fmt.Sprintf("Landlock version %d", host.Landlock)
		}
		return Good, fmt.Sprintf("Linux %s, %s", host.Kernel, landlock), ""
	}
}

func controlGroups(host cgroup.Host, err error) look {
	return func(context.Context) (Level, string, string) {
		if err != nil {
			return Broken, err.Error(), "mount cgroup2 at /sys/fs/cgroup"
		}
		var have, hints []string
		for c := cgroup.Memory; c <= cgroup.Devices; c++ {
			if host.Usable(c) {
				have = append(have, c.String())
			} else {
				hints = append(hints, fmt.Sprintf("%s: %s", c, c.Hint()))
			}
		}
		who := "nobody's but root's"
		if host.Systemd {
			who = "systemd's"
		}
		text := fmt.Sprintf("%s, %s: %s", host.Version, who, strings.Join(have, " "))
		if hints != nil {
			return Noted, text, strings.Join(hints, "; ")
		}
		return Good, text, ""
	}
}

func swap(host layer.Host) look {
	return func(context.Context) (Level, string, string) {
		switch {
		case host.NoSwap:
			return Good, "there is none", ""
		case host.Lacks[layer.SwapAccounting] == "":
			return Good, "boxes get none of it", ""
		}
		return Noted, "there is some, and it is not accounted: see cgroup.swap below", ""
	}
}

// idFiles are where users, groups and delegated ranges of ids are written down.
var idFiles = []struct {
	path         string
	first, count int // fields; count 0: a single id
}{
	{"/etc/passwd", 2, 0},
	{"/etc/group", 2, 0},
	{"/etc/subuid", 1, 2},
	{"/etc/subgid", 1, 2},
}

func uidRange(config supervisor.Config) look {
	return func(context.Context) (Level, string, string) {
		first, last := config.UIDBase, config.UIDBase+config.Slots*runtime.SlotIDs-1
		for _, file := range idFiles {
			f, err := os.Open(file.path)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return Unknown, err.Error(), ""
			}
			taken, err := overlap(f, file.first, file.count, first, last)
			_ = f.Close()
			if err != nil {
				return Unknown, fmt.Sprintf("%s: %v", file.path, err), ""
			}
			if taken != "" {
				return Broken, fmt.Sprintf("%d to %d overlaps what %s gives to %q", first, last, file.path, taken),
					"set uid_base in the configuration to a range that nobody has"
			}
		}
		return Good, fmt.Sprintf("%d to %d is nobody's (%d boxes)", first, last, config.Slots), ""
	}
}

// overlap gives the name of a line whose ids overlap with [first, last].
// Lines that are none are passed over, as the C library does.
func overlap(r io.Reader, firstField, countField, first, last int) (string, error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) <= max(firstField, countField) {
			continue
		}
		from, err := strconv.Atoi(fields[firstField])
		if err != nil {
			continue
		}
		count := 1
		if countField > 0 {
			if count, err = strconv.Atoi(fields[countField]); err != nil {
				continue
			}
		}
		if from <= last && from+count-1 >= first {
			return fields[0], nil
		}
	}
	return "", lines.Err()
}

// oneLayer words a layer's report.
func oneLayer(r layer.Report) look {
	return func(context.Context) (Level, string, string) {
		what := layer.What(r.Layer)
		switch r.State {
		case layer.Enforced:
			if r.Detail != "" {
				what += " (" + r.Detail + ")"
			}
			return Good, what, ""
		case layer.Covered:
			return Noted, "absent: " + r.Detail, ""
		case layer.Lowered:
			return Lowered, r.Detail + ": " + what, "take it out of lower = [...] to have it back"
		}
		return Broken, "missing: " + r.Detail, "or give it up with lower = [\"" + r.Layer.String() + "\"] in the configuration"
	}
}
