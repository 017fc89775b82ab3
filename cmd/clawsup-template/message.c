// SPDX-License-Identifier: Apache-2.0
//
// Messages: numbers and texts in a fixed order, on sockets.

#define _GNU_SOURCE
#include "box.h"

uint64_t number(struct cursor *c)
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

const char *text(struct cursor *c, size_t *length)
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

void put(struct letter *l, uint64_t n)
{
	if (l->length + 8 <= sizeof l->bytes) {
		memcpy(l->bytes + l->length, &n, 8);
		l->length += 8;
	}
}

void put_text(struct letter *l, const char *s)
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
ssize_t receive(int fd, void *bytes, size_t room, int *fds, int *count)
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
bool full(int fd, void *bytes, size_t length)
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
void tell(int fd, const struct letter *l)
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
