/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flows.h - the table of flows that a change of their slot would otherwise move: find, keep, forget.
 *
 * Only slots that are not settled have any. Flows that were there before the change are *learned* from their packets,
 * flows that began after it are *born* by a SYN. They lie together, so that a packet costs one cache line; but a flood of
 * SYNs can push out only newborns, which it would not know from itself, and a flood of other packets leaves newborns
 * their places. No lock: of two CPUs that write to one place at once, one is forgotten.
 */
#pragma once

#include "packet.h"
#include "transport.h"

#define FLOW_NAME (~0ULL << FLOW_NAME_SHIFT)
#define FLOW_NAME_BITS ((1ULL << (44 - FLOW_NAME_SHIFT)) - 1)
#define FLOW_BORN (1ULL << FLOW_BORN_SHIFT)
#define FLOW_BACKEND 0xffff /* flows of backends beyond are not remembered */

/* What is known of the packet's flow: its name, its line, its word there (0: none) and its place. */
struct memory {
	__u64 name;
	struct flows *line;
	__u64 found;
	__u64 at;
};

/* As `flow_name` in xdplb/hashing.py. With affinity, the client's hash picks the slot, but its flows have names of their
 * own. A name says to which part of the ring a flow belongs, and holds enough of the line's number for a larger table.
 * Without branches: see choose().
 */
static __always_inline bool remember(const struct packet *p, struct memory *m)
{
	__u64 hash = p->hash;

	if (USE_CLIENT && p->service->flags & SERVICE_CLIENT)
		hash = hash_flow(p);
	__u64 upper = mix(hash, p->service->identity) >> 32;
	__u32 number = upper * FLOWS >> 32;

	m->name = p->hash >> 44 << 44 | (upper & FLOW_NAME_BITS) << FLOW_NAME_SHIFT;
	m->line = flows.lookup(&number);
	if (!m->line)
		return false;
#pragma unroll
	for (int i = 0; i < FLOWS_IN_LINE; i++) {
		__u64 flow = m->line->flow[i];
		__u64 same = is_negative((__s64)((flow ^ m->name) >> FLOW_NAME_SHIFT) - 1);

		m->found |= flow * same;
		m->at |= i * same;
	}
	return true;
}

#define TCP_FIN 0x01

/* The lower part of a word: closing or not, and the time, which the daemon tells and a BPF program would pay for. A flow
 * that is closing stays so: what comes after a FIN are acknowledgements.
 */
static __always_inline __u64 stamp(const struct packet *p, __u64 word, __u64 backend)
{
	__u32 zero = 0;
	const __u64 *now = stamps.lookup(&zero);
	__u64 closing = p->tcp_flags & (TCP_FIN | TCP_RST) ? 1 : word >> FLOW_CLOSING_SHIFT & 1;
	__u64 time = now ? *now >> 8 * closing & 0xff : 0;

	return closing << FLOW_CLOSING_SHIFT | time << FLOW_STAMP_SHIFT | backend;
}

static __always_inline __u64 is_born(__u64 flow)
{
	return flow >> FLOW_BORN_SHIFT & 1;
}

/* A place for another flow, seen from behind the last one that was taken: a free one; else a newborn's; but learned ones
 * make room for each other when there are as many as may be.
 */
static __always_inline __u64 find_place(struct flows *line, __u64 born)
{
	__u64 next = line->next, learned = 0, place = FLOWS_IN_LINE;
	__s64 least = 64; /* that is nobody's rank */

#pragma unroll
	for (int i = 0; i < FLOWS_IN_LINE; i++) {
		__u64 flow = line->flow[i];

		learned += is_negative(-(__s64)(flow >> 1)) * (1 - is_born(flow));
	}
	__u64 full = (1 - born) * is_negative(MOST_LEARNED - 1 - (__s64)learned);
#pragma unroll
	for (int i = 0; i < FLOWS_IN_LINE; i++) {
		__u64 flow = line->flow[i], used = is_negative(-(__s64)(flow >> 1));
		__s64 far = i - (__s64)next;

		far += FLOWS_IN_LINE * is_negative(far);
		/* Who may go: newborns, or if there are too many, learned ones; and free places, then not. */
		__u64 may = choose(full, used * (1 - is_born(flow)), 1 - used * (1 - is_born(flow)));
		__s64 rank = choose(may, far + 16 * used, 128);
		__u64 lower = is_negative(rank - least);

		least = choose(lower, rank, least);
		place = choose(lower, i, place);
	}
	line->next = place + 1 < FLOWS_IN_LINE ? place + 1 : 0;
	return place;
}

static __always_inline void put_flow(struct memory *m, __u64 word)
{
	if (m->at < FLOWS_IN_LINE)
		m->line->flow[m->at] = word;
}

/* Remember a flow's backend. */
static __always_inline void keep(const struct packet *p, struct memory *m, __u64 backend, __u64 born)
{
	if (backend > FLOW_BACKEND)
		return;
	if (!m->found)
		m->at = find_place(m->line, born);
	put_flow(m, m->name | born << FLOW_BORN_SHIFT | stamp(p, 0, backend));
}

static __always_inline void forget(struct memory *m)
{
	if (m->found)
		put_flow(m, 0);
}

/* Note that a remembered flow is alive: seldom a store, since the time is coarse. */
static __always_inline void note_alive(const struct packet *p, struct memory *m)
{
	__u64 now = (m->found & (FLOW_NAME | FLOW_BORN)) | stamp(p, m->found, m->found & FLOW_BACKEND);

	if (now != m->found)
		put_flow(m, now);
}
