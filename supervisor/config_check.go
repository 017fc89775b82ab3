// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/changes"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// plainName is what agents and workspaces are called: it becomes part of file
// names, of keys and of what people read.
var plainName = matching(`^[a-z0-9][a-z0-9_-]{0,31}$`, "a name of 1 to 32 of a to z, 0 to 9, _ and -, not beginning with _ or -")

// profileName is a profile's name, never a file's: the daemon loads those of
// profile_paths, so that a call can't bring one along.
var profileName = matching(`^[a-z0-9][a-z0-9-]{0,63}$`, "the name of a profile: 1 to 64 of a to z, 0 to 9 and -, not beginning with -")

// pattern names paths in workspaces: see changes.CheckPattern.
var pattern = text(changes.CheckPattern)

// probeURL asks a server on the loopback by an address: nothing is looked up.
var probeURL = text(func(s string) error {
	rest, isHTTP := strings.CutPrefix(s, "http://")
	host, path, slash := strings.Cut(rest, "/")
	if !isHTTP || !slash || checkLoopback(host) != nil || !regexp.MustCompile(`^[!-~]*$`).MatchString(path) {
		return fmt.Errorf("%s is not a URL of the loopback, as http://127.0.0.1:18789/readyz", visible.Quote(s))
	}
	return nil
})

// loopback is an address and a port.
var loopback = text(checkLoopback)

// addressPort is an address and a port, of any host.
var addressPort = text(func(s string) error {
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 || a.String() != s || a.Addr().Is4In6() {
		return fmt.Errorf("%s is not an address and a port, as 192.0.2.1:53 or [2001:db8::1]:53", visible.Quote(s))
	}
	return nil
})

// address is one, of any host.
var address = text(func(s string) error {
	a, err := netip.ParseAddr(s)
	if err != nil || a.String() != s || a.Is4In6() || a.Zone() != "" {
		return fmt.Errorf("%s is not an address, as 192.0.2.1 or 2001:db8::1", visible.Quote(s))
	}
	return nil
})

func checkLoopback(s string) error {
	a, err := netip.ParseAddrPort(s)
	switch {
	case err != nil || a.Port() == 0 || a.String() != s:
		return fmt.Errorf("%s is not an address and a port, as 127.0.0.1:18789 or [::1]:18789", visible.Quote(s))
	case !a.Addr().IsLoopback() || a.Addr().Is4In6():
		return fmt.Errorf("%s is not on the loopback; only 127.0.0.0/8 and ::1 can be named", visible.Quote(s))
	}
	return nil
}

// passed is a name of a variable that may be taken over.
var passed = text(func(s string) error {
	if s == "PATH" {
		return errors.New("PATH can't be passed; write it in environment")
	}
	return profiles.CheckEnv(s, "")
})

// command is a program by its path, and arguments.
var command = kind[[]string]{
	parse: func(v any) ([]string, error) {
		words, err := list("strings", anyText).parse(v)
		switch {
		case err != nil:
			return nil, err
		case len(words) == 0:
			return nil, errors.New("is empty; write the program and its arguments")
		}
		return words, checkPath(words[0])
	},
	plain: asIs[[]string],
}

// role is who has it.
var role = set("strings", text(func(s string) error {
	name, isGroup := strings.CutPrefix(s, "@")
	number, isUID := strings.CutPrefix(s, "uid:")
	if isUID {
		if n, err := strconv.ParseUint(number, 10, 32); err != nil || n > lastUID || strconv.FormatUint(n, 10) != number {
			return fmt.Errorf("%s is not uid: and a number", visible.Quote(s))
		}
		return nil
	}
	if !regexp.MustCompile(`^[^@:,\s\pC]{1,256}$`).MatchString(name) {
		return fmt.Errorf("%s is neither a user (\"alice\"), nor a group (\"@staff\"), nor a number (\"uid:1000\")", visible.Quote(s))
	}
	if isGroup && name[0] >= '0' && name[0] <= '9' || !isGroup && strings.Trim(name, "0123456789") == "" {
		return fmt.Errorf("%s is a number; write \"uid:%s\" for a user, and a group by its name", visible.Quote(s), name)
	}
	return nil
}))

func matching(pattern, what string) kind[string] {
	re := regexp.MustCompile(pattern)
	return text(func(s string) error {
		if !re.MatchString(s) {
			return fmt.Errorf("%s is not %s", visible.Quote(s), what)
		}
		return nil
	})
}

// judgement collects what is wrong with a configuration as a whole.
type judgement struct {
	config *Config
	file   string // where what no key says is looked for
	faults []*ConfigError
}

// fault blames the first of the keys that a file sets.
func (j *judgement) fault(keys []string, format string, args ...any) {
	e := &ConfigError{File: j.file, Text: fmt.Sprintf(format, args...)}
	for _, key := range keys {
		file, line, ok := cutLast(j.config.Origin[key], ":")
		if n, err := strconv.Atoi(line); ok && err == nil {
			e.File, e.Line = file, n
			break
		}
	}
	j.faults = append(j.faults, e)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// settle fills in what depends on other keys and on this host, and gives what
// no key alone can tell.
func (c *Config) settle(file string) []*ConfigError {
	j := &judgement{config: c, file: file}
	if last := c.UIDBase + c.Slots*runtime.SlotIDs - 1; last > lastUID {
		j.fault(nil, "uid_base %d with %d slots of %d uids ends beyond the last uid %d; lower one of them", c.UIDBase, c.Slots, runtime.SlotIDs, lastUID)
	}
	if c.Approvals.GrantMaxAdmin < c.Approvals.GrantMax {
		j.fault([]string{"approvals.grant_max_admin", "approvals.grant_max"}, "approvals.grant_max_admin %v is less than approvals.grant_max %v", c.Approvals.GrantMaxAdmin, c.Approvals.GrantMax)
	}
	c.settleAudit(j)
	c.settleAgents(j)
	c.judgeTrees(j)
	return j.faults
}

// settleAudit lets the log follow state_dir, and the key be the unit's credential.
func (c *Config) settleAudit(j *judgement) {
	moved := defaultAudit(c.StateDir)
	if c.Origin["audit.dir"] == "" {
		c.Audit.Dir = moved.Dir
	}
	if c.Origin["audit.anchor"] == "" {
		c.Audit.Anchor = moved.Anchor
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); filepath.IsAbs(dir) && c.Origin["audit.key"] == "" {
		key := filepath.Join(dir, filepath.Base(AuditKey))
		if _, err := os.Stat(key); err == nil {
			c.Audit.Key = key
		}
	}
	for _, k := range []struct{ name, path string }{{"audit.anchor", c.Audit.Anchor}, {"audit.key", c.Audit.Key}} {
		if below(k.path, c.Audit.Dir) {
			j.fault([]string{k.name, "audit.dir"}, "%s is in audit.dir: who can rewrite the log must not be able to rewrite this with it; keep it outside", k.name)
		}
	}
}

// settleAgents resolves accounts and references, and looks at each agent and
// at what they share.
func (c *Config) settleAgents(j *judgement) {
	users := map[uint32]string{}
	ports := map[string]string{}
	for i := range c.Agents {
		a := &c.Agents[i]
		prefix := "agent." + a.Name
		for _, k := range []struct {
			name    string
			missing bool
			example string
		}{
			{"command", len(a.Command) == 0, `["/usr/bin/program", "argument"]`},
			{"user", a.User == "", `"` + a.Name + `"`},
			{"state_dir", a.StateDir == "", `"/var/lib/` + a.Name + `"`},
		} {
			if k.missing {
				j.fault([]string{prefix}, "%s.%s is missing; write %s = %s", prefix, k.name, k.name, k.example)
			}
		}
		if a.User != "" {
			a.account(j, prefix)
		}
		if other, taken := users[a.UID]; taken && a.UID != 0 {
			j.fault([]string{prefix + ".user"}, "agents %s and %s both run as uid %d; each needs a user of its own, or one could take over the other", other, a.Name, a.UID)
		}
		users[a.UID] = a.Name
		if a.Dir == "" {
			a.Dir = a.StateDir
		}
		a.settleWorkspaces(j, prefix, c.Workspaces)
		a.judge(j, prefix)
		for _, p := range a.Publish {
			if other, taken := ports[p]; taken {
				j.fault([]string{prefix + ".publish"}, "%s.publish: %s is published by %s too", prefix, p, other)
			}
			ports[p] = a.Name
		}
		if longest := filepath.Join(c.RunDir, "agents", a.Name, "call.sock"); len(longest) > 107 {
			j.fault([]string{"run_dir", prefix}, "%s is longer than the 107 bytes that a socket's name may have (unix(7)); shorten run_dir or the agent's name", visible.Text(longest))
		}
	}
	c.judgeRoles(j, users)
}

// account finds UID and GID.
func (a *AgentConfig) account(j *judgement, prefix string) {
	keys := []string{prefix + ".user"}
	hint := fmt.Sprintf("make one: useradd --system --no-create-home --home-dir %s --shell /usr/sbin/nologin %s", visible.Text(a.StateDir), visible.Text(a.User))
	numeric := strings.Trim(a.User, "0123456789") == ""
	group := a.Group
	var u *user.User
	var err error
	if numeric {
		u, err = user.LookupId(a.User)
	} else {
		u, err = user.Lookup(a.User)
	}
	uid := a.User
	switch {
	case err == nil:
		uid = u.Uid
		if group == "" {
			group = u.Gid
		}
	case !numeric:
		j.fault(keys, "%s.user: there is no user %s; %s", prefix, visible.Text(a.User), hint)
		return
	case group == "":
		j.fault(keys, "%s.user: no user has the number %s, so that its group is not known; write group too", prefix, a.User)
		return
	}
	n, err := strconv.ParseUint(uid, 10, 32)
	c := j.config
	switch {
	case err != nil || n > lastUID:
		j.fault(keys, "%s.user: %s is not a uid", prefix, visible.Text(uid))
		return
	case n == 0:
		j.fault(keys, "%s.user: an agent never runs as root; %s", prefix, strings.Replace(hint, visible.Text(a.User), a.Name, 1))
		return
	case n == nobody:
		j.fault(keys, "%s.user: uid %d is what nothing in particular belongs to, and others run as it; %s", prefix, n, strings.Replace(hint, visible.Text(a.User), a.Name, 1))
		return
	case n >= uint64(c.UIDBase) && n < uint64(c.UIDBase+c.Slots*runtime.SlotIDs):
		j.fault(keys, "%s.user: uid %d is one of the boxes' own, which begin at uid_base", prefix, n)
		return
	}
	a.UID = uint32(n)
	keys = []string{prefix + ".group", prefix + ".user"}
	if strings.Trim(group, "0123456789") != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			j.fault(keys, "%s.group: there is no group %s; make one: groupadd --system %s", prefix, visible.Text(group), visible.Text(group))
			return
		}
		group = g.Gid
	}
	switch n, err := strconv.ParseUint(group, 10, 32); {
	case err != nil || n > lastUID:
		j.fault(keys, "%s.group: %s is not a gid", prefix, visible.Text(group))
	case n == 0:
		j.fault(keys, "%s.group: an agent is never in root's group; name another", prefix)
	default:
		a.GID = uint32(n)
	}
}

// nobody is the overflow uid: what the kernel shows for ids that have no name here.
const nobody = 65534

// settleWorkspaces resolves the names.
func (a *AgentConfig) settleWorkspaces(j *judgement, prefix string, there []WorkspaceConfig) {
	names := make([]string, len(there))
	for i, w := range there {
		names[i] = w.Name
	}
	if j.config.Origin[prefix+".workspaces"] == "" {
		a.Workspaces = names
		return
	}
	for _, name := range a.Workspaces {
		if slices.Contains(names, name) {
			continue
		}
		hint := "write a [[workspace]] with that name"
		if near, ok := spell.Nearest(name, names); ok {
			hint = "did you mean " + near + "?"
		}
		j.fault([]string{prefix + ".workspaces"}, "%s.workspaces: there is no workspace %s; %s", prefix, name, hint)
	}
}

// judge looks at what the keys of one agent say together.
func (a *AgentConfig) judge(j *judgement, prefix string) {
	for _, c := range []struct {
		wrong bool
		key   string
		says  string
	}{
		{len(a.CallProfiles) == 0, "call_profiles", "is empty; name at least the one for calls that name none"},
		{a.Ready.HTTP != "" && a.Ready.TCP != "", "ready.tcp", "is set beside ready.http; one of them is enough"},
		{a.BackoffMax < a.Backoff, "backoff_max", "is less than backoff"},
		{a.Network == AgentNetworkHost && len(a.Publish) > 0, "publish", "has nothing to publish: network = \"host\" is the host's own loopback"},
		{a.Network == AgentNetworkHost && len(a.Loopback) > 0, "loopback", "says nothing: with network = \"host\" the agent reaches all of the host's loopback"},
		{slices.ContainsFunc(a.Loopback, func(p string) bool { return slices.Contains(a.Publish, p) }), "loopback", "and publish name the same port, which would lead back to itself"},
	} {
		if c.wrong {
			j.fault([]string{prefix + "." + c.key, prefix}, "%s.%s %s", prefix, c.key, c.says)
		}
	}
}

// judgeRoles refuses an agent's user by name. One that has a role through a
// group is refused when it comes.
func (c *Config) judgeRoles(j *judgement, agents map[uint32]string) {
	if len(c.Agents) == 0 {
		return
	}
	for _, r := range []struct {
		key  string
		list []string
	}{
		{"roles.owner", c.Roles.Owner},
		{"roles.admin", c.Roles.Admin},
		{"roles.approver", c.Roles.Approver},
		{"roles.viewer", c.Roles.Viewer},
	} {
		for _, who := range r.list {
			number, isUID := strings.CutPrefix(who, "uid:")
			if !isUID {
				u, err := user.Lookup(who)
				if err != nil {
					continue // HostFaults says it
				}
				number = u.Uid
			}
			n, err := strconv.ParseUint(number, 10, 32)
			if name, isAgent := agents[uint32(n)]; err == nil && isAgent && n != 0 {
				j.fault([]string{r.key}, "%s: %s is the user of agent %s; who asks never answers", r.key, visible.Text(who), name)
			}
		}
	}
}

// tree is a path that must be kept apart from others, and the key that sets it.
type tree struct{ key, path string }

// judgeTrees keeps what agents write apart from everything else, and
// workspaces from clawsup's own. It compares names with links resolved, as they
// are now; what is at work looks again at what it opens.
func (c *Config) judgeTrees(j *judgement) {
	file, err := filepath.Abs(j.file)
	if err != nil {
		file = j.file
	}
	own := []tree{
		{"state_dir", c.StateDir}, {"run_dir", c.RunDir},
		{"the configuration", file}, {"the configuration", filepath.Join(filepath.Dir(file), dropInDir)},
		{"audit.dir", c.Audit.Dir}, {"audit.anchor", c.Audit.Anchor}, {"audit.key", c.Audit.Key},
	}
	secret := slices.Clone(own)
	for _, p := range c.SkillPaths {
		own = append(own, tree{"skill_paths", p})
	}
	for _, p := range c.ProfilePaths {
		own = append(own, tree{"profile_paths", p})
	}
	own = append(own, tree{"init", c.Init}, tree{"inspect", c.Inspect}, tree{"egress", c.Egress})

	var states []tree
	for _, a := range c.Agents {
		if a.StateDir == "" {
			continue
		}
		prefix := "agent." + a.Name
		state := tree{prefix + ".state_dir", a.StateDir}
		c.apart(j, state, append(own, states...))
		states = append(states, state)
		for _, p := range a.Read {
			c.apart(j, tree{prefix + ".read", p}, append([]tree{state}, secret...))
		}
	}
	for _, w := range c.Workspaces {
		key := "workspace." + w.Name
		if w.Path == "" {
			j.fault([]string{key}, "%s.path is missing; write path = \"/srv/%s\"", key, w.Name)
			continue
		}
		c.apart(j, tree{key + ".path", w.Path}, append(own, states...))
	}
}

// apart says whether one tree is in or around one of the others, or, unless
// it is only read, one of the system's.
func (c *Config) apart(j *judgement, t tree, others []tree) {
	path := resolved(t.path)
	if !strings.HasSuffix(t.key, ".read") {
		for _, dir := range closedTrees {
			if below(path, dir) {
				j.fault([]string{t.key}, "%s: %s belongs to the system (%s); name a directory of its own", t.key, visible.Text(t.path), dir)
				return
			}
		}
		if slices.Contains(closedDirs, path) {
			j.fault([]string{t.key}, "%s: %s holds what belongs to several; name a directory in it", t.key, visible.Text(t.path))
			return
		}
	}
	for _, o := range others {
		other, how := resolved(o.path), ""
		switch {
		case path == other:
			how = "is"
		case below(path, other):
			how = "lies in"
		case below(other, path):
			how = "contains"
		default:
			continue
		}
		j.fault([]string{t.key}, "%s: %s %s that of %s (%s); keep them apart", t.key, visible.Text(t.path), how, o.key, visible.Text(o.path))
		return
	}
}

// below reports whether p is dir or in it.
func below(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// resolved follows the links of what of the path there is.
func resolved(p string) string {
	if there, err := filepath.EvalSymlinks(p); err == nil || p == "/" {
		return there
	}
	return filepath.Join(resolved(filepath.Dir(p)), filepath.Base(p))
}

// HostFaults gives what LoadConfig leaves to the moment when it is needed, as
// it may come and go: profiles, workspaces, programs, and who has a role.
func (c *Config) HostFaults() []error {
	j := &judgement{config: c, file: "configuration"}
	loaded := map[string]*profiles.Loaded{}
	load := func(key, name string) {
		l, err := profiles.Load(name, c.ProfilePaths)
		if err != nil {
			j.fault([]string{key, keyOfAgent(key)}, "%s: %v", key, err)
			return
		}
		loaded[name] = l
	}
	load("default_profile", c.DefaultProfile)
	for _, a := range c.Agents {
		prefix := "agent." + a.Name
		load(prefix+".profile", a.Profile)
		for _, name := range a.CallProfiles {
			load(prefix+".call_profiles", name)
		}
		if l := loaded[a.Profile]; l != nil && l.Profile.Files.Rootfs == "" {
			if st, err := os.Stat(a.Command[0]); err != nil {
				j.fault([]string{prefix + ".command"}, "%s.command: %v", prefix, err)
			} else if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
				j.fault([]string{prefix + ".command"}, "%s.command: %s is not a program", prefix, visible.Text(a.Command[0]))
			}
		}
	}
	for _, w := range c.Workspaces {
		if _, err := openWorkspace(w.Path, c.own(), c.ownFiles()); err != nil {
			j.fault([]string{"workspace." + w.Name + ".path"}, "workspace.%s.path: %v", w.Name, err)
		}
	}
	for _, k := range configKeys {
		who, ok := k.get(c).([]string)
		if !ok || !strings.HasPrefix(k.name, "roles.") {
			continue
		}
		for _, name := range who {
			group, isGroup := strings.CutPrefix(name, "@")
			var err error
			switch {
			case isGroup:
				_, err = user.LookupGroup(group)
			case !strings.HasPrefix(name, "uid:"):
				_, err = user.Lookup(name)
			}
			if err != nil {
				j.fault([]string{k.name}, "%s: there is no %s on this host", k.name, visible.Text(name))
			}
		}
	}
	errs := make([]error, len(j.faults))
	for i, f := range j.faults {
		errs[i] = f
	}
	return errs
}

// keyOfAgent gives "agent.NAME" for a key below it.
func keyOfAgent(key string) string {
	prefix, _, _ := cutLast(key, ".")
	return prefix
}
