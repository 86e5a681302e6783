/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* transport.h - what both parsers read in the same way: tags, ports, and the hash of a flow. */
#pragma once

#include "packet.h"

#define TCP_HEADER_BYTES 20
#define TCP_FLAGS 13 /* offset in the TCP header, RFC 9293, 3.1 */
#define UDP_HEADER_BYTES 8
#define SCTP_HEADER_BYTES 12
#define SCTP_INIT 1 /* type of the first chunk, RFC 9260, 3.3.2 */

/* A frame in several buffers (USE_FRAGS) is longer than what can be seen of it. */
static __always_inline __u64 frame_length(struct xdp_md *ctx)
{
	if (USE_FRAGS)
		return bpf_xdp_get_buff_len(ctx);
	return (void *)(long)ctx->data_end - (void *)(long)ctx->data;
}

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* 1 for a tag's type. */
static __always_inline __u64 marks_tag(__u64 type)
{
	return is_negative((__s64)(type ^ bpf_htons(ETH_P_8021Q)) - 1) +
	       is_negative((__s64)(type ^ bpf_htons(ETH_P_8021AD)) - 1);
}

/* No tag, one or two, of a frame with at least 34 bytes; return the type behind them. */
static __always_inline __be16 read_tags(const void *frame, struct packet *p)
{
	__u64 outer = *(const __u16 *)(frame + 12), inner = *(const __u16 *)(frame + 16);
	__u64 one = marks_tag(outer), two = one * marks_tag(inner);

	p->tags = *(const __u32 *)(frame + 12) | (__u64) * (const __u32 *)(frame + 16) << 32;
	p->tag_bytes = 4 * (one + two);
	return choose(two, *(const __u16 *)(frame + 20), choose(one, inner, outer));
}

/* Whether a protocol without ports that we know may be anybody's: IPv6's extension headers and ICMP are not. Nor is 0,
 * in IPv4: without ports, it would ask for the word 0, which is an empty row's.
 */
static __always_inline bool is_plain(__u64 protocol, bool six)
{
	if (!six)
		return protocol != IPPROTO_ICMP && protocol;
	return protocol != IPPROTO_ICMPV6 && protocol != IPPROTO_HOPOPTS && protocol != IPPROTO_ROUTING &&
	       protocol != IPPROTO_FRAGMENT && protocol != IPPROTO_AH && protocol != IPPROTO_DSTOPTS;
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
	} else if (USE_SCTP && p->flow.protocol == IPPROTO_SCTP) {
		if (transport + SCTP_HEADER_BYTES + 4 > end_of_frame)
			return END(passed_truncated, XDP_PASS);
		if (byte[SCTP_HEADER_BYTES] == SCTP_INIT)
			p->tcp_flags = TCP_SYN;
	} else {
		return USE_ANY && is_plain(p->flow.protocol, is6(p)) ? NEXT : UNUSUAL;
	}
	p->flow.ports = *(const __u32 *)transport;
	return NEXT;
}

/* Keyed, so that nobody outside can choose ports that meet in one slot; 64 bits at a time. Three multiplications: with
 * two, clients that count their ports up did not spread evenly. The protocol is left out: a service has one, and its own
 * ring; or it has all, and then a client's flows of several may well meet. As `hash_flow` in xdplb/hashing.py.
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

/* Of a client alone, whatever it asks for: as `hash_client` in xdplb/hashing.py. */
static __always_inline __u64 hash_client(struct address client, struct address mask)
{
	return mix(mix(HASH_KEY, client.high & mask.high), client.low & mask.low) * 0xd6e8feb86659fd93ULL;
}
