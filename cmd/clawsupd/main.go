// SPDX-License-Identifier: Apache-2.0

// Clawsupd is the root daemon: it starts the agents in their boxes, runs their
// calls in throwaway sandboxes, asks people, and writes down what happened.
//
//	clawsupd [--config FILE] [--log-level LEVEL]
//	clawsupd --reload
//
// It stays in the foreground. systemd starts it as clawsupd.service, opens its
// sockets, watches over it and keeps its descriptors; without systemd it does
// all but the keeping by itself. SIGHUP loads the configuration anew, SIGTERM
// and SIGINT end it: calls end as supervisor-restart, agents stay where
// systemd keeps their descriptors, which it does unless it stops the service
// for good.
//
// This package is flags, signals and the service's status; package broker does
// the work.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/broker"
	"github.com/clawsup/clawsup/supervisor/systemd"
	"github.com/clawsup/clawsup/supervisor/version"
	"github.com/clawsup/clawsup/supervisor/visible"
)

const usage = `usage: clawsupd [--config FILE] [--log-level LEVEL]
       clawsupd --reload

The daemon of clawsup, in the foreground. Without --config it reads
/etc/clawsup/clawsup.toml and /etc/clawsup/clawsup.d/*.toml; 'clawsup config check'
says beforehand what is wrong with them. Levels: error, warning, info, debug.

Signals: HUP loads the configuration anew, or keeps the old one and says why;
TERM and INT end it. --reload asks the running service for what HUP does, and
waits: its exit status is 0 if what is new is in force, and 1 with the reason if
not. See 'clawsup help' for the commands that talk to it.
`

// Exit statuses. EX_CONFIG of sysexits.h is what clawsupd.service doesn't
// restart after: the same file would fail again.
const (
	exitFault  = 1
	exitUsage  = 2
	exitConfig = 78
)

func main() {
	runtime.Reexec()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr, keepMemory))
}

// run does what the command line says. Keep is done before the daemon has anything
// to keep.
func run(args []string, stdout, stderr io.Writer, keep func() (notes []string)) int {
	flags := flag.NewFlagSet("clawsupd", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	config := flags.String("config", "", "")
	level := flags.String("log-level", "info", "")
	show := flags.Bool("version", false, "")
	again := flags.Bool("reload", false, "")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("it takes no arguments: %s", visible.Text(flags.Arg(0)))
	}
	lvl, levelErr := logrus.ParseLevel(*level)
	if err = errors.Join(err, levelErr); err != nil {
		fmt.Fprintf(stderr, "clawsupd: %s\nsee 'clawsupd --help'\n", visible.Line(err.Error()))
		return exitUsage
	}
	if *show {
		fmt.Fprintf(stdout, "clawsupd %s\n", version.String())
		return 0
	}
	if *again {
		if err := askReload(); err != nil {
			fmt.Fprintf(stderr, "clawsupd: %s\n", visible.Line(err.Error()))
			return exitFault
		}
		return 0
	}
	logrus.SetOutput(stderr)
	logrus.SetFormatter(formatter())
	logrus.SetLevel(lvl)
	if os.Geteuid() != 0 {
		fmt.Fprintln(stderr, "clawsupd: it makes namespaces, control groups and mounts, so it must be started by root")
		return exitUsage
	}
	unix.Umask(0o022)
	// Most of its time goes into system calls that make boxes. With as few Ps as
	// processors the runtime takes the P from each that lasts some ten
	// microseconds, and hands it to another thread.
	if os.Getenv("GOMAXPROCS") == "" {
		goruntime.GOMAXPROCS(4 * goruntime.NumCPU())
	}
	notes := keep()
	for _, note := range notes {
		logrus.Warn(note)
	}
	if err := serve(*config, notes); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stderr, "clawsupd: %s\n", visible.Line(line))
		}
		if broker.IsConfig(err) {
			return exitConfig
		}
		return exitFault
	}
	return 0
}

// formatter leaves the time out where systemd's journal has it.
func formatter() logrus.Formatter {
	return &logrus.TextFormatter{DisableColors: true, FullTimestamp: true, DisableTimestamp: os.Getenv("JOURNAL_STREAM") != ""}
}

// serve runs the daemon until a signal ends it. Notes are what an operator should
// know of the process.
func serve(config string, notes []string) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGHUP, unix.SIGTERM, unix.SIGINT)
	given, err := systemd.Take()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var b *broker.Broker
	b, err = broker.Open(ctx, broker.Options{Config: config, Version: version.String(), Given: given, Notes: notes,
		Stores: os.Getenv("NOTIFY_SOCKET") != "",
		Reloading: func() func(error) {
			tell(systemd.Reloading())
			return func(err error) { reloaded(b, err) }
		},
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Serve(ctx) }()
	tell(systemd.Ready(b.Summary()))
	logrus.WithField("version", version.String()).Info("ready: " + b.Summary())
	watchdog := watch()
	defer watchdog.Stop()
	for {
		select {
		case err := <-ended:
			return errors.Join(err, b.Close())
		case <-watchdog.C:
			// Not before what everything goes through answers: a daemon that
			// hangs must not look alive.
			if b.Alive() {
				tell(systemd.Alive())
			}
		case s := <-signals:
			if s == unix.SIGHUP {
				_ = b.Reload(ctx) // reloaded tells of it
				continue
			}
			logrus.Infof("%v: going down", s)
			tell(systemd.Stopping("ending calls"))
			cancel()
			return errors.Join(<-ended, stopAgents(b), b.Close())
		}
	}
}

// reloaded tells how a reload ended: with the next generation, or with the old
// one still in force.
func reloaded(b *broker.Broker, err error) {
	status := b.Summary()
	if err != nil {
		logrus.WithError(err).Error("the configuration was not taken; what was in force stays")
		status = "RELOAD REFUSED, the old configuration is in force: " + visible.Line(err.Error())
	} else {
		logrus.Info("reloaded: " + status)
	}
	tell(systemd.Ready(status))
}

// reloadLimit bounds how long the service may take to reload.
const reloadLimit = time.Minute

// askReload has the running service reload. It reads no configuration: that
// may be what is wrong.
func askReload() error {
	ctx, cancel := context.WithTimeout(context.Background(), reloadLimit)
	defer cancel()
	dir := cmp.Or(os.Getenv("RUNTIME_DIRECTORY"), runtime.DefaultRunDir)
	c, err := api.Dial(ctx, filepath.Join(dir, "admin.sock"))
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Call(ctx, api.Reload, api.Nothing{}, nil)
}

// endLimit bounds what systemd is asked at the end.
const endLimit = 5 * time.Second

// stopAgents ends the agents where systemd keeps them no longer: they are asked
// to end, rather than losing their boxes.
func stopAgents(b *broker.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	ends, err := systemd.Ends(ctx)
	tell(false, err)
	if !ends {
		return nil
	}
	tell(systemd.Status("stopping agents"))
	return b.StopAgents(context.Background())
}

// watch ticks as often as systemd wants to hear of us; a ticker that is
// stopped, if it doesn't.
func watch() *time.Ticker {
	every, err := systemd.Watchdog()
	tell(false, err)
	if every > 0 {
		return time.NewTicker(every)
	}
	t := time.NewTicker(time.Hour)
	t.Stop()
	return t
}

// tell says that systemd could not be told something. That there is none is
// no fault.
func tell(_ bool, err error) {
	if err != nil {
		logrus.WithError(err).Warn("systemd could not be told")
	}
}
