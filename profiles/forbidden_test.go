// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"strings"
	"testing"
)

func TestForbiddenEnv(t *testing.T) {
	for name, want := range map[string]bool{
		"LD_PRELOAD": true, "LD_LIBRARY_PATH": true, "LD_AUDIT": true, "LD_": true,
		"BASH_ENV": true, "ENV": true, "SHELLOPTS": true, "BASHOPTS": true, "PS4": true, "IFS": true,
		"CDPATH": true, "GLOBIGNORE": true, "BASH_FUNC_ls%%": true, "PROMPT_COMMAND": true,
		"GIT_SSH_COMMAND": true, "GIT_CONFIG_COUNT": true, "GIT_CONFIG_KEY_0": true, "GIT_EXTERNAL_DIFF": true,
		"GIT_EXEC_PATH": true, "GIT_PAGER": true, "GIT_DIR": true, "GIT_TEMPLATE_DIR": true,
		"NODE_OPTIONS": true, "NODE_PATH": true, "npm_config_script_shell": true, "NPM_CONFIG_NODE_OPTIONS": true,
		"PYTHONPATH": true, "PYTHONSTARTUP": true, "PYTHONHOME": true, "PYTHONINSPECT": true, "PYTHONBREAKPOINT": true,
		"PERL5OPT": true, "PERL5LIB": true, "PERL5DB": true, "PERLLIB": true, "RUBYOPT": true, "RUBYLIB": true,
		"LUA_INIT": true, "LUA_INIT_5_4": true, "PHPRC": true, "CLASSPATH": true,
		"JAVA_TOOL_OPTIONS": true, "_JAVA_OPTIONS": true, "JDK_JAVA_OPTIONS": true, "DOTNET_STARTUP_HOOKS": true,
		"GCONV_PATH": true, "GLIBC_TUNABLES": true, "LOCPATH": true, "HOSTALIASES": true,
		"MAKEFLAGS": true, "RUSTC_WRAPPER": true, "GOFLAGS": true, "TAR_OPTIONS": true, "SSH_AUTH_SOCK": true,
		"OPENSSL_CONF": true, "SSLKEYLOGFILE": true, "LISTEN_FDS": true, "_LIBCONTAINER_INITPIPE": true,
		"": true, "A B": true, "A=B": true, "1A": true, "A-B": true, "A\n": true, "A\x00": true, "Ä": true,

		"PATH": false, "HOME": false, "LANG": false, "LC_ALL": false, "TERM": false, "TZ": false, "TMPDIR": false,
		"_": false, "a1": false, "GIT_AUTHOR_NAME": false, "GIT_COMMITTER_DATE": false, "NODE_ENV": false,
		"PYTHONUNBUFFERED": false, "PYTHONHASHSEED": false, "CARGO_TERM_COLOR": false, "LDFLAGS": false, "ENVIRONMENT": false,
	} {
		reason, forbidden := ForbiddenEnv(name)
		if forbidden != want || (reason != "") != want {
			t.Errorf("%q is forbidden: %v (%s), want %v", name, forbidden, reason, want)
		}
		for _, text := range []string{"environment.pass = [" + quoteTOML(name) + "]", "environment.set." + quoteTOML(name) + " = '/x'"} {
			if name == "PATH" {
				continue
			}
			if _, err := parsed(text); (err != nil) != want {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
	_, err := parsed("environment.pass = ['PATH']")
	mustFail(t, err, "PATH can't be passed")
}

func quoteTOML(s string) string {
	return `"` + strings.NewReplacer("\n", `\n`, "\x00", `\u0000`).Replace(s) + `"`
}

// TestForbiddenTable: every row says why, and no row is hidden by its exceptions.
func TestForbiddenTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range forbiddenEnv {
		if f.reason == "" || f.names == "" {
			t.Errorf("an empty row: %+v", f)
		}
		for _, n := range strings.Fields(f.names) {
			if seen[n] {
				t.Errorf("%s is there twice", n)
			}
			seen[n] = true
			if _, no := ForbiddenEnv(strings.ReplaceAll(n, "*", "X")); !no {
				t.Errorf("%s is excepted from its own row", n)
			}
		}
		for _, e := range f.except {
			if _, no := ForbiddenEnv(strings.ReplaceAll(e, "*", "X")); no {
				t.Errorf("the exception %s is of no use", e)
			}
		}
	}
}

func TestSearchPath(t *testing.T) {
	for value, ok := range map[string]bool{
		"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin": true,
		"/opt/tool/bin:/bin": true,
		"/tmpfiles/bin":      true,
		"":                   false,
		":":                  false,
		":/bin":              false,
		"/bin:":              false,
		"/bin::/usr/bin":     false,
		".":                  false,
		"/bin:.":             false,
		"bin":                false,
		"~/bin":              false,
		"/bin/..":            false,
		"/usr/../tmp":        false,
		"/./bin":             false,
		"/bin/":              false,
		"//bin":              false,
		"/workspace":         false,
		"/workspace/bin":     false,
		"/bin:/tmp":          false,
		"/tmp/x:/bin":        false,
		"/dev/shm":           false,
		"/dev/shm/x":         false,
	} {
		if err := CheckEnv("PATH", value); (err == nil) != ok {
			t.Errorf("PATH=%q: %v", value, err)
		}
		if _, err := parsed("environment.set.PATH = '" + value + "'"); (err == nil) != ok {
			t.Errorf("set PATH = %q: %v", value, err)
		}
	}
	if err := CheckEnv("A", "\x00"); err == nil {
		t.Error("a value with NUL passes")
	}
	if err := CheckEnv("A", ".:\n"); err != nil {
		t.Errorf("a value that is nobody's business: %v", err)
	}
}

func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		path         string
		read, rootfs bool // it may be named there
	}{
		{"/opt", true, true},
		{"/usr/share/dict", true, true},
		{"/etc/ssl/certs", true, true},
		{"/srv/a b", true, true},
		{"/etc/shadows", true, true},
		{"/procession", true, true},
		{"/run/clawsup-other", true, true},
		{"/home/user/data", true, true},
		{"/tmp/tree", false, true},
		{"/workspace", false, true},
		{"/workspace/x", false, true},
		{"/", false, false},
		{".", false, false},
		{"opt", false, false},
		{"./opt", false, false},
		{"~/x", false, false},
		{"/opt/", false, false},
		{"/opt//x", false, false},
		{"/opt/./x", false, false},
		{"/opt/..", false, false},
		{"/opt/../etc/shadow", false, false},
		{"//proc", false, false},
		{"/proc", false, false},
		{"/proc/1", false, false},
		{"/sys", false, false},
		{"/sys/fs/cgroup", false, false},
		{"/dev", false, false},
		{"/dev/sda", false, false},
		{"/dev/shm/x", false, false},
		{"/run/clawsup", false, false},
		{"/run/clawsup/call.sock", false, false},
		{"/run", false, false},
		{"/var/run", false, false},
		{"/var/run/clawsup", false, false},
		{"/var", false, false},
		{"/var/lib", false, false},
		{"/var/lib/clawsup/x", false, false},
		{"/etc", false, false},
		{"/etc/clawsup", false, false},
		{"/etc/shadow", false, false},
		{"/etc/shadow-", false, false},
		{"/etc/gshadow", false, false},
		{"/etc/ssh/ssh_host_ed25519_key", false, false},
		{"/etc/ssl", false, false},
		{"/etc/ssl/private/x.key", false, false},
		{"/root", false, false},
		{"/root/x", false, false},
		{"/home/user/.ssh", false, false},
		{"/home/user/.ssh/id_ed25519", false, false},
		{"/home/user/.aws/credentials", false, false},
		{"/run/docker.sock", false, false},
		{"/var/lib/docker/overlay2", false, false},
	} {
		if _, err := parsed("files.read = ['" + c.path + "']"); (err == nil) != c.read {
			t.Errorf("read %q: %v", c.path, err)
		}
		if _, err := parsed("files.rootfs = '" + c.path + "'"); (err == nil) != c.rootfs {
			t.Errorf("rootfs %q: %v", c.path, err)
		}
	}
	for _, list := range [][]place{hiddenPlaces, hiddenNames, boxPlaces} {
		for _, p := range list {
			if p.reason == "" {
				t.Errorf("%s has no reason", p.path)
			}
		}
	}
}
