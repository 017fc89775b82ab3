// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/clawsup/clawsup/supervisor/api"
)

// Somebody else than root is a child of the test under another uid: it asks
// what it is told to and prints the answer.
const peerEnv = "CLAWSUP_TEST_PEER"

type errand struct {
	Socket, Method string
	Params         json.RawMessage
}

type report struct {
	Result json.RawMessage
	Error  string
	Code   api.Code
}

// peer runs the errand that it finds in its environment.
func peer() int {
	var e errand
	if err := json.Unmarshal([]byte(os.Getenv(peerEnv)), &e); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	var r report
	err := func() error {
		c, err := api.Dial(context.Background(), e.Socket)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Call(context.Background(), e.Method, e.Params, &r.Result)
	}()
	if err != nil {
		r.Error, r.Code = err.Error(), api.CodeOf(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return 2
	}
	return 0
}

// as asks as another user of this host.
func (h *host) as(uid uint32, groups []uint32, socket, method string, params any) report {
	h.t.Helper()
	p, err := json.Marshal(params)
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := json.Marshal(errand{h.dir + "/run/" + socket, method, p})
	if err != nil {
		h.t.Fatal(err)
	}
	c := exec.Command("/proc/self/exe")
	c.Env = []string{peerEnv + "=" + string(text)}
	c.Dir = "/"
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid, Groups: groups}}
	out, err := c.Output()
	if err != nil {
		h.t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	return r
}

// wants fails the test unless a report is a refusal with this code.
func (r report) wants(t *testing.T, what string, code api.Code) {
	t.Helper()
	if r.Error == "" || r.Code != code {
		t.Errorf("%s: %q (%v), want a refusal (%v); result %s", what, r.Error, r.Code, code, r.Result)
	}
}
