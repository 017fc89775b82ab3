// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// place is a path that no box may show, and why.
type place struct{ path, reason string }

// hiddenPlaces may be neither shown nor reached through a directory above them.
var hiddenPlaces = []place{
	{"/proc", "the box has its own"},
	{"/sys", "it controls the kernel"},
	{"/dev", "the box has its own"},
	{"/boot", "the kernel's symbols and the initial ramdisk are there"},
	{"/run/clawsup", "the sockets of clawsup are there"},
	{"/var/lib/clawsup", "the state of clawsup is there"},
	{"/etc/clawsup", "the configuration of clawsup is there"},
	{"/var/run", "it is another name of /run"},
	{"/etc/shadow", "password hashes"},
	{"/etc/shadow-", "password hashes"},
	{"/etc/gshadow", "password hashes"},
	{"/etc/gshadow-", "password hashes"},
	{"/etc/sudoers", "who may become whom"},
	{"/etc/sudoers.d", "who may become whom"},
	{"/etc/security/opasswd", "old password hashes"},
	{"/etc/ssh", "the host's private keys"},
	{"/etc/ssl/private", "private keys"},
	{"/etc/pki/tls/private", "private keys"},
	{"/etc/letsencrypt", "private keys"},
	{"/etc/wireguard", "private keys"},
	{"/etc/ipsec.secrets", "private keys"},
	{"/etc/krb5.keytab", "the host's Kerberos keys"},
	{"/etc/kubernetes", "cluster keys"},
	{"/etc/NetworkManager/system-connections", "network passwords"},
	{"/etc/credstore", "credentials of services"},
	{"/etc/credstore.encrypted", "credentials of services"},
	{"/run/credentials", "credentials of services"},
	{"/run/secrets", "credentials of services"},
	{"/run/docker.sock", "whoever reaches it is root"},
	{"/run/containerd", "whoever reaches it is root"},
	{"/run/systemd", "control sockets of the host"},
	{"/run/dbus", "control sockets of the host"},
	{"/run/user", "control sockets and keys of people"},
	{"/var/lib/docker", "file systems and secrets of containers"},
	{"/var/lib/containerd", "file systems and secrets of containers"},
	{"/var/lib/kubelet", "secrets of pods"},
	{"/var/lib/systemd/credential.secret", "the key of all stored credentials"},
	{"/var/lib/sss", "cached password hashes"},
	{"/var/backups", "copies of password hashes"},
	{"/var/spool", "people's mail and scheduled jobs"},
	{"/var/log", "what the host's logs hold was never meant to be read by a tool"},
	{"/root", "keys and settings of the administrator"},
}

// hiddenNames are directories and files that hold keys wherever they are.
var hiddenNames = []place{
	{".ssh", "keys"},
	{".gnupg", "keys"},
	{".password-store", "passwords"},
	{".aws", "keys of a cloud account"},
	{".azure", "keys of a cloud account"},
	{".kube", "keys of a cluster"},
	{".docker", "passwords of registries"},
	{".netrc", "passwords of hosts"},
	{".git-credentials", "passwords of hosts"},
	{".openclaw", "keys and memory of the agent"},
	{".clawsup", "settings of clawsup"},
}

// boxPlaces are made by the box itself: a path of the host can't appear there.
var boxPlaces = []place{
	{"/tmp", "the box has its own, and on the host anybody writes there"},
	{"/workspace", "the box has its workspace there"},
}

// checkRead judges an entry of files.read.
func checkRead(p string) error {
	if err := checkPlace(p, hiddenPlaces); err != nil {
		return err
	}
	return checkPlace(p, boxPlaces)
}

// checkRootfs judges files.rootfs, in which empty means the host's own.
func checkRootfs(p string) error {
	if p == "" {
		return nil
	}
	return checkPlace(p, hiddenPlaces)
}

func checkPlace(p string, hidden []place) error {
	switch {
	case !path.IsAbs(p):
		return fmt.Errorf("%q is not an absolute path; write it from / on", clip(p))
	case slices.Contains(strings.Split(p, "/"), ".."):
		return fmt.Errorf("%q climbs with \"..\"; write where it leads", clip(p))
	case path.Clean(p) != p:
		return fmt.Errorf("%q is not in its shortest form; write %q", clip(p), clip(path.Clean(p)))
	case p == "/":
		return errors.New(`"/" is the whole host; name the directories that are needed`)
	}
	for _, h := range hidden {
		if below(p, h.path) {
			return fmt.Errorf("%q can't be shown: %s", clip(p), h.reason)
		}
		if below(h.path, p) {
			return fmt.Errorf("%q can't be shown, as %s is below it: %s; name the directories that are needed", clip(p), h.path, h.reason)
		}
	}
	for _, name := range strings.Split(p, "/") {
		for _, h := range hiddenNames {
			if name == h.path {
				return fmt.Errorf("%q can't be shown: %s holds %s", clip(p), h.path, h.reason)
			}
		}
	}
	return nil
}

// below reports whether p is dir or in it.
func below(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
