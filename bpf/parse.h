/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* parse.h - first stage: which flow does this frame belong to?
 *
 * It reads what nearly every packet is: TCP, UDP (SCTP) right behind an IP header without extras, with a time to live
 * that outlasts us. Everything else is UNUSUAL, and parse_any.h's.
 */
#pragma once

#include "packet.h"
#include "transport.h"

#define SHORTEST (sizeof(struct iphdr) + TCP_HEADER_BYTES)

/* The first 8 bytes of an IPv4 header in one word, as they lie in memory: version and length, TOS, total length,
 * identification, flags and offset. Of a packet without options that is no fragment, these bits are these.
 */
#define PLAIN_IPV4_BITS 0xff3f0000000000ffULL
#define PLAIN_IPV4 0x45

static __always_inline int parse_ipv4(const void *network, const void *end_of_frame, struct packet *p)
{
	__u64 first = *(const __u64 *)network, addresses = *(const __u64 *)(network + 12);
	__u64 ttl = *(const __u8 *)(network + 8);

	/* And another hop to go, or the sender has to be told. */
	if (unlikely((first & PLAIN_IPV4_BITS) != PLAIN_IPV4 || ttl <= 1))
		return UNUSUAL;
	p->flow.source = mapped(addresses);
	p->flow.destination = mapped(addresses >> 32);
	p->flow.protocol = *(const __u8 *)(network + 9);
	p->inner_bytes = bpf_ntohs(first >> 16);
	p->traffic_class = first >> 8 & 0xff;
	return parse_transport(network + sizeof(struct iphdr), end_of_frame, p);
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
	return parse_transport(ip + 1, end_of_frame, p);
}

static __always_inline int parse(struct xdp_md *ctx, struct packet *p)
{
	const void *end_of_frame = (void *)(long)ctx->data_end;
	const void *frame = (void *)(long)ctx->data, *network = frame + ETH_HLEN;

	p->frame_bytes = frame_length(ctx);
	/* One look for all headers of TCP in IPv4: hardly anything on Ethernet is shorter, and that is UNUSUAL. */
	if (unlikely(network + SHORTEST > end_of_frame))
		return UNUSUAL;
	/* Not as a struct's field: that one is packed, so that would be two loads of a byte each. */
	__be16 type = *(const __be16 *)(frame + 2 * ETH_ALEN);

	if (USE_VLAN) {
		type = read_tags(frame, p);
		network += p->tag_bytes;
		if (network + SHORTEST > end_of_frame)
			return UNUSUAL;
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
