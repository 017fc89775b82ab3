// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/visible"
)

func configuration(config supervisor.Config) look {
	return func(context.Context) (Level, string, string) {
		if len(config.Origin) == 0 {
			return Good, "all defaults", ""
		}
		return Good, "sets " + strings.Join(slices.Sorted(maps.Keys(config.Origin)), ", "), ""
	}
}

func defaultProfile(config supervisor.Config) look {
	return func(context.Context) (Level, string, string) {
		l, err := profiles.Load(config.DefaultProfile, config.ProfilePaths)
		if err != nil {
			return Broken, err.Error(), "see 'clawsup profile list', and default_profile in the configuration"
		}
		return Good, fmt.Sprintf("%s, from %s", l.Profile.Name, visible.Text(l.Source)), ""
	}
}

// programs looks at what runs in boxes for clawsup itself.
func programs(config supervisor.Config) look {
	return func(context.Context) (Level, string, string) {
		for _, file := range []string{config.Init, config.Inspect} {
			if err := runtime.CheckProgram(file); err != nil {
				return Broken, err.Error(), "install clawsup-init and clawsup-inspect beside clawsup, as root"
			}
		}
		return Good, fmt.Sprintf("%s and %s in %s", filepath.Base(config.Init), filepath.Base(config.Inspect), filepath.Dir(config.Init)), ""
	}
}

func directories(config supervisor.Config) look {
	return func(context.Context) (Level, string, string) {
		missing := 0
		for _, dir := range []string{config.StateDir, config.RunDir} {
			var st unix.Stat_t
			switch err := unix.Lstat(dir, &st); {
			case errors.Is(err, unix.ENOENT):
				missing++
				continue
			case err != nil:
				return Unknown, fmt.Sprintf("%s: %v", visible.Text(dir), err), ""
			}
			if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != 0 || st.Mode&0o022 != 0 {
				return Broken, visible.Text(dir) + " must be a directory that root owns and nobody else can write",
					"chown root and chmod go-w, after finding out who made it"
			}
		}
		text := visible.Text(config.StateDir) + " and " + visible.Text(config.RunDir)
		if missing > 0 {
			text += ", made when they are needed"
		}
		return Good, text, ""
	}
}

// leftOver looks at once, and reports when it is asked.
func leftOver(config supervisor.Config) look {
	level, text, hint := lookForLeftOver(filepath.Join(config.RunDir, "boxes"))
	return func(context.Context) (Level, string, string) { return level, text, hint }
}

func lookForLeftOver(dir string) (Level, string, string) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Good, "nothing", ""
	case errors.Is(err, fs.ErrPermission):
		return Unknown, "needs root", ""
	case err != nil:
		return Unknown, err.Error(), ""
	}
	left, live := 0, 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		held, err := isHeld(filepath.Join(dir, e.Name()+".lock"))
		switch {
		case err != nil:
			return Unknown, err.Error(), ""
		case held:
			live++
		default:
			left++
		}
	}
	if left > 0 {
		return Noted, fmt.Sprintf("boxes of killed processes: %d; at work: %d", left, live), "the next run removes them, or says what is in the way"
	}
	return Good, fmt.Sprintf("nothing; boxes at work: %d", live), ""
}

// isHeld reports whether a living process has a box's lock (flock(2)).
func isHeld(lock string) (bool, error) {
	f, err := os.OpenFile(lock, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// boxLimit bounds the last check: a host in trouble is told from a slow one.
const boxLimit = 30 * time.Second

// box makes one, as a run would, and has it do nothing.
func box(config supervisor.Config) look {
	return func(ctx context.Context) (Level, string, string) {
		if os.Geteuid() != 0 {
			return Unknown, "needs root", "sudo clawsup doctor"
		}
		ctx, cancel := context.WithTimeout(ctx, boxLimit)
		defer cancel()
		result, err := tryBox(ctx, config)
		switch {
		case err != nil:
			return Broken, strings.ReplaceAll(err.Error(), "\n", "; "), ""
		case result.Status != runtime.Exited || result.ExitCode != 0:
			return Broken, fmt.Sprintf("/bin/true ended %s with %d: %s %s", result.Status, result.ExitCode, result.Step, result.Message), ""
		}
		return Good, fmt.Sprintf("prepared in %s, ran /bin/true in %s with %.1f MiB",
			short(result.Usage.Preparation), short(result.Usage.Wall), float64(result.Usage.MemoryPeak)/(1<<20)), ""
	}
}

func short(d time.Duration) time.Duration {
	return d.Round(100 * time.Microsecond)
}

func tryBox(ctx context.Context, config supervisor.Config) (result runtime.Result, err error) {
	s, err := supervisor.Open(ctx, config)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	plan, err := s.Plan(ctx, supervisor.Request{Args: []string{"/bin/true"}, Stdin: supervisor.Stdin{Kind: supervisor.StdinEmpty}})
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, plan.Close()) }()
	var pipes [3][2]*os.File // each with both ends here, and nothing said
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			return result, err
		}
		defer pipes[i][0].Close()
		defer pipes[i][1].Close()
	}
	ran, err := s.Run(ctx, plan, supervisor.Running{Streams: runtime.Stdio{In: pipes[0][0], Out: pipes[1][1], Err: pipes[2][1]}})
	return ran.Result, err
}
