// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHeaderSaysTheSame: both halves are compiled apart, from the same numbers.
func TestHeaderSaysTheSame(t *testing.T) {
	b, err := os.ReadFile("../../cmd/clawsup-template/template.h")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)([A-Z][A-Z_]+)\s*=?\s+(\d+)( << (\d+))?`).FindAllStringSubmatch(string(b), -1) {
		n, _ := strconv.Atoi(m[2])
		shift, _ := strconv.Atoi(m[4])
		said[m[1]] = n << shift
	}
	want := map[string]int{
		"PROTOCOL": BoxProtocol, "MAX_SETUP": MaxSetup, "MAX_CALL": MaxCall, "MAX_FDS": MaxFDs, "MAX_MOUNTS": MaxPlaces, "MAX_MEASURED": MaxPlaces,
		"CONTROL_FD": ControlFD, "SET_LANDLOCK": setLandlock, "SET_SECCOMP": setSeccomp,
		"SET_CGROUP_NAMESPACE": setCgroupNamespace, "SET_TIME_NAMESPACE": setTimeNamespace,
		"ORDER_UNIFIED": 1, "CALL_WATCH": 1,
		"PLACE_TREE": int(PlaceTree), "PLACE_TMPFS": int(PlaceTmpfs), "PLACE_DIRECTORY": int(PlaceDirectory),
		"PLACE_LOOSE": placeLoose, "PLACE_MAPPED": placeMapped,
		"EVENT_HELLO": eventHello, "EVENT_FAILED": eventFailed, "EVENT_DONE": eventDone,
		"STEP_CGROUP": int(StepCgroup), "STEP_MOUNT": int(StepMount), "STEP_CONTAINER": int(StepContainer), "STEP_INIT": int(StepInit),
		"STEP_CALL": int(StepCall), "STEP_IDENTITY": int(StepIdentity), "STEP_RLIMIT": int(StepRlimit), "STEP_CHDIR": int(StepChdir),
		"STEP_REQUIRES": int(StepRequires), "STEP_LOOKUP": int(StepLookup), "STEP_LANDLOCK": int(StepLandlock),
		"STEP_SECCOMP": int(StepSeccomp), "STEP_EXEC": int(StepExec),
		"FAULT_ERRNO": int(FaultErrno), "FAULT_REQUIRES": int(FaultRequires), "FAULT_REQUIRES_ANY": int(FaultRequiresAny),
		"FAULT_NOT_FOUND": int(FaultNotFound), "FAULT_NOT_REGULAR": int(FaultNotRegular), "FAULT_EXEC": int(FaultExec),
		"FAULT_SILENT": int(FaultSilent), "FAULT_FRAME": int(FaultFrame),
		"DONE_OUTPUT_LIMIT": doneOutputLimit, "DONE_TIMED_OUT": doneTimedOut,
	}
	for name, n := range want {
		if got, ok := said[name]; !ok || got != n {
			t.Errorf("%s is %d in template.h and %d here", name, got, n)
		}
	}
	for name := range said {
		if _, ok := want[name]; !ok {
			t.Errorf("%s of template.h isn't compared", name)
		}
	}
}

func event(numbers ...uint64) Message {
	var m Message
	for _, n := range numbers {
		m.Number(n)
	}
	return m
}

func TestBoxEvents(t *testing.T) {
	if e, err := DecodeBoxEvent(event(eventHello)); err != nil || e.Failure != nil || e.Outcome != nil {
		t.Errorf("%+v %v", e, err)
	}
	m := event(eventFailed, uint64(StepChdir), uint64(FaultErrno), uint64(syscall.ENOENT))
	m.Text("/none")
	e, err := DecodeBoxEvent(m)
	if err != nil || e.Failure == nil || e.Failure.Explain(nil).Error() != `"/none": no such file or directory` {
		t.Errorf("%+v %v", e.Failure, err)
	}
	e, err = DecodeBoxEvent(event(eventDone, 256, 1000, 2000, 3, 4, 5, doneOutputLimit, 0, uint64(syscall.ENOSPC), 6))
	want := Outcome{
		Status: 256, User: time.Millisecond, System: 2 * time.Millisecond, Written: 1536, Stdout: 4, Stderr: 5, OutputLimit: true,
		OutputError: "standard error could not be passed on: no space left on device", Memory: 6,
	}
	if err != nil || e.Outcome == nil || *e.Outcome != want {
		t.Errorf("%+v %v", e.Outcome, err)
	}
	for name, m := range map[string]Message{
		"nothing":      nil,
		"half":         event(eventDone, 0)[:12],
		"no kind":      event(9),
		"more":         event(eventHello, 0),
		"no step":      append(event(eventFailed, 999, 0, 0), event(0)...),
		"a long text":  event(eventFailed, uint64(StepChdir), 0, 0, 1<<63),
		"text, no end": append(event(eventFailed, uint64(StepChdir), 0, 0, 1), 'x', 'y'),
	} {
		if _, err := DecodeBoxEvent(m); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFaults: each has words of its own.
func TestFaults(t *testing.T) {
	seen := map[string]bool{}
	for f := FaultErrno; f < numFaults; f++ {
		text := (&BoxFailure{Step: StepExec, Fault: f, Errno: syscall.ENOENT, Text: "thing"}).Explain([]string{"a", "b"}).Error()
		if seen[text] || text == "" {
			t.Errorf("fault %d: %q", f, text)
		}
		seen[text] = true
	}
}

func TestCallIsBounded(t *testing.T) {
	c := BoxCall{Argv: []string{strings.Repeat("x", MaxCall)}}
	if _, err := c.Encode(); !errors.Is(err, ErrFrame) {
		t.Error(err)
	}
}

func FuzzDecodeBoxEvent(f *testing.F) {
	f.Add([]byte(event(eventHello)))
	f.Add([]byte(event(eventDone, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeBoxEvent(b)
		if err != nil && !errors.Is(err, ErrFrame) {
			t.Error(err)
		}
		if err == nil && e.Failure != nil {
			_ = e.Failure.Explain(nil)
		}
	})
}
