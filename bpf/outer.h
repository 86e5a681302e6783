/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* outer.h - the agent's first stage: is this frame a tunnel's, and what do its outer headers say? */
#pragma once

#include <linux/udp.h>

#include "tunnel.h"

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

#define TAG_BYTES 4

/* Find the Ethernet type behind up to two tags; `t->at` is then where its packet begins. */
static __always_inline int parse_link(struct xdp_md *ctx, struct tunnel *t, __be16 *type)
{
	const void *frame = (const void *)(long)ctx->data;

	if (frame + ETH_HLEN > end_of(ctx))
		return END(passed_truncated, XDP_PASS);
	*type = *(const __be16 *)(frame + 12);
	t->at = ETH_HLEN;
	if (is_tag(*type)) {
		if (frame + ETH_HLEN + TAG_BYTES > end_of(ctx))
			return END(passed_truncated, XDP_PASS);
		t->tag[0] = *(const __u32 *)(frame + 12);
		*type = *(const __be16 *)(frame + 16);
		t->at = ETH_HLEN + TAG_BYTES;
		t->tags = 1;
	}
	if (t->tags && is_tag(*type)) {
		if (frame + ETH_HLEN + 2 * TAG_BYTES > end_of(ctx))
			return END(passed_truncated, XDP_PASS);
		t->tag[1] = *(const __u32 *)(frame + 16);
		*type = *(const __be16 *)(frame + 20);
		t->at = ETH_HLEN + 2 * TAG_BYTES;
		t->tags = 2;
	}
	return NEXT;
}

static __always_inline int parse_outer4(struct xdp_md *ctx, struct tunnel *t)
{
	const struct iphdr *ip = (const void *)(long)ctx->data + t->at;

	if ((const void *)(ip + 1) > end_of(ctx))
		return END(passed_truncated, XDP_PASS);
	__u64 first = *(const __u8 *)ip, header_bytes = (first & 0xf) * 4;

	if (first >> 4 != 4 || header_bytes < sizeof(*ip))
		return END(passed_not_tunnel, XDP_PASS);
	if (ip->frag_off & bpf_htons(MORE_FRAGMENTS_OR_OFFSET))
		return END(passed_fragment, XDP_PASS);
	t->source = mapped(ip->saddr);
	t->protocol = ip->protocol;
	t->outer_ecn = ip->tos & 3;
	t->outer_end = t->at + bpf_ntohs(ip->tot_len);
	t->at += header_bytes;
	return NEXT;
}

static __always_inline int parse_outer6(struct xdp_md *ctx, struct tunnel *t)
{
	const struct ipv6hdr *ip = (const void *)(long)ctx->data + t->at;

	if ((const void *)(ip + 1) > end_of(ctx))
		return END(passed_truncated, XDP_PASS);
	const __u8 *byte = (const void *)ip;

	if (byte[0] >> 4 != 6)
		return END(passed_not_tunnel, XDP_PASS);
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return END(passed_fragment, XDP_PASS);
	t->source = address6(&ip->saddr);
	if (is_mapped(&t->source))
		return END(passed_not_tunnel, XDP_PASS);
	t->protocol = ip->nexthdr;
	t->outer_ecn = byte[1] >> 4 & 3;
	t->at += sizeof(*ip);
	t->outer_end = t->at + bpf_ntohs(ip->payload_len);
	return NEXT;
}

#define GUE_BYTES 4

/* Generic UDP encapsulation, variant 0 (draft-ietf-intarea-gue, 3.1): 2 bits variant, 1 bit control, 5 bits Hlen in
 * words; protocol; flags. Flags change what the rest means and there are none that we know. The UDP checksum is not
 * looked at: 0 is what a tunnel sends (RFC 6935, 6936), and the inner packet has its own.
 */
static __always_inline int parse_gue(struct xdp_md *ctx, struct tunnel *t)
{
	const struct udphdr *udp = (const void *)(long)ctx->data + t->at;
	const __u8 *gue = (const void *)(udp + 1);

	if ((const void *)gue > end_of(ctx))
		return END(passed_truncated, XDP_PASS);
	__u64 datagram_bytes = bpf_ntohs(udp->len);

	if (udp->dest != bpf_htons(GUE_PORT))
		return END(passed_not_tunnel, XDP_PASS);
	if (datagram_bytes < sizeof(*udp) + GUE_BYTES)
		return END(passed_not_gue, XDP_PASS);
	if ((const void *)gue + GUE_BYTES > end_of(ctx))
		return END(passed_truncated, XDP_PASS);
	if (gue[0] >> 6 == 0 && gue[0] & 0x20)
		return END(passed_gue_control, XDP_PASS);
	if (gue[0] >> 6 || gue[2] || gue[3] || (gue[1] != IPPROTO_IPIP && gue[1] != IPPROTO_IPV6))
		return END(passed_not_gue, XDP_PASS);
	t->gue = true;
	t->protocol = gue[1];
	t->inner_end = t->at + datagram_bytes;
	t->at += sizeof(*udp) + GUE_BYTES + (gue[0] & 0x1f) * 4;
	return NEXT;
}

static __always_inline int parse_outer(struct xdp_md *ctx, struct tunnel *t)
{
	__be16 type = 0;

	TRY(parse_link(ctx, t, &type));
	if (type == bpf_htons(ETH_P_IP))
		TRY(parse_outer4(ctx, t));
	else if (type == bpf_htons(ETH_P_IPV6))
		TRY(parse_outer6(ctx, t));
	else
		return END(passed_not_tunnel, XDP_PASS);
	t->inner_end = t->outer_end;
	if (t->protocol == IPPROTO_UDP)
		return parse_gue(ctx, t);
	if (t->protocol != IPPROTO_IPIP && t->protocol != IPPROTO_IPV6)
		return END(passed_not_tunnel, XDP_PASS);
	return NEXT;
}
