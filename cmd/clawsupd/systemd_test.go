// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
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
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/supervisor/api"
	"github.com/clawsup/clawsup/supervisor/approval"
	"github.com/clawsup/clawsup/supervisor/raw"
)

// TestService drives the installed service on a host that is there for tests:
// Debian with systemd, cgroup v2 and the files of 'make install', as
// packaging/vm/guest has it. Its parts build on each other.
func TestService(t *testing.T) {
	s := openService(t)
	for _, part := range []struct {
		name string
		run  func(*service, *testing.T)
	}{
		{"Units", (*service).units},
		{"SocketActivation", (*service).socketActivation},
		{"WithoutLandlock", (*service).withoutLandlock},
		{"Agent", (*service).startAgent},
		{"Reload", (*service).reload},
		{"Calls", (*service).calls},
		{"Approval", (*service).approval},
		{"HostileAgent", (*service).hostileAgent},
		{"Restart", (*service).restart},
		{"Upgrade", (*service).upgrade},
		{"Killed", (*service).killed},
		{"Watchdog", (*service).watchdog},
		{"EndedMeanwhile", (*service).endedMeanwhile},
		{"Stop", (*service).stop},
		{"BadConfiguration", (*service).badConfiguration}, // last: it uses up what systemd has of patience
	} {
		if !t.Run(part.name, func(t *testing.T) { s.t = t; part.run(s, t) }) {
			s.t = t
			t.Logf("what the service said until %s failed:\n%s", part.name, s.output("journalctl", "-b", "-u", "clawsupd", "-n", "40", "--no-pager", "-o", "cat"))
		}
	}
}

// Where the service is.
const (
	unitName = "clawsupd.service"
	runDir   = "/run/clawsup"
	stateDir = "/var/lib/clawsup"
	scope    = "/clawsup.slice/clawsup-boxes.scope"
	progDir  = "/usr/local/lib/clawsup"
	// agentAddress is a port that the agent publishes.
	agentAddress = "127.0.0.1:18789"
	// providerAddress is where the agent's provider is, to which it has a key.
	providerAddress = "127.0.0.1:18999"
	providerKey     = "key-of-the-service-test-0123456789"
)

// service is the installed one.
type service struct {
	t        *testing.T
	landlock int // ABI
	orders   *os.File
	answers  *bufio.Reader
	pid      int // of the agent, once it runs
	began    string
	key      string      // placeholder of the agent's
	provider chan string // Authorization, of requests that reached the agent's provider
}

func openService(t *testing.T) *service {
	t.Helper()
	if os.Getenv("CLAWSUP_VM") == "" {
		t.Skip("it takes the host for itself: make vm-test")
	}
	if name, err := os.ReadFile("/proc/1/comm"); err != nil || string(name) != "systemd\n" {
		t.Skipf("PID 1 is %q, not systemd", name)
	}
	if _, err := os.Stat(progDir + "/clawsupd"); err != nil {
		t.Fatalf("the service is not installed: %v", err)
	}
	s := &service{t: t, landlock: landlockABI()}
	t.Cleanup(func() {
		s.t = t
		s.output("systemctl", "disable", "--now", unitName, "clawsupd-approval.socket", "clawsupd-admin.socket")
		for _, dir := range []string{"/etc/clawsup", stateDir, "/srv/claw"} {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		}
	})
	for user, group := range map[string]string{"claw": "", "lost": "", "alice": "clawsup", "mallory": ""} {
		args := []string{"--system", "--no-create-home", user}
		if group != "" {
			args = append(args, "--groups", group)
		}
		if exec.Command("id", user).Run() != nil {
			s.do("useradd", args...)
		}
	}
	return s
}

// landlockABI is 0 without Landlock; see landlock_create_ruleset(2).
func landlockABI() int {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(abi)
}

// --- the host ---

// command is a program that is ended if it hangs; Go's then say where.
func (s *service) command(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	s.t.Cleanup(cancel)
	c := exec.CommandContext(ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(unix.SIGQUIT) }
	c.WaitDelay = 5 * time.Second
	return c
}

// output runs a program and gives what it said, whatever its status.
func (s *service) output(name string, args ...string) string {
	s.t.Helper()
	out, err := s.command(name, args...).CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// do runs a program that must not fail.
func (s *service) do(name string, args ...string) string {
	s.t.Helper()
	out, err := s.command(name, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %q: %v\n%s\n%s", name, args, err, out, s.output("systemctl", "status", unitName, "--no-pager", "--full"))
	}
	return strings.TrimSpace(string(out))
}

// as runs a program as a user and gives what it said and its status.
func (s *service) as(user, name string, args ...string) (string, int) {
	s.t.Helper()
	c := s.command("setpriv", append([]string{"--reuid", user, "--regid", user, "--init-groups", name}, args...)...)
	out, err := c.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		s.t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

func (s *service) write(path, text string) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// property is one of the unit's, as systemctl shows it.
func (s *service) property(name string) string { return s.propertyOf(unitName, name) }

func (s *service) propertyOf(unit, name string) string {
	s.t.Helper()
	return s.do("systemctl", "show", "--value", "-p", name, unit)
}

// long bounds what is waited for here: the guest may be emulated, on a machine
// that has much to do.
const long = time.Minute

// await asks again and again until something is so.
func (s *service) await(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(long); !is(); {
		if time.Now().After(end) {
			s.t.Fatalf("it never came: %s\n%s", what, s.output("systemctl", "status", unitName, "--no-pager", "--full"))
		}
		time.Sleep(20 * time.Millisecond) // the host has other things to do
	}
}

// active waits for another daemon than the one that had this number.
func (s *service) active(before string) string {
	s.t.Helper()
	pid := before
	s.await("a daemon that is ready", func() bool {
		pid = s.property("MainPID")
		return pid != before && pid != "0" && s.property("ActiveState") == "active"
	})
	return pid
}

// override has the unit differ, from its next start on.
func (s *service) override(text string) {
	s.t.Helper()
	s.write("/run/systemd/system/clawsupd.service.d/test.conf", text)
	s.do("systemctl", "daemon-reload")
	s.t.Cleanup(func() {
		if err := os.RemoveAll("/run/systemd/system/clawsupd.service.d"); err != nil {
			s.t.Error(err)
		}
		s.do("systemctl", "daemon-reload")
	})
}

// --- the daemon ---

func (s *service) dial(name string) *api.Client {
	s.t.Helper()
	c, err := api.Dial(context.Background(), filepath.Join(runDir, name+".sock"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// ask asks one question of the daemon that is there now.
func ask[T any](s *service, socket, method string, params any) T {
	s.t.Helper()
	v, err := try[T](s.dial(socket), method, params)
	if err != nil {
		s.t.Fatalf("%s: %v", method, err)
	}
	return v
}

func (s *service) agent(name string) api.Agent {
	s.t.Helper()
	return ask[[]api.Agent](s, "admin", api.AgentStatus, api.AgentRef{Agent: name})[0]
}

// configure writes the configuration. The agent claw does what it is told
// through a FIFO; lost is hostile.
func (s *service) configure(more string) {
	s.t.Helper()
	s.write("/etc/clawsup/profiles/gateway.toml", `extends = "agent"
[network]
mode = "egress"
default = "deny"
[[network.rule]]
host = "provider.test"
ports = [18999]
scheme = "http"
addresses = ["127.0.0.1/32"]
decision = "allow"
[secrets]
API_KEY = "provider"
`)
	s.write("/etc/clawsup/profiles/ask.toml", "extends = \"python\"\n[effects]\nexec = \"ask\"\n")
	lower := ""
	if s.landlock == 0 {
		lower = "lower = [\"landlock\"]\n"
	}
	s.write("/etc/clawsup/clawsup.toml", lower+`daemon = true
profile_paths = ["/etc/clawsup/profiles"]
`+more+`
[network.hosts]
"provider.test" = "127.0.0.1"

[roles]
approver = ["@clawsup"]

[[workspace]]
name = "main"
path = "/srv/claw/work"

[[agent]]
name = "claw"
command = ["/usr/bin/python3", "/srv/claw/programs/obey.py", "`+agentAddress+`"]
user = "claw"
state_dir = "/srv/claw/homes/claw"
profile = "gateway"
network = "egress"
read = ["/srv/claw/programs"]
call_profiles = ["build", "ask"]
publish = ["`+agentAddress+`"]
ready.http = "http://`+agentAddress+`/readyz"
restart = "never"

[[agent]]
name = "lost"
command = ["/usr/bin/python3", "/srv/claw/programs/hostile.py", "attack", "--profile", "ask",
	"--approval", "/run/clawsup/approval.sock", "--approval", "/run/clawsup/admin.sock", "--approval", "/run/clawsup/agents/claw/call.sock",
	"--policy", "/etc/clawsup/clawsup.toml", "--receipts", "/var/lib/clawsup/audit", "--receipts", "/etc/clawsup/audit.key",
	"--workspace", "/srv/claw/work"]
user = "lost"
state_dir = "/srv/claw/homes/lost"
read = ["/srv/claw/programs"]
call_profiles = ["ask"]
restart = "never"
autostart = false
`)
}

// --- the parts ---

// units: what is installed has no fault that systemd sees, and is no less
// hardened than the reference says.
func (s *service) units(t *testing.T) {
	var units []string
	entries, err := os.ReadDir("../../packaging/systemd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		units = append(units, e.Name())
	}
	if said := s.do("systemd-analyze", append([]string{"verify"}, units...)...); said != "" {
		t.Errorf("systemd-analyze verify:\n%s", said)
	}
	text, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile("`systemd-analyze security clawsupd.service` says ([0-9.]+) of 10").FindSubmatch(text)
	if said == nil {
		t.Fatal("docs/reference.md has no figure any more")
	}
	documented := string(said[1])
	lines := strings.Split(s.do("systemd-analyze", "security", "--no-pager", unitName), "\n")
	figure := regexp.MustCompile(`: ([0-9.]+) `).FindStringSubmatch(lines[len(lines)-1])
	if figure == nil {
		t.Fatalf("systemd-analyze security said %q", lines[len(lines)-1])
	}
	t.Logf("%s; documented: %s", lines[len(lines)-1], documented)
	is, _ := strconv.ParseFloat(figure[1], 64)
	if most, _ := strconv.ParseFloat(documented, 64); is > most || is == 0 {
		t.Errorf("the exposure is %v, documented is %v", is, most)
	}
}

// socketActivation: who connects to a service that is down has it started.
func (s *service) socketActivation(t *testing.T) {
	s.configure("")
	s.write("/srv/claw/work/kind", "kind")
	s.prepareAgent()
	if said := s.do("clawsup", "config", "check"); !strings.Contains(said, "is good") {
		t.Errorf("clawsup config check said %q", said)
	}
	s.do("systemctl", "enable", unitName)
	s.do("systemctl", "start", "clawsupd-approval.socket", "clawsupd-admin.socket")
	if got := s.property("ActiveState"); got != "inactive" {
		t.Fatalf("it is %s", got)
	}
	if who := ask[api.Identity](s, "approval", api.WhoAmI, api.Nothing{}); who.Role != "owner" {
		t.Errorf("%+v", who)
	}
	for name, want := range map[string]string{
		"Type": "notify", "ActiveState": "active", "SubState": "running", "NotifyAccess": "main", "WatchdogUSec": "30s",
	} {
		if got := s.property(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if got := s.property("StatusText"); !strings.HasPrefix(got, "generation 1, 2 agents") {
		t.Errorf("the status is %q", got)
	}
	group, err := os.ReadFile("/proc/" + s.property("MainPID") + "/cgroup")
	if err != nil || strings.TrimSpace(string(group)) != "0::/system.slice/clawsupd.service" {
		t.Errorf("the daemon is in %q, %v", group, err)
	}
	for name, mode := range map[string]os.FileMode{"approval.sock": 0o666, "admin.sock": 0o600, "call.sock": 0o600} {
		if st, err := os.Lstat(filepath.Join(runDir, name)); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, st, err)
		}
	}
}

// withoutLandlock: nothing runs until the operator has given the layer up by name.
func (s *service) withoutLandlock(t *testing.T) {
	if s.landlock > 0 {
		t.Skipf("this kernel has Landlock %d", s.landlock)
	}
	config, err := os.ReadFile("/etc/clawsup/clawsup.toml")
	if err != nil {
		t.Fatal(err)
	}
	lowered := string(config)
	s.write("/etc/clawsup/clawsup.toml", strings.Replace(lowered, "lower = [\"landlock\"]\n", "", 1))
	s.do("systemctl", "stop", unitName) // a restart would leave the agent in the box that it has
	s.do("systemctl", "start", unitName)
	result, _ := s.run(125, "--", "true")
	if result.Status != runtime.SandboxError || result.Step != runtime.StepLayers || !strings.Contains(result.Message, "landlock") {
		t.Errorf("%+v", result)
	}
	s.await("an agent that can't be started", func() bool { return s.agent("claw").State == "failed" })
	if a := s.agent("claw"); !strings.Contains(a.Last, "landlock") {
		t.Errorf("%+v", a)
	}
	s.write("/etc/clawsup/clawsup.toml", lowered)
	s.do("systemctl", "restart", unitName)
}

// startAgent: it runs, in the scope of boxes and not below the service.
func (s *service) startAgent(t *testing.T) {
	s.startProvider()
	ask[api.Agent](s, "admin", api.AgentStart, api.AgentRef{Agent: "claw"}) // it waited for its secret
	s.awaitAgent()
	s.pid, s.began = s.agentProcess()
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.pid))
	if err != nil || !regexp.MustCompile(`^0::`+regexp.QuoteMeta(scope)+`/box-[0-9a-f]{8}-[0-9]{4}\n$`).Match(group) {
		t.Errorf("the agent is in %q, %v", group, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !bytes.Contains(status, []byte(line+"\n")) {
			t.Errorf("the agent lacks %q:\n%s", line, status)
		}
	}
	if below := s.processes("/system.slice/clawsupd.service"); len(below) != 1 {
		t.Errorf("processes in the service: %v", below)
	}
	if got := s.property("NFileDescriptorStore"); got == "0" {
		t.Error("systemd keeps nothing")
	}
	s.told(map[string]any{"do": "call"}, "exited")
	s.key = s.reaches()
	if files := s.wayFiles(); len(files) != 2 {
		t.Errorf("of its way out there is %v", files)
	}
}

// reload: the next generation, or the old one with the reason.
func (s *service) reload(t *testing.T) {
	pid := s.property("MainPID")
	state := func() int { return ask[api.Daemon](s, "admin", api.Status, api.Nothing{}).Generation }
	before := state()
	s.do("systemctl", "reload", unitName)
	if got := state(); got != before+1 {
		t.Errorf("generation %d after %d", got, before)
	}
	s.configure("colour = \"red\"")
	if s.command("systemctl", "reload", unitName).Run() == nil {
		t.Error("systemctl reload says that a wrong configuration is in force")
	}
	if got := s.property("StatusText"); !strings.Contains(got, "RELOAD REFUSED") || !strings.Contains(got, "unknown key colour") {
		t.Errorf("the status is %q", got)
	}
	if got := state(); got != before+1 || s.property("ActiveState") != "active" {
		t.Errorf("generation %d, %s", got, s.property("ActiveState"))
	}
	s.configure("slots = 100")
	if said := s.output("systemctl", "reload", unitName); said == "" {
		t.Error("a key that is fixed was changed")
	}
	s.configure("")
	s.do("systemctl", "kill", "--kill-whom=main", "-s", "HUP", unitName)
	s.await("generation by SIGHUP", func() bool { return state() == before+2 })
	s.await("a status without the refusal", func() bool { return strings.HasPrefix(s.property("StatusText"), "generation ") })
	if got := s.property("MainPID"); got != pid {
		t.Errorf("another daemon: %s, before %s", got, pid)
	}
}

// calls: under several profiles, with every layer, in the scope.
func (s *service) calls(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		out  string
	}{
		"default":   {[]string{"--", "id", "-u"}, "1000\n"},
		"readonly":  {[]string{"--profile", "readonly", "--", "true"}, ""},
		"python":    {[]string{"--profile", "python", "--", "python3", "-c", "print(6*7)"}, "42\n"},
		"workspace": {[]string{"--profile", "build", "--workspace", "/srv/claw/work", "--", "sh", "-c", "echo made >made; cat kind"}, "kind"},
	} {
		result, out := s.run(0, test.args...)
		out, changed, _ := strings.Cut(out, "clawsup: changes: ")
		if out != test.out || strings.HasPrefix(changed, "1 created: committed") != (name == "workspace") {
			t.Errorf("%s: wrote %q, and changed %q", name, out, changed)
		}
		s.enforced(name, result)
	}
	out, _ := s.as("root", "clawsup", "run-skill", "--profile", "python", "csv-summary", "--", "summary", "--help")
	if !strings.Contains(out, "--columns") {
		t.Errorf("run-skill: %s", out)
	}
	c := s.dial("call")
	going, err := try[api.Call](c, api.CallSubmit, shell("sleep 86399"))
	if err != nil {
		t.Fatal(err)
	}
	s.await("its process", func() bool { return s.find("sleep\x0086399") != 0 })
	group, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", s.find("sleep\x0086399")))
	if err != nil || !strings.HasPrefix(string(group), "0::"+scope+"/box-") {
		t.Errorf("it is in %q, %v", group, err)
	}
	if _, err := try[api.Call](c, api.CallCancel, api.CallRef{Call: going.ID}); err != nil {
		t.Error(err)
	}
	if v, err := try[api.Call](c, api.CallWait, api.CallRef{Call: going.ID}); err != nil || v.Result.Status != runtime.Stopped {
		t.Errorf("%+v, %v", v.Result, err)
	}
	s.clean()
}

// approval: a person of the group answers; others, and the agent, may not.
func (s *service) approval(t *testing.T) {
	for verdict, status := range map[string]int{"approve": 0, "deny": 126} {
		c := s.command("clawsup", "run", "--profile", "ask", "--", "true")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var k approval.Ticket
		s.await("a ticket", func() bool {
			list := ask[[]approval.Ticket](s, "admin", api.TicketList, api.TicketFilter{})
			if len(list) == 1 {
				k = list[0]
			}
			return len(list) == 1
		})
		args := []string{verdict, k.ID}
		if verdict == "approve" {
			args = append(args[:1], "--yes", "--revision", strconv.FormatUint(uint64(k.Revision), 10), k.ID)
		}
		for _, stranger := range []string{"mallory", "claw"} {
			if out, code := s.as(stranger, "clawsup", args...); code == 0 || !strings.Contains(out, "may not") && !strings.Contains(out, "no role") {
				t.Errorf("%s by %s: %d %s", verdict, stranger, code, out)
			}
		}
		if out, code := s.as("alice", "clawsup", args...); code != 0 {
			t.Fatalf("%s by alice: %d %s", verdict, code, out)
		}
		_ = c.Wait()
		if got := c.ProcessState.ExitCode(); got != status {
			t.Errorf("%s: exit status %d", verdict, got)
		}
	}
}

// hostileAgent: the same attempts as elsewhere, against the real places.
func (s *service) hostileAgent(t *testing.T) {
	ask[api.Agent](s, "admin", api.AgentStart, api.AgentRef{Agent: "lost"})
	s.await("the end of its attempts", func() bool {
		state := s.agent("lost").State
		return state == "stopped" || state == "failed"
	})
	log := ask[api.Log](s, "admin", api.AgentLogs, api.Logs{Agent: "lost", Bytes: 256 << 10})
	attempts := 0
	for line := range strings.Lines(string(log.Data)) {
		var m struct{ Attempt, Reached string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("it wrote %s", log.Data)
		}
		attempts++
		if m.Reached != "" {
			t.Errorf("%s: %s", m.Attempt, m.Reached)
		}
	}
	if attempts < 60 {
		t.Errorf("only %d attempts: %s", attempts, log.Data)
	}
	if text, err := os.ReadFile("/srv/claw/work/kind"); err != nil || string(text) != "kind" {
		t.Errorf("the workspace has %q, %v", text, err)
	}
}

// restart: the agent notices nothing, its calls work again; a call that was at
// work ends.
func (s *service) restart(t *testing.T) {
	going := s.leaveCall()
	s.do("systemctl", "restart", unitName)
	s.ended(going)
	s.lives()
}

// upgrade: the same with other programs in the place of the old.
func (s *service) upgrade(t *testing.T) {
	entries, err := os.ReadDir(progDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := filepath.Join(progDir, e.Name())
		s.do("cp", "-p", name, name+".new")
		s.do("mv", name+".new", name)
	}
	s.do("systemctl", "restart", unitName)
	exe, err := os.Stat("/proc/" + s.property("MainPID") + "/exe")
	if err != nil {
		t.Fatal(err)
	}
	if file, err := os.Stat(progDir + "/clawsupd"); err != nil || !os.SameFile(file, exe) {
		t.Errorf("the daemon is not the new program: %v", err)
	}
	s.lives()
}

// killed: as restart, at any point; who connects meanwhile waits.
func (s *service) killed(t *testing.T) {
	pid := s.property("MainPID")
	going := s.leaveCall()
	mounts := s.mounts()
	s.do("systemctl", "kill", "--kill-whom=main", "-s", "KILL", unitName)
	told := s.say(map[string]any{"do": "call"}) // by the agent, at once
	if who := ask[api.Identity](s, "approval", api.WhoAmI, api.Nothing{}); who.Role != "owner" {
		t.Errorf("%+v", who)
	}
	s.active(pid)
	if got := told(); got["status"] != "exited" {
		t.Errorf("a call that was asked for while no daemon ran: %v", got)
	}
	s.ended(going)
	s.lives()
	if now := s.mounts(); now != mounts {
		t.Errorf("mounts before:\n%s\nafter:\n%s", mounts, now)
	}
}

// watchdog: systemd ends a daemon that hangs, and starts the next.
func (s *service) watchdog(t *testing.T) {
	s.override("[Service]\nWatchdogSec=5s\n")
	s.do("systemctl", "restart", unitName)
	pid := s.property("MainPID")
	going := s.leaveCall()
	s.do("systemctl", "kill", "--kill-whom=main", "-s", "STOP", unitName)
	s.active(pid)
	if said := s.output("journalctl", "-b", "-u", unitName, "--no-pager", "-o", "cat"); !strings.Contains(said, "Watchdog timeout") {
		t.Error("it was not the watchdog")
	}
	s.ended(going)
	s.lives()
}

// endedMeanwhile: what the agent ended with while no daemon ran is known.
func (s *service) endedMeanwhile(t *testing.T) {
	s.override("[Service]\nRestartSec=5s\n")
	s.do("systemctl", "restart", unitName)
	pid := s.property("MainPID")
	agent, err := unix.PidfdOpen(s.pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(agent)
	if ready := s.say(map[string]any{"do": "end with", "status": 23})(); ready["ending"] != true {
		t.Fatalf("the agent said %v", ready)
	}
	s.do("systemctl", "kill", "--kill-whom=main", "-s", "KILL", unitName)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(agent), Events: unix.POLLIN}}, int(long.Milliseconds())); n != 1 {
		t.Fatalf("the agent did not end: %v", err)
	}
	if got := s.property("MainPID"); got != "0" {
		t.Errorf("the next daemon was there already, as %s: this shows nothing", got)
	}
	s.active(pid)
	s.await("how it ended", func() bool { return s.agent("claw").State == "failed" })
	if a := s.agent("claw"); !strings.Contains(a.Last, "exited with status 23") {
		t.Errorf("%+v", a)
	}
	ask[api.Agent](s, "admin", api.AgentStart, api.AgentRef{Agent: "claw"})
	s.awaitAgent()
}

// stop: agents are asked to end, and do; the sockets start it again.
func (s *service) stop(t *testing.T) {
	going := s.leaveCall()
	s.do("systemctl", "stop", unitName)
	if text, err := os.ReadFile("/srv/claw/homes/claw/goodbye"); err != nil || string(text) != "signal 15" {
		t.Errorf("the agent left %q, %v", text, err)
	}
	s.await("the end of the scope", func() bool {
		_, err := os.Stat("/sys/fs/cgroup" + scope)
		return errors.Is(err, os.ErrNotExist)
	})
	if got := s.property("ActiveState"); got != "inactive" {
		t.Errorf("it is %s", got)
	}
	if left := slices.Concat(s.boxes(), s.wayFiles()); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	s.ended(going) // a connection starts it
	s.awaitAgent()
	if s.reaches() == s.key {
		t.Error("the next run has the same placeholder")
	}
	s.do("clawsup", "audit", "verify")
}

// badConfiguration: the service fails and stays so, who connects is told, and
// after the mending it is as if nothing had been.
func (s *service) badConfiguration(t *testing.T) {
	s.do("systemctl", "stop", unitName)
	s.configure("colour = \"red\"")
	if said := s.output("clawsup", "config", "check"); !strings.Contains(said, "unknown key colour") {
		t.Errorf("clawsup config check said %q", said)
	}
	if said := s.output("systemctl", "start", unitName); !strings.Contains(said, "failed") {
		t.Errorf("systemctl start said %q", said)
	}
	for name, want := range map[string]string{"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"} {
		if got := s.property(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	// The sockets are there. Each connection starts it, in vain, until systemd has enough.
	if _, err := try[api.Identity](s.dial("approval"), api.WhoAmI, api.Nothing{}); err == nil {
		t.Error("somebody answered")
	}
	if got := s.propertyOf("clawsupd-approval.socket", "Result"); got != "trigger-limit-hit" {
		t.Errorf("the socket's result is %s", got)
	}
	s.configure("")
	s.do("systemctl", "start", unitName)
	if who := ask[api.Identity](s, "approval", api.WhoAmI, api.Nothing{}); who.Role != "owner" {
		t.Errorf("%+v", who)
	}
}

// --- what the parts share ---

// obey is an agent that does what it is told, and answers for its health.
const obey = `
import json, os, signal, socket, sys, threading, time, urllib.request

home = os.environ["HOME"]

def goodbye(number, frame):
    with open(home + "/goodbye", "w") as f:
        f.write("signal %d" % number)
    os._exit(0)

signal.signal(signal.SIGTERM, goodbye)

def health():
    host, port = sys.argv[1].split(":")
    s = socket.create_server((host, int(port)))
    while True:
        c, _ = s.accept()
        with c:
            c.recv(4096)
            c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")

threading.Thread(target=health, daemon=True).start()

def connect():
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect("/run/clawsup/call.sock")
            return s
        except (ConnectionRefusedError, FileNotFoundError):
            s.close()
            time.sleep(0.02)

def call():
    while True:
        s = connect()
        try:
            params = {"args": ["sh", "-c", "echo done"], "profile": "build", "wait": True}
            s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "call.submit", "params": params}).encode() + b"\n")
            lines = s.makefile("rb")
            while True:
                line = lines.readline()
                if not line:
                    break
                frame = json.loads(line)
                if "error" in frame:
                    return frame["error"]
                if "result" in frame:
                    return frame["result"]["result"]
        except (ConnectionResetError, BrokenPipeError):
            pass

def reach(url):
    try:
        request = urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ["API_KEY"]})
        return str(urllib.request.urlopen(request, timeout=60).status)
    except OSError as e:
        return str(e)

answers = open(home + "/answers", "w")

def tell(**line):
    print(json.dumps(line), file=answers, flush=True)

for line in open(home + "/orders"):
    order = json.loads(line)
    if order["do"] == "call":
        tell(**call())
    elif order["do"] == "reach":
        tell(key=os.environ["API_KEY"], provider=reach("http://provider.test:18999/"), other=reach("http://other.test:18999/"))
    elif order["do"] == "end with":
        s = connect()
        tell(ending=True)
        s.recv(1)  # until the daemon is gone
        os._exit(order["status"])
`

// prepareAgent makes what the agents need.
func (s *service) prepareAgent() {
	s.t.Helper()
	s.write("/srv/claw/programs/obey.py", obey)
	s.do("cp", "../../testdata/agent/hostile.py", "/srv/claw/programs/hostile.py")
	home := "/srv/claw/homes/claw"
	s.do("install", "-d", "-m", "0700", "-o", "claw", "-g", "claw", home)
	for _, name := range []string{"orders", "answers"} {
		s.do("setpriv", "--reuid", "claw", "--regid", "claw", "--clear-groups", "mkfifo", filepath.Join(home, name))
	}
	open := func(name string) *os.File {
		f, err := os.OpenFile(filepath.Join(home, name), os.O_RDWR, 0) // neither end ever goes away
		if err != nil {
			s.t.Fatal(err)
		}
		return f
	}
	s.orders, s.answers = open("orders"), bufio.NewReader(open("answers"))
}

// say tells the agent something and gives how to get its answer.
func (s *service) say(order map[string]any) func() map[string]any {
	s.t.Helper()
	b, err := json.Marshal(order)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.orders.Write(append(b, '\n')); err != nil {
		s.t.Fatal(err)
	}
	return func() (answer map[string]any) {
		s.t.Helper()
		lines := make(chan []byte, 1)
		go func() {
			line, _ := s.answers.ReadBytes('\n')
			lines <- line
		}()
		select {
		case line := <-lines:
			if err := json.Unmarshal(line, &answer); err != nil {
				s.t.Fatalf("the agent said %q", line)
			}
		case <-time.After(long):
			s.t.Fatalf("the agent did not answer; %+v", s.agent("claw"))
		}
		return answer
	}
}

// told has the agent do something and compares how that ended.
func (s *service) told(order map[string]any, status string) {
	s.t.Helper()
	if got := s.say(order)(); got["status"] != status {
		s.t.Errorf("%v: %v, want %s", order, got, status)
	}
}

// awaitAgent waits for the agent's readiness, and takes note of who it is.
func (s *service) awaitAgent() {
	s.t.Helper()
	s.await("an agent that is ready", func() bool { return s.agent("claw").State == "ready" })
	s.pid, s.began = s.agentProcess()
}

// lives makes sure that the agent is the one it was, that its port and its
// socket lead somewhere, and that nobody else is left.
func (s *service) lives() {
	s.t.Helper()
	if pid, began := s.agentProcess(); pid != s.pid || began != s.began {
		s.t.Errorf("another agent: process %d of %s, was %d of %s", pid, began, s.pid, s.began)
	}
	s.await("readiness", func() bool { return s.agent("claw").State == "ready" })
	s.await("its port", func() bool { return s.healthy() })
	s.told(map[string]any{"do": "call"}, "exited")
	if key := s.reaches(); key != s.key {
		s.t.Errorf("its placeholder is %s, was %s", key, s.key)
	}
	s.clean()
}

// startProvider has the agent's provider answer, and keeps the key to it.
func (s *service) startProvider() {
	s.t.Helper()
	l, err := net.Listen("tcp", providerAddress)
	if err != nil {
		s.t.Fatal(err)
	}
	s.provider = make(chan string, 1)
	go http.Serve(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { s.provider <- r.Header.Get("Authorization") }))
	c := s.command("clawsup", "secret", "set", "provider", "--host", "provider.test:18999", "--place", "header:Authorization")
	c.Stdin = strings.NewReader(providerKey)
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// reaches has the agent reach its provider and nobody else, and gives what it
// has in place of the key.
func (s *service) reaches() string {
	s.t.Helper()
	got := s.say(map[string]any{"do": "reach"})()
	key, _ := got["key"].(string)
	if got["provider"] != "200" || !strings.HasPrefix(key, "clawsup-secret:provider:") || got["other"] == "200" {
		s.t.Errorf("the agent says %v", got)
		return key
	}
	select {
	case has := <-s.provider:
		if has != "Bearer "+providerKey {
			s.t.Errorf("its provider got %q", has)
		}
	case <-time.After(long):
		s.t.Error("its provider saw nothing")
	}
	return key
}

// wayFiles are those of its way out.
func (s *service) wayFiles() (files []string) {
	for _, pattern := range []string{"/ways/*", "/trust/agent-*"} {
		found, err := filepath.Glob(runDir + pattern)
		if err != nil {
			s.t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

// healthy asks the agent's published port.
func (s *service) healthy() bool {
	c, err := net.DialTimeout("tcp", agentAddress, long)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(long))
	if _, err := io.WriteString(c, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		return false
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "HTTP/1.1 200 ")
}

// agentProcess gives the agent's number and when it started (proc_pid_stat(5)).
func (s *service) agentProcess() (int, string) {
	s.t.Helper()
	pid := s.find("/srv/claw/programs/obey.py")
	if pid == 0 {
		s.t.Fatal("the agent does not run")
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		s.t.Fatal(err)
	}
	return pid, strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))[20]
}

// processes gives those of a group and all below it, by number with their command lines.
func (s *service) processes(group string) map[int]string {
	all := map[int]string{}
	_ = filepath.WalkDir("/sys/fs/cgroup"+group, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Base(path) != "cgroup.procs" {
			return nil
		}
		text, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			line, _ := os.ReadFile("/proc/" + word + "/cmdline")
			pid, _ := strconv.Atoi(word)
			all[pid] = string(line)
		}
		return nil
	})
	return all
}

// find gives the process in a box whose command line has this part, or 0.
func (s *service) find(part string) int {
	for pid, line := range s.processes(scope) {
		if strings.Contains(line, part) && !strings.HasPrefix(line, "sh\x00") {
			return pid
		}
	}
	return 0
}

// boxes gives the groups of boxes and what lies in the run directory for them.
func (s *service) boxes() []string {
	s.t.Helper()
	groups, _ := filepath.Glob("/sys/fs/cgroup" + scope + "/box-*")
	slots, _ := filepath.Glob(runDir + "/boxes/box-*[0-9]")
	stage, _ := filepath.Glob(runDir + "/stage/*")
	return slices.Concat(groups, slots, stage)
}

// clean waits until there are no boxes but the agent's, that of clawsup-egress
// and those that wait for calls: a group and a directory each.
func (s *service) clean() {
	s.t.Helper()
	s.await("nothing but two boxes and those that wait", func() bool {
		waiting := ask[api.Daemon](s, "admin", api.Status, api.Nothing{}).Pool.Total.Waiting
		return len(s.boxes()) == 4+2*waiting
	})
}

// mounts are the host's.
func (s *service) mounts() string {
	s.t.Helper()
	return s.do("findmnt", "-rn", "-o", "TARGET,FSTYPE")
}

func shell(script string) api.Submit {
	return api.Submit{Args: raw.Of([]string{"sh", "-c", script}), Profile: "build"}
}

// leaveCall begins a call and leaves it at work.
func (s *service) leaveCall() string {
	s.t.Helper()
	v, err := try[api.Call](s.dial("call"), api.CallSubmit, shell("sleep 86398"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.await("its process", func() bool { return s.find("sleep\x0086398") != 0 })
	return v.ID
}

// ended makes sure that a call that was left ended with its daemon.
func (s *service) ended(call string) {
	s.t.Helper()
	v := ask[api.Call](s, "admin", api.CallShow, api.CallRef{Call: call})
	if v.State != api.Ended || v.Result.Status != runtime.SupervisorRestart {
		s.t.Errorf("%+v, %+v", v, v.Result)
	}
	if pid := s.find("sleep\x0086398"); pid != 0 {
		s.t.Errorf("its process %d lives", pid)
	}
}

// run runs clawsup run --json, through the daemon, and gives the result and what
// the tool wrote.
func (s *service) run(status int, args ...string) (runtime.Result, string) {
	s.t.Helper()
	c := s.command("clawsup", "run", "--json")
	var said bytes.Buffer // what the tool writes too, see clawsup help run
	c.Stderr = &said
	c.Args = append(c.Args, args...)
	out, err := c.Output()
	var result runtime.Result
	if c.ProcessState.ExitCode() != status || json.Unmarshal(out, &result) != nil {
		s.t.Fatalf("clawsup run %q: %v\n%s%s", args, err, out, said.String())
	}
	return result, said.String()
}

// enforced makes sure that each layer is: it, or what covers it.
func (s *service) enforced(name string, result runtime.Result) {
	s.t.Helper()
	for _, r := range result.Layers {
		landlock := strings.HasPrefix(r.Layer.String(), "landlock")
		switch {
		case s.landlock == 0 && landlock:
			if r.State != layer.Lowered && r.State != layer.Unused {
				s.t.Errorf("%s: layer %v is %v without Landlock", name, r.Layer, r.State)
			}
		case r.State == layer.Enforced || r.State == layer.Unused:
		case r.State == layer.Covered && landlock:
		default:
			s.t.Errorf("%s: layer %v is %v: %s", name, r.Layer, r.State, r.Detail)
		}
	}
	if len(result.Layers) == 0 {
		s.t.Errorf("%s: no layers: %+v", name, result)
	}
}
