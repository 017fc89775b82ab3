// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"golang.org/x/sys/unix"

	"github.com/clawsup/clawsup/runtime"
	"github.com/clawsup/clawsup/runtime/layer"
	"github.com/clawsup/clawsup/runtime/spell"
	"github.com/clawsup/clawsup/supervisor/visible"
)

// DefaultConfig is the file that is read unless another is named.
const DefaultConfig = "/etc/clawsup/clawsup.toml"

// libDir is where distributions put programs that nobody starts by hand.
// Beside bin, there may be another one (make install).
const libDir = "/usr/lib/clawsup"

// maxConfig bounds the file, in bytes.
const maxConfig = 256 << 10

// Config is what the operator decided for the whole host.
type Config struct {
	StateDir       string    // what outlives a restart: the skill store
	RunDir         string    // what does not: boxes at work
	CgroupParent   string    // the group that holds all boxes
	UIDBase        int       // first host uid and gid of the boxes
	Slots          int       // boxes at once
	SkillPaths     []string  // where skills are found by name, first match wins
	ProfilePaths   []string  // the same for profiles; the built-in ones come last
	Lower          layer.Set // layers given up where the host lacks them
	DefaultProfile string    // used where a call names none
	Init           string    // the clawsup-init program
	Inspect        string    // the clawsup-inspect program
	Egress         string    // the clawsup-egress program
	Daemon         bool      // run and run-skill go through clawsupd

	Agents     []AgentConfig     // in the file's order
	Workspaces []WorkspaceConfig // the same
	Roles      RolesConfig
	Calls      CallsConfig
	Approvals  ApprovalsConfig
	Audit      AuditConfig
	Sessions   SessionsConfig

	// Origin says by key which file and line set it; what is missing has its default.
	Origin map[string]string
}

// configKey is one key of the file.
type configKey struct {
	name string
	doc  string
	set  func(*Config, decode) error
}

// decode fills a value of the right type from the file, or says what is wrong.
type decode func(value any) error

// configKeys is the table of keys.
var configKeys = []configKey{
	{"state_dir", "what outlives a restart", func(c *Config, d decode) error { return path(d, &c.StateDir) }},
	{"run_dir", "what does not", func(c *Config, d decode) error { return path(d, &c.RunDir) }},
	{"cgroup_parent", "the group that holds all boxes, from the root of the hierarchy", func(c *Config, d decode) error { return path(d, &c.CgroupParent) }},
	{"uid_base", "first host uid of the boxes", func(c *Config, d decode) error { return number(d, &c.UIDBase, 100_000, lastUID) }},
	{"slots", "boxes at once", func(c *Config, d decode) error { return number(d, &c.Slots, 1, 65536) }},
	{"skill_paths", "where skills are found by name", func(c *Config, d decode) error { return paths(d, &c.SkillPaths) }},
	{"profile_paths", "where profiles are found by name", func(c *Config, d decode) error { return paths(d, &c.ProfilePaths) }},
	{"lower", "layers given up where the host lacks them", func(c *Config, d decode) error { return layers(d, &c.Lower) }},
	{"default_profile", "used where a call names none", func(c *Config, d decode) error { return d(&c.DefaultProfile) }},
	{"init", "the clawsup-init program", func(c *Config, d decode) error { return path(d, &c.Init) }},
	{"inspect", "the clawsup-inspect program", func(c *Config, d decode) error { return path(d, &c.Inspect) }},
}

// lastUID is the last uid that means a user: the two above it are -2 and -1.
const lastUID = 1<<32 - 3

// DefaultsFor gives the configuration of a host without a file. executable is
// the running program, beside which its companions are looked for first.
func DefaultsFor(executable string) Config {
	return Config{
		StateDir:       "/var/lib/clawsup",
		RunDir:         runtime.DefaultRunDir,
		CgroupParent:   runtime.DefaultGroup,
		UIDBase:        runtime.DefaultUIDBase,
		Slots:          runtime.DefaultSlots,
		SkillPaths:     []string{"/etc/clawsup/skills", "/usr/local/share/clawsup/skills", "/usr/share/clawsup/skills"},
		ProfilePaths:   []string{"/etc/clawsup/profiles"},
		DefaultProfile: "default",
		Init:           companion(executable, "clawsup-init"),
		Inspect:        companion(executable, "clawsup-inspect"),
		Egress:         companion(executable, "clawsup-egress"),
		Calls:          defaultCalls(),
		Approvals:      defaultApprovals(),
		Audit:          defaultAudit("/var/lib/clawsup"),
		Sessions:       defaultSessions(),
		Origin:         map[string]string{},
	}
}

// companion finds a program beside the running one, in the lib/clawsup of its
// prefix, else where packages put it.
func companion(executable, name string) string {
	dir := filepath.Dir(executable)
	for _, there := range []string{dir, filepath.Join(filepath.Dir(dir), "lib", "clawsup")} {
		file := filepath.Join(there, name)
		if _, err := os.Stat(file); executable != "" && err == nil {
			return file
		}
	}
	return filepath.Join(libDir, name)
}

// ConfigError is what is wrong with the file, and where.
type ConfigError struct {
	File string
	Line int // from 1; 0 if the whole file is meant
	Text string
}

// Error gives "FILE:LINE: TEXT".
func (e *ConfigError) Error() string {
	where := visible.Text(e.File)
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, e.Line)
	}
	return where + ": " + visible.Line(e.Text)
}

// LoadConfig reads the file over the defaults. With file empty that is
// DefaultConfig, which may be missing; a file that was named may not. The file
// and its directory belong to root and nobody else can write them, since who
// can write the configuration decides what a sandbox is.
func LoadConfig(file string) (Config, error) {
	executable, err := os.Executable()
	if err != nil {
		executable = ""
	}
	c := DefaultsFor(executable)
	named := file != ""
	if !named {
		file = DefaultConfig
	}
	text, err := readOwned(file)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return c, nil
	}
	if err != nil {
		return Config{}, err
	}
	if err := c.parse(file, text); err != nil {
		return Config{}, err
	}
	return c, nil
}

// readOwned opens the file once and judges and reads what was opened.
func readOwned(file string) ([]byte, error) {
	fault := func(format string, args ...any) error {
		return &ConfigError{File: file, Text: fmt.Sprintf(format, args...)}
	}
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fault("is a symbolic link; name the file itself")
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	var st, dir unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fault("%v", err)
	}
	if err := unix.Stat(filepath.Dir(file), &dir); err != nil {
		return nil, fault("%v", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fault("is not a regular file")
	case st.Uid != 0 || st.Mode&0o022 != 0:
		return nil, fault("must belong to root and be writable by nobody else: chown root, chmod go-w")
	case dir.Uid != 0 || dir.Mode&0o022 != 0:
		return nil, fault("its directory must belong to root and be writable by nobody else: chown root, chmod go-w")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fault("%v", err)
	}
	if len(text) > maxConfig {
		return nil, fault("is larger than %d bytes", maxConfig)
	}
	return text, nil
}

// parse lays the file's text over c.
func (c *Config) parse(file string, text []byte) error {
	fault := func(line int, format string, args ...any) error {
		return &ConfigError{File: file, Line: line, Text: fmt.Sprintf(format, args...)}
	}
	var values map[string]toml.Primitive
	md, err := toml.NewDecoder(bytes.NewReader(text)).Decode(&values)
	if err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			return fault(pe.Position.Line, "not valid TOML: %s", pe.Message)
		}
		return fault(0, "not valid TOML: %v", err)
	}
	for _, key := range md.Keys() {
		value := values[key[0]]
		line := lineOf(md, value)
		i := slices.IndexFunc(configKeys, func(k configKey) bool { return k.name == key[0] })
		if i < 0 || len(key) > 1 {
			return fault(line, "unknown key %s%s", key, meant(key[0]))
		}
		k := configKeys[i]
		if err := k.set(c, func(v any) error { return decodeValue(md, value, v) }); err != nil {
			return fault(line, "%s (%s): %v", k.name, k.doc, err)
		}
		c.Origin[k.name] = fmt.Sprintf("%s:%d", file, line)
	}
	if last := c.UIDBase + c.Slots*runtime.SlotIDs - 1; last > lastUID {
		return fault(0, "uid_base %d with %d slots of %d uids ends beyond the last uid %d; lower one of them", c.UIDBase, c.Slots, runtime.SlotIDs, lastUID)
	}
	return nil
}

// meant proposes a key for an unknown one.
func meant(key string) string {
	names := make([]string, len(configKeys))
	for i, k := range configKeys {
		names[i] = k.name
	}
	if near, ok := spell.Nearest(key, names); ok {
		return "; did you mean " + near + "?"
	}
	return "; the keys are " + strings.Join(names, ", ")
}

// position is a value that the decoder can't fill: its error says where it stands.
type position struct{}

func (position) UnmarshalTOML(any) error { return errors.New("position asked for") }

// lineOf gives the line of a value, from 1.
func lineOf(md toml.MetaData, p toml.Primitive) int {
	var pe toml.ParseError
	if errors.As(md.PrimitiveDecode(p, position{}), &pe) {
		return pe.Position.Line
	}
	return 0
}

// decodeValue decodes p into v; the error says what to write instead.
func decodeValue(md toml.MetaData, p toml.Primitive, v any) error {
	if md.PrimitiveDecode(p, v) == nil {
		return nil
	}
	switch v.(type) {
	case *string:
		return errors.New("write a string in quotes")
	case *int64:
		return errors.New("write a whole number")
	}
	return errors.New("write a list of strings in brackets")
}

// path takes an absolute, clean path.
func path(d decode, to *string) error {
	var s string
	if err := d(&s); err != nil {
		return err
	}
	if err := checkPath(s); err != nil {
		return err
	}
	*to = s
	return nil
}

func checkPath(s string) error {
	if !filepath.IsAbs(s) || filepath.Clean(s) != s || strings.ContainsRune(s, 0) {
		return fmt.Errorf("%s is not a path from the root without \".\", \"..\" and doubled slashes", visible.Quote(s))
	}
	return nil
}

func paths(d decode, to *[]string) error {
	var list []string
	if err := d(&list); err != nil {
		return err
	}
	for _, s := range list {
		if err := checkPath(s); err != nil {
			return err
		}
	}
	*to = list
	return nil
}

func number(d decode, to *int, least, most int64) error {
	var n int64
	if err := d(&n); err != nil {
		return err
	}
	if n < least || n > most {
		return fmt.Errorf("%d is not between %d and %d", n, least, most)
	}
	*to = int(n)
	return nil
}

// layers takes names of layers that can be lowered.
func layers(d decode, to *layer.Set) error {
	var names []string
	if err := d(&names); err != nil {
		return err
	}
	lowerable := layer.Lowerable()
	var set layer.Set
	for _, name := range names {
		if !slices.Contains(lowerable, name) {
			hint := ""
			if near, ok := spell.Nearest(name, lowerable); ok {
				hint = "did you mean " + near + "? "
			}
			return fmt.Errorf("no layer that can be lowered is called %s; %sthey are %s", visible.Quote(name), hint, strings.Join(lowerable, ", "))
		}
		l, err := layer.Parse(name)
		if err != nil {
			return err
		}
		set = set.With(l)
	}
	*to = set
	return nil
}
