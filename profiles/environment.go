// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// forbidden is a row of environment variables that no box gets.
type forbidden struct {
	names  string   // separated by spaces; a star at the end stands for any rest
	except []string // in the same manner
	reason string
}

// forbiddenEnv are variables that make an honest program run, load or read
// something else than what was asked for: with one of them a plan that says
// "git status" is no longer about git.
var forbiddenEnv = []forbidden{
	{names: "LD_*", reason: "the dynamic linker loads the libraries it names into every program"},
	{names: "GCONV_PATH GETCONF_DIR", reason: "glibc loads character converters and programs from there"},
	{names: "GLIBC_TUNABLES MALLOC_*", reason: "changes the C library's allocator and linker before main, and had exploitable bugs"},
	{names: "LOCPATH NLSPATH TZDIR", reason: "the C library parses files from there in every program"},
	{names: "HOSTALIASES LOCALDOMAIN RES_OPTIONS RESOLV_HOST_CONF", reason: "changes what host names mean"},
	{names: "TERMINFO TERMINFO_DIRS TERMCAP TERMPATH", reason: "terminal programs parse descriptions from there"},

	{names: "BASH_* BASHOPTS SHELLOPTS", reason: "bash runs files and functions that they name, or changes how it reads scripts"},
	{names: "ENV ZDOTDIR FPATH", reason: "shells run the file or the functions that it names at start"},
	{names: "PS0 PS1 PS2 PS4 PROMPT_COMMAND", reason: "shells expand or run the value, command substitutions included"},
	{names: "IFS CDPATH GLOBIGNORE FIGNORE EXECIGNORE", reason: "changes what the words of a shell script mean"},
	{names: "POSIXLY_CORRECT POSIX_ME_HARDER", reason: "changes how programs read their options"},
	{names: "INPUTRC", reason: "readline binds keys to commands from it"},

	{names: "GIT_*", except: []string{"GIT_AUTHOR_*", "GIT_COMMITTER_*", "GIT_TERMINAL_PROMPT", "GIT_OPTIONAL_LOCKS"},
		reason: "git takes programs to run, configuration and repositories from them"},
	{names: "SSH_ASKPASS SUDO_ASKPASS SVN_SSH CVS_RSH RSYNC_RSH", reason: "names a program that is run"},
	{names: "SSH_AUTH_SOCK SSH_AGENT_PID GPG_AGENT_INFO DBUS_*", reason: "leads to a service of the host that holds keys or starts programs"},
	{names: "LESSOPEN LESSCLOSE", reason: "less runs the value for every file"},
	{names: "TAR_OPTIONS ZIPOPT UNZIP GREP_OPTIONS", reason: "adds options to every run, some of which start programs"},

	{names: "NODE_* npm_config_* NPM_CONFIG_*", except: []string{"NODE_ENV", "NODE_NO_WARNINGS", "NODE_DISABLE_COLORS"},
		reason: "node and npm load modules, options and shells from them"},
	{names: "ELECTRON_RUN_AS_NODE", reason: "makes another program an interpreter"},
	{names: "PYTHON*", except: []string{"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONSAFEPATH", "PYTHONNOUSERSITE"},
		reason: "python imports, reads or runs what they name (PYTHONPATH, PYTHONSTARTUP, PYTHONHOME and others)"},
	{names: "VIRTUAL_ENV PIP_* UV_* PYTEST_*", reason: "python tools take packages, indexes and plug-ins from them"},
	{names: "PERL5* PERLLIB PERLIO* PERL_*", reason: "perl loads modules and options from them"},
	{names: "RUBY* GEM_* BUNDLE_*", reason: "ruby loads code and options from them"},
	{names: "LUA_*", reason: "lua runs LUA_INIT and loads modules from the paths"},
	{names: "PHPRC PHP_INI_SCAN_DIR", reason: "php takes configuration from there, which can load extensions"},
	{names: "R_PROFILE* R_ENVIRON* R_LIBS*", reason: "R runs or loads what they name at start"},
	{names: "TCLLIBPATH TCL_LIBRARY AWKPATH AWKLIBPATH", reason: "interpreters load code from there"},
	{names: "ERL_* ELIXIR_ERL_OPTIONS", reason: "erlang takes options that run code"},
	{names: "JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS CLASSPATH MAVEN_* GRADLE_*", reason: "the Java machine and its build tools load code and agents from them"},
	{names: "DOTNET_* COMPlus_* CORECLR_* COR_*", reason: ".NET loads start-up hooks and profilers from them"},

	{names: "MAKEFLAGS MAKEFILES GNUMAKEFLAGS MFLAGS", reason: "make runs files and options that they name"},
	{names: "GCC_EXEC_PREFIX COMPILER_PATH COLLECT_*", reason: "gcc runs its stages from there"},
	{names: "GOFLAGS GOENV GOROOT GOTOOLDIR GOTOOLCHAIN", reason: "go runs other tools (-toolexec) or toolchains"},
	{names: "CARGO_* RUSTC* RUSTFLAGS RUSTDOC* RUSTUP_*", except: []string{"CARGO_TERM_*"}, reason: "cargo runs wrappers, linkers and toolchains that they name"},

	{names: "OPENSSL_*", reason: "OpenSSL loads configuration, engines and providers from them"},
	{names: "SSLKEYLOGFILE", reason: "TLS libraries write session keys to it"},
	{names: "GTK_* GDK_* GIO_* QT_* XDG_CONFIG_*", reason: "desktop libraries load modules and settings from them"},
	{names: "LISTEN_FDS LISTEN_PID LISTEN_FDNAMES NOTIFY_SOCKET WATCHDOG_*", reason: "speaks of descriptors and sockets of a service that the box is not"},
	{names: "_LIBCONTAINER_*", reason: "the container's own start reads it"},
}

// ForbiddenEnv reports whether no box may have the environment variable name,
// and why: it makes programs run or load something else, or isn't a name that
// can be written in a shell ([A-Za-z_][A-Za-z0-9_]*). Names are compared as
// they are written: environ(7) knows no case folding.
func ForbiddenEnv(name string) (reason string, forbidden bool) {
	for _, f := range forbiddenEnv {
		if matchesName(strings.Fields(f.names), name) && !matchesName(f.except, name) {
			return f.reason, true
		}
	}
	if !envName.MatchString(name) {
		return "a name holds letters, digits and underscores and does not begin with a digit", true
	}
	return "", false
}

// matchesName reports whether a pattern stands for name.
func matchesName(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		prefix, open := strings.CutSuffix(p, "*")
		return name == p || open && strings.HasPrefix(name, prefix)
	})
}

// CheckEnv reports why a box may not have the variable name with this value:
// the name is forbidden ([ForbiddenEnv]), the value holds a NUL, or it is a PATH
// on which somebody else's files could stand before the system's. The runtime
// asks it of variables that a caller passes as well.
func CheckEnv(name, value string) error {
	if reason, no := ForbiddenEnv(name); no {
		return fmt.Errorf("the variable %q can't be set or passed: %s; leave it out", clip(name), reason)
	}
	if strings.ContainsRune(value, 0) {
		return fmt.Errorf("the value of %s holds a NUL character", name)
	}
	if name == "PATH" {
		return checkSearchPath(value)
	}
	return nil
}

// boxWritable are the places that a call can write programs to.
var boxWritable = []string{"/workspace", "/tmp", "/dev/shm"}

func checkSearchPath(value string) error {
	for _, dir := range strings.Split(value, ":") {
		switch {
		case dir == "":
			return errors.New("an empty element of PATH means the current directory; leave it out")
		case !path.IsAbs(dir) || path.Clean(dir) != dir:
			return fmt.Errorf("the element %q of PATH must be an absolute path without \".\", \"..\" and doubled slashes", clip(dir))
		}
		for _, w := range boxWritable {
			if below(dir, w) {
				return fmt.Errorf("the element %q of PATH is writable in the box, so that a call could shadow the system's programs; leave it out", clip(dir))
			}
		}
	}
	return nil
}

// checkPass judges a name of environment.pass.
func checkPass(name string) error {
	if name == "PATH" {
		return errors.New("PATH can't be passed, or the caller would choose what runs; write it in environment.set")
	}
	return CheckEnv(name, "")
}
