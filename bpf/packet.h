/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* packet.h - what the stages know about the packet in hand, and how a stage ends.
 *
 * Nothing here touches a map but end(), which counts why a packet was not forwarded.
 */
#pragma once

#include "address.h"
#include "maps.h"

/* The client's side of the packet as it arrived. */
struct flow {
	struct address source;
	struct address destination;
	__u32 ports; /* source, destination, as they lie in the packet */
	__u32 protocol;
};

/* No address of a field may reach a helper: then all of it would have to lie in memory instead of registers. */
struct packet {
	struct flow flow;
	__u64 frame_bytes;
	__u32 inner_bytes; /* the whole IP packet, without Ethernet padding */
	__u32 traffic_class; /* DSCP and ECN */
	bool inner6;
	bool opens; /* a TCP SYN without ACK: a new connection */
	__u64 hash; /* of the flow; its upper half picks the slot */
	const struct service *service;
	const struct backend *backend;
	struct traffic *traffic; /* of that backend */
};

/* One family compiled in means one answer, without looking. */
static __always_inline bool is6(const struct packet *p)
{
	return USE_VIP6 && (!USE_VIP4 || p->inner6);
}

/* A stage returns NEXT or the XDP action that ends the packet's way. */
#define NEXT (-1)

#define TRY(stage)                                                                                           \
	do {                                                                                                 \
		int action = (stage);                                                                        \
		if (action != NEXT)                                                                          \
			return action;                                                                       \
	} while (0)

#define END(reason, action) end(offsetof(struct verdicts, reason), action)

/* Every packet that is not forwarded is counted once, here. The counters are per CPU: no atomics. */
static __always_inline int end(__u32 reason, int action)
{
	__u32 zero = 0;
	void *counts = verdicts.lookup(&zero);

	if (counts)
		*(__u64 *)(counts + reason) += 1;
	return action;
}
