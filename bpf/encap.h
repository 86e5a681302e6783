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

/* Make room and write the Ethernet header; `outer` is then the place of the outer IP header. Every pointer into the
 * packet is dead after bpf_xdp_adjust_head: that is why it is read anew here.
 */
static __always_inline int push(struct xdp_md *ctx, struct packet *p, int bytes, void **outer)
{
	const struct backend *to = p->backend;

	if (unlikely(bpf_xdp_adjust_head(ctx, -bytes)))
		return END(dropped_no_headroom, XDP_DROP);
	void *frame = (void *)(long)ctx->data;

	if (unlikely(frame + ETH_HLEN + bytes > (void *)(long)ctx->data_end))
		return END(dropped_no_headroom, XDP_DROP);
	*(__u64 *)frame = *(const __u64 *)to->ethernet;
	*(__u32 *)(frame + 8) = *(const __u32 *)(to->ethernet + 8);
	*(__u16 *)(frame + 12) = *(const __u16 *)(to->ethernet + 12);
	*outer = frame + ETH_HLEN;
	return NEXT;
}

/* Complete the checksum of RFC 1071, still in the upper half of a word: `sum` has less than 32 bits. */
static __always_inline __u64 fold(__u64 sum)
{
	return ~(sum + (sum << 16) + (sum >> 16)) & ~0xffffULL;
}

static __always_inline int encap4(struct xdp_md *ctx, struct packet *p)
{
	const struct backend *to = p->backend;
	__u64 protocol = is6(p) ? IPPROTO_IPV6 : IPPROTO_IPIP, class = p->traffic_class << 8;
	__u64 length = bpf_htons(p->inner_bytes + sizeof(struct iphdr));
	/* The row holds the sum of the words that are the same for every packet (RFC 1071). */
	__u64 sum = to->checksum + class + length + (protocol << 8);
	void *outer;

	TRY(push(ctx, p, sizeof(struct iphdr), &outer));
	__u32 *word = outer;

	word[0] = 0x45 | class | length << 16;
	word[1] = bpf_htons(0x4000) << 16; /* identification 0, don't fragment */
	word[2] = OUTER_TTL | protocol << 8 | fold(sum);
	word[3] = unmapped(&to->source);
	word[4] = unmapped(&to->address);
	return NEXT;
}

static __always_inline int encap6(struct xdp_md *ctx, struct packet *p)
{
	const struct backend *to = p->backend;
	__u64 protocol = is6(p) ? IPPROTO_IPV6 : IPPROTO_IPIP;
	/* The flow label spreads flows over paths and queues (RFC 6438). */
	__u64 first = bpf_htonl(6u << 28 | p->traffic_class << 20 | (p->hash >> 32 & 0xfffff));
	__u64 second = bpf_htons(p->inner_bytes) | protocol << 16 | OUTER_TTL << 24;
	void *outer;

	TRY(push(ctx, p, sizeof(struct ipv6hdr), &outer));
	__u64 *word = outer;

	word[0] = first | second << 32;
	word[1] = to->source.high;
	word[2] = to->source.low;
	word[3] = to->address.high;
	word[4] = to->address.low;
	return NEXT;
}

static __always_inline int encap(struct xdp_md *ctx, struct packet *p)
{
	if (USE_OUTER6 && (!USE_OUTER4 || p->backend->outer == 6))
		return encap6(ctx, p);
	return encap4(ctx, p);
}
