/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* inner.h - what an outer header carries: may it come in, what congestion did it meet, and how is it uncovered? */
#pragma once

#include "tunnel.h"

/* --- from whom, for whom --------------------------------------------------------------------------------- */

static __always_inline struct network network_of(struct address address)
{
	return (struct network){
		.bits = 128,
		.words = { address.high, address.high >> 32, address.low, address.low >> 32 },
	};
}

static __always_inline int guard_source(struct tunnel *t)
{
	if (USE_SOURCES) {
		struct network key = network_of(t->source);

		if (!sources.lookup(&key))
			return END(dropped_source, XDP_DROP);
	}
	return NEXT;
}

static __always_inline int guard_vip(struct tunnel *t)
{
	if (USE_VIPS) {
		struct network key = network_of(t->destination);

		if (!vips.lookup(&key))
			return END(dropped_vip, XDP_DROP);
	}
	return NEXT;
}

/* --- the inner header ------------------------------------------------------------------------------------ */

/* The inner packet must lie within what the outer headers carry: bytes behind that are Ethernet's padding, and a
 * packet that reaches into them is a lie of one header or the other.
 */
static __always_inline int parse_inner4(struct xdp_md *ctx, struct tunnel *t)
{
	const struct iphdr *ip = (const void *)(long)ctx->data + t->at;

	if ((const void *)(ip + 1) > end_of(ctx))
		return END(dropped_malformed, XDP_DROP);
	__u64 first = *(const __u8 *)ip, header_bytes = (first & 0xf) * 4, bytes = bpf_ntohs(ip->tot_len);

	if (first >> 4 != 4 || header_bytes < sizeof(*ip) || bytes < header_bytes ||
	    t->at + bytes > t->inner_end)
		return END(dropped_malformed, XDP_DROP);
	t->inner_source = mapped(ip->saddr);
	t->destination = mapped(ip->daddr);
	t->inner_protocol = ip->protocol;
	t->inner_ecn = ip->tos & 3;
	return NEXT;
}

static __always_inline int parse_inner6(struct xdp_md *ctx, struct tunnel *t)
{
	const struct ipv6hdr *ip = (const void *)(long)ctx->data + t->at;

	if ((const void *)(ip + 1) > end_of(ctx))
		return END(dropped_malformed, XDP_DROP);
	const __u8 *byte = (const void *)ip;

	if (byte[0] >> 4 != 6 || t->at + sizeof(*ip) + bpf_ntohs(ip->payload_len) > t->inner_end)
		return END(dropped_malformed, XDP_DROP);
	t->inner_source = address6(&ip->saddr);
	t->destination = address6(&ip->daddr);
	if (is_mapped(&t->destination))
		return END(dropped_malformed, XDP_DROP);
	t->inner_protocol = ip->nexthdr;
	t->inner_ecn = byte[1] >> 4 & 3;
	return NEXT;
}

static __always_inline int parse_inner(struct xdp_md *ctx, struct tunnel *t)
{
	__u64 frame_bytes = end_of(ctx) - (const void *)(long)ctx->data;

	if (t->outer_end > frame_bytes || t->inner_end > t->outer_end)
		return END(dropped_malformed, XDP_DROP);
	return t->protocol == IPPROTO_IPIP ? parse_inner4(ctx, t) : parse_inner6(ctx, t);
}

/* --- congestion ------------------------------------------------------------------------------------------ */

#define NOT_ECT 0 /* RFC 3168, 5 */
#define ECT1 1
#define ECT0 2
#define CE 3

/* Have a header's checksum follow a word that changed, as RFC 1624, 3, eqn. 3 says: the old one out, the new one in.
 * Sums do not care for the byte order as long as it is the same everywhere.
 */
static __always_inline void amend_checksum(struct iphdr *ip, __u16 before, __u16 after)
{
	__u32 sum = (__u16)~ip->check + (__u16)~before + after;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
}

static __always_inline void set_ecn4(struct iphdr *ip, __u64 ecn)
{
	const __u16 *first_word = (void *)ip;
	__u16 before = *first_word;

	ip->tos = (ip->tos & ~3) | ecn;
	amend_checksum(ip, before, *first_word);
}

/* What was marked on the way here is carried to the inner header, or the sender would never hear of it (RFC 6040,
 * 4.2, normal mode). DSCP is left as the client sent it.
 */
static __always_inline int carry_ecn(struct xdp_md *ctx, struct tunnel *t)
{
	__u8 *ip = (void *)(long)ctx->data + t->at;
	__u64 ecn = t->inner_ecn;

	if (t->inner_ecn == NOT_ECT && t->outer_ecn == CE)
		return END(dropped_ecn, XDP_DROP);
	if (t->inner_ecn != NOT_ECT && t->outer_ecn == CE)
		ecn = CE;
	if (t->inner_ecn == ECT0 && t->outer_ecn == ECT1)
		ecn = ECT1;
	if (ecn == t->inner_ecn)
		return NEXT;
	if ((const void *)(ip + sizeof(struct iphdr)) > end_of(ctx))
		return END(dropped_malformed, XDP_DROP);
	if (t->protocol == IPPROTO_IPIP)
		set_ecn4((void *)ip, ecn);
	else
		ip[1] = (ip[1] & ~0x30) | ecn << 4;
	t->inner_ecn = ecn;
	return NEXT;
}

/* --- off it comes ---------------------------------------------------------------------------------------- */

/* The Ethernet header moves to the inner packet with its tags, which the stack knows how to read. */
static __always_inline int pop(struct xdp_md *ctx, struct tunnel *t)
{
	void *frame = (void *)(long)ctx->data;
	int link_bytes = ETH_HLEN + t->tags * TAG_BYTES;

	if (frame + 12 > end_of(ctx))
		return END(passed_truncated, XDP_PASS);
	__u64 macs = *(__u64 *)frame;
	__u32 macs_end = *(__u32 *)(frame + 8);

	if (bpf_xdp_adjust_head(ctx, (int)t->at - link_bytes))
		return END(dropped_no_room, XDP_DROP);
	frame = (void *)(long)ctx->data; /* the old pointers are dead after adjust_head */
	if (frame + ETH_HLEN + sizeof(struct iphdr) > end_of(ctx)) /* more than two tags need */
		return END(dropped_no_room, XDP_DROP);
	*(__u64 *)frame = macs;
	*(__u32 *)(frame + 8) = macs_end;
	if (t->tags > 0)
		*(__u32 *)(frame + 12) = t->tag[0];
	if (t->tags > 1)
		*(__u32 *)(frame + 16) = t->tag[1];
	__be16 type = t->protocol == IPPROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);

	if (t->tags == 0)
		*(__be16 *)(frame + 12) = type;
	else if (t->tags == 1)
		*(__be16 *)(frame + 16) = type;
	else
		*(__be16 *)(frame + 20) = type;
	return NEXT;
}
