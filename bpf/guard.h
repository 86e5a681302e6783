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

/* The client's account in its line, and its place; 0: it has none. Without branches: see choose(). */
static __always_inline __u64 find_account(const struct accounts *line, __u64 name, __u64 *place)
{
	__u64 found = 0;

#pragma unroll
	for (int i = 0; i < ACCOUNTS; i++) {
		__u64 account = line->client[i];
		__u64 ours = is_negative((__s64)((account ^ name) >> TIME_BITS) - 1);

		found |= account * ours;
		*place |= i * ours;
	}
	return found;
}

/* Where a new account may lie: a free place, or one further ahead than any limit allows, or who is paid off longest. */
static __always_inline __u64 find_idlest(const struct accounts *line, __u64 now)
{
	__s64 least = 1LL << 62;
	__u64 place = 0;

#pragma unroll
	for (int i = 0; i < ACCOUNTS; i++) {
		__u64 account = line->client[i];
		__s64 rank = debt(account, now);
		__u64 free = 1 - is_negative(account | -account) + is_negative(MOST_DEBT - rank);

		rank = choose(is_negative(-(__s64)free), LONGEST_PAID, rank);
		__u64 lower = is_negative(rank - least);

		least = choose(lower, rank, least);
		place = choose(lower, i, place);
	}
	return place;
}

static __always_inline struct accounts *find_line(__u64 client)
{
	__u32 index = (client >> 32) * CLIENTS >> 32;

	return clients.lookup(&index);
}

static __always_inline bool client_over_rate(__u64 client, __u64 now, __u64 cost, __u64 burst)
{
	struct accounts *line = find_line(client);
	__u64 name = client << TIME_BITS, place = 0;
	__s64 most = cost * burst, owed = 0;

	if (!line)
		return false;
	__u64 account = find_account(line, name, &place);

	if (account)
		owed = debt(account, now);
	else
		place = find_idlest(line, now);
	if (owed < 0 || owed > most) /* paid off; or left by another limit that is no more */
		owed = 0;
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
		SPARE(what);                                                                                 \
	} while (0)

/* Ask for a line from memory before it is needed: what comes between is done while it is on its way. With a `cost` of 0
 * it is not needed, and the first line will do; without a branch, see choose().
 */
static __always_inline void touch(__u64 client, __u64 cost)
{
	const struct accounts *line = find_line(client * is_negative(-(__s64)cost));
	__u64 word = line ? line->client[0] : 0;

	barrier_var(word);
}

static __always_inline int guard_rates(struct packet *p, struct limit *limit, __u64 packets,
				       __u64 connections)
{
	__u64 now = coarse_time();

	if (limit->packet_cost && client_over_rate(packets, now, limit->packet_cost, limit->packet_burst))
		REFUSE(limit, packet_rate);
	if (!opens(p))
		return NEXT;
	if (limit->connection_cost &&
	    client_over_rate(connections, now, limit->connection_cost, limit->connection_burst))
		REFUSE(limit, connection_rate);
	/* All CPUs have this one account, without a lock: two at once may let one too many through. */
	if (limit->service_cost &&
	    over_rate(&limit->service_time, now, limit->service_cost, limit->service_burst))
		REFUSE(limit, service_rate);
	return NEXT;
}

static __always_inline int guard(struct packet *p)
{
	__u64 verdict = 0, packets = 0, connections = 0;
	__u32 index = p->service->limit;
	struct limit *limit = 0;

	if (USE_LIMITS && p->service->flags & SERVICE_LIMITED)
		limit = limits.lookup(&index);
	if (limit) {
		packets = hash_account(p, limit, ACCOUNT_OF_PACKETS);
		connections = hash_account(p, limit, ACCOUNT_OF_CONNECTIONS);
		__u64 opening =
			is_negative(((p->tcp_flags & (TCP_SYN | TCP_ACK)) ^ TCP_SYN) - 1); /* as opens() */

		touch(packets, limit->packet_cost);
		touch(connections, limit->connection_cost * opening);
	}
	if (USE_PREFIXES)
		verdict = prefix_verdict(&p->sender, is6(p));
	if (USE_PREFIXES && verdict == PREFIX_BLOCKED) {
		if (!BLOCK_COUNTS_ONLY)
			return END(dropped_blocked, XDP_DROP);
		SPARE(blocked);
	}
	if (limit && verdict != PREFIX_ALLOWED)
		return guard_rates(p, limit, packets, connections);
	return NEXT;
}
