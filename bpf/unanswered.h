/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* unanswered.h - a client opens a connection: does anybody here listen?
 *
 * The agent's process reads what is noted here and tells the balancers, which then look for themselves: see
 * xdplb/reporter.py. A SYN that is answered costs the lookup of its socket; only one that nobody listens for is
 * counted, in a small map that forgets the idlest, so that a scan of ports costs no more than its room.
 */
#pragma once

#include "inner.h"
#include "sockets.h"

/* Who sent it. Without a lock: whoever is overwritten sends again. An array and not a hash, since this is done for each
 * SYN.
 */
static __always_inline void note_balancer(const struct tunnel *t)
{
	__u64 folded = (t->source.high ^ t->source.low) * 0x9e3779b97f4a7c15ULL;
	__u32 place = folded >> (64 - BALANCERS_BITS);
	struct address *known = balancers.lookup(&place);

	if (known && (known->high != t->source.high || known->low != t->source.low))
		*known = t->source;
}

static __always_inline void count_unanswered(const struct tunnel *t, __be16 port)
{
	struct destination key = { .address = t->destination, .port = port };
	__u64 none = 0;
	__u64 *times = unanswered.lookup_or_try_init(&key, &none);

	if (times)
		__sync_fetch_and_add(times, 1);
}

static __always_inline void find_listener(struct xdp_md *ctx, const struct tunnel *t,
					  struct bpf_sock_tuple *tuple, __u32 tuple_bytes, __be16 port)
{
	struct bpf_sock *socket = find_socket(ctx, tuple, tuple_bytes, BPF_F_CURRENT_NETNS, 0);

	note_balancer(t);
	if (socket)
		release(socket);
	else
		count_unanswered(t, port);
}

static __always_inline void note_opening4(struct xdp_md *ctx, const struct tunnel *t)
{
	const struct iphdr *ip = (void *)(long)ctx->data + t->at;
	const struct tcphdr *tcp = (const void *)(ip + 1);

	if (!is_tcp4(ctx, ip) || !tcp->syn || tcp->ack)
		return;
	struct bpf_sock_tuple tuple = {};

	fill_tuple4(&tuple, ip);
	find_listener(ctx, t, &tuple, sizeof(tuple.ipv4), tcp->dest);
}

static __always_inline void note_opening6(struct xdp_md *ctx, const struct tunnel *t)
{
	const struct ipv6hdr *ip = (void *)(long)ctx->data + t->at;
	const struct tcphdr *tcp = (const void *)(ip + 1);

	if (!is_tcp6(ctx, ip) || !tcp->syn || tcp->ack)
		return;
	struct bpf_sock_tuple tuple = {};

	fill_tuple6(&tuple, ip);
	find_listener(ctx, t, &tuple, sizeof(tuple.ipv6), tcp->dest);
}

static __always_inline void note_opening(struct xdp_md *ctx, const struct tunnel *t)
{
	if (t->protocol == IPPROTO_IPIP)
		note_opening4(ctx, t);
	else
		note_opening6(ctx, t);
}
