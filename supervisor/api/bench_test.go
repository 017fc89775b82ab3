// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// BenchmarkDecode is a frame that asks for a call, from its bytes to its
// parameters.
func BenchmarkDecode(b *testing.B) {
	params, err := json.Marshal(Submit{
		Args: raw.Of([]string{"python3", "/skill/scripts/run.py", "--input", "/workspace/table.csv"}), Session: "work", Profile: "default",
		Env: raw.Of([]string{"LANG=C.UTF-8", "TZ=UTC"}), Wait: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	frame, err := encode(envelope{Version: version, ID: []byte("17"), Method: CallSubmit, Params: params, Files: 3})
	if err != nil {
		b.Fatal(err)
	}
	frame = frame[:len(frame)-1]
	b.ReportAllocs()
	for b.Loop() {
		e, wrong := parse(frame)
		if wrong != nil {
			b.Fatal(wrong)
		}
		var s Submit
		if err := (&Request{Params: e.Params}).Decode(&s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncode is the answer about a call that has ended.
func BenchmarkEncode(b *testing.B) {
	plan, err := layer.Lower(layer.All, layer.Host{Kernel: "6.18", Landlock: 6}, 0)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now().UTC()
	digest := "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	v := Call{
		ID: "c-abcdefghijklmnop", State: Ended, Requester: "agent openclaw (uid 990)", Agent: "openclaw", Session: "s-abcdefghijklmnop", SessionName: "work",
		Command: `"python3" "/skill/scripts/run.py"`, Profile: "default", ProfileDigest: digest, Plan: digest, Decision: "allow",
		Rule: `profile default has effects.exec = "allow" (set in built in: default)`, Created: now, Started: now, Ended: now,
		Result: &runtime.Result{Status: runtime.Exited, Layers: plan.Reports},
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(answer{Version: version, ID: []byte("17"), Result: v}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPeer is what is asked of the kernel about the sender of each frame.
func BenchmarkPeer(b *testing.B) {
	client, server := pair(b)
	defer client.Close()
	c, err := newConn(&service{Server: &Server{}, ctx: b.Context()}, server)
	if err != nil {
		b.Fatal(err)
	}
	defer c.close()
	from := sender{Pid: int32(os.Getpid())}
	b.ReportAllocs()
	for b.Loop() {
		if p := c.sender(from, -1); p.Cgroup == "" {
			b.Fatal("no cgroup")
		}
	}
}
