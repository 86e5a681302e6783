/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* balancer.c - the XDP programs on the NIC: one packet's way from the wire back to the wire.
 *
 * `balancer` knows what nearly every packet is, and is small and fast for it: its steady path makes one helper call, in
 * encap. What it finds unusual, before it has changed or counted anything, is for `unusual`, which looks at the frame
 * anew and knows everything.
 *
 * Compiled with what the configuration uses, each 0 or 1: USE_VIP4, USE_VIP6 (families of VIPs), USE_IPIP4, USE_IPIP6,
 * USE_GUE4, USE_GUE6, USE_L2, USE_LOCAL (ways to backends), USE_VLAN, USE_SCTP, USE_RANGES, USE_ANY, USE_NETWORKS (kinds
 * of VIPs), USE_CLIENT (affinity), USE_PREFIXES, USE_LIMITS (guard), USE_REDIRECT (several interfaces), USE_FRAGS (frames
 * of several buffers), USE_SECOND_CHANCE, USE_PASSIVE, USE_TRACE (only while somebody traces); and with HASH_KEY,
 * SERVICES_SEED, SOURCE4_BITS, SOURCE6_BITS, OUTER_DF, ANSWER_COST, BLOCK_COUNTS_ONLY, and the sizes that maps.h names.
 */
#include "trace.h"
#include "find_service.h"
#include "parse.h"
#include "parse_any.h"
#include "guard.h"
#include "steer.h"
#include "answer.h"
#include "encap.h"

BPF_TABLE("prog", __u32, __u32, tail, 1); /* -> unusual */

/* What is known of a packet, but for pointers: everything before the first of them. */
#define KNOWN_WORDS 18

_Static_assert(KNOWN_WORDS * 8 == offsetof(struct packet, service), "all of it, and no pointer");

struct notes {
	__u64 words[KNOWN_WORDS]; /* BCC wants a plain number here */
};

BPF_TABLE("percpu_array", __u32, struct notes, notes, 1);

/* The verifier follows each of many ways on its own, until it knows what it has known at that place before. So all that it
 * knows is laid down and taken up again, and what comes after is followed once.
 */
static __always_inline int take_up(struct packet *p)
{
	__u32 zero = 0;
	struct notes *all = notes.lookup(&zero);

	if (!all)
		return END(dropped_no_backend, XDP_DROP); /* never */
	__builtin_memcpy(all, p, sizeof(*all));
	asm volatile("" ::: "memory"); /* or the compiler would know it still, and read nothing */
	__builtin_memcpy(p, all, sizeof(*all));
	p->tag_bytes &= 12; /* this much it must know: it is added to a pointer */
	__u32 row = p->row;

	p->service = services.lookup(&row);
	return p->service ? NEXT : END(dropped_no_backend, XDP_DROP); /* never */
}

/* Forwarded packets are counted where they go, and nowhere else: all other numbers are sums of these. */
static __always_inline void count(const struct packet *p, int sign)
{
	p->traffic->packets += sign;
	p->traffic->bytes += sign * (__s64)p->frame_bytes;
	if (opens(p))
		p->traffic->connections += sign;
}

/* The action for a frame that is ready to go. */
static __always_inline int leave(struct xdp_md *ctx, struct packet *p)
{
	const struct backend *to = p->backend;

	if (USE_LOCAL && GOES(p, LOCAL))
		p->verdict = XDP_PASS;
	else
		p->verdict = XDP_TX;
	if (USE_REDIRECT && p->verdict == XDP_TX && to->egress && to->egress != ctx->ingress_ifindex) {
		p->verdict = devices.redirect_map(to->device, XDP_DROP);
		if (p->verdict != XDP_REDIRECT)
			return END(dropped_no_egress, XDP_DROP);
	}
	return NEXT;
}

/* Counting comes before encap, although encap may fail: so the helper call there has less to keep over it. */
static __always_inline int forward(struct xdp_md *ctx, struct packet *p)
{
	count(p, 1);
	int how = encap(ctx, p);

	if (how == NEXT && (USE_REDIRECT || USE_LOCAL))
		how = leave(ctx, p);
	if (how == ENDED)
		count(p, -1);
	return how;
}

static __always_inline int balance(struct xdp_md *ctx, struct packet *p)
{
	TRY(parse(ctx, p));
	TRY(find_service(p));
	trace_service(p);
	if (unlikely(p->inner_bytes > p->service->mtu))
		return UNUSUAL;
	if (USE_SECOND_CHANCE && needs_second_chance(p))
		return UNUSUAL;
	p->sender = p->flow.source;
	if (USE_PREFIXES && USE_VIP6) /* otherwise it is short enough */
		TRY(take_up(p));
	if (USE_PREFIXES || USE_LIMITS)
		TRY(guard(p));
	TRY(steer(p));
	return forward(ctx, p);
}

static __always_inline int balance_unusual(struct xdp_md *ctx, struct packet *p)
{
	TRY(parse_any(ctx, p));
	TRY(take_up(p));
	if (p->kind == ECHO_REQUEST)
		return answer_echo(ctx, p);
	TRY(find_service(p));
	TRY(take_up(p));
	trace_service(p);
	TRY(guard(p));
	TRY(steer(p));
	if (!GOES(p, LOCAL)) {
		if (p->ttl <= 1)
			return answer_ttl(ctx, p);
		if (p->inner_bytes > p->backend->mtu)
			return answer_too_big(ctx, p);
	}
	return forward(ctx, p);
}

/* Every packet that is not forwarded is counted once, here. The counters are per CPU: no atomics. */
static __always_inline int finish(const struct packet *p, int how)
{
	__u32 zero = 0;
	void *counts;

	if (how == NEXT)
		return USE_REDIRECT || USE_LOCAL ? p->verdict : XDP_TX;
	counts = verdicts.lookup(&zero);
	if (counts)
		*(__u64 *)(counts + (p->verdict >> ACTION_BITS)) += 1;
	return p->verdict & ((1 << ACTION_BITS) - 1);
}

int balancer(struct xdp_md *ctx)
{
	struct packet p = {};

	trace_arrival(ctx);
	int how = balance(ctx, &p);

	if (how == UNUSUAL) {
		tail.call(ctx, 0);
		how = END_WITH(&p, passed_protocol,
			       XDP_PASS); /* the other program is not there: never seen */
	}
	int action = finish(&p, how);

	trace_departure(ctx, &p, how, action);
	return action;
}

int unusual(struct xdp_md *ctx)
{
	struct packet p = {};
	int how = balance_unusual(ctx, &p), action = finish(&p, how);

	trace_departure(ctx, &p, how, action);
	return action;
}
