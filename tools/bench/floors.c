/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* floors.c - the least that a program can cost which does some of a balancer's work, and decides nothing.
 *
 * Compiled with FLOOR: 0 sends the frame back as it is, 1 swaps its MAC addresses and counts it, 2 puts a constant
 * IPv4 header in front of it and counts it.
 */
#include <linux/if_ether.h>

BPF_TABLE_PINNED("percpu_array", __u32, __u64, packets, 1, PIN_DIR "/packets");

static __always_inline int count(void)
{
	__u32 zero = 0;
	__u64 *number = packets.lookup(&zero);

	if (number)
		*number += 1;
	return XDP_TX;
}

static __always_inline int swap(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data;

	if (frame + ETH_HLEN > (void *)(long)ctx->data_end)
		return XDP_DROP;
	__u64 first = *(__u64 *)frame; /* destination, and two bytes of the source */
	__u32 second = *(__u32 *)(frame + 8);

	*(__u64 *)frame = first >> 48 | (__u64)second << 16 | first << 48;
	*(__u32 *)(frame + 8) = first >> 16;
	return count();
}

static __always_inline int push(struct xdp_md *ctx)
{
	if (bpf_xdp_adjust_head(ctx, -20))
		return XDP_DROP;
	void *frame = (void *)(long)ctx->data;

	if (frame + ETH_HLEN + 20 > (void *)(long)ctx->data_end)
		return XDP_DROP;
	*(__u64 *)frame = 0x0002030000000002ULL;
	*(__u32 *)(frame + 8) = 0x02000000;
	*(__u16 *)(frame + 12) = bpf_htons(ETH_P_IP);
	*(__u16 *)(frame + 14) = 0x45;
	*(__u64 *)(frame + 16) = 0x0440004000004200ULL;
	*(__u64 *)(frame + 24) = 0x000b020200000afULL;
	*(__u16 *)(frame + 32) = 0x020b;
	return count();
}

int floors(struct xdp_md *ctx)
{
	if (FLOOR == 1)
		return swap(ctx);
	if (FLOOR == 2)
		return push(ctx);
	return XDP_TX;
}
