/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* decap.c - the XDP program on a backend: take the outer header off and hand the client's packet to the stack.
 *
 * The VIP is an address of the backend itself (on `lo`), so the stack answers the client directly (DSR). It does the
 * work of the kernel's ipip and ip6tnl devices and needs none of them. With USE_SOURCES it believes only outer
 * headers of the balancers in `sources`: otherwise anybody could send packets that seem to come from elsewhere.
 */
#include "decap_maps.h"

#define END(reason, action) end(offsetof(struct decapped, reason), action)

static __always_inline int end(__u32 reason, int action)
{
	__u32 zero = 0;
	void *counts = decapped.lookup(&zero);

	if (counts)
		*(__u64 *)(counts + reason) += 1;
	return action;
}

static __always_inline bool believed(struct address source)
{
	return !USE_SOURCES || sources.lookup(&source);
}

/* Take `outer_bytes` of outer header off; `inner` is the Ethernet type of what comes out. */
static __always_inline int pop(struct xdp_md *ctx, int outer_bytes, __u32 protocol)
{
	__be16 inner = protocol == IPPROTO_IPIP ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u32 zero = 0;
	struct decapped *counts = decapped.lookup(&zero);

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return END(passed_truncated, XDP_PASS);
	struct ethhdr header = *eth;

	if (bpf_xdp_adjust_head(ctx, outer_bytes))
		return END(dropped_no_room, XDP_DROP);
	eth = (void *)(long)ctx->data; /* the old pointers are dead after adjust_head */
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return END(dropped_no_room, XDP_DROP);
	*eth = header;
	eth->h_proto = inner;
	if (counts) {
		counts->packets += 1;
		counts->bytes += (void *)(long)ctx->data_end - (void *)eth;
	}
	return XDP_PASS;
}

int decap(struct xdp_md *ctx)
{
	void *end_of_frame = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip4 = (void *)(eth + 1);
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct address source = { .high = 0, .low = 0 };
	__u32 protocol = 0, outer_bytes = 0;

	if ((void *)(eth + 1) > end_of_frame)
		return END(passed_truncated, XDP_PASS);
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		if ((void *)(ip4 + 1) > end_of_frame)
			return END(passed_truncated, XDP_PASS);
		protocol = *(__u8 *)ip4 == 0x45 && !(ip4->frag_off & bpf_htons(0x3fff)) ? ip4->protocol : 0;
		outer_bytes = sizeof(*ip4);
		source = mapped(ip4->saddr);
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end_of_frame)
			return END(passed_truncated, XDP_PASS);
		protocol = ip6->nexthdr;
		outer_bytes = sizeof(*ip6);
		source = address6(&ip6->saddr);
	}
	if (protocol != IPPROTO_IPIP && protocol != IPPROTO_IPV6)
		return END(passed_not_tunnel, XDP_PASS);
	if (!believed(source))
		return END(dropped_source, XDP_DROP);
	return outer_bytes == sizeof(*ip4) ? pop(ctx, sizeof(*ip4), protocol)
					   : pop(ctx, sizeof(*ip6), protocol);
}
