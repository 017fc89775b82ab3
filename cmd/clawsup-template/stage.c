// SPDX-License-Identifier: Apache-2.0
//
// The stage: the process that becomes the tool.

#define _GNU_SOURCE
#include "box.h"

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
_Noreturn void stage(int host, int parent, struct shared *shared)
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
