/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tunnel.h - what the agent's stages know about the packet in hand, and how a stage ends. */
#pragma once

#include "decap_maps.h"

/* What is known of the packet in hand. Offsets and not pointers: the headers' lengths vary, and the verifier wants each
 * pointer checked where it is used. No address of a field may reach a helper: then all of it would have to lie in
 * memory.
 */
struct tunnel {
	__u64 at; /* offset of the header that is read next, at last that of the inner packet */
	__u64 outer_end; /* offset behind the outer packet, by its own account */
	__u64 inner_end; /* offset behind what the outer headers say that they carry */
	__u64 protocol; /* of what lies at `at` */
	__u64 tags; /* 802.1Q tags: 0, 1 or 2 */
	__u32 tag[2]; /* as they lie in the frame: type, then TCI */
	struct address source; /* of the outer header */
	struct address inner_source;
	struct address destination; /* of the inner header */
	__u64 inner_protocol; /* what the inner packet says that it carries */
	__u64 outer_ecn;
	__u64 inner_ecn;
	bool gue;
	bool hint; /* it carried a second backend's address along, and `at` is behind that: see second_chance.h */
	__u64 middle_at; /* then the offset of the header that says so */
	__u64 middle_protocol; /* and its family, as a protocol number */
	__u64 verdict; /* when nothing is taken off: see end() */
};

/* What a stage returns: go on, or the packet's way ends here and `verdict` says how. */
#define NEXT 0
#define ENDED 1

#define TRY(stage)                                                                                           \
	do {                                                                                                 \
		if ((stage) == ENDED)                                                                        \
			return ENDED;                                                                        \
	} while (0)

#define END(reason, action) end(t, offsetof(struct decapped, reason), action)

#define ACTION_BITS 8

/* The XDP action, and above it the reason, as offset of its counter. */
static __always_inline int end(struct tunnel *t, __u64 reason, __u64 action)
{
	t->verdict = reason << ACTION_BITS | action;
	return ENDED;
}

/* An IPv4-mapped address in an IPv6 header would pass for the IPv4 one. It has no place on a wire; the kernel refuses
 * such sources too (net/ipv6/ip6_input.c).
 */
static __always_inline bool is_mapped(const struct address *address)
{
	return address->high == 0 && (__u32)address->low == bpf_htonl(0xffff);
}

#define MORE_FRAGMENTS_OR_OFFSET 0x3fff /* of frag_off, RFC 791, 3.1 */

static __always_inline const void *end_of(const struct xdp_md *ctx)
{
	return (const void *)(long)ctx->data_end;
}
