/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* steer.h - third stage: which backend gets this packet?
 *
 * The flow's hash picks a slot of the service's ring, the slot names the backend: no state per flow.
 */
#pragma once

#include "packet.h"

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* Keyed, so that nobody outside can choose ports that meet in one slot; 64 bits at a time. As `hash_flow` in
 * xdplb/hashing.py.
 */
static __always_inline __u32 hash_flow(const struct packet *p)
{
	const struct flow *flow = &p->flow;
	__u64 hash = HASH_KEY;

	if (USE_VIP6 && p->inner6) {
		hash = mix(hash, flow->source.high);
		hash = mix(hash, flow->destination.high);
	}
	hash = mix(hash, flow->source.low);
	hash = (hash ^ flow->destination.low ^ flow->ports ^ (__u64)flow->protocol << 40) *
	       0xd6e8feb86659fd93ULL;
	return hash >> 32;
}

static __always_inline int steer(struct packet *p)
{
	__u64 ring_size = p->service->ring_size;

	p->hash = hash_flow(p);
	__u32 index = p->service->ring_offset + (__u32)(p->hash * ring_size >> 32);
	const struct slot *slot = slots.lookup(&index);

	if (!slot || !slot->backend)
		return END(dropped_no_backend, XDP_DROP);
	p->index = slot->backend;
	p->backend = backends.lookup(&p->index);
	if (!p->backend || !p->backend->outer)
		return END(dropped_no_backend, XDP_DROP);
	return NEXT;
}
