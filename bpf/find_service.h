/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* find_service.h - second stage: is this packet for one of our VIPs, and for which service?
 *
 * A VIP has two candidate rows in `services`, both read from its hash; Python places every VIP in one of them
 * (cuckoo hashing, Pagh and Rodler 2001), in the first where it can. So the answer costs one row nearly always
 * and two at the most, each a plain array access; a BPF hash map's lookup costs ten times that.
 */
#pragma once

#include "packet.h"

/* As `vip_rows` in xdplb/hashing.py. */
static __always_inline __u64 hash_vip(const struct address *vip, __u32 port, __u32 protocol)
{
	__u64 hash = vip->low ^ vip->high * 0xd6e8feb86659fd93ULL ^ SERVICES_SEED;

	hash = (hash ^ (protocol << 16 | port)) * 0x9e3779b97f4a7c15ULL;
	return (hash ^ hash >> 32) * 0x9e3779b97f4a7c15ULL;
}

static __always_inline bool serves(const struct service *service, const struct flow *flow, __u32 port)
{
	return service->port == port && service->protocol == flow->protocol &&
	       same(&service->vip, &flow->destination);
}

static __always_inline int find_service(struct packet *p)
{
	__u32 port = p->flow.ports >> 16; /* destination, still in network order */
	__u64 hash = hash_vip(&p->flow.destination, port, p->flow.protocol);
	__u32 row = hash >> (64 - ROWS_BITS), other = hash >> (32 - ROWS_BITS) & ((1 << ROWS_BITS) - 1);
	const struct service *service = services.lookup(&row);

	if (!service || !serves(service, &p->flow, port)) {
		service = services.lookup(&other);
		if (!service || !serves(service, &p->flow, port))
			return END(passed_no_service, XDP_PASS);
	}
	/* From here on we vouch for the packet: its length goes into the outer header. */
	if (p->inner_bytes + ETH_HLEN > p->frame_bytes)
		return END(dropped_malformed, XDP_DROP);
	p->service = service;
	return NEXT;
}
