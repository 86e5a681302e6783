/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* driver.c - one turn of the benchmark: take off what the last turn put on, make the frame another flow's, and call
 * the program that is measured.
 *
 * BPF_PROG_TEST_RUN hands each turn the frame as the last one left it: without this, every turn would wrap one more
 * header around it. Compiled with FAMILY, 4 or 6. BCC has no global variables, so what the driver knows is the one
 * element of an array, which Python maps.
 */
#include "../../bpf/address.h"

struct state {
	__u64 random; /* of a linear congruential generator (Knuth's MMIX) */
	__u64 flows; /* how many there are to draw from */
	__u64 frame_bytes; /* as the frame came in */
	__u64 grown_bytes; /* what had to be taken off, over all turns: the proof of encapsulation */
	__u64 turns;
	__u64 first_vip; /* the lowest 4 bytes of its address, host order */
	__u64 vips; /* so many addresses from there on are sent to */
};

BPF_TABLE_PINNED("array", __u32, struct state, state, 1, PIN_DIR "/state", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("prog", __u32, __u32, programs, 1, PIN_DIR "/programs");

static __always_inline __u32 draw_flow(struct state *s)
{
	s->random = s->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return (s->random >> 32) * s->flows >> 32;
}

/* Stores are as wide as the loads of a program that reads addresses and ports, or its loads would wait for them: frames
 * from a NIC have been written long ago.
 */
static __always_inline void write_flow(const struct state *s, void *frame, __u32 flow)
{
	__u64 *source = frame + (FAMILY == 4 ? 26 : 30); /* with the destination, or the lower half */
	__u32 *ports = frame + (FAMILY == 4 ? 34 : 54);
	__u64 number = flow * 2654435761U; /* odd: another flow is another address */
	__u64 vip = bpf_htonl(s->first_vip + (number * s->vips >> 32));

	*source = FAMILY == 4 ? vip << 32 | number : number << 32;
	if (FAMILY == 6)
		*(__u64 *)(frame + 46) = vip << 32;
	*ports = *ports >> 16 << 16 | (1024 + (flow & 0x7fff));
}

/* The program is a hop, and takes one off the time to live each turn. */
static __always_inline void write_ttl(void *frame)
{
	if (FAMILY == 4)
		*(__u32 *)(frame + 22) = 64 | IPPROTO_TCP << 8;
	else
		*(__u32 *)(frame + 18) = bpf_htons(20) | IPPROTO_TCP << 16 | 64 << 24;
}

int driver(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct state *s = state.lookup(&zero);

	if (!s)
		return XDP_ABORTED;
	__s64 length = (long)ctx->data_end - (long)ctx->data;

	/* Or the compiler subtracts one pointer from the other last, and the verifier wants it first. */
	asm volatile("" : "+r"(length));
	__s64 grown = length - s->frame_bytes;

	s->turns++;
	s->grown_bytes += grown;
	bpf_xdp_adjust_head(ctx, grown);
	void *frame = (void *)(long)ctx->data;

	if (frame + (FAMILY == 4 ? 54 : 74) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	*(__u64 *)frame =
		0x0002020000000002ULL; /* 02:00:00:00:02:02 02:00:00:00:00:01, which nobody looks at */
	*(__u32 *)(frame + 8) = 0x01000000;
	*(__u16 *)(frame + 12) = FAMILY == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	write_ttl(frame);
	write_flow(s, frame, draw_flow(s));
	programs.call(ctx, 0);
	return XDP_ABORTED;
}
