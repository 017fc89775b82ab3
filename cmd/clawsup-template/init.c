// SPDX-License-Identifier: Apache-2.0
//
// PID 1: making the box, from the first instruction on.

#define _GNU_SOURCE
#include "box.h"

static void bring_up_loopback(int host)
{
	struct ifreq r = {.ifr_name = "lo"};
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0 || ioctl(s, SIOCGIFFLAGS, &r) < 0)
		fail(host, STEP_CONTAINER, FAULT_ERRNO, "loopback");
	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	if (ioctl(s, SIOCSIFFLAGS, &r) < 0)
		fail(host, STEP_CONTAINER, FAULT_ERRNO, "loopback");
	close(s);
}

// hide covers names of the working directory. What a module has taken away since
// the list was made needs no cover; that the covers are there, settle has seen.
static void hide(int host, const char **names, int count, const char *cover)
{
	for (int i = 0; i < count; i++)
		if (mount(cover, names[i], NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
			fail(host, STEP_MOUNT, FAULT_ERRNO, names[i]);
}

// mount_proc shows the box's own processes, and hides what isn't for it.
static void mount_proc(int host)
{
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	if (mount("proc", "/proc", "proc", flags, setup.proc) < 0 || chdir("/proc") < 0)
		fail(host, STEP_MOUNT, FAULT_ERRNO, "/proc");
	hide(host, setup.masked, setup.masked_count, "/dev/null");
	hide(host, setup.emptied, setup.emptied_count, setup.empty);
	for (int i = 0; i < setup.readonly_count; i++)
		if (mount(setup.readonly[i], setup.readonly[i], NULL, MS_BIND, NULL) < 0 ||
		    mount(NULL, setup.readonly[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | flags, NULL) < 0)
			fail(host, STEP_MOUNT, FAULT_ERRNO, setup.readonly[i]);
	if (chdir("/") < 0)
		fail(host, STEP_MOUNT, FAULT_ERRNO, "/");
}

// map_tree has the owner's files in a detached mount be the tool's. A mapping is
// a user namespace, and that needs a process to be born in (mount_setattr(2)).
static bool map_tree(const struct place *p)
{
	pid_t pid = clone_into(CLONE_NEWUSER, NULL, -1);
	if (pid < 0)
		return false;
	if (pid == 0)
		for (;;)
			pause();
	char uids[64], gids[64], path[64];
	snprintf(uids, sizeof uids, "%llu %llu 1\n", (unsigned long long)p->uid, (unsigned long long)order.uid);
	snprintf(gids, sizeof gids, "%llu %llu 1\n", (unsigned long long)p->gid, (unsigned long long)order.gid);
	snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
	int ns = -1;
	bool done = write_maps(pid, uids, gids) && (ns = open(path, O_RDONLY | O_CLOEXEC)) >= 0;
	if (done) {
		struct mount_attr a = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = ns};
		done = syscall(SYS_mount_setattr, p->tree, "", AT_EMPTY_PATH, &a, sizeof a) == 0;
	}
	int saved = errno;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (ns >= 0)
		close(ns);
	errno = saved;
	return done;
}

// open_place opens where a mount goes, as the box's programs would find it, but
// for links that a tool may have planted.
static int open_place(const struct place *p)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	if (p->flags & PLACE_LOOSE)
		how.resolve |= RESOLVE_NO_SYMLINKS;
	return syscall(SYS_openat2, AT_FDCWD, p->target, &how, sizeof how);
}

static void mount_places(int host)
{
	for (int i = 0; i < order.place_count; i++) {
		struct place *p = &order.places[i];
		// Only within a place that this box made in memory itself.
		if (p->kind == PLACE_DIRECTORY) {
			if (mkdir(p->target, 0755) < 0 && errno != EEXIST)
				fail(host, STEP_MOUNT, FAULT_ERRNO, p->target);
			continue;
		}
		int at = open_place(p);
		if (at < 0)
			fail(host, STEP_MOUNT, FAULT_ERRNO, p->target);
		char path[32];
		snprintf(path, sizeof path, "/proc/self/fd/%d", at); // mount(2) takes no descriptor
		bool done = p->kind == PLACE_TMPFS
				    ? mount("tmpfs", path, "tmpfs", p->mount, p->options) == 0
				    : (!(p->flags & PLACE_MAPPED) || map_tree(p)) &&
					      syscall(SYS_move_mount, p->tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) == 0;
		if (!done)
			fail(host, STEP_MOUNT, FAULT_ERRNO, p->target);
		close(at);
	}
}

// make_pipes makes the tool's streams with the tool's file system ids: /dev/stderr
// leads to the pipe's inode, which only its owner may open again.
static void make_pipes(int host, int theirs[3])
{
	setfsgid(order.gid);
	setfsuid(order.uid);
	for (int i = 0; i < 3; i++) {
		int p[2];
		if (pipe2(p, O_CLOEXEC) < 0)
			fail(host, STEP_INIT, FAULT_ERRNO, "pipe");
		theirs[i] = p[i > 0];
		box.pipes[i] = p[i == 0];
		// The tool can open the pipe anew and take what this process had seen
		// coming: it must never wait for it.
		fcntl(box.pipes[i], F_SETFL, O_NONBLOCK);
	}
	setfsuid(0);
	setfsgid(0);
}

// init is PID 1 of a box, from its first instruction on.
_Noreturn void init(void)
{
	int host = box.host = order.socket;
	if (setsid() < 0)
		fail(host, STEP_INIT, FAULT_ERRNO, "setsid");
	for (int i = order.flags & ORDER_UNIFIED ? 1 : 0; i < order.group_count; i++)
		if (write(order.groups[i], "0", 1) != 1)
			fail(host, STEP_CGROUP, FAULT_ERRNO, "join");
	if (setup.flags & SET_CGROUP_NAMESPACE && unshare(CLONE_NEWCGROUP) < 0)
		fail(host, STEP_CONTAINER, FAULT_ERRNO, "cgroup namespace");
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		fail(host, STEP_CONTAINER, FAULT_ERRNO, "session keyring");
	bring_up_loopback(host);
	mount_proc(host);
	mount_places(host);

	int theirs[3], pair[2], pidfd;
	make_pipes(host, theirs);
	box.shared = mmap(NULL, sizeof *box.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (box.shared == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		fail(host, STEP_INIT, FAULT_ERRNO, "stage");
	sigset_t children;
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	struct sigaction plain = {.sa_handler = SIG_DFL}; // the template ignores it
	if (sigaction(SIGCHLD, &plain, NULL) < 0 || sigprocmask(SIG_BLOCK, &children, NULL) < 0 ||
	    (box.children = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
		fail(host, STEP_INIT, FAULT_ERRNO, "signals");
	box.stage = clone_into(CLONE_NEWUSER, &pidfd, -1);
	if (box.stage < 0)
		fail(host, STEP_CONTAINER, FAULT_ERRNO, "user namespace");
	if (box.stage == 0) {
		for (int i = 0; i < 3; i++)
			if (dup3(theirs[i], i, 0) < 0)
				_exit(1);
		int last[] = {host, pair[1]};
		keep(last, 2);
		stage(host, pair[1], box.shared);
	}
	char uids[128], gids[128];
	snprintf(uids, sizeof uids, "0 %llu 1\n%d %llu 1\n", (unsigned long long)order.root, TOOL_ID, (unsigned long long)order.uid);
	snprintf(gids, sizeof gids, "0 %llu 1\n%d %llu 1\n", (unsigned long long)order.root, TOOL_ID, (unsigned long long)order.gid);
	if (!write_maps(box.stage, uids, gids))
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "id maps");
	if (setns(pidfd, CLONE_NEWUSER) < 0)
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "enter the user namespace");
	box.stage_socket = pair[0];
	int fds[] = {host, box.stage_socket, box.children, box.pipes[0], box.pipes[1], box.pipes[2]};
	keep(fds, 6);
	if (!bound(0) || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || !set_capabilities(1ULL << CAP_KILL) ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "give up capabilities");

	if (write(box.stage_socket, "", 1) != 1)
		fail(host, STEP_INIT, FAULT_SILENT, "");
	await_call();
}
