/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* encap.h - fourth stage: put the outer header on.
 *
 * IP in IP in all four mixes of families (RFC 2003, RFC 2473, RFC 4213). DSCP and ECN are copied from the inner
 * header (RFC 6040, normal mode); the inner packet is not touched. Words of the header are written as they
 * lie in memory on a little-endian machine.
 */
#pragma once

#include "packet.h"

#define OUTER_TTL 64

/* Make room and write the Ethernet header; return the place of the outer IP header, or 0. Every pointer into the
 * packet is dead after bpf_xdp_adjust_head: that is why it is read anew here.
 */
static __always_inline void *push(struct xdp_md *ctx, const struct packet *p, int bytes)
{
	const struct backend *to = p->backend;

	if (bpf_xdp_adjust_head(ctx, -bytes))
		return 0;
	void *frame = (void *)(long)ctx->data;

	if (frame + ETH_HLEN + bytes > (void *)(long)ctx->data_end)
		return 0;
	*(__u64 *)frame = *(const __u64 *)to->ethernet;
	*(__u32 *)(frame + 8) = *(const __u32 *)(to->ethernet + 8);
	*(__u16 *)(frame + 12) = *(const __u16 *)(to->ethernet + 12);
	return frame + ETH_HLEN;
}

static __always_inline int encap4(struct xdp_md *ctx, struct packet *p)
{
	const struct backend *to = p->backend;
	__u32 protocol = p->inner6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	__u32 first = 0x45 | p->traffic_class << 8, length = bpf_htons(p->inner_bytes + sizeof(struct iphdr));
	/* The row holds the sum of the words that are the same for every packet (RFC 1071). */
	__u32 sum = to->checksum + (p->traffic_class << 8) + length + (protocol << 8);
	__u32 *word = push(ctx, p, sizeof(struct iphdr));

	if (!word)
		return END(dropped_no_headroom, XDP_DROP);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	word[0] = first | length << 16;
	word[1] = bpf_htons(0x4000) << 16; /* identification 0, don't fragment */
	word[2] = OUTER_TTL | protocol << 8 | (~sum & 0xffff) << 16;
	word[3] = to->source.low >> 32;
	word[4] = to->address.low >> 32;
	return NEXT;
}

static __always_inline int encap6(struct xdp_md *ctx, struct packet *p)
{
	const struct backend *to = p->backend;
	__u32 protocol = p->inner6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
	/* The flow label spreads flows over paths and queues (RFC 6438). */
	__u32 first = bpf_htonl(6u << 28 | p->traffic_class << 20 | (p->fingerprint >> 32 & 0xfffff));
	__u32 second = bpf_htons(p->inner_bytes) | protocol << 16 | OUTER_TTL << 24;
	void *outer = push(ctx, p, sizeof(struct ipv6hdr));

	if (!outer)
		return END(dropped_no_headroom, XDP_DROP);
	((__u32 *)outer)[0] = first;
	((__u32 *)outer)[1] = second;
	((__u64 *)outer)[1] = to->source.high;
	((__u64 *)outer)[2] = to->source.low;
	((__u64 *)outer)[3] = to->address.high;
	((__u64 *)outer)[4] = to->address.low;
	return NEXT;
}

static __always_inline int encap(struct xdp_md *ctx, struct packet *p)
{
	if (USE_OUTER6 && (!USE_OUTER4 || p->backend->outer == 6))
		return encap6(ctx, p);
	return encap4(ctx, p);
}
