// SPDX-License-Identifier: Apache-2.0

package egress

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/clawsup/clawsup/supervisor/relay/packet"
	"github.com/clawsup/clawsup/supervisor/relay/relaytest"
)

// childEnv has this binary be a helper in a process of its own.
const childEnv = "CLAWSUP_EGRESS_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := child(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(relaytest.Main(m, &programs))
}

// programs is the directory of those that run in boxes.
var programs string

// child asks as often as each line of its input says, one after the other, and
// then says so.
func child() error {
	conn := packet.New(os.NewFile(3, "clawsupd"))
	box := 0
	answers := make(chan packet.Verdict, 1)
	go func() {
		for {
			var o packet.Order
			if _, err := conn.Receive(&o); err != nil {
				return
			}
			switch o.Kind {
			case packet.Open:
				box = o.ID
			case packet.Datagrams:
				answers <- packet.Verdict{}
			case packet.Answer:
				answers <- *o.Verdict
			case packet.Ping:
				_ = conn.Send(packet.Word{Kind: packet.Pong, ID: o.ID}, nil)
			}
		}
	}()
	<-answers // the box is open
	q := get("api.example")
	q.Path, q.Search = "/v1/chat/completions", "a=b"
	id := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var n int
		if _, err := fmt.Sscan(lines.Text(), &n); err != nil {
			return err
		}
		for range n {
			id++
			if err := conn.Send(packet.Word{Kind: packet.Ask, ID: id, Box: box, Query: &q}, nil); err != nil {
				return err
			}
			if v := <-answers; !v.Allow {
				return fmt.Errorf("%+v", v)
			}
			if err := conn.Send(packet.Word{Kind: packet.Ended, Box: box, Decision: id, Traffic: &packet.Traffic{Status: 200}}, nil); err != nil {
				return err
			}
		}
		fmt.Println("done")
	}
	return nil
}

// BenchmarkAsk measures a question of another process, its answer, by a judge
// that knows at once, and its end.
func BenchmarkAsk(b *testing.B) {
	w := newWorld(b)
	w.judge.ends = make(chan end, 1)
	go func() {
		for range w.judge.ends {
		}
	}()
	w.open(BoxOptions{})
	ours, theirs, err := packet.Pair()
	if err != nil {
		b.Fatal(err)
	}
	helper := exec.Command("/proc/self/exe")
	helper.Env = append(os.Environ(), childEnv+"=1")
	helper.ExtraFiles, helper.Stderr = []*os.File{theirs}, os.Stderr
	in, err := helper.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := helper.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		b.Fatal(err)
	}
	_ = theirs.Close()
	talked := make(chan error, 1)
	go func() { talked <- w.helper.Converse(context.Background(), packet.New(ours)) }()
	said := bufio.NewScanner(out)
	ask := func(n int) {
		if _, err := fmt.Fprintln(in, n); err != nil || !said.Scan() {
			b.Fatalf("%v, %v", err, said.Err())
		}
	}
	ask(100)
	b.ResetTimer()
	ask(b.N)
	b.StopTimer()
	_ = in.Close()
	if err := helper.Wait(); err != nil {
		b.Error(err)
	}
	<-talked
}
