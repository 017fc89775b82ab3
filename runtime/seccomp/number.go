// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"fmt"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// x86Only are the calls of the table that arm64 never had: it started after
// calls with more arguments had taken their place, or they are about x86.
var x86Only = map[string]bool{
	"open": true, "creat": true, "stat": true, "lstat": true, "access": true, "readlink": true,
	"link": true, "symlink": true, "unlink": true, "rename": true, "mkdir": true, "rmdir": true,
	"mknod": true, "chmod": true, "chown": true, "lchown": true, "utime": true, "utimes": true,
	"futimesat": true, "getdents": true, "dup2": true, "pipe": true, "poll": true, "select": true,
	"epoll_create": true, "epoll_wait": true, "eventfd": true, "signalfd": true, "inotify_init": true,
	"fork": true, "vfork": true, "getpgrp": true, "pause": true, "alarm": true, "time": true,
	"arch_prctl": true, "iopl": true, "ioperm": true, "modify_ldt": true,
}

// recent are calls that Linux gained after the oldest libseccomp we build with
// (2.5.4) was made, which therefore doesn't know their names. From 424 on a
// call has one number on every architecture.
var recent = map[string]int{
	"cachestat":         unix.SYS_CACHESTAT,
	"fchmodat2":         unix.SYS_FCHMODAT2,
	"map_shadow_stack":  unix.SYS_MAP_SHADOW_STACK,
	"futex_wake":        unix.SYS_FUTEX_WAKE,
	"futex_wait":        unix.SYS_FUTEX_WAIT,
	"futex_requeue":     unix.SYS_FUTEX_REQUEUE,
	"statmount":         unix.SYS_STATMOUNT,
	"listmount":         unix.SYS_LISTMOUNT,
	"lsm_get_self_attr": unix.SYS_LSM_GET_SELF_ATTR,
	"lsm_set_self_attr": unix.SYS_LSM_SET_SELF_ATTR,
	"lsm_list_modules":  unix.SYS_LSM_LIST_MODULES,
	"mseal":             unix.SYS_MSEAL,
	"setxattrat":        unix.SYS_SETXATTRAT,
	"getxattrat":        unix.SYS_GETXATTRAT,
	"listxattrat":       unix.SYS_LISTXATTRAT,
	"removexattrat":     unix.SYS_REMOVEXATTRAT,
	"open_tree_attr":    unix.SYS_OPEN_TREE_ATTR,
	"file_getattr":      unix.SYS_FILE_GETATTR,
	"file_setattr":      unix.SYS_FILE_SETATTR,
	"listns":            unix.SYS_LISTNS,
	"rseq_slice_yield":  unix.SYS_RSEQ_SLICE_YIELD,

	"set_mempolicy_home_node": unix.SYS_SET_MEMPOLICY_HOME_NODE,
}

// newest is the highest number the table speaks of. Above it lies what this
// table can't know.
const newest = unix.SYS_RSEQ_SLICE_YIELD

// number resolves a call of the table. ok is false if arch knowingly lacks it.
func number(call string, arch libseccomp.ScmpArch) (nr int, ok bool, err error) {
	if n, found := recent[call]; found {
		return n, true, nil
	}
	sc, err := libseccomp.GetSyscallFromNameByArch(call, arch)
	switch lacking := arch != libseccomp.ArchAMD64 && x86Only[call]; {
	case err != nil:
		return 0, false, fmt.Errorf("system call %s: %w", call, err)
	case sc >= 0 && !lacking:
		return int(sc), true, nil
	case sc < 0 && lacking:
		return 0, false, nil
	default:
		return 0, false, fmt.Errorf("system call %s: number %d on %s is not what the table expects", call, sc, arch)
	}
}
