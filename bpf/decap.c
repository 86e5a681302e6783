/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* decap.c - the XDP program on a backend: take the outer header off and hand the client's packet to the stack.
 *
 * The VIP is an address of the backend itself (on `lo`), so the stack answers the client directly (DSR). It does the
 * work of the kernel's ipip, sit, ip6tnl and fou devices and needs none of them.
 *
 * Compiled with USE_SOURCES: it believes only outer headers of the balancers in `sources`, otherwise anybody could
 * send packets that seem to come from elsewhere; USE_VIPS: it hands on only what is for the addresses in `vips`, so
 * that who can forge a balancer's address reaches nothing else; and GUE_PORT. What is no tunnel is passed, never
 * dropped: the agent may not make a box unreachable.
 */
#include <linux/udp.h>

#include "decap_maps.h"

/* What is known of the packet in hand. Offsets and not pointers: the headers' lengths vary, and the verifier wants each
 * pointer checked where it is used. No address of a field may reach a helper: then all of it would have to lie in
 * memory.
 */
struct tunnel {
	__u64 at; /* offset of the header that is read next, at last that of the inner packet */
	__u64 outer_end; /* offset behind the outer packet, by its own account */
	__u64 inner_end; /* offset behind what the outer headers say that they carry */
	__u64 protocol; /* of what lies at `at` */
	__u64 tags; /* 802.1Q tags: 0, 1 or 2 */
	__u32 tag[2]; /* as they lie in the frame: type, then TCI */
	struct address source; /* of the outer header */
	struct address destination; /* of the inner header */
	__u64 outer_ecn;
	__u64 inner_ecn;
	bool gue;
	__u64 verdict; /* when nothing is taken off: see end() */
};

/* What a stage returns: go on, or the packet's way ends here and `verdict` says how. */
#define NEXT 0
#define ENDED 1

#define TRY(stage)                                                                                           \
	do {                                                                                                 \
		if ((stage) == ENDED)                                                                        \
			return ENDED;                                                                        \
	} while (0)

#define END(reason, action) end(t, offsetof(struct decapped, reason), action)

#define ACTION_BITS 8

/* The XDP action, and above it the reason, as offset of its counter. */
static __always_inline int end(struct tunnel *t, __u64 reason, __u64 action)
{
	t->verdict = reason << ACTION_BITS | action;
	return ENDED;
}

/* An IPv4-mapped address in an IPv6 header would pass for the IPv4 one. It has no place on a wire; the kernel refuses
 * such sources too (net/ipv6/ip6_input.c).
 */
static __always_inline bool is_mapped(const struct address *address)
{
	return address->high == 0 && (__u32)address->low == bpf_htonl(0xffff);
}

static __always_inline const void *end_of(const struct xdp_md *ctx)
{
	return (const void *)(long)ctx->data_end;
}

/* --- the outer headers ----------------------------------------------------------------------------------- */

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

#define MORE_FRAGMENTS_OR_OFFSET 0x3fff /* of frag_off, RFC 791, 3.1 */

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
	t->destination = mapped(ip->daddr);
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
	t->destination = address6(&ip->daddr);
	if (is_mapped(&t->destination))
		return END(dropped_malformed, XDP_DROP);
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

/* Change the ECN of an inner header and its checksum, as RFC 1624, 3, eqn. 3 says: the old word out, the new one in.
 * Sums do not care for the byte order as long as it is the same everywhere.
 */
static __always_inline void set_ecn4(struct iphdr *ip, __u64 ecn)
{
	__u16 *first_word = (void *)ip;
	__u32 sum = (__u16)~ip->check + (__u16) ~*first_word;

	ip->tos = (ip->tos & ~3) | ecn;
	sum += *first_word;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = ~sum;
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

static __always_inline int take_off(struct xdp_md *ctx, struct tunnel *t)
{
	TRY(parse_outer(ctx, t));
	TRY(guard_source(t));
	TRY(parse_inner(ctx, t));
	TRY(guard_vip(t));
	TRY(carry_ecn(ctx, t));
	return pop(ctx, t);
}

static __always_inline void count(const struct xdp_md *ctx, const struct tunnel *t, struct decapped *counts)
{
	counts->packets += 1;
	counts->bytes += end_of(ctx) - (const void *)(long)ctx->data;
	if (t->gue)
		counts->gue += 1;
	else
		counts->ipip += 1;
}

int decap(struct xdp_md *ctx)
{
	struct tunnel t = {};
	int result = take_off(ctx, &t);
	__u32 zero = 0;
	struct decapped *counts = decapped.lookup(&zero);

	if (!counts)
		return XDP_ABORTED; /* an array's only element is always there */
	if (result == NEXT) {
		count(ctx, &t, counts);
		return XDP_PASS;
	}
	*(__u64 *)((void *)counts + (t.verdict >> ACTION_BITS)) += 1; /* per CPU: no atomics */
	return t.verdict & ((1 << ACTION_BITS) - 1);
}
