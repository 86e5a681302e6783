/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* parse.h - first stage: which flow does this frame belong to?
 *
 * It reads what nearly every packet is: TCP, UDP (SCTP) right behind an IP header without extras, with a time to live
 * that outlasts us. Everything else is UNUSUAL, and parse_any.h's.
 */
#pragma once

#include "packet.h"
#include "transport.h"

#define MORE_FRAGMENTS_OR_OFFSET 0x3fff /* of frag_off, RFC 791, 3.1 */

static __always_inline int parse_ports(const void *transport, const void *end_of_frame, struct packet *p)
{
	int how = parse_transport(transport, end_of_frame, p);

	if (how != NEXT)
		return how;
	if (!USE_CLIENT) {
		p->hash = hash_flow(p);
		barrier_var(p->hash); /* now: so nothing that it is made of needs to be kept */
	}
	return NEXT;
}

static __always_inline int parse_ipv4(const struct iphdr *ip, const void *end_of_frame, struct packet *p)
{
	/* Version 4, 5 words: no options. And another hop to go, or the sender has to be told. */
	if (unlikely(*(const __u8 *)ip != 0x45 || ip->frag_off & bpf_htons(MORE_FRAGMENTS_OR_OFFSET) ||
		     ip->ttl <= 1))
		return UNUSUAL;
	p->flow.source = mapped(ip->saddr);
	p->flow.destination = mapped(ip->daddr);
	p->flow.protocol = ip->protocol;
	p->inner_bytes = bpf_ntohs(ip->tot_len);
	p->traffic_class = ip->tos;
	return parse_ports(ip + 1, end_of_frame, p);
}

static __always_inline int parse_ipv6(const struct ipv6hdr *ip, const void *end_of_frame, struct packet *p)
{
	if ((const void *)(ip + 1) > end_of_frame)
		return END(passed_truncated, XDP_PASS);
	if (unlikely(ip->hop_limit <= 1))
		return UNUSUAL;
	p->flow.source = address6(&ip->saddr);
	p->flow.destination = address6(&ip->daddr);
	p->flow.protocol = ip->nexthdr;
	p->inner_bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	p->traffic_class = bpf_ntohs(*(const __be16 *)ip) >> 4 & 0xff;
	p->inner6 = true;
	return parse_ports(ip + 1, end_of_frame, p);
}

static __always_inline int parse(struct xdp_md *ctx, struct packet *p)
{
	const void *end_of_frame = (void *)(long)ctx->data_end;
	const void *frame = (void *)(long)ctx->data, *network = frame + ETH_HLEN;

	p->frame_bytes = frame_length(ctx);
	/* One look for both headers; nothing on Ethernet is shorter. */
	if (unlikely(network + sizeof(struct iphdr) > end_of_frame))
		return END(passed_truncated, XDP_PASS);
	/* Not as a struct's field: that one is packed, so that would be two loads of a byte each. */
	__be16 type = *(const __be16 *)(frame + 2 * ETH_ALEN);

	if (USE_VLAN) {
		type = read_tags(frame, p);
		network += p->tag_bytes;
		if (network + sizeof(struct iphdr) > end_of_frame)
			return END(passed_truncated, XDP_PASS);
	}
	if (USE_VIP4 && type == bpf_htons(ETH_P_IP))
		return parse_ipv4(network, end_of_frame, p);
	if (USE_VIP6 && type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(network, end_of_frame, p);
	barrier_var(type); /* or all that it may be would be asked in one go, rare things first */
	if (is_tag(type))
		return END(passed_vlan, XDP_PASS);
	return END(passed_not_ip, XDP_PASS);
}
