// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/clawsup/clawsup/profiles"
	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/rootfs"
	"github.com/clawsup/clawsup/skills"
)

// profileOf loads a profile made of text over the default one.
func profileOf(t testing.TB, text string) *profiles.Loaded {
	t.Helper()
	file := filepath.Join(t.TempDir(), "p.toml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := profiles.Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ingredients make a plan on a host that has everything.
func ingredients(t testing.TB) Ingredients {
	return Ingredients{
		Request: Request{Args: []string{"/bin/true", "a"}, Stdin: Stdin{Kind: StdinEmpty}},
		Profile: profileOf(t, ""),
		Host:    layer.Host{Kernel: "6.18", Landlock: 11},
	}
}

func makePlan(t testing.TB, in Ingredients) *Plan {
	t.Helper()
	p, err := MakePlan(in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestDigestCovers: each ingredient changes the digest, and nothing but the
// ingredients does.
func TestDigestCovers(t *testing.T) {
	skill := &skills.Skill{Name: "s", Digest: "sha256:1", Dir: "/nonexistent/s", Source: "/src/s", Scripts: []string{"scripts/a.py", "scripts/b.py"}}
	withSkill := func(change func(*Ingredients)) func(*Ingredients) {
		return func(in *Ingredients) {
			k := *skill
			in.Skill = &k
			in.Request.Skill, in.Request.Args = "s", []string{"/bin/true"}
			change(in)
		}
	}
	rw := profileOf(t, "[workspace]\nmode = \"rw\"")
	pass := profileOf(t, "[environment]\npass = [\"COLOR\"]")
	withWorkspace := func(change func(*Workspace)) func(*Ingredients) {
		return func(in *Ingredients) {
			w := Workspace{Path: "/w", Identity: rootfs.Identity{Dev: 1, Ino: 2}, Owner: rootfs.Owner{UID: 3, GID: 4}}
			change(&w)
			in.Workspace = &w
		}
	}
	withStdin := func(s Stdin) func(*Ingredients) { return func(in *Ingredients) { in.Request.Stdin = s } }
	changes := map[string]func(*Ingredients){
		"as it is":                func(*Ingredients) {},
		"argument":                func(in *Ingredients) { in.Request.Args = []string{"/bin/true", "b"} },
		"argument with a space":   func(in *Ingredients) { in.Request.Args = []string{"/bin/true", "a "} },
		"invalid byte":            func(in *Ingredients) { in.Request.Args = []string{"/bin/true", "\xff"} },
		"another invalid byte":    func(in *Ingredients) { in.Request.Args = []string{"/bin/true", "\xfe"} },
		"argument more":           func(in *Ingredients) { in.Request.Args = []string{"/bin/true", "a", ""} },
		"arguments cut elsewhere": func(in *Ingredients) { in.Request.Args = []string{"/bin/true", "a", "1:b"} },
		"command":                 func(in *Ingredients) { in.Request.Args = []string{"/bin/false", "a"} },
		"profile's limit":         func(in *Ingredients) { in.Profile = profileOf(t, "[limits]\nmemory = \"128M\"") },
		"profile's decision":      func(in *Ingredients) { in.Profile = profileOf(t, "[effects]\nexec = \"ask\"") },
		"profile's variable":      func(in *Ingredients) { in.Profile = profileOf(t, "[environment.set]\nLANG = \"C\"") },
		"passing":                 func(in *Ingredients) { in.Profile = pass },
		"variable":                func(in *Ingredients) { in.Profile = pass; in.Request.Env = []string{"COLOR=1"} },
		"variable's value":        func(in *Ingredients) { in.Profile = pass; in.Request.Env = []string{"COLOR=2"} },
		"timeout":                 func(in *Ingredients) { in.Request.Timeout = time.Second },
		"session":                 func(in *Ingredients) { in.Request.Session = "s1" },
		"requester":               func(in *Ingredients) { in.Request.Requester = 1000 },
		"lowered layer":           func(in *Ingredients) { in.Lower = layer.Of(layer.CgroupIO) },
		"older Landlock":          func(in *Ingredients) { in.Host.Landlock = 10 },
		"stdin pipe":              withStdin(Stdin{Kind: StdinPipe}),
		"stdin file":              withStdin(Stdin{Kind: StdinFile, Path: "/a", Size: 1}),
		"stdin file's path":       withStdin(Stdin{Kind: StdinFile, Path: "/b", Size: 1}),
		"stdin file's identity":   withStdin(Stdin{Kind: StdinFile, Path: "/a", Size: 1, Identity: rootfs.Identity{Dev: 1, Ino: 1}}),
		"stdin file's size":       withStdin(Stdin{Kind: StdinFile, Path: "/a", Size: 2}),
		"workspace":               withWorkspace(func(*Workspace) {}),
		"workspace's path":        withWorkspace(func(w *Workspace) { w.Path = "/v" }),
		"workspace's inode":       withWorkspace(func(w *Workspace) { w.Identity.Ino++ }),
		"workspace's device":      withWorkspace(func(w *Workspace) { w.Identity.Dev++ }),
		"workspace's owner":       withWorkspace(func(w *Workspace) { w.Owner.UID++ }),
		"workspace's mode":        func(in *Ingredients) { withWorkspace(func(*Workspace) {})(in); in.Profile = rw },
		"skill":                   withSkill(func(*Ingredients) {}),
		"skill's bytes":           withSkill(func(in *Ingredients) { in.Skill.Digest = "sha256:2" }),
		"skill's name":            withSkill(func(in *Ingredients) { in.Skill.Name = "t" }),
		"skill's requirements":    withSkill(func(in *Ingredients) { in.Manifest.OpenClaw.Requires.Bins = []string{"git"} }),
		"skill's alternatives":    withSkill(func(in *Ingredients) { in.Manifest.OpenClaw.Requires.AnyBins = []string{"git"} }),
	}
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		in := ingredients(t)
		changes[name](&in)
		digest := makePlan(t, in).Digest
		if other := seen[digest]; other != "" {
			t.Errorf("%q and %q have one digest", name, other)
		}
		seen[digest] = name
		again := ingredients(t)
		changes[name](&again)
		if makePlan(t, again).Digest != digest {
			t.Errorf("%q: made twice, two digests", name)
		}
	}

	same := map[string]func(*Ingredients){
		"a variable that does not pass": func(in *Ingredients) { in.Request.Env = []string{"SECRET=1"} },
		"the skill's folder":            withSkill(func(in *Ingredients) { in.Skill.Source = "/elsewhere" }),
		"the skill's description":       withSkill(func(in *Ingredients) { in.Manifest.Description = "x" }),
	}
	for name, change := range same {
		in := ingredients(t)
		change(&in)
		if of := seen[makePlan(t, in).Digest]; of != "as it is" && of != "skill" {
			t.Errorf("%s changes the digest", name)
		}
	}
}

// TestDigestKnowsTheExecutable: a file that was replaced is another plan, and
// the old plan knows.
func TestDigestKnowsTheExecutable(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "tool")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(tool+".new", []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tool+".new", tool); err != nil {
			t.Fatal(err)
		}
	}
	write("#!/bin/sh\n")
	in := ingredients(t)
	w, err := openWorkspace(dir, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	in.Workspace = &w
	for _, argv0 := range []string{"/workspace/tool", "./tool", "/workspace/../workspace/./tool"} {
		in.Request.Args = []string{argv0}
		first := makePlan(t, in)
		if first.Executable.Host != tool || first.Executable.Path != "/workspace/tool" {
			t.Fatalf("%s is %+v", argv0, first.Executable)
		}
		if err := first.Verify(); err != nil {
			t.Errorf("nothing changed: %v", err)
		}
		write("#!/bin/sh\nrm -rf /\n")
		if err := first.Verify(); err == nil || !strings.Contains(err.Error(), "another file") {
			t.Errorf("%s was replaced: %v", argv0, err)
		}
		if makePlan(t, in).Digest == first.Digest {
			t.Errorf("%s was replaced and the digest is the same", argv0)
		}
	}
}

func TestExecutableIsTheBoxs(t *testing.T) {
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ argv0, want string }{
		{"sh", sh},
		{"/bin/sh", sh},
		{"/etc/passwd", ""},       // the box has another one
		{"/tmp/../bin/sh", sh},    // dots
		{"/nonexistent/tool", ""}, // nowhere
		{"/root/.bashrc", ""},     // not shown
		{"no-such-program-here", ""},
	} {
		in := ingredients(t)
		in.Request.Args = []string{c.argv0}
		if x := makePlan(t, in).Executable; x.Path != c.want {
			t.Errorf("%s is %+v, want %s", c.argv0, x, c.want)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*Ingredients)
		says   string
	}{
		{func(in *Ingredients) { in.Request.Args = nil }, "no command"},
		{func(in *Ingredients) { in.Request.Args = []string{""} }, "command is empty"},
		{func(in *Ingredients) { in.Request.Timeout = time.Hour }, "wall_time is 1m"},
		{func(in *Ingredients) { in.Request.Timeout = -1 }, "negative"},
		{func(in *Ingredients) { in.Request.Session = "../x" }, "session"},
		{func(in *Ingredients) {
			in.Workspace = &Workspace{Path: "/w"}
			in.Profile = profileOf(t, "[workspace]\nmode = \"none\"")
		}, `workspace.mode = "none"`},
		{func(in *Ingredients) {
			in.Workspace = &Workspace{Path: "/w"}
			in.Profile = profileOf(t, "[workspace]\nmode = \"scratch\"")
		}, `workspace.mode = "scratch"`},
		{func(in *Ingredients) {
			in.Profile = profileOf(t, "[environment]\npass = [\"COLOR\"]")
			in.Request.Env = []string{"COLOR=a\x00b"}
		}, "NUL"},
		{func(in *Ingredients) { in.Host.Landlock = 0 }, "Landlock"},
	} {
		in := ingredients(t)
		c.change(&in)
		if p, err := MakePlan(in); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v, %v; want %q", p, err, c.says)
		}
	}
	in := ingredients(t)
	in.Host.Landlock = 0
	_, err := MakePlan(in)
	var e *runtime.Error
	if !errors.As(err, &e) || e.Step != runtime.StepLayers {
		t.Errorf("a missing layer is %v, want step layers", err)
	}
}

// TestSecretsOfASkill: what a person bound to a skill's scripts is for these, not
// for whatever command somebody runs beside them.
func TestSecretsOfASkill(t *testing.T) {
	in := ingredients(t)
	in.Profile = profileOf(t, "[network]\nmode = \"egress\"")
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "scripts/a.sh"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	in.Skill = &skills.Skill{Name: "s", Digest: "sha256:1", Dir: dir, Source: dir, Scripts: []string{"scripts/a.sh"}}
	in.Bound = map[string]string{"API_KEY": "api"}
	in.Request.Args = []string{"a.sh"}
	if p := makePlan(t, in); p.Secrets["API_KEY"] != "api" {
		t.Errorf("its script has %v", p.Secrets)
	}
	in.Request.Args = []string{"/bin/sh", "-c", "env"}
	if _, err := MakePlan(in); err == nil || !strings.Contains(err.Error(), "scripts/a.sh") {
		t.Errorf("a command beside it: %v", err)
	}
	in.Skill.Scripts = nil // its instructions are commands
	if p := makePlan(t, in); p.Secrets["API_KEY"] != "api" {
		t.Errorf("a command of it has %v", p.Secrets)
	}
	for _, name := range []string{"LD_PRELOAD", "PATH", "SSL_CERT_FILE", "CLAWSUP_SKILL", "not a name"} {
		in.Bound = map[string]string{name: "api"}
		if _, err := MakePlan(in); err == nil {
			t.Errorf("%s stands for a secret", name)
		}
	}
}

func TestPlanPlaces(t *testing.T) {
	w := &Workspace{Path: "/w", Owner: rootfs.Owner{UID: 7, GID: 8}}
	for _, c := range []struct {
		mode  string
		w     *Workspace
		dir   string
		binds int
		write bool
		idmap bool
	}{
		{"none", nil, "/tmp", 0, false, false},
		{"ro", nil, "/tmp", 0, false, false},
		{"ro", w, "/workspace", 1, false, true},
		{"rw", w, "/workspace", 1, true, true},
		{"overlay", nil, "/tmp", 0, false, false},
		{"overlay", w, "/workspace", 1, true, true},
		{"scratch", nil, "/workspace", 0, false, false},
	} {
		in := ingredients(t)
		in.Profile = profileOf(t, "[workspace]\nmode = \""+c.mode+"\"")
		in.Workspace = c.w
		p := makePlan(t, in)
		if p.Call.Dir != c.dir || len(p.Spec.Binds) != c.binds {
			t.Errorf("%s: %s, %+v", c.mode, p.Call.Dir, p.Spec.Binds)
		}
		if c.binds > 0 && (p.Spec.Binds[0].Writable != c.write || *p.Spec.Binds[0].Owner != w.Owner) {
			t.Errorf("%s: %+v", c.mode, p.Spec.Binds[0])
		}
		if p.Overlay != (c.mode == "overlay" && c.w != nil) {
			t.Errorf("%s: overlay is %v", c.mode, p.Overlay)
		}
		if p.Spec.Layers.Enforce.Has(layer.RootIDMap) != c.idmap {
			t.Errorf("%s: root.idmap is %v", c.mode, !c.idmap)
		}
		scratch := slices.ContainsFunc(p.Spec.Tmpfs, func(f rootfs.Tmpfs) bool { return f.Target == "/workspace" })
		if scratch != (c.mode == "scratch") {
			t.Errorf("%s: %+v", c.mode, p.Spec.Tmpfs)
		}
	}
	in := ingredients(t)
	in.Workspace, in.Lower = w, layer.Of(layer.RootIDMap)
	if _, err := MakePlan(in); err == nil || !strings.Contains(err.Error(), "overlay workspace") {
		t.Errorf("an overlay without id mapping: %v", err)
	}
	in.Profile = profileOf(t, "[workspace]\nmode = 'ro'")
	if b := makePlan(t, in).Spec.Binds[0]; b.Owner != nil {
		t.Errorf("root.idmap is lowered and the bind is mapped: %+v", b)
	}
}

// TestEnvironmentIsBuiltFromNothing, whatever the caller has.
func TestEnvironmentIsBuiltFromNothing(t *testing.T) {
	in := ingredients(t)
	in.Profile = profileOf(t, "[environment]\npass = [\"COLOR\", \"EMPTY\", \"ABSENT\"]")
	in.Request.Env = []string{"LD_PRELOAD=/x", "SECRET=1", "COLOR=first", "COLOR=second", "EMPTY=", "PATH=/evil"}
	env := makePlan(t, in).Call.Env
	for _, want := range []string{"COLOR=first", "EMPTY=", "HOME=/tmp"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing in %q", want, env)
		}
	}
	for _, v := range env {
		for _, not := range []string{"LD_PRELOAD", "SECRET", "ABSENT", "/evil"} {
			if strings.Contains(v, not) {
				t.Errorf("%s got in", v)
			}
		}
	}
}

// TestUnixSockets are for boxes that show no tree in which somebody outside
// could listen, or where Landlock keeps those apart.
func TestUnixSockets(t *testing.T) {
	w := &Workspace{Path: "/w"}
	for _, c := range []struct {
		name     string
		landlock int
		profile  string
		w        *Workspace
		lower    layer.Set
		open     bool
		state    layer.State
	}{
		{"nothing of the host's", 7, "", nil, 0, true, layer.Unused},
		{"scratch", 7, "[workspace]\nmode = \"scratch\"", nil, 0, true, layer.Unused},
		{"workspace", 7, "", w, 0, false, layer.Covered},
		{"written workspace", 7, "[workspace]\nmode = \"rw\"", w, 0, false, layer.Covered},
		{"files", 7, "[files]\nread = [\"/srv\"]", nil, 0, false, layer.Covered},
		{"rootfs", 7, "[files]\nrootfs = \"/srv\"", nil, 0, false, layer.Covered},
		{"workspace, new kernel", 9, "", w, 0, true, layer.Enforced},
		{"rootfs, new kernel", 9, "[files]\nrootfs = \"/srv\"", nil, 0, true, layer.Enforced},
		{"workspace, given up", 9, "", w, layer.Of(layer.LandlockUnix), false, layer.Lowered},
		{"workspace, Landlock given up", 9, "", w, layer.Of(layer.Landlock), false, layer.Lowered},
		{"named and given up", 7, "[seccomp]\ngroups = [\"unix\"]", w, layer.Of(layer.LandlockUnix), true, layer.Lowered},
		{"named, new kernel", 9, "[seccomp]\ngroups = [\"unix\"]", w, 0, true, layer.Enforced},
	} {
		in := ingredients(t)
		in.Host.Landlock, in.Profile, in.Workspace, in.Lower = c.landlock, profileOf(t, c.profile), c.w, c.lower
		p := makePlan(t, in)
		if n := strings.Count(strings.Join(p.Groups, " "), "unix"); n > 1 || n == 1 != c.open {
			t.Errorf("%s: groups %v, want unix: %v", c.name, p.Groups, c.open)
		}
		if r := p.Spec.Layers.Reports[layer.LandlockUnix]; r.State != c.state {
			t.Errorf("%s: %+v, want %s", c.name, r, c.state)
		}
	}
	in := ingredients(t)
	in.Host.Landlock, in.Profile, in.Workspace = 7, profileOf(t, "[seccomp]\ngroups = [\"unix\"]"), w
	if _, err := MakePlan(in); err == nil || !strings.Contains(err.Error(), "landlock.unix") {
		t.Errorf("Unix sockets in a workspace that nothing keeps apart: %v", err)
	}
}
