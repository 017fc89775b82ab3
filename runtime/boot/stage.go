// SPDX-License-Identifier: Apache-2.0

package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime/seccomp/load"
	"github.com/clawsup/clawsup/runtime/wire"
)

// Stage waits for the call, becomes the tool's user behind all walls, and
// execs. It returns only on failure.
func Stage() int {
	// Filter and Landlock bind threads; the one that execs must carry both.
	runtime.LockOSThread()
	unix.CloseOnExec(wire.ControlFD)
	conn := wire.NewConn(wire.ControlFD)
	if err := pipes(conn); err != nil {
		return fail(wire.StepInit, err)
	}
	body, fds, err := conn.ReceiveOptional(1)
	if err != nil {
		return 0 // the box is not needed
	}
	var call wire.Call
	if err := json.Unmarshal(body, &call); err != nil {
		return fail(wire.StepCall, err)
	}
	if err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fail(wire.StepCall, err)
	}
	if len(fds) > 0 {
		if conn, err = conn.Move(); err == nil {
			err = unix.Dup3(fds[0], wire.SocketFD, 0)
		}
		if err != nil {
			return fail(wire.StepCall, err)
		}
	}
	step, err := become(conn, &call)
	_ = conn.Send(wire.Event{Kind: wire.Failed, Failure: &wire.Failure{Step: step, Message: err.Error()}})
	return 1
}

// pipes makes the tool's standard streams and gives PID 1 the other ends. They
// are made with the tool's file system ids: /dev/stderr leads to the pipe's
// inode, which only its owner may open again.
func pipes(conn *wire.Conn) error {
	setfs := func(uid, gid uintptr) {
		// Both return the former id and no error (setfsuid(2)).
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, gid, 0, 0)
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uid, 0, 0)
	}
	setfs(wire.ToolUID, wire.ToolGID)
	defer setfs(0, 0)
	var others []int
	for i := range 3 {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			return fmt.Errorf("pipe: %w", err)
		}
		ours, other := p[0], p[1]
		if i > 0 {
			ours, other = p[1], p[0]
		}
		if err := unix.Dup3(ours, i, 0); err != nil {
			return err
		}
		_ = unix.Close(ours)
		others = append(others, other)
	}
	if err := conn.Send(wire.Event{Kind: wire.Pipes}, others...); err != nil {
		return err
	}
	for _, fd := range others {
		_ = unix.Close(fd)
	}
	return nil
}

// become takes the steps in their order. It returns only with an error and
// the step that made it.
func become(conn *wire.Conn, call *wire.Call) (wire.Step, error) {
	if call.Service != nil {
		if err := serviceStreams(); err != nil {
			return wire.StepCall, err
		}
	}
	// The tool is what an out-of-memory kill should meet, not PID 1. Said
	// before the uid changes, which closes /proc/self to this process.
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		return wire.StepRlimit, err
	}
	if err := ordinary(); err != nil {
		return wire.StepIdentity, err
	}
	if err := identity(); err != nil {
		return wire.StepIdentity, err
	}
	for _, r := range call.Rlimits {
		// syscall's Setrlimit, because it also stops the Go runtime from
		// restoring the descriptor limit it raised at start.
		if err := syscall.Setrlimit(r.Resource, &syscall.Rlimit{Cur: r.Value, Max: r.Value}); err != nil {
			return wire.StepRlimit, fmt.Errorf("limit %d to %d: %w", r.Resource, r.Value, err)
		}
	}
	unix.Umask(0o022)
	if err := unix.Chdir(string(call.Dir)); err != nil {
		return wire.StepChdir, fmt.Errorf("%q: %w", call.Dir, err)
	}
	argv, env := wire.Strings(call.Argv), wire.Strings(call.Env)
	search := searchPath(env)
	if err := required(call, search); err != nil {
		return wire.StepRequires, err
	}
	file, err := lookup(argv[0], search)
	if err != nil {
		return wire.StepLookup, err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return wire.StepIdentity, err
	}
	if call.Landlock != nil {
		if err := restrict(call.Landlock); err != nil {
			return wire.StepLandlock, err
		}
	}
	if len(call.Seccomp) > 0 {
		if err := load.Load(call.Seccomp); err != nil {
			return wire.StepSeccomp, err
		}
	}
	if err := conn.Send(wire.Event{Kind: wire.Started}); err != nil {
		return wire.StepExec, err
	}
	err = syscall.Exec(file, argv, env)
	return wire.StepExec, explainExec(file, err)
}

// serviceStreams gives a service nothing to read, and one stream for both of
// its outputs: in one pipe they stay in the order in which they were written.
func serviceStreams() error {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/null: %w", err)
	}
	if err := unix.Dup3(null, 0, 0); err != nil {
		return err
	}
	return unix.Dup3(1, 2, 0)
}

// identity drops everything of PID 1. The bounding set goes first, while
// CAP_SETPCAP is there. The calls are the kernel's own and change this thread
// alone: it is the one that execs, and the other threads of the runtime end
// then. The C library's, and Go's, would stop and change all of them.
func identity() error {
	if err := dropBounding(); err != nil {
		return err
	}
	const u, g = wire.ToolUID, wire.ToolGID
	for _, c := range []struct {
		name       string
		trap       uintptr
		a1, a2, a3 uintptr
	}{
		{"setgroups", unix.SYS_SETGROUPS, 0, 0, 0},
		{"setresgid", unix.SYS_SETRESGID, g, g, g},
		{"setresuid", unix.SYS_SETRESUID, u, u, u},
	} {
		if _, _, errno := unix.RawSyscall(c.trap, c.a1, c.a2, c.a3); errno != 0 {
			return fmt.Errorf("%s: %w", c.name, errno)
		}
	}
	return dropAll()
}

// searchPath is PATH of the call's environment, split.
func searchPath(env []string) []string {
	for _, v := range env {
		if rest, ok := strings.CutPrefix(v, "PATH="); ok {
			return strings.Split(rest, ":")
		}
	}
	return nil
}

// required says which program the skill needs and the box lacks.
func required(call *wire.Call, search []string) error {
	for _, name := range call.Requires {
		if _, err := lookup(string(name), search); err != nil {
			return fmt.Errorf("the skill requires %q, which is not in the box", name)
		}
	}
	if len(call.RequiresAny) == 0 {
		return nil
	}
	for _, name := range call.RequiresAny {
		if _, err := lookup(string(name), search); err == nil {
			return nil
		}
	}
	return fmt.Errorf("the skill requires one of %q, and none is in the box", call.RequiresAny)
}

// lookup finds the file to execute, as execvp(3) would.
func lookup(name string, search []string) (string, error) {
	if strings.Contains(name, "/") {
		if err := executable(name); err != nil {
			return "", fmt.Errorf("%q: %w", name, err)
		}
		return name, nil
	}
	for _, dir := range search {
		if !path.IsAbs(dir) {
			continue // an empty or relative element is never searched
		}
		file := path.Join(dir, name)
		if executable(file) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%q: %w in PATH of the box", name, fs.ErrNotExist)
}

func executable(file string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("not a regular file")
	}
	return unix.Faccessat(unix.AT_FDCWD, file, unix.X_OK, unix.AT_EACCESS)
}

// explainExec adds what execve(2) means by its two puzzling errors.
func explainExec(file string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%q: %w: the interpreter that its first line names, or its loader, is not in the box", file, err)
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%q: %w: no program, and no #! line that names an interpreter", file, err)
	}
	return fmt.Errorf("%q: %w", file, err)
}
