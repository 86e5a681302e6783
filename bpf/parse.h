/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* parse.h - first stage: which flow does this frame belong to?
 *
 * What it cannot read is passed to the host, never dropped: the balancer may not make a box unreachable.
 */
#pragma once

#include "packet.h"

#define TCP_HEADER_BYTES 20
#define TCP_FLAGS 13 /* offset in the TCP header, RFC 9293, 3.1 */
#define UDP_HEADER_BYTES 8
#define MORE_FRAGMENTS_OR_OFFSET 0x3fff /* of frag_off, RFC 791, 3.1 */

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* Keyed, so that nobody outside can choose ports that meet in one slot; 64 bits at a time. Three multiplications: with
 * two, clients that count their ports up did not spread evenly. The protocol is left out: a service has one, and its own
 * ring. As `hash_flow` in xdplb/hashing.py.
 */
static __always_inline __u64 hash_flow(const struct packet *p)
{
	const struct flow *flow = &p->flow;
	__u64 hash = HASH_KEY;

	if (is6(p)) {
		hash = mix(hash, flow->source.high);
		hash = mix(hash, flow->source.low);
		hash = mix(hash, flow->destination.high ^ flow->ports);
	} else {
		/* An IPv4 address leaves the lower half free. */
		hash = mix(hash, flow->source.low ^ flow->ports);
	}
	return mix(hash, flow->destination.low) * 0xd6e8feb86659fd93ULL;
}

static __always_inline int parse_transport(const void *transport, const void *end_of_frame, struct packet *p)
{
	const __u8 *byte = transport;

	if (p->flow.protocol == IPPROTO_TCP) {
		if (transport + TCP_HEADER_BYTES > end_of_frame)
			return END(passed_truncated, XDP_PASS);
		p->tcp_flags = byte[TCP_FLAGS];
	} else if (p->flow.protocol == IPPROTO_UDP) {
		if (transport + UDP_HEADER_BYTES > end_of_frame)
			return END(passed_truncated, XDP_PASS);
	} else {
		return END(passed_not_tcp_udp, XDP_PASS);
	}
	p->flow.ports = *(const __u32 *)transport;
	p->hash = hash_flow(p);
	barrier_var(p->hash); /* now: so nothing that it is made of needs to be kept */
	return NEXT;
}

static __always_inline int parse_ipv4(const struct iphdr *ip, const void *end_of_frame, struct packet *p)
{
	if (*(const __u8 *)ip != 0x45) /* version 4, 5 words: no options */
		return END(passed_options, XDP_PASS);
	if (ip->frag_off & bpf_htons(MORE_FRAGMENTS_OR_OFFSET))
		return END(passed_fragment, XDP_PASS);
	p->flow.source = mapped(ip->saddr);
	p->flow.destination = mapped(ip->daddr);
	p->flow.protocol = ip->protocol;
	p->inner_bytes = bpf_ntohs(ip->tot_len);
	p->traffic_class = ip->tos;
	return parse_transport(ip + 1, end_of_frame, p);
}

static __always_inline int parse_ipv6(const struct ipv6hdr *ip, const void *end_of_frame, struct packet *p)
{
	if ((const void *)(ip + 1) > end_of_frame)
		return END(passed_truncated, XDP_PASS);
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
	const struct ethhdr *eth = (void *)(long)ctx->data;

	p->frame_bytes = end_of_frame - (const void *)eth;
	/* One look for both headers; nothing on Ethernet is shorter. */
	if (unlikely((const void *)(eth + 1) + sizeof(struct iphdr) > end_of_frame))
		return END(passed_truncated, XDP_PASS);
	/* Not by its name: the struct is packed, so that would be two loads of a byte each. */
	__be16 type = *(const __be16 *)((const void *)eth + 2 * ETH_ALEN);

	if (USE_VIP4 && type == bpf_htons(ETH_P_IP))
		return parse_ipv4((const void *)(eth + 1), end_of_frame, p);
	if (USE_VIP6 && type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6((const void *)(eth + 1), end_of_frame, p);
	return END(passed_not_ip, XDP_PASS);
}
