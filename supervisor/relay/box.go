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

// roots is where the certificates that it trusts stand in its box.
const roots = "/roots.pem"

// binds are the files that the helper has: itself, and the certificates that it
// trusts, where there are any. Without them it verifies no server.
func (h *Helper) binds() []rootfs.Bind {
	c := &h.options.Supervisor.Config
	binds := []rootfs.Bind{{Source: c.Egress, Target: program}}
	if file, err := filepath.EvalSymlinks(c.Network.Bundle()); err == nil {
		binds = append(binds, rootfs.Bind{Source: file, Target: roots})
	}
	return binds
}

// What the helper may have. Of open files a connection takes two.
const (
	boxMemory = 1 << 30 // bytes
	boxPids   = 256
	boxCPU    = 2
	boxFiles  = 32 << 10 // or what this process may have, if that is less
)

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
	filter = refusing(filter, refused...)
	var open unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &open); err != nil {
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
		Binds:  h.binds(),
		Group:  runtime.Group{Memory: boxMemory, Pids: boxPids, CPU: boxCPU, DiskRead: 64 << 20, DiskWrite: 1 << 20},
		Filter: filter, FileSize: 4 << 10, OpenFiles: int64(min(boxFiles, open.Max)), Stack: 1 << 20,
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
