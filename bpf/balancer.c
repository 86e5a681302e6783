/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* balancer.c - the XDP program on the NIC: one packet's way from the wire back to the wire.
 *
 * Compiled with what the configuration uses: USE_VIP4, USE_VIP6, USE_OUTER4, USE_OUTER6 (0 or 1), HASH_KEY,
 * SERVICES_SEED, and the sizes that maps.h names. The steady path makes one helper call, in encap.
 */
#include "find_service.h"
#include "parse.h"
#include "steer.h"
#include "encap.h"

/* Forwarded packets are counted where they go, and nowhere else: all other numbers are sums of these. */
static __always_inline void count(const struct packet *p, int sign)
{
	p->traffic->packets += sign;
	p->traffic->bytes += sign * (__s64)p->frame_bytes;
	if (opens(p))
		p->traffic->connections += sign;
}

/* Counting comes before encap, although encap may fail: so the helper call there has less to keep over it. */
static __always_inline int balance(struct xdp_md *ctx, struct packet *p)
{
	TRY(parse(ctx, p));
	TRY(find_service(p));
	TRY(steer(p));
	count(p, 1);
	int result = encap(ctx, p);

	if (result == ENDED)
		count(p, -1);
	return result;
}

/* Every packet that is not forwarded is counted once, here. The counters are per CPU: no atomics. */
static __always_inline void count_reason(__u64 reason)
{
	__u32 zero = 0;
	void *counts = verdicts.lookup(&zero);

	if (counts)
		*(__u64 *)(counts + reason) += 1;
}

int balancer(struct xdp_md *ctx)
{
	struct packet p = {};

	if (balance(ctx, &p) == NEXT)
		return XDP_TX;
	count_reason(p.verdict >> ACTION_BITS);
	return p.verdict & ((1 << ACTION_BITS) - 1);
}
