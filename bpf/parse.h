/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* parse.h - first stage: which flow does this frame belong to?
 *
 * What it cannot read is passed to the host, never dropped: the balancer may not make a box unreachable.
 */
#pragma once

#include "packet.h"

struct ports {
	__be16 source;
	__be16 destination;
};

#define TCP_HEADER_BYTES 20
#define TCP_FLAGS 13 /* offset in the TCP header, RFC 9293, 3.1 */
#define TCP_SYN 1 /* bits of the flags */
#define TCP_ACK 4
#define UDP_HEADER_BYTES 8
#define MORE_FRAGMENTS_OR_OFFSET 0x3fff /* of frag_off, RFC 791, 3.1 */

static __always_inline int parse_transport(const void *transport, const void *end_of_frame, struct packet *p)
{
	const __u8 *byte = transport;

	if (p->flow.protocol == IPPROTO_TCP) {
		if (transport + TCP_HEADER_BYTES > end_of_frame)
			return END(passed_truncated, XDP_PASS);
		p->opens = byte[TCP_FLAGS] >> TCP_SYN & ~byte[TCP_FLAGS] >> TCP_ACK &
			   1; /* no branch to mispredict */
	} else if (p->flow.protocol == IPPROTO_UDP) {
		if (transport + UDP_HEADER_BYTES > end_of_frame)
			return END(passed_truncated, XDP_PASS);
	} else {
		return END(passed_not_tcp_udp, XDP_PASS);
	}
	p->flow.ports = *(const __u32 *)transport;
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
	__be16 type = *(const __be16 *)((const void *)eth +
					2 * ETH_ALEN); /* the struct is packed: two loads of a byte */

	if (USE_VIP4 && type == bpf_htons(ETH_P_IP))
		return parse_ipv4((const void *)(eth + 1), end_of_frame, p);
	if (USE_VIP6 && type == bpf_htons(ETH_P_IPV6))
		return parse_ipv6((const void *)(eth + 1), end_of_frame, p);
	return END(passed_not_ip, XDP_PASS);
}
