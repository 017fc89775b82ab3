// SPDX-License-Identifier: Apache-2.0
//
// System calls that several need, each in one place.

#define _GNU_SOURCE
#include "box.h"

long clone_into(uint64_t flags, int *pidfd, int group)
{
	struct clone_args a = {.flags = flags | (pidfd ? CLONE_PIDFD : 0), .exit_signal = SIGCHLD};
	if (pidfd)
		a.pidfd = (uintptr_t)pidfd;
	if (group >= 0) {
		a.flags |= CLONE_INTO_CGROUP;
		a.cgroup = group;
	}
	return syscall(SYS_clone3, &a, sizeof a);
}

bool set_capabilities(uint64_t set)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {
		{.effective = set, .permitted = set},
		{.effective = set >> 32, .permitted = set >> 32},
	};
	return syscall(SYS_capset, &h, d) == 0;
}

// permitted are those that this process could use.
uint64_t permitted(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{0}};
	syscall(SYS_capget, &h, d);
	return d[0].permitted | (uint64_t)d[1].permitted << 32;
}

// bound drops all capabilities but those of keep from the bounding set. The
// first number that the kernel doesn't know ends it (capabilities(7)).
bool bound(uint64_t keep)
{
	for (int c = 0; c < 64; c++)
		if (!(keep >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return errno == EINVAL && c > CAP_SETPCAP;
	return true;
}

bool write_file(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = write(fd, what, strlen(what));
	int saved = errno;
	close(fd);
	errno = saved;
	return n == (ssize_t)strlen(what);
}

uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// fail tells the host what went wrong in a box, and ends the process. In the
// stage the socket is that to PID 1, which passes the letter on.
_Noreturn void fail(int fd, int step, int fault, const char *what)
{
	int error = errno;
	struct letter l = {.length = 0};
	put(&l, EVENT_FAILED);
	put(&l, step);
	put(&l, fault);
	put(&l, error);
	put_text(&l, what);
	tell(fd, &l);
	_exit(1);
}

// write_maps maps one id, or two, of a process's new user namespace.
bool write_maps(pid_t pid, const char *uids, const char *gids)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
	if (!write_file(path, uids))
		return false;
	snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
	return write_file(path, gids);
}

static int by_number(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

// keep closes every descriptor but the standard ones and those of a list, which
// it sorts.
void keep(int *fds, int count)
{
	qsort(fds, count, sizeof *fds, by_number);
	unsigned from = 3;
	for (int i = 0; i < count; i++) {
		if ((unsigned)fds[i] > from)
			syscall(SYS_close_range, from, fds[i] - 1, 0);
		from = fds[i] + 1;
	}
	syscall(SYS_close_range, from, ~0U, 0);
}
