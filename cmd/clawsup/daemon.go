// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
)

// socket is one of the daemon's, below the run directory.
type socket string

const (
	callSocket     socket = "call.sock"     // root's own calls
	approvalSocket socket = "approval.sock" // who has a role
	adminSocket    socket = "admin.sock"    // root
)

// socketOf is where uid asks a method, by the table of rights. Root asks what
// is administration on admin.sock, where nobody else can stand in its way;
// everything else that people do is done on approval.sock.
func socketOf(method string, uid int) socket {
	for _, r := range api.Rights() {
		if r.Method != method {
			continue
		}
		switch {
		case r.Approval && !(uid == 0 && r.Admin && r.Role >= approval.Admin):
			return approvalSocket
		case r.Admin:
			return adminSocket
		}
		return callSocket
	}
	return approvalSocket
}

// dial connects to where a method is asked.
func dial(ctx context.Context, config supervisor.Config, method string) (*api.Client, error) {
	return api.Dial(ctx, filepath.Join(config.RunDir, string(socketOf(method, os.Geteuid()))))
}

// ask calls one method and takes its result.
func ask[R any](p *program, method string, params any) (result R, err error) {
	config, err := p.ready()
	if err != nil {
		return result, err
	}
	ctx := context.Background()
	client, err := dial(ctx, config, method)
	if err != nil {
		return result, err
	}
	defer client.Close()
	go func() { // none is expected; unread ones would hold up the answer
		for range client.Notifications() {
		}
	}()
	err = client.Call(ctx, method, params, &result)
	return result, err
}
