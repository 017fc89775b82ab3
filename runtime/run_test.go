// SPDX-License-Identifier: Apache-2.0

package runtime

import "testing"

func TestRunSaysWhatHappened(t *testing.T) {
	h := testHost(t)
	o := runCall(t, h, testSpec(t, h), testCall("sh", "-c", "cat; echo out; echo err >&2; id; cat /proc/self/status | grep -E 'Cap|NoNew|Seccomp'; ls -la / /dev /tmp; mount; ls /proc; exit 7"), "hello\n")
	t.Logf("%+v\n%s\n%s", o.Result, o.out, o.err)
	if o.Status != Exited || o.ExitCode != 7 {
		t.Fatalf("got %+v", o.Result)
	}
}
