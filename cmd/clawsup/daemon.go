// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
)

// socket is one of the daemon's, below the run directory.
type socket string

const (
	callSocket     socket = "call.sock"     // root's own calls
	approvalSocket socket = "approval.sock" // who has a role
	adminSocket    socket = "admin.sock"    // root
)

// sockets says for each method where root asks it. What isn't here goes to
// approval.sock, and so does everything that somebody else asks.
var sockets = map[string]socket{
	api.CallSubmit: callSocket, api.CallWait: callSocket, api.CallFollow: callSocket, api.CallCancel: callSocket,

	api.AgentStart: adminSocket, api.AgentStop: adminSocket, api.AgentRestart: adminSocket,
	api.AgentFreeze: adminSocket, api.AgentThaw: adminSocket, api.AgentLogs: adminSocket,
	api.AgentRestore: adminSocket, api.AgentClear: adminSocket,
	api.SessionRemove: adminSocket, api.SessionClear: adminSocket,
	api.GrantRevoke: adminSocket, api.Lockdown: adminSocket, api.Unlock: adminSocket, api.Reload: adminSocket,
}

// socketOf is where uid asks a method.
func socketOf(method string, uid int) socket {
	s, known := sockets[method]
	if !known || uid != 0 && s == adminSocket {
		return approvalSocket
	}
	return s
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
