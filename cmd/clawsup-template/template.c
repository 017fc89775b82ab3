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
// runtime has threads. Everything that can be decided elsewhere is: this file
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
// What a box shares with its template, and so with the boxes beside it: the
// read-only mounts, and the addresses at which this program lies. PID 1 has no
// bytes from the tool in its memory, it only has them moved between descriptors
// by the kernel, or copies them without looking; and the exec of the tool gives
// that addresses of its own.

#define _GNU_SOURCE
#include "template.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TOOL_ID = 1000 }; // uid and gid of the tool in the box; PID 1 is 0

// ---- messages ----

// cursor reads a message. After the first thing that isn't there it gives
// zeros, and bad is set: who reads looks at it once, at the end.
struct cursor {
	const char *at, *end;
	bool bad;
};

static uint64_t number(struct cursor *c)
{
	uint64_t n = 0;
	if (c->end - c->at < 8) {
		c->bad = true;
		return 0;
	}
	memcpy(&n, c->at, 8);
	c->at += 8;
	return n;
}

static const char *text(struct cursor *c, size_t *length)
{
	uint64_t n = number(c);
	if (c->bad || n >= (uint64_t)(c->end - c->at) || c->at[n] != 0) {
		c->bad = true;
		n = 0;
	}
	const char *s = c->bad ? "" : c->at;
	if (!c->bad)
		c->at += n + 1;
	if (length)
		*length = n;
	return s;
}

// letter is a message that is written.
struct letter {
	char bytes[1024];
	size_t length;
};

static void put(struct letter *l, uint64_t n)
{
	if (l->length + 8 <= sizeof l->bytes) {
		memcpy(l->bytes + l->length, &n, 8);
		l->length += 8;
	}
}

static void put_text(struct letter *l, const char *s)
{
	size_t n = strnlen(s, 512);
	if (l->length + 8 + n + 1 > sizeof l->bytes)
		return;
	put(l, n);
	memcpy(l->bytes + l->length, s, n);
	l->bytes[l->length + n] = 0;
	l->length += n + 1;
}

// receive reads bytes and descriptors, close-on-exec. It gives -1 and errno,
// also when there were more descriptors than room.
static ssize_t receive(int fd, void *bytes, size_t room, int *fds, int *count)
{
	union {
		char space[CMSG_SPACE(MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec v = {bytes, room};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	ssize_t n;
	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	*count = 0;
	if (n < 0)
		return -1;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		int got = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (int i = 0; i < got && *count < MAX_FDS; i++)
			memcpy(&fds[(*count)++], CMSG_DATA(h) + i * sizeof(int), sizeof(int));
	}
	if (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		errno = EMSGSIZE;
		return -1;
	}
	return n;
}

// full reads all of it or gives false.
static bool full(int fd, void *bytes, size_t length)
{
	char *at = bytes;
	while (length > 0) {
		ssize_t n = read(fd, at, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		length -= n;
	}
	return true;
}

// tell sends a letter on a box's socket, framed as package wire does it. It is a
// write(2), which every filter allows; SIGPIPE doesn't reach PID 1.
static void tell(int fd, const struct letter *l)
{
	char frame[4 + sizeof l->bytes];
	uint32_t n = l->length;
	frame[0] = n >> 24, frame[1] = n >> 16, frame[2] = n >> 8, frame[3] = n;
	memcpy(frame + 4, l->bytes, n);
	const char *at = frame;
	size_t left = n + 4;
	while (left > 0) {
		ssize_t put = write(fd, at, left);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return; // the host is gone, and who waits for it finds out
		at += put;
		left -= put;
	}
}

// ---- what a template knows ----

struct rule {
	uint64_t access;
	const char *path;
};

struct limit {
	int resource;
	uint64_t value;
};

enum { MAX_RULES = 512, MAX_LIMITS = 16, MAX_PROC = 256 };

static struct {
	char bytes[MAX_SETUP]; // the message, to which the rest points
	uint64_t flags;
	const char *hostname;
	const char *proc; // options of /proc
	uint64_t landlock_fs, landlock_net, landlock_scoped, landlock_file;
	struct limit limits[MAX_LIMITS];
	int limit_count;
	struct rule rules[MAX_RULES];
	int rule_count;
	const char *masked[MAX_PROC]; // files in /proc
	int masked_count;
	const char *emptied[MAX_PROC]; // directories in /proc
	int emptied_count;
	const char *readonly[MAX_PROC];
	int readonly_count;
	const char *measured[MAX_MEASURED]; // mount points
	int measured_count;
	const char *empty; // a directory with nothing in it
	struct sock_fprog filter;
} setup;

static bool read_setup(size_t length)
{
	struct cursor c = {setup.bytes, setup.bytes + length, false};
	if (number(&c) != PROTOCOL)
		return false;
	setup.flags = number(&c);
	setup.hostname = text(&c, NULL);
	setup.proc = text(&c, NULL);
	setup.empty = text(&c, NULL);
	setup.landlock_fs = number(&c);
	setup.landlock_net = number(&c);
	setup.landlock_scoped = number(&c);
	setup.landlock_file = number(&c);
#define LIST(count, most, body)                                     \
	do {                                                        \
		uint64_t n = number(&c);                            \
		if (n > (most))                                     \
			return false;                               \
		for ((count) = 0; (uint64_t)(count) < n; (count)++) \
			body;                                       \
	} while (0)
	LIST(setup.limit_count, MAX_LIMITS, {
		setup.limits[setup.limit_count].resource = number(&c);
		setup.limits[setup.limit_count].value = number(&c);
	});
	LIST(setup.rule_count, MAX_RULES, {
		setup.rules[setup.rule_count].access = number(&c);
		setup.rules[setup.rule_count].path = text(&c, NULL);
	});
	LIST(setup.masked_count, MAX_PROC, setup.masked[setup.masked_count] = text(&c, NULL));
	LIST(setup.emptied_count, MAX_PROC, setup.emptied[setup.emptied_count] = text(&c, NULL));
	LIST(setup.readonly_count, MAX_PROC, setup.readonly[setup.readonly_count] = text(&c, NULL));
	LIST(setup.measured_count, MAX_MEASURED, setup.measured[setup.measured_count] = text(&c, NULL));
	size_t bytes;
	const char *filter = text(&c, &bytes);
	if (c.bad || c.at != c.end || bytes % sizeof(struct sock_filter) || bytes / sizeof(struct sock_filter) > BPF_MAXINSNS)
		return false;
	static struct sock_filter program[BPF_MAXINSNS]; // aligned, which the message is not
	memcpy(program, filter, bytes);
	setup.filter = (struct sock_fprog){bytes / sizeof(struct sock_filter), program};
	return true;
}

// place is one mount that belongs to one box.
struct place {
	int kind;
	uint64_t flags;
	const char *target;
	const char *options;  // of a tmpfs
	unsigned long mount;  // flags of mount(2), of a tmpfs
	int tree;             // descriptor of a detached mount
	uint64_t uid, gid;    // owner on the host of a mapped tree
};

static struct {
	char bytes[MAX_SETUP];
	uint64_t flags;
	uint64_t root, uid, gid; // on the host: of the box's 0, and of the tool
	int socket;
	int groups[MAX_FDS];
	int group_count;
	struct place places[MAX_MOUNTS];
	int place_count;
} order;

static bool read_order(size_t length, const int *fds, int count)
{
	struct cursor c = {order.bytes, order.bytes + length, false};
	int used = 0;
	order.flags = number(&c);
	order.root = number(&c);
	order.uid = number(&c);
	order.gid = number(&c);
	if (count < 1)
		return false;
	order.socket = fds[used++];
	LIST(order.group_count, MAX_FDS, {
		if (used >= count)
			return false;
		order.groups[order.group_count] = fds[used++];
	});
	LIST(order.place_count, MAX_MOUNTS, {
		struct place *p = &order.places[order.place_count];
		p->kind = number(&c);
		p->flags = number(&c);
		p->target = text(&c, NULL);
		p->options = text(&c, NULL);
		p->mount = number(&c);
		p->uid = number(&c);
		p->gid = number(&c);
		p->tree = -1;
		if (p->kind == PLACE_TREE) {
			if (used >= count)
				return false;
			p->tree = fds[used++];
		}
	});
	if (order.flags & ORDER_UNIFIED && order.group_count < 1)
		return false;
	return !c.bad && c.at == c.end && used == count && order.root && order.uid && order.gid;
}

// ---- small calls ----

static long clone_into(uint64_t flags, int *pidfd, int group)
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

static bool set_capabilities(uint64_t set)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {
		{.effective = set, .permitted = set},
		{.effective = set >> 32, .permitted = set >> 32},
	};
	return syscall(SYS_capset, &h, d) == 0;
}

// permitted are those that this process could use.
static uint64_t permitted(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2] = {{0}};
	syscall(SYS_capget, &h, d);
	return d[0].permitted | (uint64_t)d[1].permitted << 32;
}

// bound drops all capabilities but those of keep from the bounding set. The
// first number that the kernel doesn't know ends it (capabilities(7)).
static bool bound(uint64_t keep)
{
	for (int c = 0; c < 64; c++)
		if (!(keep >> c & 1) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return errno == EINVAL && c > CAP_SETPCAP;
	return true;
}

static bool write_file(const char *path, const char *what)
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

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// fail tells the host what went wrong in a box, and ends the process. In the
// stage the socket is that to PID 1, which passes the letter on.
static _Noreturn void fail(int fd, int step, int fault, const char *what)
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

// ---- the stage: the process that becomes the tool ----

// shared is what PID 1 and the stage both see: the call, as it came.
struct shared {
	_Atomic int exec_begun;
	uint32_t length;
	char call[MAX_CALL];
};

static bool searched(const char *dir) { return dir[0] == '/'; }

// executable tells whether a file could be executed, by its mode; else errno is
// set, or 0 where the file isn't a regular one.
static bool executable(const char *file)
{
	struct stat st;
	if (stat(file, &st) < 0)
		return false;
	if (!S_ISREG(st.st_mode)) {
		errno = 0;
		return false;
	}
	return faccessat(AT_FDCWD, file, X_OK, AT_EACCESS) == 0;
}

// lookup finds the file to execute as execvp(3) would. An element of the path
// that is empty or relative is never searched.
static bool lookup(const char *name, const char *path, char file[PATH_MAX])
{
	if (strchr(name, '/')) {
		if (strlen(name) >= PATH_MAX) {
			errno = ENAMETOOLONG;
			return false;
		}
		strcpy(file, name);
		return executable(file);
	}
	while (path && *path) {
		size_t n = strcspn(path, ":");
		if (n > 0 && searched(path) && n + 1 + strlen(name) < PATH_MAX) {
			memcpy(file, path, n);
			file[n] = '/';
			strcpy(file + n + 1, name);
			if (executable(file))
				return true;
		}
		path += n;
		path += *path == ':';
	}
	errno = ENOENT;
	return false;
}

struct landlock_ruleset {
	uint64_t fs, net, scoped;
};

struct landlock_path {
	uint64_t access;
	int32_t fd;
} __attribute__((packed));

enum { LANDLOCK_PATH_BENEATH = 1 };
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

static void restrict_paths(int host)
{
	struct landlock_ruleset attr = {setup.landlock_fs, setup.landlock_net, setup.landlock_scoped};
	int set = syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
	if (set < 0)
		fail(host, STEP_LANDLOCK, FAULT_ERRNO, "create a ruleset");
	for (int i = 0; i < setup.rule_count; i++) {
		const struct rule *r = &setup.rules[i];
		struct stat st;
		struct landlock_path p = {r->access, open(r->path, O_PATH | O_CLOEXEC)};
		if (p.fd < 0 || fstat(p.fd, &st) < 0)
			fail(host, STEP_LANDLOCK, FAULT_ERRNO, r->path);
		if (!S_ISDIR(st.st_mode))
			p.access &= setup.landlock_file;
		if (p.access && syscall(SYS_landlock_add_rule, set, LANDLOCK_PATH_BENEATH, &p, 0) < 0)
			fail(host, STEP_LANDLOCK, FAULT_ERRNO, r->path);
		close(p.fd);
	}
	if (syscall(SYS_landlock_restrict_self, set, 0) < 0)
		fail(host, STEP_LANDLOCK, FAULT_ERRNO, "restrict");
	close(set);
}

// become takes on everything that the tool is to be, but for what its call says.
static void become(int host)
{
	// The tool is what an out-of-memory kill should meet, not PID 1. Said before
	// the uid changes, which closes /proc/self to this process.
	if (!write_file("/proc/self/oom_score_adj", "1000"))
		fail(host, STEP_RLIMIT, FAULT_ERRNO, "oom_score_adj");
	if (setsid() < 0) // a signal for the tool's group meets the tool alone
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "setsid");
	sigset_t none;
	sigemptyset(&none);
	struct sigaction plain = {.sa_handler = SIG_DFL};
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || sigaction(SIGCHLD, &plain, NULL) < 0)
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "signals");
	if (!bound(0))
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "bounding set");
	if (setgroups(0, NULL) < 0 || setresgid(TOOL_ID, TOOL_ID, TOOL_ID) < 0 || setresuid(TOOL_ID, TOOL_ID, TOOL_ID) < 0)
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "user and group");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || !set_capabilities(0))
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "capabilities");
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "session keyring");
	for (int i = 0; i < setup.limit_count; i++) {
		struct rlimit r = {setup.limits[i].value, setup.limits[i].value};
		if (setrlimit(setup.limits[i].resource, &r) < 0) {
			char what[64];
			snprintf(what, sizeof what, "limit %d to %llu", setup.limits[i].resource, (unsigned long long)r.rlim_cur);
			fail(host, STEP_RLIMIT, FAULT_ERRNO, what);
		}
	}
	umask(022);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail(host, STEP_IDENTITY, FAULT_ERRNO, "no_new_privs");
	if (setup.flags & SET_LANDLOCK)
		restrict_paths(host);
	// The filter comes last of all, so that nothing has to be allowed for the
	// set-up's sake; what is done after it, the tool may do as well.
	if (setup.flags & SET_SECCOMP && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &setup.filter) < 0)
		fail(host, STEP_SECCOMP, FAULT_ERRNO, "load");
}

// strings points at the texts of a list, in place, and ends it with NULL. The
// pointers live in a mapping of their own that the exec ends.
static char **strings(struct cursor *c, uint64_t *count)
{
	*count = number(c);
	if (c->bad || *count > (uint64_t)(c->end - c->at) / 9)
		return NULL;
	char **list = mmap(NULL, (*count + 1) * sizeof *list, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (list == MAP_FAILED)
		return NULL;
	for (uint64_t i = 0; i < *count; i++)
		list[i] = (char *)text(c, NULL);
	return c->bad ? NULL : list;
}

// stage becomes the tool but for its call, says so to the host, waits for the
// call and execs it. What fails is told to the host before the call, and to
// PID 1 after it.
static _Noreturn void stage(int host, int parent, struct shared *shared)
{
	char go;
	if (!full(parent, &go, 1)) // the maps are written
		_exit(1);
	become(host);
	struct letter ready = {.length = 0};
	put(&ready, EVENT_HELLO);
	tell(host, &ready);
	close(host);
	if (!full(parent, &go, 1))
		_exit(0); // the box is not needed
	struct cursor c = {shared->call, shared->call + shared->length, false};
	for (int i = 0; i < 4; i++)
		number(&c); // PID 1's
	uint64_t argc, envc, n, any;
	const char *dir = text(&c, NULL);
	char **argv = strings(&c, &argc), **env = strings(&c, &envc);
	char **required = strings(&c, &n), **alternatives = strings(&c, &any);
	errno = 0;
	if (c.bad || c.at != c.end || !argv || !env || !required || !alternatives || argc == 0)
		fail(parent, STEP_CALL, FAULT_FRAME, "call");
	if (chdir(dir) < 0)
		fail(parent, STEP_CHDIR, FAULT_ERRNO, dir);
	const char *path = NULL;
	for (char **v = env; *v && !path; v++)
		if (strncmp(*v, "PATH=", 5) == 0)
			path = *v + 5;
	char file[PATH_MAX];
	for (char **r = required; *r; r++)
		if (!lookup(*r, path, file))
			fail(parent, STEP_REQUIRES, FAULT_REQUIRES, *r);
	bool one = any == 0;
	for (char **r = alternatives; *r && !one; r++)
		one = lookup(*r, path, file);
	if (!one)
		fail(parent, STEP_REQUIRES, FAULT_REQUIRES_ANY, "");
	if (!lookup(argv[0], path, file)) {
		int fault = FAULT_ERRNO;
		if (!strchr(argv[0], '/'))
			fault = FAULT_NOT_FOUND;
		else if (errno == 0)
			fault = FAULT_NOT_REGULAR;
		fail(parent, STEP_LOOKUP, fault, argv[0]);
	}
	shared->exec_begun = 1;
	execve(file, argv, env);
	fail(parent, STEP_EXEC, FAULT_EXEC, file);
}

// ---- PID 1: the streams ----

enum { CHUNK = 64 << 10 }; // of one splice: a pipe's usual whole capacity

// relay moves bytes from src to dst, at most max of them (negative: all), and
// shows them to watch as far as that has room (-1: there is none).
//
// Between two pipes it never waits in the kernel, and the main loop does all
// of them. Anything else may hold up whoever writes to it (a terminal that was
// stopped, a file on a file system that doesn't answer) and gets a thread.
struct relay {
	int src, dst, watch;
	int64_t max, passed;
	int64_t teed; // shown to watch already, and not moved yet
	char *buffer; // of a copier; NULL: splice
	bool wants_room;
	bool threaded; // it is a thread's, once there is something to move
	bool started;
	bool exceeded;
	int error;
	_Atomic bool ended;
};

static int bell; // eventfd: a threaded relay has ended

static void kill_all(void) { kill(-1, SIGKILL); } // all of the pid namespace but this process

static void blind(struct relay *r)
{
	if (r->watch >= 0)
		close(r->watch);
	r->watch = -1;
}

// finish closes both ends: whoever writes into a stream that nobody reads is
// told so by the kernel.
static void finish(struct relay *r, int error)
{
	if (error && error != EPIPE)
		r->error = error;
	close(r->src);
	close(r->dst);
	blind(r);
	r->ended = true;
}

static bool is_type(int fd, mode_t type)
{
	struct stat st;
	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type;
}

static void await(int fd, short events)
{
	struct pollfd p = {fd, events, 0};
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
}

// copy moves bytes through a buffer where splice can't: into a regular file,
// because stdout and stderr may share one, and write(2) takes the lock of its
// offset where splice(2) doesn't; and what splice refuses. Threads only.
static ssize_t copy(struct relay *r, size_t want)
{
	ssize_t got;
	while ((got = read(r->src, r->buffer, want)) < 0)
		if (errno == EAGAIN)
			await(r->src, POLLIN);
		else if (errno != EINTR)
			return -1;
	for (ssize_t done = 0; done < got;) {
		ssize_t n = write(r->dst, r->buffer + done, got - done);
		if (n > 0) {
			done += n;
			continue;
		}
		if (n == 0)
			errno = EIO;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			await(r->dst, POLLOUT);
			continue;
		}
		r->passed += done;
		return -1;
	}
	// After the bytes themselves: who reads them back from a file takes what
	// comes here as the word that they are there.
	if (r->watch >= 0 && got > 0 && write(r->watch, r->buffer, got) < 0 && errno == EPIPE)
		blind(r);
	return got;
}

// show duplicates what the next splice moves into the watch, with tee(2), and
// never waits: what that has no room for isn't shown.
static void show(struct relay *r, size_t want)
{
	if (r->watch < 0 || r->teed > 0)
		return;
	ssize_t n = tee(r->src, r->watch, want, SPLICE_F_NONBLOCK);
	if (n > 0)
		r->teed = n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		blind(r); // who watched has left
}

// step moves some bytes. It gives false when it would have to wait, or at the end.
static bool step(struct relay *r)
{
	size_t want = CHUNK;
	if (r->max >= 0) {
		if (r->passed == r->max) { // with one byte more the cap is exceeded
			char next;
			struct pollfd p = {r->src, POLLIN, 0};
			if (!r->threaded && poll(&p, 1, 0) == 0) {
				r->wants_room = false;
				return false;
			}
			ssize_t n;
			while ((n = read(r->src, &next, 1)) < 0 && errno == EINTR)
				;
			if (n > 0) {
				r->exceeded = true;
				kill_all();
			}
			finish(r, 0);
			return false;
		}
		if ((int64_t)want > r->max - r->passed)
			want = r->max - r->passed;
	}
	ssize_t n;
	if (r->buffer) {
		n = copy(r, want);
	} else {
		if (r->watch >= 0) {
			if (r->threaded)
				await(r->src, POLLIN);
			show(r, want);
			if (r->teed > 0 && (int64_t)want > r->teed)
				want = r->teed; // these and no others, or some would be shown twice
		}
		n = splice(r->src, NULL, r->dst, NULL, want, SPLICE_F_MOVE | (r->threaded ? 0 : SPLICE_F_NONBLOCK));
	}
	if (n > 0) {
		r->passed += n;
		r->teed -= r->teed > 0 ? n : 0;
		return true;
	}
	if (n == 0) {
		finish(r, 0);
		return false;
	}
	switch (errno) {
	case EINTR:
		return true;
	case EAGAIN: {
		// The caller's descriptor may be in non-blocking mode, which is its own
		// affair: the mode is shared, so it is left as it is.
		struct pollfd p = {r->src, POLLIN, 0};
		if (r->threaded) {
			await(r->src, POLLIN);
			await(r->dst, POLLOUT);
			return true;
		}
		r->wants_room = poll(&p, 1, 0) > 0;
		return false;
	}
	case EINVAL: // a file opened for appending, some terminals: splice(2)
		if (r->threaded && !r->buffer) {
			r->buffer = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (r->buffer == MAP_FAILED) {
				r->buffer = NULL;
				finish(r, ENOMEM);
				return false;
			}
			return true;
		}
		// fall through
	default:
		finish(r, errno);
		return false;
	}
}

static void *run_relay(void *arg)
{
	struct relay *r = arg;
	while (!r->ended)
		step(r);
	uint64_t one = 1;
	while (write(bell, &one, sizeof one) < 0 && errno == EINTR)
		;
	return NULL;
}

// begin looks at what a relay joins. One that reads from a file which is at its
// end has nothing to do.
static void begin(struct relay *r)
{
	if (r->watch >= 0)
		fcntl(r->watch, F_SETFL, O_NONBLOCK | (fcntl(r->watch, F_GETFL) & O_ACCMODE));
	r->threaded = !is_type(r->src, S_IFIFO) || !is_type(r->dst, S_IFIFO);
	struct stat st;
	if (fstat(r->src, &st) == 0 && S_ISREG(st.st_mode) && lseek(r->src, 0, SEEK_CUR) >= st.st_size)
		finish(r, 0);
}

// start gives a relay its thread. It gives false and errno.
static bool start(struct relay *r)
{
	r->started = true;
	if (is_type(r->dst, S_IFREG) || (r->watch >= 0 && !is_type(r->dst, S_IFIFO))) {
		r->buffer = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (r->buffer == MAP_FAILED)
			return false;
	}
	pthread_t thread;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN + (16 << 10));
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	int error = pthread_create(&thread, &attr, run_relay, r);
	errno = error;
	return error == 0;
}

// ---- PID 1: the call ----

struct outcome {
	int status;
	uint64_t user_us, system_us, blocks;
	bool timed_out;
};

static struct {
	int host, stage_socket, children; // children is a signalfd of SIGCHLD
	pid_t stage;
	int pipes[3]; // this side's ends of the tool's streams
	struct shared *shared;
} box;

// reap waits for everybody who has ended, and says whether anybody is left. When
// the tool has ended the rest is killed. Signals are sent by this same thread, so
// that a pid can't be somebody else's in between.
static bool reap(struct outcome *o, bool *tool_ended)
{
	for (;;) {
		int status;
		struct rusage u;
		pid_t pid = wait4(-1, &status, WNOHANG, &u);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0)
			return false; // ECHILD: nobody is left
		if (pid == 0) {
			// Only with somebody there to kill: the kernel looks at every process
			// of the host for this.
			if (*tool_ended)
				kill_all();
			return true;
		}
		// A process that had itself traced by its parent, and whose parent is gone
		// or is this one, stops with this one as its tracer. It must not live.
		if (WIFSTOPPED(status)) {
			kill(pid, SIGKILL);
			continue;
		}
		if (pid == box.stage) {
			*tool_ended = true;
			o->status = status;
		}
		o->user_us += (uint64_t)u.ru_utime.tv_sec * 1000000 + u.ru_utime.tv_usec;
		o->system_us += (uint64_t)u.ru_stime.tv_sec * 1000000 + u.ru_stime.tv_usec;
		o->blocks += u.ru_oublock;
	}
}

// listen_host passes a signal on. The end of the socket is the end of the box.
static void listen_host(bool tool_ended)
{
	char head[4];
	uint64_t sig;
	if (!full(box.host, head, 4) || head[0] || head[1] || head[2] || head[3] != 8 || !full(box.host, &sig, 8)) {
		kill_all();
		_exit(0);
	}
	if (!tool_ended)
		kill(-box.stage, (int)sig);
}

// executed tells, once the stage has ended, whether it had become the tool. If
// not, what it said is passed on and the box ends. Nobody waits for the exec
// itself: for a short command that would be a switch of processes more.
static void executed(void)
{
	struct letter l;
	char head[4];
	errno = 0;
	if (full(box.stage_socket, head, 4)) {
		l.length = (unsigned char)head[2] << 8 | (unsigned char)head[3];
		if (l.length <= sizeof l.bytes && full(box.stage_socket, l.bytes, l.length)) {
			tell(box.host, &l);
			_exit(0);
		}
	}
	// The exec closes the socket, and so does whatever ends the stage before.
	if (!box.shared->exec_begun)
		fail(box.host, STEP_EXEC, FAULT_SILENT, "");
}

// carry_out runs the call and reports.
static _Noreturn void carry_out(uint64_t flags, uint64_t wall_ms, int64_t stdout_max, int64_t stderr_max, const int *fds)
{
	bool watched = flags & CALL_WATCH;
	struct relay relays[3] = {
		{.src = fds[0], .dst = box.pipes[0], .watch = -1, .max = -1},
		{.src = box.pipes[1], .dst = fds[1], .watch = watched ? fds[3] : -1, .max = stdout_max},
		{.src = box.pipes[2], .dst = fds[2], .watch = watched ? fds[4] : -1, .max = stderr_max},
	};
	bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bell < 0)
		fail(box.host, STEP_CALL, FAULT_ERRNO, "eventfd");
	if (write(box.stage_socket, "", 1) != 1)
		fail(box.host, STEP_CALL, FAULT_SILENT, "");
	uint64_t deadline = now_ms() + wall_ms;
	for (int i = 0; i < 3; i++)
		begin(&relays[i]);
	struct outcome o = {.status = 0};
	bool tool_ended = false, known = false, alive = true;
	for (;;) {
		for (int i = 0; i < 3; i++)
			while (!relays[i].threaded && !relays[i].ended && step(&relays[i]))
				;
		alive = alive && reap(&o, &tool_ended);
		if (tool_ended && !known) {
			executed();
			known = true;
		}
		if (!alive && relays[1].ended && relays[2].ended)
			break;
		struct pollfd p[9] = {{box.host, POLLIN, 0}, {bell, POLLIN, 0}, {box.children, POLLIN, 0}};
		int n = 3;
		for (int i = 0; i < 3; i++) {
			struct relay *r = &relays[i];
			if (r->started || r->ended)
				continue;
			// An end that nobody reads any more shows without being asked for.
			p[n++] = (struct pollfd){r->src, r->wants_room ? 0 : POLLIN, 0};
			p[n++] = (struct pollfd){r->dst, r->wants_room ? POLLOUT : 0, 0};
		}
		uint64_t now = now_ms();
		int wait = -1;
		if (!o.timed_out)
			wait = now >= deadline ? 0 : deadline - now > INT_MAX ? INT_MAX : (int)(deadline - now);
		if (poll(p, n, wait) < 0 && errno != EINTR)
			fail(box.host, STEP_CALL, FAULT_ERRNO, "poll");
		if (p[0].revents)
			listen_host(tool_ended);
		char drop[8 * sizeof(struct signalfd_siginfo)];
		if (p[1].revents)
			(void)!read(bell, drop, 8);
		if (p[2].revents)
			(void)!read(box.children, drop, sizeof drop);
		for (int i = 3; i + 1 < n; i += 2)
			for (int k = 0; k < 3; k++) {
				struct relay *r = &relays[k];
				if (r->started || r->ended || r->src != p[i].fd)
					continue;
				// A destination that nobody reads ends the stream. A source that
				// ends with nothing in it is seen by the next step.
				if (p[i + 1].revents & POLLERR)
					finish(r, EPIPE);
				else if (r->threaded && p[i].revents & POLLIN) {
					if (!start(r)) {
						kill_all();
						fail(box.host, STEP_CALL, FAULT_ERRNO, "thread");
					}
				} else if (r->threaded && p[i].revents)
					finish(r, 0);
			}
		if (!o.timed_out && now_ms() >= deadline) {
			o.timed_out = true;
			kill_all();
		}
	}
	uint64_t memory = 0;
	for (int i = 0; i < setup.measured_count; i++) {
		struct statfs st;
		if (statfs(setup.measured[i], &st) == 0)
			memory += (st.f_blocks - st.f_bfree) * st.f_bsize;
	}
	struct letter l = {.length = 0};
	put(&l, EVENT_DONE);
	put(&l, (uint32_t)o.status);
	put(&l, o.user_us);
	put(&l, o.system_us);
	put(&l, o.blocks);
	put(&l, relays[1].passed);
	put(&l, relays[2].passed);
	put(&l, (relays[1].exceeded || relays[2].exceeded ? DONE_OUTPUT_LIMIT : 0) | (o.timed_out ? DONE_TIMED_OUT : 0));
	put(&l, relays[1].error);
	put(&l, relays[2].error);
	put(&l, memory);
	tell(box.host, &l);
	_exit(0);
}

// await_call reads the one call and carries it out.
static _Noreturn void await_call(void)
{
	char head[4];
	int fds[MAX_FDS], count;
	struct pollfd p[] = {{box.host, POLLIN, 0}, {box.children, POLLIN, 0}};
	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[1].revents)
		_exit(1); // the stage is gone, and has said why if it could
	ssize_t n = receive(box.host, head, 4, fds, &count);
	if (n == 0)
		_exit(0); // the box is not needed
	if (n < 0 || (n < 4 && !full(box.host, head + n, 4 - n)))
		fail(box.host, STEP_CALL, FAULT_ERRNO, "receive");
	uint32_t length = (uint32_t)(unsigned char)head[0] << 24 | (unsigned char)head[1] << 16 |
			  (unsigned char)head[2] << 8 | (unsigned char)head[3];
	if (length > MAX_CALL || !full(box.host, box.shared->call, length))
		fail(box.host, STEP_CALL, FAULT_FRAME, "call");
	box.shared->length = length;
	struct cursor c = {box.shared->call, box.shared->call + length, false};
	uint64_t flags = number(&c), wall_ms = number(&c);
	int64_t stdout_max = number(&c), stderr_max = number(&c);
	if (c.bad || stdout_max < 0 || stderr_max < 0 || count != (flags & CALL_WATCH ? 5 : 3))
		fail(box.host, STEP_CALL, FAULT_FRAME, "call");
	carry_out(flags, wall_ms, stdout_max, stderr_max, fds);
}

// ---- PID 1: making the box ----

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

// write_maps maps one id, or two, of a process's new user namespace.
static bool write_maps(pid_t pid, const char *uids, const char *gids)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/uid_map", pid);
	if (!write_file(path, uids))
		return false;
	snprintf(path, sizeof path, "/proc/%d/gid_map", pid);
	return write_file(path, gids);
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
	}
	setfsuid(0);
	setfsgid(0);
}

// keep closes every descriptor but those of a list that is in order.
static void keep(const int *fds, int count)
{
	unsigned from = 3;
	for (int i = 0; i < count; i++) {
		if ((unsigned)fds[i] > from)
			syscall(SYS_close_range, from, fds[i] - 1, 0);
		from = fds[i] + 1;
	}
	syscall(SYS_close_range, from, ~0U, 0);
}

static int by_number(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

// init is PID 1 of a box, from its first instruction on.
static _Noreturn void init(void)
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
		qsort(last, 2, sizeof *last, by_number);
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
	qsort(fds, 6, sizeof *fds, by_number);
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

// ---- the template ----

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
