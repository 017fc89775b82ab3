// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/clawsup/clawsup/runtime/wire"
)

// etcFiles are the host's configuration files that a box sees, each because
// programs fail or misbehave without it. They hold nothing private; what
// does, or might, is not on the list. A pattern is matched by filepath.Glob.
var etcFiles = []struct{ pattern, why string }{
	{"/etc/alternatives", "Debian's links to awk, java, python and the like"},
	{"/etc/ld.so.cache", "the dynamic loader's index"},
	{"/etc/ld.so.conf", "read by ldconfig -p and some build systems"},
	{"/etc/ld.so.conf.d", "included from ld.so.conf"},
	{"/etc/ssl/certs", "public certificates, read when a TLS library is loaded"},
	{"/etc/ssl/openssl.cnf", "read by OpenSSL at start"},
	{"/etc/ca-certificates", "where Fedora's certificates come from"},
	{"/etc/pki/tls/certs", "public certificates on Fedora"},
	{"/etc/localtime", "time zone"},
	{"/etc/timezone", "time zone, by name"},
	{"/etc/mime.types", "file types"},
	{"/etc/magic", "file(1)"},
	{"/etc/fonts", "fontconfig"},
	{"/etc/ImageMagick-*", "its policy, without which it refuses"},
	{"/etc/python*", "sitecustomize of Debian's Python"},
	{"/etc/perl", "perl's local modules"},
	{"/etc/java-*", "the JVM's configuration"},
	{"/etc/ghostscript", "font map"},
	{"/etc/texmf", "TeX"},
	{"/etc/pandoc", "defaults"},
	{"/etc/terminfo", "terminal descriptions"},
	{"/etc/os-release", "which distribution this is"},
	{"/etc/debian_version", "which release"},
}

// generated are the files that a box has of its own.
func (t *Tree) generated() (map[string]string, error) {
	files := map[string]string{
		"/etc/passwd": "root:x:0:0:root:/:/usr/sbin/nologin\n" +
			fmt.Sprintf("tool:x:%d:%d:tool:%s:/bin/sh\n", wire.ToolUID, wire.ToolGID, TmpDir) +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group": "root:x:0:\n" +
			fmt.Sprintf("tool:x:%d:\n", wire.ToolGID) +
			"nogroup:x:65534:\n",
		"/etc/hosts":         "127.0.0.1 localhost " + t.Hostname + "\n::1 localhost\n",
		"/etc/hostname":      t.Hostname + "\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
		"/etc/resolv.conf":   "# this box has no resolver\n",
		"/etc/host.conf":     "multi on\n",
		"/etc/services":      services,
		"/etc/protocols":     "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\n",
		"/etc/shells":        "/bin/sh\n/bin/bash\n",
	}
	if t.Resolver.IsValid() {
		files["/etc/resolv.conf"] = fmt.Sprintf("nameserver %v\n%s", t.Resolver, resolverOptions)
	}
	if !t.HostNetwork && !t.Resolver.IsValid() {
		return files, nil
	}
	files["/etc/nsswitch.conf"] = strings.Replace(files["/etc/nsswitch.conf"], "hosts: files", "hosts: files dns", 1)
	if !t.HostNetwork {
		return files, nil
	}
	for _, file := range []string{"/etc/hosts", "/etc/resolv.conf"} {
		content, err := os.ReadFile(file) // a link, most often, into a directory that no box shows
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, &Error{file, err}
		}
		files[file] = string(content[:min(len(content), copyLimit)])
	}
	return files, nil
}

// resolverOptions are those of resolv.conf(5) for a resolver on the same
// machine: it knows no IPv6, which needn't be asked for then, and while it is
// silent, since it is being started, it is worth asking again soon.
const resolverOptions = "options no-aaaa timeout:2 attempts:4\n"

// services holds the names that getservbyname(3) is asked for most.
const services = "ftp 21/tcp\nssh 22/tcp\nsmtp 25/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nhttps 443/tcp\n"

// etc fills /etc of a box that shows the host's system directories. A given
// rootfs brings its own.
func (b *builder) etc() error {
	if b.tree.Rootfs != "" {
		return nil
	}
	if err := b.mkdir("/etc"); err != nil {
		return err
	}
	for _, e := range etcFiles {
		matches, err := filepath.Glob(e.pattern)
		if err != nil {
			return &Error{e.pattern, err}
		}
		for _, file := range matches {
			if err := b.showFile(file); err != nil {
				return err
			}
		}
	}
	files, err := b.tree.generated()
	if err != nil {
		return err
	}
	for file, content := range files {
		if err := write(b.at(file), []byte(content)); err != nil {
			return &Error{file, err}
		}
	}
	return nil
}

// write makes a file of the root. A process that is started meanwhile, for
// another box, has a copy of the descriptor until its exec, and a root that
// somebody writes to can't be made read-only: so none is started meanwhile.
func write(file string, content []byte) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(file, content, 0o644)
}

// showFile shows one file or directory of the host: small regular files as
// copies, which are cheaper than mounts, links as links.
func (b *builder) showFile(file string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return &Error{file, err}
	}
	if err := b.mkdir(filepath.Dir(file)); err != nil {
		return err
	}
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		return b.copyLink(file, file)
	case info.Mode().Perm()&0o004 == 0:
		return nil // what the host shows to its users alone is none of the box's business
	case info.Mode().IsRegular() && info.Size() <= copyLimit:
		content, err := os.ReadFile(file)
		if err == nil {
			err = write(b.at(file), content)
		}
		if err != nil {
			return &Error{file, err}
		}
		return nil
	}
	return b.bind(Bind{Source: file, Target: file, Recurse: true})
}

// copyLimit bounds, in bytes, what is copied instead of mounted; all copies
// together fit the root's tmpfs.
const copyLimit = 16 << 10
