// SPDX-License-Identifier: Apache-2.0
//
// What clawsup tells a template, once and for each box.

#define _GNU_SOURCE
#include "box.h"

struct setup setup;
struct order order;

bool read_setup(size_t length)
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

bool read_order(size_t length, const int *fds, int count)
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
