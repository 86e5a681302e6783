/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* sockets.h - asking the kernel of the backend for the socket that a client's TCP packet belongs to. */
#pragma once

#include <linux/tcp.h>

#include "tunnel.h"

static struct bpf_sock *(*find_socket)(void *ctx, struct bpf_sock_tuple *tuple, __u32 bytes, __u64 namespace,
				       __u64 flags) = (void *)BPF_FUNC_skc_lookup_tcp;
static long (*release)(void *socket) = (void *)BPF_FUNC_sk_release;

/* Is it TCP, whole, and without anything between the headers? A fragment or an option says nothing of a connection. */
static __always_inline bool is_tcp4(const struct xdp_md *ctx, const struct iphdr *ip)
{
	const struct tcphdr *tcp = (const void *)(ip + 1);

	return !((const void *)(tcp + 1) > end_of(ctx) || *(const __u8 *)ip != 0x45 ||
		 ip->protocol != IPPROTO_TCP || ip->frag_off & bpf_htons(MORE_FRAGMENTS_OR_OFFSET) ||
		 bpf_ntohs(ip->tot_len) < sizeof(*ip) + sizeof(*tcp));
}

static __always_inline bool is_tcp6(const struct xdp_md *ctx, const struct ipv6hdr *ip)
{
	const struct tcphdr *tcp = (const void *)(ip + 1);

	return !((const void *)(tcp + 1) > end_of(ctx) || ip->nexthdr != IPPROTO_TCP ||
		 bpf_ntohs(ip->payload_len) < sizeof(*tcp));
}

static __always_inline void fill_tuple4(struct bpf_sock_tuple *tuple, const struct iphdr *ip)
{
	const struct tcphdr *tcp = (const void *)(ip + 1);

	tuple->ipv4.saddr = ip->saddr;
	tuple->ipv4.daddr = ip->daddr;
	tuple->ipv4.sport = tcp->source;
	tuple->ipv4.dport = tcp->dest;
}

static __always_inline void fill_tuple6(struct bpf_sock_tuple *tuple, const struct ipv6hdr *ip)
{
	const struct tcphdr *tcp = (const void *)(ip + 1);

	__builtin_memcpy(tuple->ipv6.saddr, &ip->saddr, sizeof(tuple->ipv6.saddr));
	__builtin_memcpy(tuple->ipv6.daddr, &ip->daddr, sizeof(tuple->ipv6.daddr));
	tuple->ipv6.sport = tcp->source;
	tuple->ipv6.dport = tcp->dest;
}
