// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// goJudge is a server of go-judge, with what its documentation gives for use
// (docs.goj.ac): containers that are made ahead and used again, two at a time,
// cleaned between calls. Its mounts are like those of the others; it has no
// filter of system calls unless one is written for it.
type goJudge struct {
	*server
	address string
	http    *http.Client
	absent  error // why there is none
}

// judgeMounts is its mount configuration.
const judgeMounts = `mount:
  - {type: bind, source: /bin, target: /bin, readonly: true}
  - {type: bind, source: /lib, target: /lib, readonly: true}
  - {type: bind, source: /lib64, target: /lib64, readonly: true}
  - {type: bind, source: /usr, target: /usr, readonly: true}
  - {type: bind, source: /etc, target: /etc, readonly: true}
  - {type: bind, source: /dev/null, target: /dev/null}
  - {type: tmpfs, target: /w, data: "size=16m"}
  - {type: tmpfs, target: /tmp, data: "size=16m"}
proc: true
workDir: /w
hostName: sandbox
uid: 1000
gid: 1000
`

// startJudge starts the go-judge beside this program (out/go-judge, which make
// builds) or of PATH.
func startJudge(dir string) *goJudge {
	j := &goJudge{}
	j.absent = j.begin(dir)
	return j
}

func (j *goJudge) begin(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	beside := filepath.Join(filepath.Dir(self), "go-judge")
	program, err := exec.LookPath(beside)
	if err != nil {
		program, err = exec.LookPath("go-judge")
	}
	if err != nil {
		why, _ := os.ReadFile(beside + ".log") // of what make tried
		if line := strings.TrimSpace(string(why)); line != "" {
			line = line[strings.LastIndexByte(line, '\n')+1:]
			// which mirror was asked is of this machine alone
			return fmt.Errorf("it could not be built: %s", regexp.MustCompile(`https?://[^ ]*[^ :]`).ReplaceAllString(line, "..."))
		}
		return errors.New("not installed")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mounts := filepath.Join(dir, "mount.yaml")
	if err := os.WriteFile(mounts, []byte(judgeMounts), 0o644); err != nil {
		return err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	j.address = free.Addr().String()
	_ = free.Close()
	group := fmt.Sprintf("/clawsupbench%djudge", os.Getpid())
	j.server, err = serve(filepath.Join(dir, "log"), group, program, "-http-addr", j.address, "-mount-conf", mounts, "-seccomp-conf", "",
		"-cgroup-prefix", strings.TrimPrefix(group, "/")+"/boxes", "-pre-fork", "4", "-parallelism", "4", "-release", "-silent", "-no-fallback")
	if err != nil {
		return err
	}
	j.http = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	return j.ready(func() error { return j.call(0) })
}

// meter is of all that the server does, its containers included.
func (j *goJudge) meter() meter {
	if j.server == nil {
		return nil
	}
	return meter{j.group}
}

func (j *goJudge) dial() (asker, error) { return j, nil }

// call has it run command once.
func (j *goJudge) call(int) error {
	type file map[string]string
	body, err := json.Marshal(map[string]any{"cmd": []any{map[string]any{
		"args": []string{command}, "env": []string{"PATH=/usr/bin:/bin"}, "files": []file{{"content": ""}},
		"cpuLimit": 15e9, "clockLimit": 60e9, "memoryLimit": 256 << 20, "procLimit": 64,
	}}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+j.address+"/run", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := j.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	var results []struct {
		Status string `json:"status"`
	}
	if json.Unmarshal(text, &results) != nil || len(results) != 1 || results[0].Status != "Accepted" {
		return fmt.Errorf("it answered %s: %s", answer.Status, text)
	}
	return nil
}

// Close leaves the server, which all callers share, running.
func (j *goJudge) Close() error { return nil }

func (j *goJudge) stop() error {
	if j.server == nil {
		return nil
	}
	return j.server.stop()
}
