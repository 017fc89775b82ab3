// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/kept"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/skills"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// inspectPath is where clawsup-inspect stands in its box.
const inspectPath = "/inspect"

// inspectMessage bounds, in bytes, what it may say on standard error.
const inspectMessage = 4 << 10

// inspectSpec is the box that clawsup-inspect gets: the program, what it is to
// read, and nothing else of the host, not even its libraries.
func (s *Supervisor) inspectSpec(subject ...rootfs.Bind) (runtime.Spec, error) {
	layers, err := layer.Lower(layer.All.Without(layer.RootIDMap), s.host.Layers, s.Config.Lower)
	if err != nil {
		return runtime.Spec{}, &runtime.Error{Step: runtime.StepLayers, Err: err}
	}
	filter, err := s.Filter(nil)
	if err != nil {
		return runtime.Spec{}, err
	}
	return runtime.Spec{
		Layers: layers, Rootfs: s.EmptyRoot(), ProcPids: true,
		Binds:   append(subject, rootfs.Bind{Source: s.Config.Inspect, Target: inspectPath}),
		Group:   runtime.Group{Memory: 128 << 20, Pids: 32, CPU: 1, DiskRead: 64 << 20, DiskWrite: 64 << 10},
		Filter:  filter,
		CPUTime: 2 * time.Second, FileSize: 4 << 10, OpenFiles: 32, Stack: 1 << 20,
	}, nil
}

// inspect gives the manifest of a sealed skill. It was read by clawsup-inspect
// from a copy that never changes, so one reading of it by one build of the
// program is enough: the answer is kept. The error is about the skill where
// that is at fault.
func (s *Supervisor) inspect(ctx context.Context, k *skills.Skill) (skills.Manifest, error) {
	var none skills.Manifest
	program, err := identify(s.Config.Inspect)
	if err != nil {
		return none, &runtime.Error{Step: runtime.StepSpec, Err: err}
	}
	file := filepath.Join(s.Config.StateDir, "manifests", program+"-"+strings.TrimPrefix(k.Digest, "sha256:"))
	if answer, ok := kept.Read(file, skills.MaxManifest); ok {
		if m, err := skills.DecodeManifest(answer); err == nil {
			return m, m.Validate(k.Name)
		}
	}
	answer, m, err := s.readManifest(ctx, k)
	if err != nil {
		return none, err
	}
	_ = kept.Write(file, answer) // that it can't be kept is no error
	return m, m.Validate(k.Name)
}

// identify names one build of a program that CheckProgram takes: a file that
// is replaced has another inode, one that is written to another time.
func identify(file string) (string, error) {
	if err := runtime.CheckProgram(file); err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: file, Err: err}
	}
	return fmt.Sprintf("%x-%x-%x-%x", st.Dev, st.Ino, st.Size, st.Ctim.Nano()), nil
}

// readManifest has the front matter read in a box of its own. It gives the
// program's bounded answer and what that says.
func (s *Supervisor) readManifest(ctx context.Context, k *skills.Skill) ([]byte, skills.Manifest, error) {
	var none skills.Manifest
	spec, err := s.inspectSpec(rootfs.Bind{Source: k.Dir, Target: rootfs.SkillDir})
	if err != nil {
		return nil, none, err
	}
	call := runtime.Call{
		Argv: []string{inspectPath, "skill", rootfs.SkillDir}, Dir: "/",
		WallTime: 5 * time.Second, StdoutMax: skills.MaxManifest, StderrMax: inspectMessage,
	}
	box, err := s.host.Prepare(ctx, spec)
	if err != nil {
		return nil, none, err
	}
	result, out, said, err := question(ctx, box, call, nil)
	if err := errors.Join(err, box.Close()); err != nil {
		return nil, none, fmt.Errorf("clawsup-inspect: %w", err)
	}
	if result.Status != runtime.Exited {
		return nil, none, &runtime.Error{Step: runtime.StepSpec, Err: fmt.Errorf("its %s could not be read: clawsup-inspect ended %s: %s%s",
			"SKILL.md", result.Status, result.Message, aside(said))}
	}
	m, err := skills.DecodeManifest(out)
	if err != nil {
		var told *skills.InspectError
		if !errors.As(err, &told) {
			err = fmt.Errorf("%w%s", err, aside(said))
		}
		return nil, none, err
	}
	return out, m, nil
}

// aside quotes what a program said on standard error.
func aside(said []byte) string {
	if text := strings.Join(strings.Fields(string(said)), " "); text != "" {
		return "; it said " + visible.Quote(text)
	}
	return ""
}

// question runs a call with what ask writes as its input, if that isn't nil, and
// collects its bounded answer.
func question(ctx context.Context, box *runtime.Sandbox, call runtime.Call, ask func(io.Writer) error) (result runtime.Result, out, said []byte, err error) {
	var pipes [3][2]*os.File
	for i := range pipes {
		if pipes[i][0], pipes[i][1], err = os.Pipe(); err != nil {
			return result, nil, nil, err
		}
		defer pipes[i][0].Close()
		defer pipes[i][1].Close()
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		if ask != nil {
			_ = ask(pipes[0][1]) // who hasn't read it all has answered, or failed, without it
		}
		_ = pipes[0][1].Close()
	}()
	var bufs [3]bytes.Buffer
	done := make(chan error, 2)
	for _, i := range []int{1, 2} {
		go func() {
			_, err := io.Copy(&bufs[i], pipes[i][0]) // bounded by the call's caps
			done <- err
		}()
	}
	result = box.Run(ctx, call, runtime.Stdio{In: pipes[0][0], Out: pipes[1][1], Err: pipes[2][1]}, nil)
	_ = pipes[0][0].Close() // the last who could have read: what still writes to it ends
	<-asked
	_ = pipes[1][1].Close()
	_ = pipes[2][1].Close()
	err = errors.Join(<-done, <-done)
	return result, bufs[1].Bytes(), bufs[2].Bytes(), err
}
