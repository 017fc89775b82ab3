// SPDX-License-Identifier: Apache-2.0
//
// clawsup-template: the process from which boxes for calls are cloned.
//
// clawsup starts one for each kind of box, as root, in a mount namespace whose
// root it has just built (package runtime/rootfs). The program pivots into that
// root and then does one thing: on order it clones a child into namespaces of
// its own. The child becomes PID 1 of a box, gives everything up and waits for
// the box's one call. Nothing of a stranger's ever runs in the template, it
// reads nothing but orders from clawsup, and it never waits for a child.
//
//	clawsup ── setup ──► template                 once
//	clawsup ── order, descriptors ──► template    for each box
//	        ◄── pid, pidfd ──
//	clawsup ◄── hello ── PID 1                     on the box's own socket
//	        ── call, descriptors ──►
//	        ◄── failed, or done ──
//
// Why this is C, and the only C here: a child that is cloned and not executed
// starts in some ten microseconds, and a Go program can't be cloned, since its
// runtime has threads. Everything that can be decided elsewhere is: this program
// has no policy, no format of a stranger's to parse, and no memory that it
// allocates by hand.
//
// A box takes shape in this order.
//
//	template  clone3: pid, mount, net, ipc, uts, time namespaces
//	PID 1     joins its control group, then a cgroup namespace of its own
//	          brings up lo, mounts /proc with its masks, /tmp and the like
//	          makes the pipes that will be the tool's streams
//	          clones the stage into a user namespace, writes its maps
//	          enters that user namespace, keeps CAP_KILL and nothing else
//	stage     becomes the tool's user: no capability in any set
//	          limits, no_new_privs, Landlock, seccomp; waits for the call
//	          execs
//
// So all namespaces but the user namespace, and all mounts, belong to the
// initial user namespace: whatever a process of the box may ever gain in its
// own, it has no say over any of them (user_namespaces(7)).
//
// Read on in this order: this file, init.c (PID 1 makes its box), stage.c, call.c
// (PID 1 and the one call), stream.c (PID 1 and the streams); order.c, message.c
// and system.c are what they stand on.
//
// What a box shares with its template, and so with the boxes beside it: the
// read-only mounts, and the addresses at which this program lies. PID 1 has no
// bytes from the tool in its memory, it only has them moved between descriptors
// by the kernel, or copies them without looking; and the exec of the tool gives
// that addresses of its own.

#define _GNU_SOURCE
#include "box.h"

// What a template's children need until they have their own user namespace.
static const uint64_t privileges =
	1ULL << CAP_SYS_ADMIN | 1ULL << CAP_SETUID | 1ULL << CAP_SETGID | 1ULL << CAP_SETPCAP | 1ULL << CAP_KILL |
	1ULL << CAP_NET_ADMIN | 1ULL << CAP_SYS_PTRACE | 1ULL << CAP_SYS_RESOURCE | 1ULL << CAP_SYS_CHROOT;

// ordinary takes off what whoever started clawsup had: a raised priority, a
// scheduling class, personality, signals that are blocked or ignored, limits
// that would let a tool raise its class again. A positive nice value stays.
static bool ordinary(void)
{
	errno = 0;
	if (getpriority(PRIO_PROCESS, 0) < 0 && errno == 0 && setpriority(PRIO_PROCESS, 0, 0) < 0)
		return false;
	struct sched_param param = {0};
	if (sched_setscheduler(0, SCHED_OTHER, &param) < 0 || syscall(SYS_ioprio_set, 1, 0, 0) < 0 || personality(PER_LINUX) < 0)
		return false;
	sigset_t none;
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		return false;
	// The kernel's own call: the C library keeps two signals to itself, and
	// whoever started clawsup may have ignored those too. SIG_DFL is all zeros.
	static const char plain[64];
	for (int s = 1; s <= 64; s++)
		syscall(SYS_rt_sigaction, s, plain, NULL, 8); // two can't be; they are never ignored
	// Who starts boxes doesn't wait for them: their sockets and pidfds tell.
	struct sigaction unwaited = {.sa_handler = SIG_IGN, .sa_flags = SA_NOCLDWAIT};
	struct rlimit nothing = {0, 0};
	return sigaction(SIGCHLD, &unwaited, NULL) == 0 && setrlimit(RLIMIT_NICE, &nothing) == 0 &&
	       setrlimit(RLIMIT_RTPRIO, &nothing) == 0;
}

// settle makes the directory that it was started in the root of all.
static bool settle(void)
{
	int null;
	return setsid() >= 0 && syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 && chdir("/") == 0 &&
	       access(setup.empty, F_OK) == 0 &&
	       (null = open("/dev/null", O_RDWR | O_CLOEXEC)) >= 0 && dup2(null, 0) >= 0 && dup2(null, 1) >= 0 &&
	       dup2(null, 2) >= 0 && close(null) == 0 && unshare(CLONE_NEWUTS) == 0 &&
	       sethostname(setup.hostname, strlen(setup.hostname)) == 0 && setgroups(0, NULL) == 0 && (umask(022), ordinary()) &&
	       // A service may lack the right to do this, and then has it done already.
	       (!(permitted() >> CAP_SETPCAP & 1) || bound(privileges)) && set_capabilities(privileges & permitted()) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
}

// answer gives the host a number, and a descriptor with it unless that is -1.
static void answer(int64_t n, int fd)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec v = {&n, sizeof n};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof fd);
	}
	while (sendmsg(CONTROL_FD, &m, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

int main(void)
{
	int fds[MAX_FDS], count;
	ssize_t n = receive(CONTROL_FD, setup.bytes, sizeof setup.bytes, fds, &count);
	if (n <= 0)
		return 1;
	if (count > 0 || !read_setup(n)) {
		answer(-EPROTO, -1);
		return 1;
	}
	if (!settle() || fcntl(CONTROL_FD, F_SETFD, FD_CLOEXEC) < 0) {
		answer(errno ? -errno : -EIO, -1);
		return 1;
	}
	keep((int[]){CONTROL_FD}, 1);
	answer(getpid(), -1);
	uint64_t namespaces = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
	if (setup.flags & SET_TIME_NAMESPACE)
		namespaces |= CLONE_NEWTIME;
	for (;;) {
		n = receive(CONTROL_FD, order.bytes, sizeof order.bytes, fds, &count);
		if (n <= 0)
			return 0; // clawsup needs no more boxes of this kind
		int pidfd = -1;
		int64_t pid = -EPROTO;
		if (read_order(n, fds, count)) {
			pid = clone_into(namespaces, &pidfd, order.flags & ORDER_UNIFIED ? order.groups[0] : -1);
			if (pid == 0) {
				close(CONTROL_FD);
				init();
			}
			if (pid < 0)
				pid = -errno;
		}
		answer(pid, pid > 0 ? pidfd : -1);
		for (int i = 0; i < count; i++)
			close(fds[i]);
		if (pid > 0)
			close(pidfd);
		// Of this box the next ones know nothing.
		memset(order.bytes, 0, n);
	}
}
