// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

const (
	native    = libseccomp.ArchAMD64
	auditArch = unix.AUDIT_ARCH_X86_64
	hasX86    = true
)
