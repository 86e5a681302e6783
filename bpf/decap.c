/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* decap.c - the XDP program on a backend: take the outer header off and hand the client's packet to the stack.
 *
 * The VIP is an address of the backend itself (on `lo`), so the stack answers the client directly (DSR). It does the
 * work of the kernel's ipip, sit, ip6tnl and fou devices and needs none of them.
 *
 * Compiled with USE_SOURCES: it believes only outer headers of the balancers in `sources`, otherwise anybody could
 * send packets that seem to come from elsewhere; USE_VIPS: it hands on only what is for the addresses in `vips`, so
 * that who can forge a balancer's address reaches nothing else; USE_SECOND_CHANCE: what it has no socket for goes to
 * the backend that the packet names besides; USE_REPORT: it notes who opens connections to where nobody listens; and
 * GUE_PORT. What is no tunnel is passed, never dropped: the agent may
 * not make a box unreachable.
 */
#include "outer.h"
#include "second_chance.h"
#include "unanswered.h"

static __always_inline int take_off(struct xdp_md *ctx, struct tunnel *t)
{
	TRY(parse_outer(ctx, t));
	TRY(guard_source(t));
	TRY(parse_inner(ctx, t));
	if (USE_SECOND_CHANCE)
		TRY(read_hint(ctx, t));
	TRY(guard_vip(t));
	if (USE_REPORT)
		note_opening(ctx, t);
	if (USE_SECOND_CHANCE && t->hint && !stays(ctx, t))
		return hand_on(ctx, t);
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
	if (USE_SECOND_CHANCE && t->hint)
		counts->second_kept += 1;
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
