/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* steer.h - third stage: which backend gets this packet?
 *
 * The flow's hash picks a slot of the service's ring, the slot names the backend: no state per flow. Only in a slot that
 * is moving, flows are remembered.
 */
#pragma once

#include "packet.h"

/* A moving slot changed its backend not long ago. A new flow (SYN) goes to the new one, and that is remembered; any
 * other packet goes where its flow was remembered, or else where the slot's flows went before. A backend that is down
 * keeps nothing. So no flow of a live backend breaks, as long as the slot is moving.
 */
static __always_inline __u32 keep_flow(const struct packet *p, __u32 index, __u32 previous)
{
	__u64 fingerprint = p->hash ^ p->service->identity;
	__u32 kept = previous;

	if (p->opens) {
		born.update(&fingerprint, &index);
		return index;
	}
	__u32 *remembered = born.lookup(&fingerprint);

	if (remembered)
		kept = *remembered;
	const struct backend *backend = backends.lookup(&kept);

	return backend && backend->up ? kept : index;
}

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* Keyed, so that nobody outside can choose ports that meet in one slot; 64 bits at a time. Three multiplications: with
 * two, clients that count their ports up did not spread evenly. The protocol is left out: a service has one, and its own
 * ring. As `hash_flow` in xdplb/hashing.py.
 */
static __always_inline __u64 hash_flow(const struct packet *p)
{
	const struct flow *flow = &p->flow;
	__u64 hash = HASH_KEY;

	if (is6(p)) {
		hash = mix(hash, flow->source.high);
		hash = mix(hash, flow->source.low);
		hash = mix(hash, flow->destination.high ^ flow->ports);
	} else {
		hash = mix(hash,
			   flow->source.low ^ flow->ports); /* an IPv4 address leaves the lower half free */
	}
	return mix(hash, flow->destination.low) * 0xd6e8feb86659fd93ULL;
}

static __always_inline int steer(struct packet *p)
{
	__u64 ring_size = p->service->ring_size;

	p->hash = hash_flow(p);
	__u32 index = p->service->ring_offset + (__u32)((p->hash >> 32) * ring_size >> 32);
	const struct slot *slot = slots.lookup(&index);

	if (unlikely(!slot || !slot->backend))
		return END(dropped_no_backend, XDP_DROP);
	__u32 chosen = slot->backend;

	if (unlikely(slot->previous))
		chosen = keep_flow(p, chosen, slot->previous);
	p->backend = backends.lookup(&chosen);
	p->traffic = traffic.lookup(&chosen);
	if (unlikely(!p->backend || !p->traffic))
		return END(dropped_no_backend, XDP_DROP);
	return NEXT;
}
