/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* find_service.h - second stage: is this packet for one of our VIPs, and for which service?
 *
 * A VIP has two candidate rows in `services`, both read from its hash; Python places every VIP in one of them
 * (cuckoo hashing, Pagh and Rodler 2001), in the first where it can. So the answer costs one row nearly always
 * and two at the most, each a plain array access; a BPF hash map's lookup costs ten times that.
 */
#pragma once

#include "packet.h"

/* Port and protocol as they lie in a row, in one word. */
static __always_inline __u64 port_and_protocol(const struct flow *flow)
{
	return flow->ports >> 16 | flow->protocol << 16;
}

/* As `vip_rows` in xdplb/hashing.py. The first row needs one multiplication, the second, seldom looked at, another. */
static __always_inline __u64 hash_vip(const struct flow *flow)
{
	__u64 hash = flow->destination.low ^ port_and_protocol(flow) ^ SERVICES_SEED;

	if (USE_VIP6)
		hash ^= flow->destination.high * 0xd6e8feb86659fd93ULL;
	return hash * 0x9e3779b97f4a7c15ULL;
}

static __always_inline bool serves(const struct service *service, const struct flow *flow)
{
	return service->vip.low == flow->destination.low &&
	       service->port_and_protocol == port_and_protocol(flow) &&
	       (!USE_VIP6 || service->vip.high == flow->destination.high);
}

static __always_inline int find_service(struct packet *p)
{
	__u64 hash = hash_vip(&p->flow);
	__u32 row = hash >> (64 - ROWS_BITS);
	const struct service *service = services.lookup(&row);

	if (unlikely(!service || !serves(service, &p->flow))) {
		barrier_var(p->flow.destination.low); /* hash again instead of keeping the hash */
		hash = hash_vip(&p->flow);
		row = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ULL >> (64 - ROWS_BITS);
		service = services.lookup(&row);
		if (!service || !serves(service, &p->flow))
			return END(passed_no_service, XDP_PASS);
	}
	/* From here on we vouch for the packet: its length goes into the outer header. */
	if (unlikely(p->inner_bytes + ETH_HLEN > p->frame_bytes))
		return END(dropped_malformed, XDP_DROP);
	p->service = service;
	return NEXT;
}
