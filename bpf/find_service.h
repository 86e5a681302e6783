/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* find_service.h - second stage: is this packet for one of our VIPs, and for which service?
 *
 * The closest VIP wins: first an address with this very port, then with a range of ports, then with any protocol; then
 * the same for the network that the address lies in.
 */
#pragma once

#include "rows.h"

/* The row for the range that a port is in. `ranges` is sorted, and a list of them ends with 0. */
static __always_inline const struct service *find_range(struct address address, const struct flow *flow,
							__u32 *number)
{
	__u32 leads = 0, first = 0;
	__u64 port = bpf_ntohs(flow->ports >> 16);

	if (!find_row(address, key_word(0, flow->protocol, KIND_RANGES), &leads))
		return 0;
	const struct ranges *list = ranges.lookup(&leads);

	if (!list)
		return 0;
#pragma unroll
	for (int i = 0; i < RANGES; i++) {
		__u32 range = list->ports[i];

		if (range && port >= (range & 0xffff) && port <= range >> 16)
			first = range & 0xffff;
	}
	if (!first)
		return 0;
	return find_row(address, key_word(bpf_htons(first), flow->protocol, KIND_RANGE), number);
}

static __always_inline const struct service *find_wide(struct address address, const struct flow *flow,
						       __u32 *number)
{
	const struct service *row = 0;

	if (USE_RANGES && flow->ports)
		row = find_range(address, flow, number);
	if (USE_ANY && !row) {
		row = find_row(address, key_word(0, 0, KIND_ADDRESS), number);
		if (row && !row->ring_size)
			row = 0;
	}
	return row;
}

static __always_inline const struct service *find_in_network(const struct flow *flow, __u32 *number)
{
	struct address network = network_of(flow->destination);
	const struct service *row;

	if (!network.low)
		return 0;
	row = find_row(network, key_word(flow->ports >> 16, flow->protocol, KIND_PORT), number);
	return row ? row : find_wide(network, flow, number);
}

static __always_inline int find_service(struct packet *p)
{
	const struct flow *flow = &p->flow;
	__u32 number = 0;
	const struct service *service =
		find_row(flow->destination, key_word(flow->ports >> 16, flow->protocol, KIND_PORT), &number);

	if (unlikely(!service) && (USE_RANGES || USE_ANY))
		service = find_wide(flow->destination, flow, &number);
	if (unlikely(!service) && USE_NETWORKS)
		service = find_in_network(flow, &number);
	if (unlikely(!service))
		return END(passed_no_service, XDP_PASS);
	/* From here on we vouch for the packet: its length goes into the outer header. */
	if (unlikely(p->inner_bytes + ETH_HLEN + p->tag_bytes > p->frame_bytes))
		return END(dropped_malformed, XDP_DROP);
	p->service = service;
	p->row = number;
	return NEXT;
}
