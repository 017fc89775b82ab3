// SPDX-License-Identifier: Apache-2.0
//
// What the files of clawsup-template have in common. template.h is what the
// program says to clawsup.

#ifndef BOX_H
#define BOX_H

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

// cursor reads a message. After the first thing that isn't there it gives
// zeros, and bad is set: who reads looks at it once, at the end.
struct cursor {
	const char *at, *end;
	bool bad;
};

// letter is a message that is written.
struct letter {
	char bytes[1024];
	size_t length;
};

struct rule {
	uint64_t access;
	const char *path;
};

struct limit {
	int resource;
	uint64_t value;
};

enum { MAX_RULES = 512, MAX_LIMITS = 16, MAX_PROC = 256 };

// setup is what all boxes of the template have in common.
extern struct setup {
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

// order is what the box in the making has of its own.
extern struct order {
	char bytes[MAX_SETUP];
	uint64_t flags;
	uint64_t root, uid, gid; // on the host: of the box's 0, and of the tool
	int socket;
	int groups[MAX_FDS];
	int group_count;
	struct place places[MAX_MOUNTS];
	int place_count;
} order;

// shared is what PID 1 and the stage both see: the call, as it came.
struct shared {
	_Atomic int exec_begun;
	uint32_t length;
	char call[MAX_CALL];
};

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
	int between[2]; // pipe of this process's own, of what is watched; -1: none
	int64_t held;   // bytes in it
	char *buffer; // of a copier; NULL: splice
	bool wants_room;
	bool threaded; // it is a thread's, once there is something to move
	bool started;
	bool exceeded;
	int error;
	_Atomic bool ended;
};

// box is the box that this process is PID 1 of.
extern struct box {
	int host, stage_socket, children; // children is a signalfd of SIGCHLD
	pid_t stage;
	int pipes[3]; // this side's ends of the tool's streams
	struct shared *shared;
} box;

// message.c
uint64_t number(struct cursor *c);
const char *text(struct cursor *c, size_t *length);
void put(struct letter *l, uint64_t n);
void put_text(struct letter *l, const char *s);
ssize_t receive(int fd, void *bytes, size_t room, int *fds, int *count);
bool full(int fd, void *bytes, size_t length);
void tell(int fd, const struct letter *l);

// order.c
bool read_setup(size_t length);
bool read_order(size_t length, const int *fds, int count);

// system.c
long clone_into(uint64_t flags, int *pidfd, int group);
bool set_capabilities(uint64_t set);
uint64_t permitted(void);
bool bound(uint64_t keep);
bool write_file(const char *path, const char *what);
bool write_maps(pid_t pid, const char *uids, const char *gids);
void keep(int *fds, int count);
uint64_t now_ms(void);
_Noreturn void fail(int fd, int step, int fault, const char *what);

// init.c
_Noreturn void init(void);

// stage.c
_Noreturn void stage(int host, int parent, struct shared *shared);

// call.c
_Noreturn void await_call(void);

// stream.c
extern int bell;
void begin(struct relay *r);
bool start(struct relay *r);
bool step(struct relay *r);
void finish(struct relay *r, int error);
void kill_all(void);

#endif
