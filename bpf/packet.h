/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* packet.h - what the stages know about the packet in hand, and how a stage ends. */
#pragma once

#include "maps.h"

/* What is rare is laid aside by the compiler, so that the packet's usual way runs straight on. */
#define unlikely(condition) __builtin_expect(!!(condition), 0)
#define likely(condition) __builtin_expect(!!(condition), 1)

/* Make the compiler forget what it knows of a variable. */
#define barrier_var(variable) asm volatile("" : "+r"(variable))

/* The client's side of the packet as it arrived. Whole words here and below: on narrower ones, the compiler would mask
 * at every step.
 */
struct flow {
	struct address source;
	struct address destination;
	__u64 ports; /* source, destination, as they lie in the packet; 0 where there are none */
	__u64 protocol;
};

/* What a packet is besides a part of a flow; only parse_any.h meets these. */
#define ORDINARY 0
#define ECHO_REQUEST 1 /* for a VIP's address */
#define ICMP_ERROR 2 /* about a flow to a VIP: `flow` is what it quotes */
#define LATER_FRAGMENT 3

/* No address of a field may reach a helper: then all of it would have to lie in memory instead of registers. */
struct packet {
	struct flow flow;
	struct address sender; /* as flow.source, but for ICMP errors */
	__u64 hash; /* of the flow; its upper half picks the slot */
	__u64 frame_bytes;
	__u64 inner_bytes; /* the whole IP packet, without Ethernet padding */
	__u64 traffic_class; /* DSCP and ECN */
	__u64 ttl; /* or hop limit */
	__u64 tcp_flags; /* 0 for others; SYN for an SCTP INIT */
	__u64 tags; /* 802.1Q and 802.1ad, as they lie behind the MAC addresses */
	__u64 tag_bytes; /* 0, 4 or 8 */
	__u64 kind;
	bool inner6;
	__u32 row; /* of the service */
	/* Pointers from here on: see take_up() in balancer.c. */
	const struct service *service;
	const struct backend *backend;
	const struct backend *other; /* second chance: who else may know its connection, or 0 */
	struct traffic *traffic; /* of `backend` */
	__u64 verdict; /* when the packet is not forwarded: see end() */
};

/* One family compiled in means one answer, without looking. */
static __always_inline bool is6(const struct packet *p)
{
	return USE_VIP6 && (!USE_VIP4 || p->inner6);
}

#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* A SYN without ACK: a new connection. */
static __always_inline bool opens(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* What a stage returns: go on; or the packet's way ends here and `verdict` says how; or it is for the program
 * that knows everything (balancer.c).
 */
#define NEXT 0
#define ENDED 1
#define UNUSUAL 2

#define TRY(stage)                                                                                           \
	do {                                                                                                 \
		int how = (stage);                                                                           \
		if (how != NEXT)                                                                             \
			return how;                                                                          \
	} while (0)

#define END_WITH(p, reason, action) end(p, offsetof(struct verdicts, reason), action)
#define END(reason, action) END_WITH(p, reason, action)

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

/* 1 where a number is negative, else 0; and a choice by that. The compiler must not see where it comes from: it would
 * branch, and the verifier would follow both ways to the end of the program, and so for every such place. Not by masks of
 * all ones, which Linux 6.18 follows both ways, too.
 */
static __always_inline __u64 is_negative(__s64 number)
{
	barrier_var(number);
	return (__u64)number >> 63;
}

static __always_inline __s64 choose(__u64 first, __s64 one, __s64 other)
{
	barrier_var(first);
	return other + (one - other) * first;
}

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* Time in units of TIME_SHIFT, as coarse as the kernel's tick, and so for a call's price only. Rates are kept as a point in
 * time until which everything let through is paid off (the generic cell rate algorithm, ITU-T I.371): a cost per packet
 * moves it on, and it may be as far ahead of now as `burst` packets cost.
 */
static __always_inline __u64 coarse_time(void)
{
	return bpf_ktime_get_coarse_ns() >> TIME_SHIFT;
}

/* Charge one packet to an account that this program alone writes; true: it is over its limit, and not charged. */
static __always_inline bool over_rate(__u64 *paid_off, __u64 now, __u64 cost, __u64 burst)
{
	__u64 from = *paid_off > now ? *paid_off : now;

	if (from + cost - now > cost * burst)
		return true;
	*paid_off = from + cost;
	return false;
}
