// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime/layer"
)

// writeConfig puts text into a file that root alone can write.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clawsup.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConfig(t *testing.T) {
	file := writeConfig(t, `
state_dir = "/srv/state"
slots = 16
lower = ["landlock", "cgroup.io"]

skill_paths = []
`)
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultsFor(mustExecutable(t))
	if c.StateDir != "/srv/state" || c.Slots != 16 || len(c.SkillPaths) != 0 {
		t.Errorf("what the file sets: %+v", c)
	}
	if c.Lower != layer.Of(layer.Landlock, layer.CgroupIO) {
		t.Errorf("lower = %b", c.Lower)
	}
	if c.RunDir != want.RunDir || c.UIDBase != want.UIDBase || !slices.Equal(c.ProfilePaths, want.ProfilePaths) {
		t.Errorf("what the file leaves alone: %+v", c)
	}
	for key, line := range map[string]string{"state_dir": ":2", "slots": ":3", "lower": ":4", "skill_paths": ":6"} {
		if c.Origin[key] != file+line {
			t.Errorf("origin of %s is %q, want %s", key, c.Origin[key], file+line)
		}
	}
}

func mustExecutable(t *testing.T) string {
	t.Helper()
	e, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestConfigFaults(t *testing.T) {
	for _, c := range []struct{ text, line, says string }{
		{"state_dri = \"/x\"", ":1", "did you mean state_dir?"},
		{"\n\nfrobnicate = 1", ":3", "the keys are state_dir, "},
		{"[limits]\nmemory = 1", ":1", "unknown key limits"},
		{"slots.x = 1", ":1", "write a whole number"},
		{"slots = 0", ":1", "not between 1 and 65536"},
		{"slots = 99999999999", ":1", "not between"},
		{"slots = \"many\"", ":1", "write a whole number"},
		{"slots = 1.5", ":1", "write a whole number"},
		{"uid_base = -1", ":1", "not between"},
		{"uid_base = 4294967200", "", "ends beyond the last uid"},
		{"# c\nrun_dir = \"relative\"", ":2", "not a path from the root"},
		{"run_dir = \"/run/../etc\"", ":1", "not a path from the root"},
		{"run_dir = 7", ":1", "write a string in quotes"},
		{"skill_paths = \"/x\"", ":1", "write a list of strings"},
		{"skill_paths = [\"/x\", \"y\"]", ":1", `"y" is not a path`},
		{"lower = [\"landlok\"]", ":1", "did you mean landlock?"},
		{"lower = [\"identity\"]", ":1", "no layer that can be lowered"},
		{"slots = 1\nslots = 2", ":2", "already"},
		{"slots = ", ":1", "not valid TOML"},
		{"\"sl\\u001bots\" = 1", ":1", `sl\x1bots`},
	} {
		file := writeConfig(t, c.text)
		_, err := LoadConfig(file)
		if err == nil {
			t.Errorf("%q: no error", c.text)
			continue
		}
		if !strings.HasPrefix(err.Error(), file+c.line+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v; want %s and %q", c.text, err, c.line, c.says)
		}
	}
}

func TestConfigFile(t *testing.T) {
	chmod := func(mode os.FileMode) func(string) error {
		return func(file string) error { return os.Chmod(file, mode) }
	}
	for _, c := range []struct {
		name string
		do   func(file string) error
		says string
	}{
		{"written by the group", chmod(0o664), "must belong to root"},
		{"written by others", chmod(0o646), "must belong to root"},
		{"somebody's", func(f string) error { return os.Chown(f, 1000, 1000) }, "must belong to root"},
		{"in an open directory", func(f string) error { return os.Chmod(filepath.Dir(f), 0o777) }, "its directory must"},
		{"missing", os.Remove, "no such file"},
		{"a link", func(f string) error {
			if err := os.Rename(f, f+"2"); err != nil {
				return err
			}
			return os.Symlink(f+"2", f)
		}, "symbolic link"},
		{"a directory", func(f string) error {
			if err := os.Remove(f); err != nil {
				return err
			}
			return os.Mkdir(f, 0o755)
		}, "not a regular file"},
		{"huge", func(f string) error { return os.Truncate(f, maxConfig+1) }, "larger than"},
	} {
		file := writeConfig(t, "slots = 5\n")
		if err := c.do(file); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(file); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %q", c.name, err, c.says)
		}
	}
}

// drop writes clawsup.d/NAME beside the file.
func drop(t *testing.T, file, name, text string) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(file), "clawsup.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	there := filepath.Join(dir, name)
	if err := os.WriteFile(there, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return there
}

const twoAgents = `
daemon = true
[calls]
per_session = 2
keep = "1h30m"

[[agent]]
name = "a"
command = ["/bin/true", "-x"]
user = 61001
group = 61001
state_dir = "/var/lib/a"
environment = { HOME = "/var/lib/a" }
[agent.limits]
memory = "1G"
cpu = 2

[[workspace]]
name = "site"
path = "/srv/site"
private = false

[[agent]]
name = "b"
command = ["/bin/false"]
user = "61002"
group = "61002"
state_dir = "/var/lib/b"
publish = ["127.0.0.1:8080"]
limits.memory = 4096
ready.http = "http://127.0.0.1:8080/readyz"

[[workspace]]
name = "notes"
path = "/srv/notes"
[roles]
owner = ["uid:1000", "@wheel"]
`

func TestConfigAgents(t *testing.T) {
	file := writeConfig(t, twoAgents)
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	a := defaultAgent()
	a.Name, a.Command, a.User, a.Group, a.UID, a.GID = "a", []string{"/bin/true", "-x"}, "61001", "61001", 61001, 61001
	a.StateDir, a.Dir, a.Environment = "/var/lib/a", "/var/lib/a", map[string]string{"HOME": "/var/lib/a"}
	a.Limits = AgentLimits{Memory: 1 << 30, CPU: 2}
	a.Workspaces = []string{"site", "notes"}
	b := defaultAgent()
	b.Name, b.Command, b.User, b.Group, b.UID, b.GID = "b", []string{"/bin/false"}, "61002", "61002", 61002, 61002
	b.StateDir, b.Dir, b.Publish = "/var/lib/b", "/var/lib/b", []string{"127.0.0.1:8080"}
	b.Limits = AgentLimits{Memory: 4096}
	b.Ready.HTTP = "http://127.0.0.1:8080/readyz"
	b.Workspaces = []string{"site", "notes"}
	if want := []AgentConfig{a, b}; !reflect.DeepEqual(c.Agents, want) {
		t.Errorf("agents:\n%+v\nwant\n%+v", c.Agents, want)
	}
	if want := []WorkspaceConfig{{"site", "/srv/site", false}, {"notes", "/srv/notes", true}}; !slices.Equal(c.Workspaces, want) {
		t.Errorf("workspaces: %+v", c.Workspaces)
	}
	if !c.Daemon || c.Calls.PerSession != 2 || c.Calls.Keep != profiles.Duration(90*time.Minute) || c.Calls.Queue != 256 || !slices.Equal(c.Roles.Owner, []string{"uid:1000", "@wheel"}) {
		t.Errorf("sections: %+v %+v", c.Calls, c.Roles)
	}
	for key, line := range map[string]int{
		"daemon": 2, "calls.per_session": 4, "agent.a": 7, "agent.a.name": 8, "agent.a.environment.HOME": 13,
		"agent.a.limits.memory": 15, "workspace.site": 18, "workspace.site.private": 21, "agent.b": 23, "agent.b.user": 26,
		"agent.b.limits.memory": 30, "agent.b.ready.http": 31, "workspace.notes.path": 35, "roles.owner": 37,
	} {
		if want := fmt.Sprintf("%s:%d", file, line); c.Origin[key] != want {
			t.Errorf("origin of %s is %q, want line %d", key, c.Origin[key], line)
		}
	}
	for key, want := range map[string]string{
		"slots": "4096", "calls.keep": `"1h30m"`, "agent.a.limits.memory": `"1G"`, "agent.a.limits.cpu": "2.0",
		"agent.a.environment.HOME": `"/var/lib/a"`, "agent.b.environment": "{}", "agent.b.no_restart": "[78]", "workspace.site.private": "false",
		"agent.b.publish": `["127.0.0.1:8080"]`, "lower": "[]", "agent.b.loopback": "[]",
	} {
		i := slices.IndexFunc(c.Settings(), func(s Setting) bool { return s.Key == key })
		if i < 0 {
			t.Errorf("%s is not shown", key)
		} else if s := c.Settings()[i]; s.Literal() != want || s.Origin != c.Origin[key] {
			t.Errorf("%s is shown as %s from %s, want %s", key, s.Literal(), s.Origin, want)
		}
	}
}

func TestConfigDropIns(t *testing.T) {
	file := writeConfig(t, twoAgents)
	last := drop(t, file, "20-last.toml", "slots = 7\n[[agent]]\nname = \"b\"\nstop_timeout = \"5s\"\n[agent.environment]\nB = \"2\"\n")
	drop(t, file, "10-first.toml", "slots = 6\nrun_dir = \"/run/other\"\n[[agent]]\nname = \"b\"\nenvironment.A = \"1\"\nworkspaces = []\n[[workspace]]\nname = \"site\"\nprivate = true\n")
	drop(t, file, "notes.txt", "not = [ TOML")
	drop(t, file, ".hidden.toml", "not = [ TOML")
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if c.Slots != 7 || c.RunDir != "/run/other" || len(c.Agents) != 2 || len(c.Workspaces) != 2 || !c.Workspaces[0].Private {
		t.Errorf("%+v", c)
	}
	b := c.Agents[1]
	if b.StopTimeout != profiles.Duration(5*time.Second) || !reflect.DeepEqual(b.Environment, map[string]string{"A": "1", "B": "2"}) || len(b.Workspaces) != 0 || b.UID != 61002 {
		t.Errorf("%+v", b)
	}
	for key, want := range map[string]string{"slots": last + ":1", "agent.b": file + ":23", "agent.b.stop_timeout": last + ":4", "agent.b.environment.B": last + ":6"} {
		if c.Origin[key] != want {
			t.Errorf("origin of %s is %s, want %s", key, c.Origin[key], want)
		}
	}
	// the only agent needs no name
	one := writeConfig(t, "[agent]\nname = \"claw\"\ncommand = [\"/bin/true\"]\nuser = 61001\ngroup = 61001\nstate_dir = \"/var/lib/claw\"\n")
	drop(t, one, "x.toml", "[agent]\nautostart = false\n")
	if c, err = LoadConfig(one); err != nil || len(c.Agents) != 1 || c.Agents[0].Autostart || c.Agents[0].Name != "claw" {
		t.Errorf("%+v, %v", c.Agents, err)
	}
}

func TestConfigDropInFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(dir, file string) error
		says string
	}{
		{"somebody's", func(_, f string) error { return os.Chown(f, 1000, 1000) }, "x.toml: must belong to root"},
		{"writable", func(_, f string) error { return os.Chmod(f, 0o666) }, "x.toml: must belong to root"},
		{"a dangling link", func(d, _ string) error { return os.Symlink("nowhere", filepath.Join(d, "y.toml")) }, "y.toml: is a symbolic link"},
		{"in somebody's directory", func(d, _ string) error { return os.Chown(d, 1000, 1000) }, "clawsup.d: must belong to root"},
		{"in an open directory", func(d, _ string) error { return os.Chmod(d, 0o777) }, "clawsup.d: must belong to root"},
		{"a directory that is a file", func(d, f string) error { return errors.Join(os.Remove(f), os.Remove(d), os.WriteFile(d, nil, 0o644)) }, "clawsup.d: is not a directory"},
		{"a directory that is a link", func(d, _ string) error { return errors.Join(os.Rename(d, d+"2"), os.Symlink(d+"2", d)) }, "clawsup.d: is not a directory"},
	} {
		file := writeConfig(t, "slots = 5\n")
		there := drop(t, file, "x.toml", "slots = 6\n")
		if err := c.do(filepath.Dir(there), there); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadConfig(file); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want %q", c.name, err, c.says)
		}
	}
}

// agentWith is a whole agent with other lines for some keys.
func agentWith(lines ...string) string {
	keys := []string{"name = \"a\"", "command = [\"/bin/true\"]", "user = 61001", "group = 61001", "state_dir = \"/srv/a\""}
	for _, l := range lines {
		name, _, _ := strings.Cut(l, " ")
		i := slices.IndexFunc(keys, func(k string) bool { return strings.HasPrefix(k, name+" ") })
		if i < 0 {
			keys = append(keys, l)
		} else if keys[i] = l; strings.HasSuffix(l, "= -") {
			keys = slices.Delete(keys, i, i+1)
		}
	}
	return "[[agent]]\n" + strings.Join(keys, "\n") + "\n"
}

func TestConfigJudgement(t *testing.T) {
	other := strings.NewReplacer("\"a\"", "\"b\"", "61001", "61002", "/srv/a", "/srv/b").Replace(agentWith())
	for _, c := range []struct{ text, line, says string }{
		{agentWith("command = -"), ":1", "agent.a.command is missing"},
		{agentWith("user = -"), ":1", "agent.a.user is missing"},
		{agentWith("state_dir = -"), ":1", "agent.a.state_dir is missing; write state_dir = "},
		{agentWith("command = []"), ":3", "is empty"},
		{agentWith("command = [\"true\"]"), ":3", "not a path from the root"},
		{agentWith("user = \"no-such-user-here\""), ":4", "useradd --system"},
		{agentWith("user = 0"), ":4", "never runs as root"},
		{agentWith("user = \"root\""), ":4", "never runs as root"},
		{agentWith("user = 65534"), ":4", "nothing in particular"},
		{agentWith("user = 1879048200"), ":4", "boxes' own"},
		{agentWith("user = 4294967295"), ":4", "not a uid"},
		{agentWith("group = -"), ":4", "write group too"},
		{agentWith("group = \"root\""), ":5", "never in root's group"},
		{agentWith("group = \"no-such-group-here\""), ":5", "groupadd"},
		{agentWith() + strings.Replace(other, "61002", "61001", 1), ":10", "agents a and b both run as uid 61001"},
		{agentWith() + agentWith(), ":7", "agent a is there twice, first in line 1"},
		{agentWith("name = -"), ":1", "has no name"},
		{agentWith("name = \"A b\""), ":2", "is not a name"},
		{"[agent]\nusr = 1\n", ":2", "unknown key agent.agent.usr; did you mean agent.agent.user?"},
		{agentWith("memory = \"1G\""), ":7", "did you mean agent.a.limits.memory?"},
		{agentWith("limits = 3"), ":7", "limits is a table"},
		{agentWith("environment = 3"), ":7", "write a table of strings"},
		{agentWith("environment.LD_PRELOAD = \"x\""), ":7", "dynamic linker"},
		{agentWith("environment.N = 1"), ":7", "agent.a.environment.N: write a string"},
		{agentWith("pass = [\"PATH\"]"), ":7", "PATH can't be passed"},
		{agentWith("publish = [\"0.0.0.0:80\"]"), ":7", "not on the loopback"},
		{agentWith("publish = [\"127.0.0.1\"]"), ":7", "not an address and a port"},
		{agentWith("publish = [\"localhost:80\"]"), ":7", "not an address and a port"},
		{agentWith("publish = [\"[::ffff:127.0.0.1]:80\"]"), ":7", "not on the loopback"},
		{agentWith("publish = [\"127.0.0.1:80\", \"127.0.0.1:80\"]"), ":7", "there twice"},
		{agentWith("publish = [\"127.0.0.1:80\"]", "loopback = [\"127.0.0.1:80\"]"), ":8", "name the same port"},
		{agentWith("publish = [\"127.0.0.1:80\"]") + strings.TrimSuffix(other, "\n") + "\npublish = [\"127.0.0.1:80\"]", ":14", "is published by a too"},
		{agentWith("network = \"host\"", "publish = [\"127.0.0.1:80\"]"), ":8", "nothing to publish"},
		{agentWith("network = \"bridge\""), ":7", `write "none" or "egress" or "host"`},
		{agentWith("ready.http = \"https://127.0.0.1:1/\""), ":7", "not a URL of the loopback"},
		{agentWith("ready.http = \"http://127.0.0.1:1/a b\""), ":7", "not a URL of the loopback"},
		{agentWith("ready.http = \"http://127.0.0.1:1/\"", "ready.tcp = \"127.0.0.1:1\""), ":8", "one of them is enough"},
		{agentWith("backoff = \"1h\""), ":1", "backoff_max is less"},
		{agentWith("no_restart = [256]"), ":7", "not between 0 and 255"},
		{agentWith("restart = \"sometimes\""), ":7", `"always" or "on-failure" or "never"`},
		{agentWith("stop_signal = \"SIGKILL\""), ":7", "SIGTERM"},
		{agentWith("approver = \"alice\""), ":7", `write "none"`},
		{agentWith("profile = \"./x.toml\""), ":7", "the name of a profile"},
		{agentWith("call_profiles = []"), ":7", "is empty"},
		{agentWith("workspaces = [\"stie\"]") + "[[workspace]]\nname = \"site\"\npath = \"/srv/site\"\n", ":7", "did you mean site?"},
		{agentWith("state_max = \"1 GB\""), ":7", `write "1G"`},
		{agentWith("stop_timeout = 5"), ":7", `write a span of time`},
		{agentWith("limits.cpu = -1"), ":7", "not between"},
		{agentWith("limits.cpu = nan"), ":7", "not between"},
		{agentWith("state_dir = \"/var/lib/clawsup/x\""), ":6", "lies in that of state_dir (/var/lib/clawsup)"},
		{agentWith("state_dir = \"/var/lib\""), ":6", "holds what belongs to several"},
		{agentWith("state_dir = \"/\""), ":6", "holds what belongs to several"},
		{agentWith("state_dir = \"/etc/x\""), ":6", "belongs to the system (/etc)"},
		{agentWith("state_dir = \"/var/run/x\""), ":6", "belongs to the system (/run)"},
		{"skill_paths = [\"/srv/a/skills\"]\n" + agentWith(), ":7", "contains that of skill_paths"},
		{"init = \"/srv/a/clawsup-init\"\n" + agentWith(), ":7", "contains that of init"},
		{agentWith() + strings.Replace(other, "/srv/b", "/srv/a/b", 1), ":12", "lies in that of agent.a.state_dir"},
		{agentWith() + "[[workspace]]\nname = \"w\"\npath = \"/srv/a\"\n", ":9", "is that of agent.a.state_dir"},
		{agentWith("read = [\"/var/lib\"]"), ":7", "contains that of state_dir"},
		{"[[workspace]]\nname = \"w\"\n", ":1", "workspace.w.path is missing"},
		{"[[workspace]]\nname = \"w\"\npath = \"/usr/src/w\"\n", ":3", "belongs to the system"},
		{"[workspace]\nname = \"w\"\n", ":1", "write [[workspace]]"},
		{strings.Repeat("[[workspace]]\n", maxTables+1), ":257", "more than 256 of [[workspace]]"},
		{strings.Repeat("[[x]]\n", maxKeys+1), "", "has 4097 keys"},
		{"workspace = []\n", ":1", "write [[workspace]]"},
		{"agent = 1\n", ":1", "write [[agent]]"},
		{"calls = 1\n", ":1", "write [calls]"},
		{"[calls]\nqueu = 1\n", ":2", "did you mean calls.queue?"},
		{"[[calls]]\nqueue = 1\n", ":1", "write [calls]"},
		{"[roles]\nowner = [\"1000\"]\n", ":2", `write "uid:1000"`},
		{"[roles]\nowner = [\"uid:x\"]\n", ":2", "uid: and a number"},
		{"[roles]\nowner = [\"a b\"]\n", ":2", "neither a user"},
		{"[roles]\nviewer = [\"uid:61001\"]\n" + agentWith(), ":2", "who asks never answers"},
		{"[approvals]\ngrant_max = \"8000h\"\n", ":2", "approvals.grant_max_admin 720h is less"},
		{"[approvals]\nquorum = 0\n", ":2", "not between 1 and 16"},
		{"[audit]\nanchor = \"/var/lib/clawsup/audit/head\"\n", ":2", "is in audit.dir"},
		{"[audit]\nsegment = \"1K\"\n", ":2", "not between 1M"},
		{"run_dir = \"/run/" + strings.Repeat("x", 90) + "\"\n" + agentWith(), ":1", "107 bytes"},
	} {
		file := writeConfig(t, c.text)
		_, err := LoadConfig(file)
		if err == nil {
			t.Errorf("%q: no error", c.text)
			continue
		}
		if !strings.HasPrefix(err.Error(), file+c.line+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v; want %s and %q", c.text, err, c.line, c.says)
		}
	}
}

// Everything that is wrong is said at once, in the order of the files.
func TestConfigTellsAll(t *testing.T) {
	file := writeConfig(t, "slots = 0\nslot = 1\n[[agent]]\nname = \"a\"\nuser = []\n[[agent]]\nname = \"b\"\nuser = {}\n")
	there := drop(t, file, "x.toml", "init = 1\n")
	_, err := LoadConfig(file)
	if err == nil {
		t.Fatal("no error")
	}
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		where, _, _ := strings.Cut(line, ": ")
		lines = append(lines, where)
	}
	if want := []string{file + ":1", file + ":2", file + ":5", file + ":8", there + ":1"}; !slices.Equal(lines, want) {
		t.Errorf("%v, want errors at %v", err, want)
	}
}

func TestConfigCredential(t *testing.T) {
	file := writeConfig(t, "")
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if c, err := LoadConfig(file); err != nil || c.Audit.Key != AuditKey {
		t.Errorf("without a credential the key is %s, %v", c.Audit.Key, err)
	}
	key := filepath.Join(dir, "audit.key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := LoadConfig(file); err != nil || c.Audit.Key != key {
		t.Errorf("with one it is %s, %v", c.Audit.Key, err)
	}
	if c, err := LoadConfig(writeConfig(t, "[audit]\nkey = \"/etc/k\"\n")); err != nil || c.Audit.Key != "/etc/k" {
		t.Errorf("with one and the file's it is %s, %v", c.Audit.Key, err)
	}
	if c, err := LoadConfig(writeConfig(t, "state_dir = \"/srv/s\"\n")); err != nil || c.Audit.Dir != "/srv/s/audit" || c.Audit.Anchor != "/srv/s/audit.head" {
		t.Errorf("the log doesn't follow state_dir: %+v, %v", c.Audit, err)
	}
}

func TestConfigFrozen(t *testing.T) {
	a, b := DefaultsFor(""), DefaultsFor("")
	if f := a.Frozen(&b); f != nil {
		t.Errorf("nothing differs, and frozen is %v", f)
	}
	b.Slots, b.Egress, b.Daemon, b.Calls.Rate, b.SkillPaths = 1, "/x", true, 1, nil
	if f := a.Frozen(&b); !slices.Equal(f, []string{"slots", "egress"}) {
		t.Errorf("frozen: %v", f)
	}
	for _, name := range frozen {
		if !slices.Contains(keyNames(configKeys), name) {
			t.Errorf("%s is frozen and no key", name)
		}
	}
}

func TestConfigHostFaults(t *testing.T) {
	site := t.TempDir()
	text := "default_profile = \"defualt\"\n[roles]\nowner = [\"no-such-user-here\", \"@no-such-group-here\", \"root\"]\n" +
		"[[workspace]]\nname = \"site\"\npath = \"" + site + "\"\n[[workspace]]\nname = \"gone\"\npath = \"" + site + "/gone\"\n" +
		agentWith("command = [\"/nowhere\"]", "profile = \"default\"", "call_profiles = [\"default\", \"nix\"]")
	file := writeConfig(t, text)
	c, err := LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, err := range c.HostFaults() {
		got = append(got, strings.TrimPrefix(err.Error(), file))
	}
	want := []string{":1: default_profile: ", ":17: agent.a.call_profiles: ", ":12: agent.a.command: ", ":9: workspace.gone.path: ", ":3: roles.owner: there is no no-such-user-here", ":3: roles.owner: there is no @no-such-group-here"}
	if len(got) != len(want) {
		t.Fatalf("%q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("slots = 1\nlower = [\"landlock\"]\n")
	f.Add("[a.b]\nc = {d = 1}\n")
	f.Add(twoAgents)
	f.Add("agent = [{name = \"a\"}]\n[[workspace]]\nname = \"x\"\n[workspace.y]\n[[workspace]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := DefaultsFor("")
		lines := strings.Count(text, "\n") + 1
		faults := c.parse("f", []byte(text))
		for _, fault := range faults {
			if fault.Text == "" || fault.Line < 0 || fault.Line > lines {
				t.Errorf("%q: %v", text, fault)
			}
		}
		if len(faults) > 0 {
			return
		}
		if c.Slots < 1 || c.UIDBase < 100_000 || checkPath(c.RunDir) != nil {
			t.Errorf("%q gives %+v", text, c)
		}
		for _, s := range c.Settings() {
			if s.Key == "" || s.Literal() == "" {
				t.Errorf("%q: %+v", text, s)
			}
		}
		for key, origin := range c.Origin {
			_, line, _ := cutLast(origin, ":")
			if n, err := strconv.Atoi(line); err != nil || n < 1 || n > lines {
				t.Errorf("%q: %s comes from %s", text, key, origin)
			}
		}
	})
}
