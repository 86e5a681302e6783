/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* packet.h - what the stages know about the packet in hand, and how a stage ends. */
#pragma once

#include "address.h"
#include "maps.h"

/* The client's side of the packet as it arrived. Whole words here and below: on narrower ones, the compiler would mask
 * at every step.
 */
struct flow {
	struct address source;
	struct address destination;
	__u64 ports; /* source, destination, as they lie in the packet */
	__u64 protocol;
};

/* No address of a field may reach a helper: then all of it would have to lie in memory instead of registers. */
struct packet {
	struct flow flow;
	__u64 hash; /* of the flow; its upper half picks the slot */
	__u64 frame_bytes;
	__u64 inner_bytes; /* the whole IP packet, without Ethernet padding */
	__u64 traffic_class; /* DSCP and ECN */
	__u64 tcp_flags; /* 0 for UDP */
	bool inner6;
	const struct service *service;
	const struct backend *backend;
	struct traffic *traffic; /* of that backend */
	__u64 verdict; /* when the packet is not forwarded: see end() */
};

/* One family compiled in means one answer, without looking. */
static __always_inline bool is6(const struct packet *p)
{
	return USE_VIP6 && (!USE_VIP4 || p->inner6);
}

#define TCP_SYN 0x02
#define TCP_ACK 0x10

/* A SYN without ACK: a new connection. */
static __always_inline bool opens(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* What a stage returns: go on, or the packet's way ends here and `verdict` says how. */
#define NEXT 0
#define ENDED 1

#define TRY(stage)                                                                                           \
	do {                                                                                                 \
		if ((stage) == ENDED)                                                                        \
			return ENDED;                                                                        \
	} while (0)

#define END(reason, action) end(p, offsetof(struct verdicts, reason), action)

#define ACTION_BITS 8

/* The XDP action, and above it the reason, as offset of its counter. The compiler must not see that it is a constant:
 * it would set it on the way of every packet, before it knows.
 */
static __always_inline int end(struct packet *p, __u64 reason, __u64 action)
{
	__u64 verdict = reason << ACTION_BITS | action;

	barrier_var(verdict);
	p->verdict = verdict;
	return ENDED;
}
