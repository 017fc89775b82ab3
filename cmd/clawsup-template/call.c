// SPDX-License-Identifier: Apache-2.0
//
// PID 1: the call, from its arrival to the report of how it ended.

#define _GNU_SOURCE
#include "box.h"

struct box box;

struct outcome {
	int status;
	uint64_t user_us, system_us, blocks;
	bool timed_out;
};

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
		{.src = fds[0], .dst = box.pipes[0], .watch = -1, .between = {-1, -1}, .max = -1},
		{.src = box.pipes[1], .dst = fds[1], .watch = watched ? fds[3] : -1, .between = {-1, -1}, .max = stdout_max},
		{.src = box.pipes[2], .dst = fds[2], .watch = watched ? fds[4] : -1, .between = {-1, -1}, .max = stderr_max},
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
		// So many steps in a row, or a stream that never pauses would keep this
		// loop from the others, the clock and the host.
		for (int i = 0; i < 3; i++)
			for (int n = 0; n < 64 && !relays[i].threaded && !relays[i].ended && step(&relays[i]); n++)
				;
		alive = alive && reap(&o, &tool_ended);
		if (tool_ended && !known) {
			executed();
			known = true;
		}
		if (!alive && relays[1].ended && relays[2].ended)
			break;
		// Two for each relay, at its place. An end that nobody reads any more, or
		// that nobody writes to, shows without being asked for, so a source that
		// isn't waited for is left out: it would wake this loop for ever.
		struct pollfd p[9] = {{box.host, POLLIN, 0}, {bell, POLLIN, 0}, {box.children, POLLIN, 0}};
		for (int i = 0; i < 3; i++) {
			struct relay *r = &relays[i];
			bool waits = !r->started && !r->ended;
			p[3 + 2 * i] = (struct pollfd){waits && !r->wants_room ? r->src : -1, POLLIN, 0};
			p[4 + 2 * i] = (struct pollfd){waits ? r->dst : -1, r->wants_room ? POLLOUT : 0, 0};
		}
		uint64_t now = now_ms();
		int wait = -1;
		if (!o.timed_out)
			wait = now >= deadline ? 0 : deadline - now > INT_MAX ? INT_MAX : (int)(deadline - now);
		if (poll(p, 9, wait) < 0 && errno != EINTR)
			fail(box.host, STEP_CALL, FAULT_ERRNO, "poll");
		if (p[0].revents)
			listen_host(tool_ended);
		char drop[8 * sizeof(struct signalfd_siginfo)];
		if (p[1].revents)
			(void)!read(bell, drop, 8);
		if (p[2].revents)
			(void)!read(box.children, drop, sizeof drop);
		for (int i = 0; i < 3; i++) {
			struct relay *r = &relays[i];
			short source = p[3 + 2 * i].revents, destination = p[4 + 2 * i].revents;
			if (r->started || r->ended)
				continue;
			// A destination that nobody reads ends the stream. A source that
			// ends with nothing in it is seen by the next step.
			if (destination & POLLERR)
				finish(r, EPIPE);
			else if (r->threaded && source & POLLIN) {
				if (!start(r)) {
					kill_all();
					fail(box.host, STEP_CALL, FAULT_ERRNO, "thread");
				}
			} else if (r->threaded && source)
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
_Noreturn void await_call(void)
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
