// SPDX-License-Identifier: Apache-2.0

// Package systemd is what a daemon says to systemd, and takes from it: that it
// is ready, that it lives, sockets that were opened for it, and descriptors
// that are kept over a restart.
//
// At the start, before anything else opens descriptors or starts a process:
//
//	files, err := systemd.Take()                 // by name; the environment is cleaned
//	l, err := systemd.Listener(files["approval.sock"])
//	every, err := systemd.Watchdog()             // 0: nobody waits for Alive
//	...
//	systemd.Ready("serving")
//	for range time.Tick(every) { systemd.Alive() }
//
// A reload is Reloading, then Ready. An end is Stopping; Ends tells whether
// another start follows.
//
//	systemd.Store("agent-main", slot, control)   // kept while the service restarts
//	systemd.Remove("agent-main")
//
// Each function that tells something says whether it was told: without
// systemd, that is without NOTIFY_SOCKET, the answer is false and no error, and
// nothing happened. What was told is sent and not confirmed; Synchronise waits
// until systemd has read all of it.
//
// # Limits
//
// The descriptor store needs FileDescriptorStoreMax= in the unit, and keeps
// descriptors while the service is restarted, not when it is stopped, but with
// FileDescriptorStorePreserve=yes (systemd 254). With more than it takes,
// systemd logs a warning and closes them: nobody tells the service. FDPOLL=0
// is since systemd 246; without it, a control socket whose other end is gone
// would vanish from the store.
//
// # Sources
//
// sd_notify(3), sd_listen_fds(3), sd_pid_notify_with_fds(3), sd_watchdog_enabled(3),
// systemd.service(5), org.freedesktop.systemd1(5). The plain notifications, the
// watchdog and the bus are go-systemd's. Its package for listening sockets links TLS, which root's
// daemon does not, and it knows no descriptor store.
package systemd
