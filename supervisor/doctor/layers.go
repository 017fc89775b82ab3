// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/overlay"
	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// overlays makes a layer, as the default profile wants it, over an empty
// directory and over each configured workspace, and throws it away.
func overlays(config supervisor.Config) look {
	return func(context.Context) (Level, string, string) {
		if os.Geteuid() != 0 {
			return Unknown, "needs root", ""
		}
		profile, err := profiles.Load(config.DefaultProfile, config.ProfilePaths)
		if err != nil {
			return Unknown, visible.Line(err.Error()), ""
		}
		// Before the first call, and while another check makes it, the directory may
		// not be there: then where it will be.
		dir := config.StateDir
		for _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && dir != "/"; _, err = os.Stat(dir) {
			dir = filepath.Dir(dir)
		}
		stage, err := os.MkdirTemp("", "clawsup-doctor-")
		if err != nil {
			return Unknown, err.Error(), ""
		}
		defer os.RemoveAll(stage)
		limits := &profile.Profile.Limits
		size := overlay.Size{Bytes: int64(limits.Layer), Files: limits.LayerFiles}
		var workspaces []string
		for _, w := range config.Workspaces {
			workspaces = append(workspaces, w.Path)
		}
		maker := overlay.New(stage, config.Init, "")
		var missing, hints []string
		for _, r := range maker.Check(dir, size, workspaces...) {
			if r.Err == nil {
				continue
			}
			missing = append(missing, r.Name+": "+r.Err.Error())
			if r.Do != "" {
				hints = append(hints, r.Do)
			}
		}
		if err := maker.Close(); err != nil {
			missing = append(missing, err.Error())
		}
		if len(missing) > 0 {
			if hints == nil {
				hints = []string{"use profiles with workspace.mode = \"ro\""}
			}
			return Lowered, visible.Line(strings.Join(missing, "; ")), visible.Line(strings.Join(hints, "; "))
		}
		return Good, fmt.Sprintf("made one of %s and %d files, mounted it over %d workspaces", limits.Layer, limits.LayerFiles, len(workspaces)), ""
	}
}
