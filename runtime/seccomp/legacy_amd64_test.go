// SPDX-License-Identifier: Apache-2.0

package seccomp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// legacyAttempts are made by calls that only x86-64 has.
func legacyAttempts() []try {
	file := cstring(canaryFile)
	return []try{
		fileTry("chmod 04755", unix.EPERM, false, unix.SYS_CHMOD, file, 0o4755),
		fileTry("chmod 02644", unix.EPERM, false, unix.SYS_CHMOD, file, 0o2644),
		fileTry("open O_CREAT 06755", unix.EPERM, true, unix.SYS_OPEN, file, unix.O_CREAT|unix.O_RDWR, 0o6755),
		fileTry("open O_CREAT with a high bit", unix.EPERM, true, unix.SYS_OPEN, file, 1<<32|unix.O_CREAT|unix.O_RDWR, 1<<33|0o6755),
		fileTry("creat 04755", unix.EPERM, true, unix.SYS_CREAT, file, 0o4755),
		fileTry("mknod character device", unix.EPERM, true, unix.SYS_MKNOD, file, unix.S_IFCHR|0o600, 0x0103),
		fileTry("mknod set-user-id", unix.EPERM, true, unix.SYS_MKNOD, file, 0o4755, 0),
		{name: "open of what exists, with a mode in the register", before: mustWrite, do: func() unix.Errno {
			return call(unix.SYS_OPEN, file, unix.O_RDONLY, 0o6755)
		}},
	}
}

// kills are calls of other architectures, which end the process.
var kills = map[string]func(){
	"int 0x80": int80,
	"x32":      func() { unix.RawSyscall(firstX32+unix.SYS_GETPID, 0, 0, 0) },
}

// int80 asks for getpid as an i386 program does.
func int80() {
	code, err := unix.Mmap(-1, 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		fatal(err)
	}
	copy(code, []byte{
		0xb8, 20, 0, 0, 0, // mov $20, %eax
		0xcd, 0x80, // int $0x80
		0xc3, // ret
	})
	// A function value points to a record that starts with the code's address.
	record := unsafe.Pointer(&code[0])
	pointer := unsafe.Pointer(&record)
	(*(*func())(unsafe.Pointer(&pointer)))()
}
