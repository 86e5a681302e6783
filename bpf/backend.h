/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* backend.h - what is known of a backend: a row of the balancer's `backends`, and of `probes` (probe_maps.h). */
#pragma once

#include "address.h"

/* backend.way: how packets get there. */
#define WAY_IPIP4 1 /* IPv4 in front (RFC 2003, RFC 4213) */
#define WAY_IPIP6 2 /* IPv6 in front (RFC 2473) */
#define WAY_GUE4 3 /* IPv4, UDP and a GUE header in front (draft-ietf-intarea-gue, variant 0) */
#define WAY_GUE6 4
#define WAY_L2 5 /* another Ethernet header (L2 DSR) */
#define WAY_LOCAL 6 /* this host's own stack */

/* One backend of one service: everything that goes in front of the inner packet. */
struct backend {
	__u8 ethernet[14]; /* header, ready to copy; its type is that of the outer header */
	__u16 vlan; /* tag control in network order of the way out; 0: the tags that the packet came with */
	__u8 way; /* WAY_ */
	__u8 up; /* 0: flows may not be kept here */
	__u16 mtu; /* the longest inner packet */
	__u16 gue_port; /* network order */
	__u16 device; /* where `devices` names the egress */
	__u32 checksum; /* of an outer IPv4 header: its constant words, not folded */
	__u32 egress; /* ifindex; 0: leaves where it came in */
	struct address source; /* of the outer header */
	struct address address; /* the backend: destination of the outer header */
};
