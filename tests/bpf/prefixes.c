/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* prefixes.c - nothing but the prefix table: a frame from a blocked source is dropped, from an allowed one sent back,
 * any other passes.
 */
#include "../../bpf/prefixes.h"

static __always_inline int judge(const struct address *source, bool six)
{
	__u64 verdict = prefix_verdict(source, six);

	if (verdict == PREFIX_BLOCKED)
		return XDP_DROP;
	return verdict == PREFIX_ALLOWED ? XDP_TX : XDP_PASS;
}

int prefixes(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ethernet = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct ipv6hdr *ip6 = (void *)(ethernet + 1);
	bool six = USE_VIP6;
	struct address source;

	if ((void *)(ip + 1) > end)
		return XDP_ABORTED;
	if (USE_VIP4 && USE_VIP6)
		six = ethernet->h_proto == bpf_htons(ETH_P_IPV6);
	if (six) {
		if ((void *)(ip6 + 1) > end)
			return XDP_ABORTED;
		source = address6(&ip6->saddr);
	} else {
		source = mapped(ip->saddr);
	}
	return judge(&source, six);
}
