/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* encap.h - fifth stage: make the frame one for the backend.
 *
 * IP in IP in all four mixes of families (RFC 2003, RFC 2473, RFC 4213), GUE (draft-ietf-intarea-gue, variant 0) over
 * both, another Ethernet header (L2 DSR), or this host's stack. DSCP and ECN are copied from the inner header (RFC
 * 6040, normal mode). Of the inner packet only the time to live changes: we are a hop.
 *
 * With a second chance, there is one more header in between, IP in IP to the other backend (bpf/decap.c knows).
 */
#pragma once

#include "packet.h"
#include "write_outer.h"

/* As BCC's, but with the whole word that comes back: an int would have to be cut out of it. */
static long (*move_head)(void *ctx, int by) = (void *)BPF_FUNC_xdp_adjust_head;

/* One way compiled in means one answer, without looking. */
#define WAYS (USE_IPIP4 + USE_IPIP6 + USE_GUE4 + USE_GUE6 + USE_L2 + USE_LOCAL)
#define GOES(p, name) (USE_##name && (WAYS == 1 || (p)->backend->way == WAY_##name))

/* The family of what is put behind a header: not the client's, when that is another header. */
static __always_inline bool carries6(const struct packet *p)
{
	return USE_SECOND_CHANCE ? p->inner6 : is6(p);
}

/* What headers in front say of the packet behind them. */
static __always_inline struct carried carried(const struct packet *p)
{
	return (struct carried){
		.bytes = p->inner_bytes,
		.traffic_class = p->traffic_class,
		.entropy = p->hash >> 32, /* not the bits that picked the slot */
		.number = OUTER_DF ? 0 : p->traffic->packets,
		.six = carries6(p),
	};
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
	lower_ttl(network + bytes, carries6(p));
	*outer = network;
	return NEXT;
}

static __always_inline int encap_ipip4(struct xdp_md *ctx, struct packet *p)
{
	struct carried inner = carried(p);
	void *outer;

	TRY(push(ctx, p, sizeof(struct iphdr), bpf_htons(ETH_P_IP), &outer));
	write_ipip4(outer, p->backend, &inner);
	return NEXT;
}

static __always_inline int encap_ipip6(struct xdp_md *ctx, struct packet *p)
{
	struct carried inner = carried(p);
	void *outer;

	TRY(push(ctx, p, sizeof(struct ipv6hdr), bpf_htons(ETH_P_IPV6), &outer));
	write_ipip6(outer, p->backend, &inner);
	return NEXT;
}

static __always_inline int encap_gue4(struct xdp_md *ctx, struct packet *p)
{
	struct carried inner = carried(p);
	void *outer;

	TRY(push(ctx, p, sizeof(struct iphdr) + GUE_BYTES, bpf_htons(ETH_P_IP), &outer));
	write_gue4(outer, p->backend, &inner);
	return NEXT;
}

static __always_inline int encap_gue6(struct xdp_md *ctx, struct packet *p)
{
	struct carried inner = carried(p);
	void *outer;

	TRY(push(ctx, p, sizeof(struct ipv6hdr) + GUE_BYTES, bpf_htons(ETH_P_IPV6), &outer));
	write_gue6(outer, p->backend, &inner);
	return NEXT;
}

/* Put the other backend's header in front of the packet, which from then on is that: the backend that gets it has but to
 * take its own header off to send it on. The Ethernet header is left behind; the outer header's comes.
 */
static __always_inline int nest(struct xdp_md *ctx, struct packet *p)
{
	struct carried inner = carried(p);
	bool six = p->other->ethernet[12] == (ETH_P_IPV6 >> 8);
	__s64 bytes = six ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	if (move_head(ctx, -bytes))
		return END(dropped_no_headroom, XDP_DROP);
	void *network = (void *)(long)ctx->data + ETH_HLEN + p->tag_bytes;

	if (network + sizeof(struct ipv6hdr) + sizeof(struct iphdr) > (void *)(long)ctx->data_end)
		return END(dropped_no_headroom, XDP_DROP);
	lower_ttl(network + bytes, carries6(p));
	if (six)
		write_ipip6(network, p->other, &inner);
	else
		write_ipip4(network, p->other, &inner);
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
