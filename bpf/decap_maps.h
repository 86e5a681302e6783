/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* decap_maps.h - the contract between decap.c and Python, as maps.h is for the balancer. */
#pragma once

#include "address.h"

/* What was taken off, and why the rest was not: every packet is in `packets` or `handed_on`, or has exactly one reason. */
struct decapped {
	__u64 packets; /* handed to the stack without their outer header */
	__u64 bytes; /* of those frames, without the outer header */
	__u64 ipip; /* of `packets`, those that came as IP in IP */
	__u64 gue; /* and those that came as GUE */
	__u64 second_kept; /* of `packets`, those that named a second backend, and stay here */
	__u64 handed_on; /* without their outer header, to the second backend that they named */
	__u64 passed_not_tunnel; /* neither IP in IP nor for the GUE port: for the stack as it is */
	__u64 passed_fragment; /* a fragment of an outer packet: only the stack can put it together */
	__u64 passed_truncated; /* the frame ends inside its outer headers */
	__u64 passed_gue_control; /* for the GUE port, and a control message */
	__u64 passed_not_gue; /* for the GUE port, and nothing of variant 0 that carries IP */
	__u64 dropped_source; /* the outer source is no balancer of ours */
	__u64 dropped_malformed; /* an outer or inner header says what the frame does not hold */
	__u64 dropped_vip; /* the inner destination is none of the VIPs */
	__u64 dropped_ecn; /* congestion was marked on a packet that cannot say so (RFC 6040, 4.2) */
	__u64 dropped_ttl; /* to be handed on, and at the end of its time to live */
	__u64 dropped_group; /* to be handed on, and sent to a group of hosts: all of them would do it */
	__u64 dropped_no_room; /* the kernel could not move the frame's head */
};

/* A key of `sources` and `vips`. Both families are kept as in `struct address`, so IPv4 has 96 bits more. */
struct network {
	__u32 bits;
	__u32 words[4]; /* not a struct address: nothing may lie between it and `bits` */
};

/* A key of `unanswered`: where a client wanted to. */
struct destination {
	struct address address;
	__be16 port;
	__u16 zero[3]; /* a hash compares all bytes of its keys */
};

#define BALANCERS_BITS 6

BPF_TABLE_PINNED("percpu_array", __u32, struct decapped, decapped, 1, PIN_DIR "/decapped");
BPF_TABLE_PINNED("lpm_trie", struct network, __u32, sources, 1024, PIN_DIR "/sources", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("lpm_trie", struct network, __u32, vips, 1024, PIN_DIR "/vips", BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("lru_hash", struct destination, __u64, unanswered, 1024, PIN_DIR "/unanswered");
BPF_TABLE_PINNED("array", __u32, struct address, balancers, 1 << BALANCERS_BITS, PIN_DIR "/balancers");
