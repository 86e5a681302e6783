/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* steer.h - fourth stage: which backend gets this packet?
 *
 * The flow's hash picks a slot of the service's ring, the slot names the backend: no state per flow. Only while a slot is
 * not settled, its flows are remembered.
 */
#pragma once

#include "flows.h"
#include "progress.h"
#include "trace.h"

#define SLOT_BACKEND (SLOT_MOVED - 1)

static __always_inline bool is_up(__u32 index)
{
	const struct backend *backend = backends.lookup(&index);

	return backend && backend->up;
}

/* Which backend a packet of a slot that is not settled goes to, so that no flow of a live backend changes it.
 *
 * Moving: it changed its backend less than a learn window ago. A new flow (SYN) goes to the new one, and that is
 * remembered; any other packet where its flow is remembered, or else where the slot's flows went before, which is
 * remembered, too. Moved: by now every older flow that lives has been learned, so one that is not remembered is new. A
 * backend that is down counts for nothing, but is not forgotten: it may come back. What is said by ICMP, anybody may have said: nothing is kept of it.
 * (xdplb/transitions.py says when a slot goes on to the next state.)
 */
static __always_inline __u32 keep_flow(const struct packet *p, __u32 slot, __u32 before)
{
	struct memory m = {};
	__u32 index = slot & SLOT_BACKEND, chosen = index;
	bool moving = slot >> 31, tells = p->kind != ICMP_ERROR, born = opens(p) && tells, new = false;

	if (!remember(p, &m))
		return index;
	if (born) {
		new = index ? moving : false;
		if (!new)
			forget(&m);
	} else if (m.found && is_up(m.found & FLOW_BACKEND)) {
		if (tells)
			note_alive(p, &m);
		trace_choice(CHOSEN_REMEMBERED);
		return m.found & FLOW_BACKEND;
	} else if (moving && is_up(before)) {
		chosen = before;
		trace_choice(CHOSEN_PREVIOUS);
		new = tells && !m.found;
	}
	if (new)
		keep(p, &m, chosen, born);
	return chosen;
}

static __always_inline __u32 pick_slot(struct packet *p)
{
	const struct service *service = p->service;

	if (USE_CLIENT && service->flags & SERVICE_CLIENT)
		p->hash = hash_client(p->flow.source, service->client);
	else
		p->hash = hash_flow(p);
	return service->ring_offset + ((p->hash >> 32) * service->ring_size >> 32);
}

/* Whether this packet should take the other backend's address along, in case the one that it is sent to does not know its
 * connection: an established one's, to a slot that is not settled.
 */
static __always_inline bool needs_second_chance(struct packet *p)
{
	if (!(p->service->flags & SERVICE_SECOND_CHANCE) || p->flow.protocol != IPPROTO_TCP || opens(p))
		return false;
	__u32 index = pick_slot(p), pair = index >> 1, half = index & 1;
	const struct slots *two = slots.lookup(&pair);

	return two && two->slot[half] >> 30;
}

/* Of the slot's two backends, the one that the packet does not go to. */
static __always_inline void find_other(struct packet *p, __u32 chosen, __u32 index, __u32 before)
{
	__u32 other = chosen == index ? before : index;

	if (p->kind != ORDINARY || !needs_second_chance(p) || other == chosen || !is_up(other))
		return;
	p->other = backends.lookup(&other);
}

static __always_inline int steer(struct packet *p)
{
	__u32 index = pick_slot(p), pair = index >> 1, half = index & 1;
	const struct slots *two = slots.lookup(&pair);

	if (!two)
		return END(dropped_no_backend, XDP_DROP);
	__u32 slot = two->slot[half], chosen = slot;

	trace_slot(p, index, slot);
	if (unlikely(slot >> 30)) {
		two = previous.lookup(&pair);
		if (!two)
			return END(dropped_no_backend, XDP_DROP);
		chosen = keep_flow(p, slot, two->slot[half]);
		if (USE_SECOND_CHANCE)
			find_other(p, chosen, slot & SLOT_BACKEND, two->slot[half]);
	}
	if (unlikely(!chosen))
		return END(dropped_no_backend, XDP_DROP);
	trace_backend(chosen);
	p->backend = backends.lookup(&chosen);
	p->traffic = traffic.lookup(&chosen);
	if (!p->backend || !p->traffic)
		return END(dropped_no_backend, XDP_DROP);
	if (USE_PASSIVE)
		note_progress(p, chosen);
	return NEXT;
}
