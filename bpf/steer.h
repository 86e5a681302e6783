/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* steer.h - fourth stage: which backend gets this packet?
 *
 * The flow's hash picks a slot of the service's ring, the slot names the backend: no state per flow. Only in a slot that
 * is moving, flows are remembered.
 */
#pragma once

#include "packet.h"
#include "transport.h"

/* A moving slot changed its backend not long ago. A new flow (SYN) goes to the new one, and that is remembered; any
 * other packet goes where its flow was remembered, or else where the slot's flows went before. A backend that is down
 * keeps nothing. So no flow of a live backend breaks, as long as the slot is moving.
 */
static __always_inline __u32 keep_flow(const struct packet *p, __u32 index, __u32 previous)
{
	__u64 fingerprint = p->hash ^ p->service->identity;
	__u32 kept = previous;

	if (opens(p)) {
		born.update(&fingerprint, &index);
		return index;
	}
	__u32 *remembered = born.lookup(&fingerprint);

	if (remembered)
		kept = *remembered;
	const struct backend *backend = backends.lookup(&kept);

	return backend && backend->up ? kept : index;
}

static __always_inline int steer(struct packet *p)
{
	const struct service *service = p->service;

	if (USE_CLIENT)
		p->hash = service->flags & SERVICE_CLIENT ? hash_client(p->flow.source, service->client)
							  : hash_flow(p);
	__u32 index = service->ring_offset + ((p->hash >> 32) * service->ring_size >> 32);
	const __u64 *slot = (const void *)slots.lookup(&index);

	if (!slot)
		return END(dropped_no_backend, XDP_DROP);
	__u64 word = *slot; /* both halves in one load, as they were stored */
	__u32 chosen = word;

	if (!word) /* without a backend, it has no previous one either */
		return END(dropped_no_backend, XDP_DROP);
	if (word >> 32)
		chosen = keep_flow(p, chosen, word >> 32);
	p->backend = backends.lookup(&chosen);
	p->traffic = traffic.lookup(&chosen);
	if (!p->backend || !p->traffic)
		return END(dropped_no_backend, XDP_DROP);
	return NEXT;
}
