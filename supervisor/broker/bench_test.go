// SPDX-License-Identifier: Apache-2.0

package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
)

const noBounds = "[calls]\nconcurrency = 64\nper_session = 64\nrate = 1000000\n[approvals]\nburst = 1000000\npending = 1000\npending_per_session = 1000\n"

// BenchmarkCall is one call of true from the request to the answer, over
// call.sock, with a box of its own and both receipts on the disk.
func BenchmarkCall(b *testing.B) {
	h := begin(b, noBounds)
	c := h.dial("call")
	s := api.Submit{Args: args("true"), Wait: true}
	for b.Loop() {
		if v := ask[api.Call](b, c, api.CallSubmit, s); v.Result.Status != runtime.Exited {
			b.Fatalf("%+v", v.Result)
		}
	}
}

// BenchmarkCallByGrant is the same for a call that a standing grant allows.
func BenchmarkCallByGrant(b *testing.B) {
	h := begin(b, noBounds)
	c, people := h.dial("call"), h.watch(h.dial("approval"))
	s := api.Submit{Args: args("true"), Profile: "ask", Session: "work"}
	v := ask[api.Call](b, c, api.CallSubmit, s)
	a := answer(nextTicket(b, people, v.ID), approval.Grant)
	a.For = time.Hour
	ask[api.Answered](b, people, api.TicketAnswer, a)
	_ = people.Close()
	s.Wait = true
	for b.Loop() {
		if v := ask[api.Call](b, c, api.CallSubmit, s); v.Result.Status != runtime.Exited || v.Grant == "" {
			b.Fatalf("%+v", v.Result)
		}
	}
}

// BenchmarkTicket is from a request over the question and a scripted
// approver's no to the answer: all of a call but its box.
func BenchmarkTicket(b *testing.B) {
	h := begin(b, noBounds)
	c, people := h.dial("call"), h.dial("approval")
	go func() { _ = people.Call(context.Background(), api.TicketWatch, api.Nothing{}, nil) }()
	answers := h.dial("approval")
	go func() {
		for n := range people.Notifications() {
			var k approval.Ticket
			if n.Method == api.TicketChanged && json.Unmarshal(n.Params, &k) == nil && k.State == approval.Pending {
				_ = answers.Call(context.Background(), api.TicketAnswer, answer(k, approval.Deny), nil)
			}
		}
	}()
	s := api.Submit{Args: args("true"), Profile: "ask", Wait: true}
	for b.Loop() {
		if v := ask[api.Call](b, c, api.CallSubmit, s); v.Result.Status != runtime.Denied {
			b.Fatalf("%+v", v.Result)
		}
	}
}

// BenchmarkDenied is all of a call but its box: from the request over its plan,
// policy's no and both receipts to the answer.
func BenchmarkDenied(b *testing.B) {
	for _, callers := range []int{1, 16} {
		for _, passed := range []bool{true, false} {
			b.Run(fmt.Sprintf("callers=%d,descriptors=%v", callers, passed), func(b *testing.B) {
				benchmarkDenied(b, callers, passed)
			})
		}
	}
}

func benchmarkDenied(b *testing.B, callers int, passed bool) {
	h := begin(b, noBounds)
	s := api.Submit{Args: args("true"), Profile: "no", Wait: true}
	var files []*os.File
	if passed {
		for n := range 3 {
			flags := os.O_CREATE | os.O_WRONLY
			if n == 0 {
				flags = os.O_CREATE | os.O_RDONLY
			}
			f, err := os.OpenFile(filepath.Join(b.TempDir(), "stream"), flags, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			files = append(files, f)
		}
	}
	work := make(chan struct{})
	var all sync.WaitGroup
	for range callers {
		c := h.dial("call")
		all.Go(func() {
			for range work {
				if v, err := try[api.Call](c, api.CallSubmit, s, files...); err != nil || v.Result.Status != runtime.Denied {
					b.Errorf("%+v, %v", v.Result, err)
				}
			}
		})
	}
	before := cpuTime(b)
	b.ReportAllocs()
	for b.Loop() {
		work <- struct{}{}
	}
	close(work)
	all.Wait()
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
}

// cpuTime is what the process has used of the processors so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkLockdown ends 50 calls that do not want to end, and reports the
// time that the daemon took as ms/lockdown.
func BenchmarkLockdown(b *testing.B) {
	h := begin(b, noBounds)
	c, admin := h.dial("call"), h.dial("admin")
	var took time.Duration
	rounds := 0
	for b.Loop() {
		var ids []string
		for range 50 {
			v := ask[api.Call](b, c, api.CallSubmit, shell("trap '' TERM; echo up; while :; do sleep 1; done"))
			ids = append(ids, v.ID)
		}
		for _, id := range ids {
			h.awaitOutput(c, id)
		}
		report := ask[api.LockdownReport](b, admin, api.Lockdown, api.LockdownOrder{})
		if report.Calls != 50 || len(report.Failed) > 0 {
			b.Fatalf("%+v", report)
		}
		took += report.Took
		rounds++
		ask[api.Daemon](b, admin, api.Unlock, api.Reason{})
	}
	b.ReportMetric(float64(took.Milliseconds())/float64(rounds), "ms/lockdown")
}

// BenchmarkMemory reports the daemon's proportional set size (proc_pid_smaps(5))
// at rest and with 50 live calls, in MB. The process is the test's, which holds
// the clients too.
func BenchmarkMemory(b *testing.B) {
	h := begin(b, noBounds)
	c := h.dial("call")
	for b.Loop() {
		b.ReportMetric(pss(b), "MB-at-rest")
		var ids []string
		for range 50 {
			ids = append(ids, ask[api.Call](b, c, api.CallSubmit, shell("echo up; sleep 600")).ID)
		}
		for _, id := range ids {
			h.awaitOutput(c, id)
		}
		b.ReportMetric(pss(b), "MB-with-50-calls")
		ask[api.Stopped](b, h.dial("admin"), api.CallStop, api.Stop{All: true})
	}
}

func pss(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				b.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	b.Fatal("no Pss")
	return 0
}
