/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* second_chance.h - a packet that names another backend besides: is its connection here, or does it go there?
 *
 * While a slot changes, a balancer may not know which of two backends has a connection. It sends the packet to one and
 * carries the other's address along, as the destination of a middle header:
 *
 *   outer: balancer -> this backend | middle: plain IPv4 or IPv6, balancer -> the other one | the client's packet
 *
 * Without its outer header that is an ordinary IP-in-IP packet for the other backend, which takes it like any other: so
 * it is handed on once at the most. What says nothing of a connection stays here.
 */
#pragma once

#include "inner.h"
#include "sockets.h"

static long (*check_cookie)(void *socket, void *ip, __u32 ip_bytes, struct tcphdr *tcp,
			    __u32 tcp_bytes) = (void *)BPF_FUNC_tcp_check_syncookie;

#define FAMILY4 2 /* AF_INET, of a header that is not the kernel's */
#define FAMILY6 10

/* --- the middle header ----------------------------------------------------------------------------------- */

/* A client's own tunnel to a VIP is what the client sent, whatever its addresses say: so the destination is asked, too.
 * An IPv4-mapped source is nobody's.
 */
static __always_inline bool names_another(const struct tunnel *t)
{
	if (t->inner_protocol != IPPROTO_IPIP && t->inner_protocol != IPPROTO_IPV6)
		return false;
	if (t->protocol == IPPROTO_IPV6 && is_mapped(&t->inner_source))
		return false;
	struct network from = network_of(t->inner_source), to = network_of(t->destination);

	return sources.lookup(&from) && !vips.lookup(&to);
}

/* Stricter than with an outer header: this one is written by a balancer, and is sent again by us. */
static __always_inline int enter4(struct xdp_md *ctx, struct tunnel *t)
{
	const struct iphdr *ip = (const void *)(long)ctx->data + t->at;

	if ((const void *)(ip + 1) > end_of(ctx) || *(const __u8 *)ip != 0x45 ||
	    ip->frag_off & bpf_htons(MORE_FRAGMENTS_OR_OFFSET))
		return END(dropped_malformed, XDP_DROP);
	t->inner_end = t->at + bpf_ntohs(ip->tot_len);
	t->at += sizeof(*ip);
	return NEXT;
}

static __always_inline int enter6(struct xdp_md *ctx, struct tunnel *t)
{
	const struct ipv6hdr *ip = (const void *)(long)ctx->data + t->at;

	if ((const void *)(ip + 1) > end_of(ctx))
		return END(dropped_malformed, XDP_DROP);
	t->at += sizeof(*ip);
	t->inner_end = t->at + bpf_ntohs(ip->payload_len);
	return NEXT;
}

/* Go behind a middle header, if there is one: the inner packet is then the client's. */
static __always_inline int read_hint(struct xdp_md *ctx, struct tunnel *t)
{
	if (!names_another(t))
		return NEXT;
	TRY(carry_ecn(ctx, t));
	t->outer_ecn = t->inner_ecn;
	t->hint = true;
	t->middle_at = t->at;
	t->middle_protocol = t->protocol;
	if (t->protocol == IPPROTO_IPIP)
		TRY(enter4(ctx, t));
	else
		TRY(enter6(ctx, t));
	t->protocol = t->inner_protocol;
	return parse_inner(ctx, t);
}

/* --- is it ours? ----------------------------------------------------------------------------------------- */

/* A listener alone knows nothing of a connection, but for the one that begins with this packet, or began with a cookie
 * that it sent (tcp_syncookies): of these there is no other trace.
 */
static __always_inline bool takes(struct bpf_sock *socket, void *ip, __u32 ip_bytes, struct tcphdr *tcp)
{
	if (socket->state != BPF_TCP_LISTEN)
		return true; /* in use, half open (BPF_TCP_NEW_SYN_RECV), or just ended (BPF_TCP_TIME_WAIT) */
	if (tcp->syn && !tcp->ack)
		return true;
	return check_cookie(socket, ip, ip_bytes, tcp, sizeof(*tcp)) == 0;
}

static __always_inline bool has_socket(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 tuple_bytes,
				       void *ip, __u32 ip_bytes, struct tcphdr *tcp)
{
	struct bpf_sock *socket = find_socket(ctx, tuple, tuple_bytes, BPF_F_CURRENT_NETNS, 0);

	if (!socket)
		return false;
	bool ours = takes(socket, ip, ip_bytes, tcp);

	release(socket);
	return ours;
}

static __always_inline bool stays4(struct xdp_md *ctx, const struct tunnel *t)
{
	struct iphdr *ip = (void *)(long)ctx->data + t->at;

	if (!is_tcp4(ctx, ip))
		return true;
	struct bpf_sock_tuple tuple = {};

	fill_tuple4(&tuple, ip);
	return has_socket(ctx, &tuple, sizeof(tuple.ipv4), ip, sizeof(*ip), (void *)(ip + 1));
}

static __always_inline bool stays6(struct xdp_md *ctx, const struct tunnel *t)
{
	struct ipv6hdr *ip = (void *)(long)ctx->data + t->at;

	if (!is_tcp6(ctx, ip))
		return true;
	struct bpf_sock_tuple tuple = {};

	fill_tuple6(&tuple, ip);
	return has_socket(ctx, &tuple, sizeof(tuple.ipv6), ip, sizeof(*ip), (void *)(ip + 1));
}

static __always_inline bool stays(struct xdp_md *ctx, const struct tunnel *t)
{
	return t->protocol == IPPROTO_IPIP ? stays4(ctx, t) : stays6(ctx, t);
}

/* --- to the other one ------------------------------------------------------------------------------------ */

static __always_inline int lower_ttl(struct xdp_md *ctx, struct tunnel *t)
{
	void *network = (void *)(long)ctx->data + t->at;
	struct iphdr *ip = network;
	struct ipv6hdr *ip6 = network;

	if (t->protocol == IPPROTO_IPV6) {
		if ((const void *)(ip6 + 1) > end_of(ctx))
			return END(dropped_malformed, XDP_DROP);
		if (ip6->hop_limit <= 1)
			return END(dropped_ttl, XDP_DROP);
		ip6->hop_limit -= 1;
		return NEXT;
	}
	if ((const void *)(ip + 1) > end_of(ctx))
		return END(dropped_malformed, XDP_DROP);
	if (ip->ttl <= 1)
		return END(dropped_ttl, XDP_DROP);
	const __u16 *ttl_and_protocol = (const void *)&ip->ttl;
	__u16 before = *ttl_and_protocol;

	ip->ttl -= 1;
	amend_checksum(ip, before, *ttl_and_protocol);
	return NEXT;
}

/* Ask the kernel's routes. It answers where forwarding is enabled on the interface; not about VLANs, whose interfaces
 * are others than the one that the frame came in by.
 */
static __always_inline long find_route(struct xdp_md *ctx, const struct tunnel *t,
				       struct bpf_fib_lookup *route)
{
	const void *network = (const void *)(long)ctx->data + ETH_HLEN;
	const struct iphdr *ip = network;
	const struct ipv6hdr *ip6 = network;

	if (t->tags)
		return BPF_FIB_LKUP_RET_FWD_DISABLED;
	route->ifindex = ctx->ingress_ifindex;
	if (t->protocol == IPPROTO_IPV6) {
		if ((const void *)(ip6 + 1) > end_of(ctx))
			return BPF_FIB_LKUP_RET_FWD_DISABLED;
		route->family = FAMILY6;
		__builtin_memcpy(route->ipv6_src, &ip6->saddr, sizeof(route->ipv6_src));
		__builtin_memcpy(route->ipv6_dst, &ip6->daddr, sizeof(route->ipv6_dst));
	} else {
		if ((const void *)(ip + 1) > end_of(ctx))
			return BPF_FIB_LKUP_RET_FWD_DISABLED;
		route->family = FAMILY4;
		route->ipv4_src = ip->saddr;
		route->ipv4_dst = ip->daddr;
	}
	return bpf_fib_lookup(ctx, route, sizeof(*route), 0);
}

/* By the kernel's route if it tells; else back to whoever gave it to us, which in a routed network is the router. A
 * neighbour that is not known yet is the stack's to ask for: it forwards this one itself.
 */
static __always_inline int send_on(struct xdp_md *ctx, struct tunnel *t)
{
	struct bpf_fib_lookup route = {};
	long result = find_route(ctx, t, &route);
	__u8 *frame = (void *)(long)ctx->data;

	if ((const void *)(frame + ETH_HLEN) > end_of(ctx))
		return END(dropped_no_room, XDP_DROP);
	if (result == BPF_FIB_LKUP_RET_NO_NEIGH)
		return END(handed_on, XDP_PASS);
	if (result != BPF_FIB_LKUP_RET_SUCCESS) {
		__builtin_memcpy(route.dmac, frame + ETH_ALEN, ETH_ALEN);
		__builtin_memcpy(route.smac, frame, ETH_ALEN);
	}
	__builtin_memcpy(frame, route.dmac, ETH_ALEN);
	__builtin_memcpy(frame + ETH_ALEN, route.smac, ETH_ALEN);
	if (result != BPF_FIB_LKUP_RET_SUCCESS || route.ifindex == ctx->ingress_ifindex)
		return END(handed_on, XDP_TX);
	bpf_redirect(route.ifindex, 0); /* without flags it cannot fail */
	return END(handed_on, XDP_REDIRECT);
}

static __always_inline int hand_on(struct xdp_md *ctx, struct tunnel *t)
{
	const __u8 *frame = (const void *)(long)ctx->data;

	if ((const void *)(frame + 1) > end_of(ctx) || *frame & 1)
		return END(dropped_group, XDP_DROP);
	t->at = t->middle_at;
	t->protocol = t->middle_protocol;
	TRY(lower_ttl(ctx, t));
	TRY(pop(ctx, t));
	return send_on(ctx, t);
}
