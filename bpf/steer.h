/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* steer.h - fourth stage: which backend gets this packet?
 *
 * The flow's hash picks a slot of the service's ring, the slot names the backend: no state per flow. Only in a slot that
 * is moving, flows are remembered.
 */
#pragma once

#include "packet.h"
#include "transport.h"

/* Where a flow's line is, and in the upper 48 bits what tells it from the others there: as `flow_name` in
 * xdplb/hashing.py.
 */
static __always_inline __u64 name_flow(const struct packet *p, __u32 *line)
{
	__u64 hash = mix(p->hash, p->service->identity);

	*line = (hash >> 32) * FLOWS >> 32;
	return hash * 0xd6e8feb86659fd93ULL & ~0xffffULL;
}

/* The flow's word in its line, and its place; 0: it is not there. Without branches: see choose(). */
static __always_inline __u64 find_flow(const struct flows *line, __u64 name, __u64 *place)
{
	__u64 found = 0;

#pragma unroll
	for (int i = 0; i < FLOWS_IN_LINE; i++) {
		__u64 flow = line->flow[i];
		__u64 same = is_negative((__s64)((flow ^ name) >> 16) - 1);

		found |= flow * same;
		*place |= i * same;
	}
	return found;
}

/* Remember a flow's backend; without a lock: of two CPUs that write to one line at once, one may be forgotten. A word has
 * room for 65,535 backends; flows of those beyond are not remembered.
 */
static __always_inline void keep_in(struct flows *line, __u64 name, __u64 found, __u64 place, __u64 backend)
{
	if (backend > 0xffff)
		return;
	if (!found) {
		place = line->next;
		line->next = place + 1 < FLOWS_IN_LINE ? place + 1 : 0;
	}
	if (place < FLOWS_IN_LINE)
		line->flow[place] = name | backend;
}

/* A moving slot changed its backend not long ago. A new flow (SYN) goes to the new one, and that is remembered; any
 * other packet goes where its flow was remembered, or else where the slot's flows went before. A backend that is down
 * keeps nothing. So no flow of a live backend breaks, as long as the slot is moving.
 */
static __always_inline __u32 keep_flow(const struct packet *p, __u32 index, __u32 previous)
{
	__u32 line_index, kept = previous;
	__u64 name = name_flow(p, &line_index), place = 0;
	struct flows *line = flows.lookup(&line_index);

	if (!line)
		return index;
	__u64 found = find_flow(line, name, &place);

	if (opens(p)) {
		keep_in(line, name, found, place, index);
		return index;
	}
	if (found)
		kept = found & 0xffff;
	const struct backend *backend = backends.lookup(&kept);

	return backend && backend->up ? kept : index;
}

static __always_inline int steer(struct packet *p)
{
	const struct service *service = p->service;

	if (USE_CLIENT && service->flags & SERVICE_CLIENT)
		p->hash = hash_client(p->flow.source, service->client);
	else
		p->hash = hash_flow(p);
	__u32 index = service->ring_offset + ((p->hash >> 32) * service->ring_size >> 32);
	__u32 pair = index >> 1, half = index & 1;
	const struct slots *two = slots.lookup(&pair);

	if (!two)
		return END(dropped_no_backend, XDP_DROP);
	__u32 slot = two->slot[half], chosen = slot;

	if (unlikely(!slot)) /* without a backend, it has no previous one either */
		return END(dropped_no_backend, XDP_DROP);
	if (unlikely(slot >> 31)) {
		two = previous.lookup(&pair);
		if (!two)
			return END(dropped_no_backend, XDP_DROP);
		chosen = keep_flow(p, slot & ~SLOT_MOVING, two->slot[half]);
	}
	p->backend = backends.lookup(&chosen);
	p->traffic = traffic.lookup(&chosen);
	if (!p->backend || !p->traffic)
		return END(dropped_no_backend, XDP_DROP);
	return NEXT;
}
