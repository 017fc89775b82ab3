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
	for (int i = 0; i < 2; i++)
		if (r->between[i] >= 0)
			close(r->between[i]);
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

// fetch brings some bytes from src into the pipe between and shows them to the
// watch, with tee(2), which never waits: what that has no room for isn't shown.
// The pipe between is this process's alone. From src itself the tool could take
// back what was shown, and have something else moved in its place.
static ssize_t fetch(struct relay *r, size_t want)
{
	if (r->between[0] < 0 && pipe2(r->between, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	ssize_t n = splice(r->src, NULL, r->between[1], NULL, want, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n <= 0)
		return n;
	r->held = n;
	if (r->watch >= 0 && tee(r->between[0], r->watch, n, SPLICE_F_NONBLOCK) < 0 && errno != EAGAIN && errno != EINTR)
		blind(r); // who watched has left
	return n;
}

// exceeds looks whether more comes than the cap allows, where all of that has
// been passed on. It gives false when it would have to wait.
static bool exceeds(struct relay *r)
{
	char next;
	ssize_t n;
	while ((n = read(r->src, &next, 1)) < 0) { // it is in non-blocking mode
		if (errno == EAGAIN && !r->threaded) {
			r->wants_room = false;
			return false;
		}
		if (errno == EAGAIN)
			await(r->src, POLLIN);
		else if (errno != EINTR)
			break;
	}
	if (n > 0) {
		r->exceeded = true;
		kill_all();
	}
	finish(r, 0);
	return false;
}

// step moves some bytes. It gives false when it would have to wait, or at the end.
bool step(struct relay *r)
{
	size_t want = CHUNK;
	if (r->max >= 0) {
		if (r->passed == r->max)
			return exceeds(r);
		if ((int64_t)want > r->max - r->passed)
			want = r->max - r->passed;
	}
	ssize_t n;
	if (r->buffer) {
		n = copy(r, want);
	} else if (r->threaded) {
		n = splice(r->src, NULL, r->dst, NULL, want, SPLICE_F_MOVE);
	} else if (r->watch < 0 && r->held == 0) {
		n = splice(r->src, NULL, r->dst, NULL, want, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	} else {
		n = r->held > 0 ? r->held : fetch(r, want);
		if (n > 0 && (n = splice(r->between[0], NULL, r->dst, NULL, r->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)) > 0)
			r->held -= n;
	}
	if (n > 0) {
		r->passed += n;
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
		r->wants_room = r->held > 0 || poll(&p, 1, 0) > 0;
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
	// A size of nothing means nothing: files of /proc have it.
	if (fstat(r->src, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && lseek(r->src, 0, SEEK_CUR) >= st.st_size)
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
