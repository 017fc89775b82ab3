// SPDX-License-Identifier: Apache-2.0
//
// PID 1: the streams.

#define _GNU_SOURCE
#include "box.h"

int bell; // eventfd: a threaded relay has ended

void kill_all(void) { kill(-1, SIGKILL); } // all of the pid namespace but this process

static void blind(struct relay *r)
{
	if (r->watch >= 0)
		close(r->watch);
	r->watch = -1;
}

// finish closes both ends: whoever writes into a stream that nobody reads is
// told so by the kernel.
void finish(struct relay *r, int error)
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
bool step(struct relay *r)
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
void begin(struct relay *r)
{
	if (r->watch >= 0)
		fcntl(r->watch, F_SETFL, O_NONBLOCK | (fcntl(r->watch, F_GETFL) & O_ACCMODE));
	r->threaded = !is_type(r->src, S_IFIFO) || !is_type(r->dst, S_IFIFO);
	struct stat st;
	if (fstat(r->src, &st) == 0 && S_ISREG(st.st_mode) && lseek(r->src, 0, SEEK_CUR) >= st.st_size)
		finish(r, 0);
}

// start gives a relay its thread. It gives false and errno.
bool start(struct relay *r)
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
