/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* encap.h - fifth stage: make the frame one for the backend.
 *
 * IP in IP in all four mixes of families (RFC 2003, RFC 2473, RFC 4213), GUE (draft-ietf-intarea-gue, variant 0) over
 * both, another Ethernet header (L2 DSR), or this host's stack. DSCP and ECN are copied from the inner header (RFC
 * 6040, normal mode). Of the inner packet only the time to live changes: we are a hop. Words of the header are
 * written as they lie in memory on a little-endian machine.
 *
 * With a second chance, there is one more header in between, IP in IP to the other backend (bpf/decap.c knows).
 */
#pragma once

#include "packet.h"

#define OUTER_TTL 64

/* As BCC's, but with the whole word that comes back: an int would have to be cut out of it. */
static long (*move_head)(void *ctx, int by) = (void *)BPF_FUNC_xdp_adjust_head;
#define GUE_HEADER_BYTES 4

/* One way compiled in means one answer, without looking. */
#define WAYS (USE_IPIP4 + USE_IPIP6 + USE_GUE4 + USE_GUE6 + USE_L2 + USE_LOCAL)
#define GOES(p, name) (USE_##name && (WAYS == 1 || (p)->backend->way == WAY_##name))

/* The family of what is put behind a header: not the client's, when that is another header. */
static __always_inline bool carries6(const struct packet *p)
{
	return USE_SECOND_CHANCE ? p->inner6 : is6(p);
}

/* RFC 1624 for a TTL that becomes one less: the sum becomes one more in its upper byte, the first in memory. 0xffff
 * would be -0, and is written as 0.
 */
static __always_inline void lower_ttl(const struct packet *p, void *inner)
{
	if (carries6(p)) {
		*(__u8 *)(inner + 7) -= 1;
		return;
	}
	__u64 word = *(__u32 *)(inner + 8); /* TTL, protocol, checksum */

	word += 0xffff;
	word += (word + 0x10000) >> 32 << 16;
	*(__u32 *)(inner + 8) = word;
}

/* The tags that the frame leaves with. */
static __always_inline __u64 tags_out(const struct packet *p)
{
	if (!USE_VLAN)
		return 0;
	return p->backend->vlan ? 4 : p->tag_bytes;
}

/* `network` is what follows. */
static __always_inline void write_ethernet(void *frame, void *network, const struct packet *p, __be16 type)
{
	const struct backend *to = p->backend;

	*(__u64 *)frame = *(const __u64 *)to->ethernet;
	*(__u32 *)(frame + 8) = *(const __u32 *)(to->ethernet + 8);
	if (USE_VLAN && to->vlan)
		*(__u32 *)(frame + 12) = bpf_htons(ETH_P_8021Q) | (__u32)to->vlan << 16;
	else if (USE_VLAN)
		*(__u64 *)(frame + 12) = p->tags; /* the type goes over what is too much of them */
	*(__u16 *)(network - 2) = type;
}

/* Make room and write the Ethernet header; `outer` is then the place of the outer IP header. Every pointer into the
 * packet is dead after bpf_xdp_adjust_head: that is why it is read anew here.
 */
static __always_inline int push(struct xdp_md *ctx, struct packet *p, int bytes, __be16 type, void **outer)
{
	__s64 tags = tags_out(p), room = bytes + tags - (USE_VLAN ? (__s64)p->tag_bytes : 0);

	if (unlikely((bytes || room) && move_head(ctx, -room)))
		return END(dropped_no_headroom, XDP_DROP);
	void *frame = (void *)(long)ctx->data, *network = frame + ETH_HLEN + tags;

	if (unlikely(network + bytes + sizeof(struct iphdr) > (void *)(long)ctx->data_end))
		return END(dropped_no_headroom, XDP_DROP);
	if (USE_VLAN && frame + ETH_HLEN + sizeof(p->tags) > (void *)(long)ctx->data_end)
		return END(dropped_no_headroom, XDP_DROP); /* never: but the verifier sees no connection */
	write_ethernet(frame, network, p, type);
	lower_ttl(p, network + bytes);
	*outer = network;
	return NEXT;
}

/* Complete the checksum of RFC 1071, still in the upper half of a word: `sum` has less than 32 bits. */
static __always_inline __u64 fold(__u64 sum)
{
	return ~(sum + (sum << 16) + (sum >> 16)) & ~0xffffULL;
}

static __always_inline __u64 inner_protocol(const struct packet *p)
{
	return carries6(p) ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

/* Bits that tell flows apart for the network's own load balancing: not those that picked the slot. */
static __always_inline __u64 entropy(const struct packet *p, int bits)
{
	return p->hash >> 32 & ((1ULL << bits) - 1);
}

/* A header that may be fragmented needs an identification of its own (RFC 6864); another one has 0. */
static __always_inline __u64 identification(const struct packet *p)
{
	return OUTER_DF ? 0 : p->traffic->packets & 0xffff;
}

static __always_inline void write_ipv4(__u32 *word, const struct packet *p, __u64 protocol, __u64 more_bytes)
{
	const struct backend *to = p->backend;
	__u64 class = p->traffic_class << 8, id = identification(p), fragments = OUTER_DF ? 0x40 : 0;
	__u64 length = bpf_htons(p->inner_bytes + more_bytes);
	__u64 low = SOURCE4_BITS ? bpf_htonl(entropy(p, SOURCE4_BITS)) : 0;
	/* The row holds the sum of the words that are the same for every packet (RFC 1071). */
	__u64 sum = to->checksum + class + length + (protocol << 8) + id + fragments + (low & 0xffff) +
		    (low >> 16);

	word[0] = 0x45 | class | length << 16;
	word[1] = id | fragments << 16;
	word[2] = OUTER_TTL | protocol << 8 | fold(sum);
	word[3] = unmapped(&to->source) | low;
	word[4] = unmapped(&to->address);
}

static __always_inline void write_ipv6(__u64 *word, const struct packet *p, __u64 protocol, __u64 more_bytes)
{
	const struct backend *to = p->backend;
	/* The flow label spreads flows over paths and queues (RFC 6438). */
	__u64 first = bpf_htonl(6u << 28 | p->traffic_class << 20 | entropy(p, 20));
	__u64 second = bpf_htons(p->inner_bytes + more_bytes) | protocol << 16 | OUTER_TTL << 24;
	__u64 low = SOURCE6_BITS ? (__u64)bpf_htonl(entropy(p, SOURCE6_BITS)) << 32 : 0;

	word[0] = first | second << 32;
	word[1] = to->source.high;
	word[2] = to->source.low | low;
	word[3] = to->address.high;
	word[4] = to->address.low;
}

/* UDP without checksum (RFC 768; for IPv6 RFC 6935 and RFC 6936), its source port for entropy, and GUE without options:
 * version 0, data, the protocol of what follows.
 */
static __always_inline void write_gue(__u32 *word, const struct packet *p)
{
	__u64 length = bpf_htons(p->inner_bytes + UDP_HEADER_BYTES + GUE_HEADER_BYTES);

	word[0] = bpf_htons(0xc000 | entropy(p, 14)) | (__u32)p->backend->gue_port << 16;
	word[1] = length;
	word[2] = inner_protocol(p) << 8;
}

static __always_inline int encap_ipip4(struct xdp_md *ctx, struct packet *p)
{
	void *outer;

	TRY(push(ctx, p, sizeof(struct iphdr), bpf_htons(ETH_P_IP), &outer));
	write_ipv4(outer, p, inner_protocol(p), sizeof(struct iphdr));
	return NEXT;
}

static __always_inline int encap_ipip6(struct xdp_md *ctx, struct packet *p)
{
	void *outer;

	TRY(push(ctx, p, sizeof(struct ipv6hdr), bpf_htons(ETH_P_IPV6), &outer));
	write_ipv6(outer, p, inner_protocol(p), 0);
	return NEXT;
}

static __always_inline int encap_gue4(struct xdp_md *ctx, struct packet *p)
{
	const int bytes = sizeof(struct iphdr) + UDP_HEADER_BYTES + GUE_HEADER_BYTES;
	void *outer;

	TRY(push(ctx, p, bytes, bpf_htons(ETH_P_IP), &outer));
	write_ipv4(outer, p, IPPROTO_UDP, bytes);
	write_gue(outer + sizeof(struct iphdr), p);
	return NEXT;
}

static __always_inline int encap_gue6(struct xdp_md *ctx, struct packet *p)
{
	const int more = UDP_HEADER_BYTES + GUE_HEADER_BYTES;
	void *outer;

	TRY(push(ctx, p, sizeof(struct ipv6hdr) + more, bpf_htons(ETH_P_IPV6), &outer));
	write_ipv6(outer, p, IPPROTO_UDP, more);
	write_gue(outer + sizeof(struct ipv6hdr), p);
	return NEXT;
}

/* Put the other backend's header in front of the packet, which from then on is that: the backend that gets it has but to
 * take its own header off to send it on. The Ethernet header is left behind; the outer header's comes.
 */
static __always_inline int nest(struct xdp_md *ctx, struct packet *p)
{
	const struct backend *to = p->backend;
	bool six = p->other->ethernet[12] == (ETH_P_IPV6 >> 8);
	__s64 bytes = six ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	if (move_head(ctx, -bytes))
		return END(dropped_no_headroom, XDP_DROP);
	void *network = (void *)(long)ctx->data + ETH_HLEN + p->tag_bytes;

	if (network + sizeof(struct ipv6hdr) + sizeof(struct iphdr) > (void *)(long)ctx->data_end)
		return END(dropped_no_headroom, XDP_DROP);
	lower_ttl(p, network + bytes);
	p->backend = p->other;
	if (six)
		write_ipv6(network, p, inner_protocol(p), 0);
	else
		write_ipv4(network, p, inner_protocol(p), sizeof(struct iphdr));
	p->backend = to;
	p->inner_bytes += bytes;
	p->inner6 = six;
	return NEXT;
}

static __always_inline int encap(struct xdp_md *ctx, struct packet *p)
{
	void *network;

	if (USE_SECOND_CHANCE && p->other)
		TRY(nest(ctx, p));
	if (GOES(p, IPIP4))
		return encap_ipip4(ctx, p);
	if (GOES(p, IPIP6))
		return encap_ipip6(ctx, p);
	if (GOES(p, GUE4))
		return encap_gue4(ctx, p);
	if (GOES(p, GUE6))
		return encap_gue6(ctx, p);
	if (GOES(p, L2))
		return push(ctx, p, 0, bpf_htons(is6(p) ? ETH_P_IPV6 : ETH_P_IP), &network);
	return NEXT;
}
