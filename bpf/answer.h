/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* answer.h - a stage of the second program: what is answered from here instead of being forwarded.
 *
 * Echo requests, packets that are too long for the way to their backend, and packets at the end of their time to live.
 * Answers come from the VIP: that is the address which their receivers know, and which no filter on the way minds.
 * They are rate-limited as RFC 1812 (4.3.2.8) and RFC 4443 (2.4 f) want it, on each CPU.
 */
#pragma once

#include "packet.h"

#define ANSWER_TTL 64
#define ANSWER_BURST 64 /* packets at once, on each CPU */
#define INTERNETWORK_CONTROL 0xc0 /* precedence of ICMP errors, RFC 1812, 4.3.2.5 */
#define ICMP_BYTES 8
#define MOST4 576 /* bytes of an ICMP error, RFC 1812, 4.3.2.3 */
#define MOST6 1280 /* RFC 4443, 2.4 c */

static __always_inline bool may_answer(void)
{
	__u32 zero = 0;
	__u64 *paid_off = answers.lookup(&zero);

	return paid_off && !over_rate(paid_off, coarse_time(), ANSWER_COST, ANSWER_BURST);
}

/* Whether a sender may be told (RFC 1122, 3.2.2; RFC 4443, 2.4 e): not about errors and later fragments, nor when the
 * source or the frame's receiver is not one host. IPv4's first byte is byte 12 of a mapped address.
 */
static __always_inline bool may_tell(const void *frame, const struct packet *p)
{
	__u64 first4 = p->flow.source.low >> 32 & 0xff, first6 = p->flow.source.high & 0xff;

	if (p->kind != ORDINARY || *(const __u8 *)frame & 1)
		return false;
	if (is6(p))
		return first6 != 0xff && (p->flow.source.high || p->flow.source.low & ~(1ULL << 56));
	return first4 != 0 && first4 != 127 && first4 < 224;
}

static __always_inline __u64 fold16(__u64 sum)
{
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff) + (sum >> 48);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

/* The words' sum of RFC 1071, of up to `most` bytes; both are multiples of 4. A helper would want a constant number. */
static __always_inline __u64 sum_words(const void *from, __u64 bytes, int most, const void *end_of_frame)
{
	__u64 sum = 0;

	for (int at = 0; at < most; at += 4) {
		const __u32 *word = from + at;

		barrier_var(word); /* one register for the check and for the load */
		if (at >= bytes || (const void *)(word + 1) > end_of_frame)
			break;
		sum += *word;
	}
	return sum;
}

static __always_inline __u64 sum_address(const struct address *address)
{
	return (address->high & 0xffffffff) + (address->high >> 32) + (address->low & 0xffffffff) +
	       (address->low >> 32);
}

/* Send the frame back: exchange its MAC addresses, of 12 bytes that are there. */
static __always_inline void turn_round(void *frame, __u64 first, __u32 second)
{
	*(__u64 *)frame = first >> 48 | (__u64)second << 16 | first << 48;
	*(__u32 *)(frame + 8) = first >> 16;
}

/* RFC 792, RFC 4443, 4.2: the same packet the other way round. The checksum follows its type (RFC 1624). */
static __always_inline int answer_echo(struct xdp_md *ctx, struct packet *p)
{
	void *frame = (void *)(long)ctx->data, *end_of_frame = (void *)(long)ctx->data_end;
	void *network = frame + ETH_HLEN + p->tag_bytes;
	struct iphdr *ip = network;
	struct ipv6hdr *ip6 = network;

	if (p->inner_bytes + ETH_HLEN + p->tag_bytes > p->frame_bytes)
		return END(dropped_malformed, XDP_DROP);
	if (network + sizeof(*ip6) + ICMP_BYTES > end_of_frame && is6(p))
		return END(passed_truncated, XDP_PASS);
	if (network + sizeof(*ip) + ICMP_BYTES > end_of_frame || frame + ETH_HLEN > end_of_frame)
		return END(passed_truncated, XDP_PASS);
	/* Behind options we do not look for it: nobody pings with them. */
	if (is6(p) ? ip6->nexthdr != IPPROTO_ICMPV6 : *(__u8 *)network != 0x45)
		return END(passed_icmp, XDP_PASS);
	if (*(__u8 *)frame & 1 || !may_answer())
		return END(dropped_unanswered, XDP_DROP);
	if (is6(p)) {
		struct in6_addr source = ip6->saddr;
		__u16 *icmp = (__u16 *)(ip6 + 1);

		ip6->saddr = ip6->daddr;
		ip6->daddr = source;
		ip6->hop_limit = ANSWER_TTL;
		icmp[0] = 129;
		icmp[1] = fold16((__u16)~icmp[1] + (__u16)~ICMP6_ECHO + 129);
	} else {
		__be32 source = ip->saddr;
		__u16 *icmp = (__u16 *)(ip + 1);
		__u16 before = *(__u16 *)&ip->ttl;

		ip->saddr = ip->daddr;
		ip->daddr = source;
		ip->ttl = ANSWER_TTL;
		ip->check = fold16((__u16)~ip->check + (__u16)~before + *(__u16 *)&ip->ttl);
		icmp[0] = 0;
		icmp[1] = fold16((__u16)~icmp[1] + (__u16)~ICMP4_ECHO);
	}
	turn_round(frame, *(__u64 *)frame, *(__u32 *)(frame + 8));
	return END(answered_echo, XDP_TX);
}

/* Make room for `bytes` of headers in front of the first `quoted` bytes of the packet, and write the Ethernet header. */
static __always_inline int make_error(struct xdp_md *ctx, struct packet *p, __u64 quoted, int bytes,
				      void **network)
{
	void *frame = (void *)(long)ctx->data;

	if (frame + ETH_HLEN > (void *)(long)ctx->data_end)
		return END(dropped_malformed, XDP_DROP);
	__u64 first = *(__u64 *)frame;
	__u32 second = *(__u32 *)(frame + 8);
	__s64 shorter = p->frame_bytes - ETH_HLEN - p->tag_bytes - quoted;

	if (bpf_xdp_adjust_tail(ctx, -shorter) || bpf_xdp_adjust_head(ctx, -bytes))
		return END(dropped_no_headroom, XDP_DROP);
	frame = (void *)(long)ctx->data;
	*network = frame + ETH_HLEN + p->tag_bytes;
	if (*network + bytes > (void *)(long)ctx->data_end || frame + bytes > (void *)(long)ctx->data_end)
		return END(dropped_no_headroom, XDP_DROP);
	turn_round(frame, first, second);
	if (USE_VLAN)
		*(__u64 *)(frame + 12) = p->tags; /* the type goes over what is too much of them */
	*(__be16 *)(*network - 2) = bpf_htons(is6(p) ? ETH_P_IPV6 : ETH_P_IP);
	return NEXT;
}

/* How much of the packet is quoted. Of a frame in several buffers, no more than the first one holds: nothing else of it
 * is seen here, and so could not be summed up.
 */
static __always_inline __u64 quoted_bytes(struct xdp_md *ctx, const struct packet *p, __u64 most)
{
	__u64 seen = (void *)(long)ctx->data_end - (void *)(long)ctx->data - ETH_HLEN - p->tag_bytes;
	__u64 bytes = p->inner_bytes < most ? p->inner_bytes : most;

	if (USE_FRAGS && seen < bytes)
		bytes = seen;
	return bytes & ~3ULL;
}

/* `word` is what stands behind the checksum, in network order: nothing, or the longest packet that fits. */
static __always_inline int tell4(struct xdp_md *ctx, struct packet *p, __u64 type_and_code, __u64 word)
{
	const int bytes = sizeof(struct iphdr) + ICMP_BYTES;
	__u64 quoted = quoted_bytes(ctx, p, MOST4 - bytes);
	void *network;

	TRY(make_error(ctx, p, quoted, bytes, &network));
	__u32 *ip = network, *icmp = network + sizeof(struct iphdr);
	__u64 length = bpf_htons(quoted + bytes);

	ip[0] = 0x45 | INTERNETWORK_CONTROL << 8 | length << 16;
	ip[1] = 0;
	ip[2] = ANSWER_TTL | IPPROTO_ICMP << 8;
	ip[3] = p->flow.destination.low >> 32;
	ip[4] = p->flow.source.low >> 32;
	ip[2] |= fold16((__u64)ip[0] + ip[2] + ip[3] + ip[4]) << 16;
	icmp[0] = type_and_code;
	icmp[1] = word;
	__u64 sum = sum_words(icmp + 2, quoted, MOST4 - bytes, (void *)(long)ctx->data_end);

	icmp[0] |= fold16(sum + type_and_code + word) << 16;
	return NEXT;
}

static __always_inline int tell6(struct xdp_md *ctx, struct packet *p, __u64 type_and_code, __u64 word)
{
	const int bytes = sizeof(struct ipv6hdr) + ICMP_BYTES;
	__u64 quoted = quoted_bytes(ctx, p, MOST6 - bytes);
	void *network;

	TRY(make_error(ctx, p, quoted, bytes, &network));
	__u32 *icmp = network + sizeof(struct ipv6hdr);
	__u64 *ip = network, length = bpf_htons(quoted + ICMP_BYTES);

	ip[0] = bpf_htonl(6u << 28) | length << 32 | (__u64)IPPROTO_ICMPV6 << 48 | (__u64)ANSWER_TTL << 56;
	ip[1] = p->flow.destination.high;
	ip[2] = p->flow.destination.low;
	ip[3] = p->flow.source.high;
	ip[4] = p->flow.source.low;
	icmp[0] = type_and_code;
	icmp[1] = word;
	/* The pseudo header (RFC 8200, 8.1): addresses, length, next header. */
	__u64 sum = sum_words(icmp + 2, quoted, MOST6 - bytes, (void *)(long)ctx->data_end) +
		    sum_address(&p->flow.source) + sum_address(&p->flow.destination) + length +
		    bpf_htons(IPPROTO_ICMPV6);

	icmp[0] |= fold16(sum + type_and_code + word) << 16;
	return NEXT;
}

static __always_inline int tell(struct xdp_md *ctx, struct packet *p, __u64 type4, __u64 type6, __u64 word)
{
	if (is6(p))
		return tell6(ctx, p, type6, word);
	return tell4(ctx, p, type4, word);
}

/* RFC 1191, 4; RFC 4443, 3.2. Also when IPv4 may fragment (DF clear): we do not, and most senders listen. */
static __always_inline int answer_too_big(struct xdp_md *ctx, struct packet *p)
{
	const void *frame = (void *)(long)ctx->data;
	__be16 mtu = bpf_htons(p->backend->mtu);

	if (frame + ETH_HLEN > (void *)(long)ctx->data_end || !may_tell(frame, p) || !may_answer())
		return END(dropped_unanswered, XDP_DROP);
	TRY(tell(ctx, p, 3 | 4 << 8, 2, (__u64)mtu << 16));
	return END(answered_too_big, XDP_TX);
}

/* RFC 792; RFC 4443, 3.3. */
static __always_inline int answer_ttl(struct xdp_md *ctx, struct packet *p)
{
	const void *frame = (void *)(long)ctx->data;

	if (frame + ETH_HLEN > (void *)(long)ctx->data_end || !may_tell(frame, p) || !may_answer())
		return END(dropped_unanswered, XDP_DROP);
	TRY(tell(ctx, p, 11, 3, 0));
	return END(answered_ttl, XDP_TX);
}
