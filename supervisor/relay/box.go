// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
)

// program is where clawsup-egress stands in its box.
const program = "/egress"

// logMax bounds what the helper writes, in bytes of each of two files.
const logMax = 16 << 10

// start starts the helper in its box, with its end of the socket.
func (h *Helper) start(ctx context.Context, socket *os.File) (*runtime.Service, error) {
	s := h.options.Supervisor
	layers, err := layer.Lower(layer.All.Without(layer.RootIDMap, layer.LandlockUnix), s.Host().Layers, s.Config.Lower)
	if err != nil {
		return nil, err
	}
	filter, err := s.Filter(nil)
	if err != nil {
		return nil, err
	}
	var files [2]*os.File
	for i, name := range logNames {
		if files[i], err = os.OpenFile(filepath.Join(h.options.Dir, name), os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600); err != nil {
			return nil, err
		}
		defer files[i].Close()
	}
	berth, err := s.Host().Berth(ctx, runtime.Spec{
		Layers: layers, Rootfs: s.EmptyRoot(), ProcPids: true,
		Binds:  []rootfs.Bind{{Source: s.Config.Egress, Target: program}},
		Group:  runtime.Group{Memory: 192 << 20, Pids: 64, CPU: 1, DiskRead: 64 << 20, DiskWrite: 1 << 20},
		Filter: filter, FileSize: 4 << 10, OpenFiles: 8192, Stack: 1 << 20,
	})
	if err != nil {
		return nil, err
	}
	service, err := berth.Serve(ctx, runtime.Call{
		Argv: []string{program}, Env: []string{"GOMAXPROCS=2"}, Dir: "/", Socket: socket,
	}, runtime.ServiceLog{Files: files, Max: logMax})
	if err != nil {
		return nil, errors.Join(err, berth.Close())
	}
	return service, nil
}
