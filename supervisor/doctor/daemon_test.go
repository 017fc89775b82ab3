// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/clawsup/clawsup/supervisor"
	"github.com/clawsup/clawsup/supervisor/api"
)

func TestDaemon(t *testing.T) {
	dir := t.TempDir()
	answers := func(d api.Daemon, err error) {
		t.Helper()
		l, listenErr := api.Listen(filepath.Join(dir, "approval.sock"), 0o600, 0, 0)
		if listenErr != nil {
			t.Fatal(listenErr)
		}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		s := &api.Server{Methods: map[string]api.Handler{
			api.Status: func(context.Context, *api.Request) (any, error) { return d, err },
		}}
		go func() { served <- s.Serve(ctx, l) }()
		t.Cleanup(func() { cancel(); <-served; _ = l.Close() })
	}
	config := supervisor.Config{RunDir: dir, Daemon: true}
	for _, test := range []struct {
		name  string
		setup func()
		used  bool
		want  Level
		says  string
	}{
		{"not used", func() {}, false, Good, "standalone"},
		{"not there", func() {}, true, Broken, "no daemon"},
		{"well", func() { answers(api.Daemon{Generation: 3}, nil) }, true, Good, "generation 3"},
	} {
		test.setup()
		config.Daemon = test.used
		if level, text, _ := daemon(config)(t.Context()); level != test.want || !strings.Contains(text, test.says) {
			t.Errorf("%s: %s, %s", test.name, level, text)
		}
	}
	for _, test := range []struct {
		name string
		d    api.Daemon
		err  error
		want Level
		says string
	}{
		{"locked down", api.Daemon{Locked: "uid 0: drill"}, nil, Lowered, "drill"},
		{"its log is full", api.Daemon{Notes: []string{"receipts can't be written"}}, nil, Lowered, "receipts"},
		{"not for this user", api.Daemon{}, &api.Error{Code: api.CodeDenied, Message: "no role"}, Unknown, "no role"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir = t.TempDir()
			answers(test.d, test.err)
			if level, text, _ := daemon(supervisor.Config{RunDir: dir, Daemon: true})(t.Context()); level != test.want || !strings.Contains(text, test.says) {
				t.Errorf("%s, %s", level, text)
			}
		})
	}
}
