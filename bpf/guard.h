/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* guard.h - third stage: may this source talk to this service now?
 *
 * A flood is refused before anything is remembered about it: the table of clients is the only state that a stranger
 * can make us keep, and it forgets the idlest first.
 */
#pragma once

#include "packet.h"
#include "prefixes.h"

#define SPARE(reason) spare(offsetof(struct spared, reason))

/* Count what a limit or list that only counts would have dropped. */
static __always_inline void spare(__u64 reason)
{
	__u32 zero = 0;
	void *counts = spared.lookup(&zero);

	if (counts)
		*(__u64 *)(counts + reason) += 1;
}

/* A client's account in one word: 24 bits of its hash, and the time until which it is paid off (see over_rate), modulo
 * 2^40 units of 64 ns (19 hours). Eight of them are one cache line, and in it the one that is paid off longest makes
 * room: it is worth nothing any more, or least.
 */
#define TIME_BITS 40
#define TIME_MASK ((1ULL << TIME_BITS) - 1)

/* How far ahead of now an account is; negative when it is paid off. */
static __always_inline __s64 debt(__u64 account, __u64 now)
{
	return (__s64)((account - now) << (64 - TIME_BITS)) >> (64 - TIME_BITS);
}

#define LONGEST_PAID (-(1LL << (TIME_BITS - 1)))
#define MOST_DEBT (1LL << (TIME_BITS - 2)) /* five hours: more than any limit's burst is worth */
#define OURS (1LL << (TIME_BITS + 1)) /* lowers our own account's rank below all others */

static __always_inline bool client_over_rate(__u64 client, __u64 now, __u64 cost, __u64 burst)
{
	__u32 index = (client >> 32) * CLIENTS >> 32;
	struct accounts *line = clients.lookup(&index);
	__s64 most = cost * burst, least = 1LL << 62, owed = 0;
	__u64 name = client << TIME_BITS, place = 0;

	if (!line)
		return false;
#pragma unroll
	for (int i = 0; i < ACCOUNTS; i++) {
		__u64 account = line->client[i];
		__s64 rank = debt(account, now);
		__u64 ours = is_negative((__s64)((account ^ name) >> TIME_BITS) - 1);
		/* Free; or further ahead than may be, as others' limits or ours are: left by a limit that is no more. */
		__s64 stale = 1 - is_negative(account | -account) + is_negative(MOST_DEBT - rank) +
			      is_negative(most - rank) * ours;

		rank = choose(is_negative(-stale), LONGEST_PAID, rank) - OURS * ours;
		__u64 lower = is_negative(rank - least);

		least = choose(lower, rank, least);
		place = choose(lower, i, place);
	}
	if (least < LONGEST_PAID && least + OURS > 0)
		owed = least + OURS;
	if (owed + (__s64)cost > most)
		return true;
	line->client[place & (ACCOUNTS - 1)] = name | ((now + owed + cost) & TIME_MASK);
	return false;
}

/* As `hash_account` in xdplb/hashing.py. */
static __always_inline __u64 hash_account(const struct packet *p, const struct limit *limit, __u64 what)
{
	__u64 hash = mix(HASH_KEY ^ what, limit->identity);

	if (is6(p)) {
		hash = mix(hash, p->sender.high & limit->client6.high);
		hash = mix(hash, p->sender.low & limit->client6.low);
	} else {
		hash = mix(hash, p->sender.low >> 32 & limit->client4);
	}
	hash *= 0xd6e8feb86659fd93ULL;
	return hash ^ hash >> 32;
}

#define REFUSE(limit, what)                                                                                  \
	do {                                                                                                 \
		if (!((limit)->flags & LIMIT_COUNT_ONLY))                                                    \
			return END(dropped_##what, XDP_DROP);                                                \
		SPARE(what);                                                                          \
	} while (0)

static __always_inline int guard_rates(struct packet *p)
{
	__u32 index = p->service->limit;
	struct limit *limit = limits.lookup(&index);
	__u64 now = coarse_time();

	if (!limit)
		return NEXT;
	if (limit->packet_cost && client_over_rate(hash_account(p, limit, ACCOUNT_OF_PACKETS), now,
						   limit->packet_cost, limit->packet_burst))
		REFUSE(limit, packet_rate);
	if (!opens(p))
		return NEXT;
	if (limit->connection_cost && client_over_rate(hash_account(p, limit, ACCOUNT_OF_CONNECTIONS),
						       now, limit->connection_cost, limit->connection_burst))
		REFUSE(limit, connection_rate);
	/* All CPUs have this one account, without a lock: two at once may let one too many through. */
	if (limit->service_cost &&
	    over_rate(&limit->service_time, now, limit->service_cost, limit->service_burst))
		REFUSE(limit, service_rate);
	return NEXT;
}

static __always_inline int guard(struct packet *p)
{
	__u64 verdict = 0;

	if (USE_PREFIXES)
		verdict = prefix_verdict(&p->sender, is6(p));
	if (USE_PREFIXES && verdict == PREFIX_BLOCKED) {
		if (!BLOCK_COUNTS_ONLY)
			return END(dropped_blocked, XDP_DROP);
		SPARE(blocked);
	}
	if (USE_LIMITS && verdict != PREFIX_ALLOWED && p->service->flags & SERVICE_LIMITED)
		return guard_rates(p);
	return NEXT;
}
