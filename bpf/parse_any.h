/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* parse_any.h - first stage of the second program: which flow does this frame belong to, however it looks?
 *
 * IPv4 options, IPv6 extension headers, fragments, ICMP. As in parse.h, what is not for a VIP goes to the host as it is;
 * so nothing is remembered of it either.
 */
#pragma once

#include "rows.h"
#include "transport.h"

#define OFFSET 0x1fff /* of frag_off, in units of 8 bytes, RFC 791, 3.1 */
#define MORE_FRAGMENTS 0x2000
#define EXTENSION_HEADERS 8 /* so many are read */
#define ICMP_HEADER_BYTES 8

/* RFC 792, RFC 4443 */
#define ICMP4_UNREACHABLE 3
#define ICMP4_ECHO 8
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER 12
#define ICMP6_UNREACHABLE 1
#define ICMP6_PARAMETER 4
#define ICMP6_ECHO 128

struct fragment {
	bool is_one;
	bool first;
	__u32 identification;
};

/* Later fragments have no ports: they go where the first one went. */
static __always_inline int follow_first(struct packet *p, const struct fragment *fragment)
{
	struct datagram key = {
		.source = p->flow.source,
		.destination = p->flow.destination,
		.identification = fragment->identification,
		.protocol = p->flow.protocol,
	};

	if (!is_vip_address(p->flow.destination) && !(USE_NETWORKS && network_of(p->flow.destination).low)) {
		if (fragment->first)
			return NEXT;
		return END(passed_fragment, XDP_PASS);
	}
	if (fragment->first) {
		__u64 ports = p->flow.ports;

		fragments.update(&key, &ports);
		return NEXT;
	}
	__u64 *ports = fragments.lookup(&key);

	if (!ports)
		return END(dropped_fragment, XDP_DROP);
	p->flow.ports = *ports;
	p->kind = LATER_FRAGMENT;
	return NEXT;
}

static __always_inline int parse_known(const void *transport, const void *end_of_frame, struct packet *p)
{
	int how = parse_transport(transport, end_of_frame, p);

	return how == UNUSUAL ? END(passed_protocol, XDP_PASS) : how;
}

static __always_inline bool has_ports(__u64 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || (USE_SCTP && protocol == IPPROTO_SCTP);
}

/* An error is about the packet that it quotes; that one came from a VIP, so the flow is the other way round. Eight bytes
 * behind the quoted IP header are all that a sender must quote (RFC 792).
 */
static __always_inline int take_quoted(const void *transport, const void *end_of_frame, struct packet *p,
				       struct address from, struct address to, __u64 protocol)
{
	if (from.low != p->flow.destination.low || from.high != p->flow.destination.high)
		return END(passed_icmp, XDP_PASS);
	p->flow.source = to;
	p->flow.protocol = protocol;
	if (has_ports(protocol)) {
		if (transport + 4 > end_of_frame)
			return END(passed_truncated, XDP_PASS);
		__u32 ports = *(const __u32 *)transport;

		p->flow.ports = ports >> 16 | (__u64)(ports & 0xffff) << 16;
	} else if (!USE_ANY || !protocol) { /* 0: see is_plain */
		return END(passed_icmp, XDP_PASS);
	}
	p->kind = ICMP_ERROR;
	return NEXT;
}

static __always_inline int parse_quoted4(const void *quoted, const void *end_of_frame, struct packet *p)
{
	const struct iphdr *ip = quoted;

	if (quoted + sizeof(*ip) > end_of_frame)
		return END(passed_truncated, XDP_PASS);
	__u64 header_bytes = (*(const __u8 *)quoted & 0xf) * 4;

	if (*(const __u8 *)quoted >> 4 != 4 || header_bytes < sizeof(*ip) || ip->frag_off & bpf_htons(OFFSET))
		return END(passed_icmp, XDP_PASS);
	return take_quoted(quoted + header_bytes, end_of_frame, p, mapped(ip->saddr), mapped(ip->daddr),
			   ip->protocol);
}

static __always_inline int parse_quoted6(const void *quoted, const void *end_of_frame, struct packet *p)
{
	const struct ipv6hdr *ip = quoted;

	if (quoted + sizeof(*ip) > end_of_frame)
		return END(passed_truncated, XDP_PASS);
	if (*(const __u8 *)quoted >> 4 != 6)
		return END(passed_icmp, XDP_PASS);
	const void *transport = ip + 1;
	__u64 protocol = ip->nexthdr;

	/* A backend's own fragments may be too long for the way: the first one names the flow. */
	if (protocol == IPPROTO_FRAGMENT) {
		const __be16 *header = transport;

		if (transport + 8 > end_of_frame)
			return END(passed_truncated, XDP_PASS);
		if (header[1] & bpf_htons(0xfff8))
			return END(passed_icmp, XDP_PASS);
		protocol = *(const __u8 *)header;
		transport += 8;
	}
	return take_quoted(transport, end_of_frame, p, address6(&ip->saddr), address6(&ip->daddr), protocol);
}

/* What is left of ICMP: echo requests to a VIP are ours to answer, and a service of every protocol gets the rest. */
static __always_inline int take_query(struct packet *p, bool echo)
{
	bool vip =
		is_vip_address(p->flow.destination) || (USE_NETWORKS && network_of(p->flow.destination).low);

	if (vip && echo)
		p->kind = ECHO_REQUEST;
	else if (!vip || !USE_ANY)
		return END(passed_icmp, XDP_PASS);
	return NEXT;
}

static __always_inline int parse_icmp(const void *icmp, const void *end_of_frame, struct packet *p)
{
	if (icmp + ICMP_HEADER_BYTES > end_of_frame)
		return END(passed_truncated, XDP_PASS);
	__u8 type = *(const __u8 *)icmp, code = *(const __u8 *)(icmp + 1);

	if (is6(p)) {
		if (type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER)
			return parse_quoted6(icmp + ICMP_HEADER_BYTES, end_of_frame, p);
		return take_query(p, type == ICMP6_ECHO && code == 0);
	}
	if (type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER)
		return parse_quoted4(icmp + ICMP_HEADER_BYTES, end_of_frame, p);
	return take_query(p, type == ICMP4_ECHO && code == 0);
}

static __always_inline int parse_payload(const void *payload, const void *end_of_frame, struct packet *p,
					 const struct fragment *fragment)
{
	p->sender = p->flow.source;
	if (!fragment->is_one || fragment->first) {
		if (p->flow.protocol == (is6(p) ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
			if (fragment->is_one) /* nobody fragments what we would look into */
				return END(passed_icmp, XDP_PASS);
			return parse_icmp(payload, end_of_frame, p);
		}
		TRY(parse_known(payload, end_of_frame, p));
	}
	if (fragment->is_one)
		return follow_first(p, fragment);
	return NEXT;
}

static __always_inline int parse_any4(const void *network, const void *end_of_frame, struct packet *p)
{
	const struct iphdr *ip = network;
	__u64 header_bytes = (*(const __u8 *)network & 0xf) * 4;
	__u16 fragments = bpf_ntohs(ip->frag_off);
	struct fragment fragment = {
		.is_one = fragments & (MORE_FRAGMENTS | OFFSET),
		.first = !(fragments & OFFSET),
		.identification = ip->id,
	};

	if (*(const __u8 *)network >> 4 != 4 || header_bytes < sizeof(*ip))
		return END(passed_not_ip, XDP_PASS);
	p->flow.source = mapped(ip->saddr);
	p->flow.destination = mapped(ip->daddr);
	p->flow.protocol = ip->protocol;
	p->inner_bytes = bpf_ntohs(ip->tot_len);
	p->traffic_class = ip->tos;
	p->ttl = ip->ttl;
	return parse_payload(network + header_bytes, end_of_frame, p, &fragment);
}

/* RFC 8200, 4: each header names the next one; lengths are in 8 bytes beyond the first 8, for AH in 4 beyond 8. */
static __always_inline int parse_any6(const void *network, const void *end_of_frame, struct packet *p)
{
	const struct ipv6hdr *ip = network;
	struct fragment fragment = { .is_one = false, .first = true };
	const __u8 *header = network + sizeof(*ip);

	if ((const void *)header > end_of_frame)
		return END(passed_truncated, XDP_PASS);
	if (*(const __u8 *)network >> 4 != 6)
		return END(passed_not_ip, XDP_PASS);
	__u64 next = ip->nexthdr;

	p->flow.source = address6(&ip->saddr);
	p->flow.destination = address6(&ip->daddr);
	p->inner_bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	p->traffic_class = bpf_ntohs(*(const __be16 *)network) >> 4 & 0xff;
	p->ttl = ip->hop_limit;
	p->inner6 = true;
	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		if (is_plain(next, true) || next == IPPROTO_ICMPV6)
			break;
		if ((const void *)header + 8 > end_of_frame)
			return END(passed_truncated, XDP_PASS);
		__u64 bytes = next == IPPROTO_AH ? (header[1] + 2) * 4 : (header[1] + 1) * 8;

		if (next == IPPROTO_FRAGMENT) {
			__u16 offset = bpf_ntohs(*(const __be16 *)(header + 2));

			fragment.is_one = fragment.is_one || offset & 0xfff9; /* offset, or more to come */
			fragment.first = fragment.first && !(offset & 0xfff8);
			fragment.identification = *(const __u32 *)(header + 4);
			bytes = 8;
		}
		next = header[0];
		header += bytes;
		if (!fragment.first) /* what follows is the middle of something */
			break;
	}
	p->flow.protocol = next;
	return parse_payload(header, end_of_frame, p, &fragment);
}

static __always_inline int parse_any(struct xdp_md *ctx, struct packet *p)
{
	const void *end_of_frame = (void *)(long)ctx->data_end;
	const void *frame = (void *)(long)ctx->data, *network = frame + ETH_HLEN;

	p->frame_bytes = frame_length(ctx);
	if (network + sizeof(struct iphdr) > end_of_frame)
		return END(passed_truncated, XDP_PASS);
	__be16 type = *(const __be16 *)(frame + 2 * ETH_ALEN);

	if (USE_VLAN) {
		type = read_tags(frame, p);
		network += p->tag_bytes;
		if (network + sizeof(struct iphdr) > end_of_frame)
			return END(passed_truncated, XDP_PASS);
	}
	if (USE_VIP4 && type == bpf_htons(ETH_P_IP))
		return parse_any4(network, end_of_frame, p);
	if (USE_VIP6 && type == bpf_htons(ETH_P_IPV6))
		return parse_any6(network, end_of_frame, p);
	if (is_tag(type))
		return END(passed_vlan, XDP_PASS);
	return END(passed_not_ip, XDP_PASS);
}
