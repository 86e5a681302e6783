/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flows.h - the tables of flows that a change of their slot would otherwise move: find, keep, forget.
 *
 * Only slots that are not settled have any. Flows that were there before the change are *learned* from their packets,
 * flows that began after it are *born* by a SYN. Each kind has a table of its own, so that a flood of SYNs can only push
 * out newborns, which it would not know from itself. No lock: of two CPUs that write to one place at once, one is forgotten.
 */
#pragma once

#include "packet.h"
#include "transport.h"

#define FLOW_NAME (~0ULL << FLOW_NAME_SHIFT)
#define FLOW_BACKEND 0xffff /* flows of backends beyond are not remembered */

/* What is known of the packet's flow: its name, its line in both tables, its words there (0: none) and their places. */
struct memory {
	__u64 name;
	__u32 number; /* of its lines */
	struct flows *old;
	struct flows *young; /* 0: nobody has looked, since there is nothing */
	__u64 learned;
	__u64 born;
	__u64 learned_at;
	__u64 born_at;
};

/* The flow's word in a line, and its place. Without branches: see choose(). */
static __always_inline __u64 find_flow(const struct flows *line, __u64 name, __u64 *at)
{
	__u64 found = 0;

#pragma unroll
	for (int i = 0; i < FLOWS_IN_LINE; i++) {
		__u64 flow = line->flow[i];
		__u64 same = is_negative((__s64)((flow ^ name) >> FLOW_NAME_SHIFT) - 1);

		found |= flow * same;
		*at |= i * same;
	}
	return found;
}

/* As `flow_name` in xdplb/hashing.py. With affinity, the client's hash picks the slot, but its flows have names of their
 * own. A name says to which part of the ring a flow belongs, and holds enough of the line's number for a larger table.
 */
static __always_inline bool remember(const struct packet *p, struct memory *m)
{
	__u64 hash = p->hash;

	if (USE_CLIENT && p->service->flags & SERVICE_CLIENT)
		hash = hash_flow(p);
	__u64 upper = mix(hash, p->service->identity) >> 32;

	m->number = upper * FLOWS >> 32;
	m->name = (p->hash >> 44 << 44 | (upper & 0x7ffff) << FLOW_NAME_SHIFT) & FLOW_NAME;
	m->old = learned.lookup(&m->number);
	if (!m->old)
		return false;
	m->learned = find_flow(m->old, m->name, &m->learned_at);
	if (m->old->next & ANY_BORN)
		m->young = born.lookup(&m->number);
	if (m->young)
		m->born = find_flow(m->young, m->name, &m->born_at);
	return true;
}

#define TCP_FIN 0x01
#define TCP_RST 0x04

/* The lower half of a word: closing or not, and the time, which the daemon tells and a BPF program would pay for. A flow
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

/* A place for another flow: a free one, or the one after the last that was taken. */
static __always_inline __u64 find_place(struct flows *line)
{
	__u64 next = line->next, place = next & 0xff;

#pragma unroll
	for (int i = 0; i < FLOWS_IN_LINE; i++) {
		__u64 flow = line->flow[i];

		place = choose(is_negative(flow | -flow), place, i);
	}
	line->next = (next & ~0xffULL) | (place + 1 < FLOWS_IN_LINE ? place + 1 : 0);
	return place;
}

static __always_inline void put_flow(struct flows *line, __u64 at, __u64 word)
{
	if (at < FLOWS_IN_LINE)
		line->flow[at] = word;
}

static __always_inline void learn(const struct packet *p, struct memory *m, __u64 backend)
{
	if (backend > FLOW_BACKEND)
		return;
	if (!m->learned)
		m->learned_at = find_place(m->old);
	put_flow(m->old, m->learned_at, m->name | stamp(p, m->learned, backend));
}

static __always_inline void bear(const struct packet *p, struct memory *m, __u64 backend)
{
	if (backend > FLOW_BACKEND)
		return;
	if (!m->young)
		m->young = born.lookup(&m->number);
	if (!m->young)
		return;
	if (!m->born)
		m->born_at = find_place(m->young);
	put_flow(m->young, m->born_at, m->name | stamp(p, 0, backend));
	if (!(m->old->next & ANY_BORN))
		m->old->next |= ANY_BORN;
}

static __always_inline void forget_learned(struct memory *m)
{
	if (m->learned)
		put_flow(m->old, m->learned_at, 0);
}

static __always_inline void forget_born(struct memory *m)
{
	if (m->born && m->young)
		put_flow(m->young, m->born_at, 0);
}

/* Note that a remembered flow is alive: seldom a store, since the time is coarse. */
static __always_inline void note_alive(const struct packet *p, struct memory *m)
{
	__u64 word = m->born ? m->born : m->learned;
	__u64 now = (word & FLOW_NAME) | stamp(p, word, word & FLOW_BACKEND);

	if (now == word)
		return;
	if (!m->born)
		put_flow(m->old, m->learned_at, now);
	else if (m->young)
		put_flow(m->young, m->born_at, now);
}
