/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* progress.h - what becomes of connections: of a sample of SYNs, whether their clients ever acknowledge an answer.
 *
 * Answers do not come this way (DSR). But a client whose SYN was answered sends an ACK, and one whose SYN was not sends it
 * again, or tries anew from another port. A SYN leaves its flow's name in a small table, the flow's next ACK takes it away:
 * that backend makes progress. A name may stay for a moment (of `moments`, so long as the daemon's pause between two
 * looks); then another flow's may take its place. So a sample is all connections when there are few, and a flood of SYNs
 * finds the table full and writes nothing; it costs every backend the same part of its progress, and what is made of the
 * counters (xdplb/health/passive.py) compares backends. The hash is keyed: nobody outside knows who shares a place.
 * No lock: a count may get lost.
 */
#pragma once

#include "packet.h"
#include "transport.h"

#define ATTEMPT_BACKEND ((1 << ATTEMPT_MOMENT_SHIFT) - 1) /* backends beyond are not looked at */
#define ATTEMPT_AGE ((1 << (ATTEMPT_NAME_SHIFT - ATTEMPT_MOMENT_SHIFT)) - 1)

_Static_assert(sizeof(struct progress) == 4 * PROGRESS_WORDS, "Python reads it so");

static __always_inline __u64 moment(void)
{
	__u32 zero = 0;
	const __u64 *now = moments.lookup(&zero);

	return now ? *now & ATTEMPT_AGE : 0;
}

static __always_inline __u64 age_of(__u64 attempt, __u64 now)
{
	return (now - (attempt >> ATTEMPT_MOMENT_SHIFT)) & ATTEMPT_AGE;
}

/* A SYN, of a flow that has a word there or not. One to another backend, or long after, is a new attempt. */
static __always_inline void note_syn(__u64 *attempt, struct progress *counts, __u64 name, __u32 backend,
				     bool again)
{
	if (again)
		counts->repeated += 1;
	else
		counts->started += 1;
	*attempt = name << ATTEMPT_NAME_SHIFT | moment() << ATTEMPT_MOMENT_SHIFT | backend;
}

static __always_inline void note_progress(const struct packet *p, __u32 backend)
{
	__u64 hash = p->hash;

	if (!(p->service->flags & SERVICE_PASSIVE))
		return;
	if (USE_CLIENT && p->service->flags & SERVICE_CLIENT)
		hash = hash_flow(p);
	__u32 at = hash & (ATTEMPTS - 1);
	__u64 *attempt = attempts.lookup(&at);

	if (!attempt)
		return;
	__u64 word = *attempt, name = hash >> ATTEMPT_NAME_SHIFT;
	bool named = word >> ATTEMPT_NAME_SHIFT == name, syn = opens(p);

	if (likely(!syn && !named))
		return;
	__u64 age = age_of(word, moment());

	if (syn && !named && word && !age)
		return;
	if ((USE_SCTP && p->flow.protocol != IPPROTO_TCP) ||
	    (BACKENDS > ATTEMPT_BACKEND && backend > ATTEMPT_BACKEND))
		return;
	struct progress *counts = progress.lookup(&backend);

	if (!counts)
		return;
	bool same = (word & ATTEMPT_BACKEND) == backend ? age <= ATTEMPT_MOMENTS : false;

	if (syn) {
		note_syn(attempt, counts, name, backend, named ? same : false);
	} else if ((p->tcp_flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK) {
		if (same)
			counts->progressed += 1;
		*attempt = 0;
	}
}
