/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* trace.h - beside the stages: what becomes of packets, for those who look (USE_TRACE; otherwise nothing of this is there).
 *
 * A frame's head is kept as it arrives, stages note what they found, and at the end a record goes into a ring buffer.
 * Both programs note in one place, so `unusual` goes on where `balancer` was. Nothing is decided here: a packet goes the same
 * way, and a full ring loses a record, never a packet.
 *
 * All conditions are arithmetic, and what is compared comes from memory: so the verifier, which comes here by every way of
 * a packet, has nothing to follow twice.
 */
#pragma once

#include "packet.h"
#include "trace_maps.h"
#include "transport.h"

/* Also where BCC's declarations do not have it. Linux 5.18. */
static long (*load_bytes)(void *ctx, __u64 offset, void *to, __u64 bytes) = (void *)BPF_FUNC_xdp_load_bytes;

static __always_inline struct trace *trace_notes_here(void)
{
	__u32 zero = 0;

	return trace_notes.lookup(&zero);
}

static __always_inline void trace_head(struct xdp_md *ctx, void *to, __u64 bytes)
{
	if (bytes > TRACE_HEAD)
		bytes = TRACE_HEAD;
	if (bytes)
		load_bytes(ctx, 0, to, bytes);
}

/* Who may want this packet, before anything is known of it: bits. */
static __always_inline __u64 trace_who(void)
{
	__u64 now = bpf_ktime_get_ns(), roll = bpf_get_prandom_u32(), who = 0;

#pragma unroll
	for (__u32 i = 0; i < TRACERS; i++) {
		__u32 number = i;
		const struct trace_filter *filter = trace_filters.lookup(&number);

		if (!filter)
			return 0; /* never */
		who |= (is_negative(now - filter->until) & is_negative(roll - filter->chance)) << i;
	}
	return who;
}

/* The first thing that happens to a packet. */
static __always_inline void trace_arrival(struct xdp_md *ctx)
{
	struct trace *trace = USE_TRACE ? trace_notes_here() : 0;

	if (!trace)
		return;
	trace->tracers = trace_who();
	if (!trace->tracers)
		return;
	trace->time = bpf_ktime_get_ns();
	trace->ingress = ctx->ingress_ifindex;
	trace->bytes = frame_length(ctx);
	trace->key.service = 0;
	trace->key.backend = 0;
	trace->row = 0;
	trace->slot = 0;
	trace->slot_state = 0;
	trace->chosen = CHOSEN_BY_RING;
	trace->backend = 0;
	trace_head(ctx, trace->arrived, trace->bytes);
}

static __always_inline void trace_service(const struct packet *p)
{
	struct trace *trace = USE_TRACE ? trace_notes_here() : 0;

	if (!trace)
		return;
	trace->key.service = p->service->identity;
	trace->row = p->row;
}

/* `slot` is the word that lies in the ring. */
static __always_inline void trace_slot(const struct packet *p, __u32 index, __u32 slot)
{
	struct trace *trace = USE_TRACE ? trace_notes_here() : 0;

	if (!trace)
		return;
	trace->slot = index - p->service->ring_offset;
	trace->slot_state = slot >> 30;
}

static __always_inline void trace_choice(__u32 chosen)
{
	struct trace *trace = USE_TRACE ? trace_notes_here() : 0;

	if (trace)
		trace->chosen = chosen;
}

static __always_inline void trace_backend(__u32 index)
{
	struct trace *trace = USE_TRACE ? trace_notes_here() : 0;
	const __u64 *identity = USE_TRACE ? identities.lookup(&index) : 0;

	if (!trace || !identity)
		return;
	trace->backend = index;
	trace->key.backend = *identity;
}

/* Those of whom this packet is what they asked for. */
static __always_inline __u64 trace_matches(const struct trace *trace)
{
	const __u64 *have = (const void *)&trace->key;
	__u64 who = trace->tracers;

#pragma unroll
	for (__u32 i = 0; i < TRACERS; i++) {
		__u32 number = i;
		const struct trace_filter *filter = trace_filters.lookup(&number);

		if (!filter)
			return 0; /* never */
		const __u64 *mask = (const void *)&filter->mask, *wanted = (const void *)&filter->wanted;
		__u64 other = 0;

#pragma unroll
		for (int word = 0; word < sizeof(struct trace_key) / 8; word++)
			other |= (have[word] & mask[word]) ^ wanted[word];
		barrier_var(other);
		who &= ~(is_negative(other | -other) << i);
	}
	return who;
}

static __always_inline void trace_lost(__u64 who)
{
#pragma unroll
	for (__u32 i = 0; i < TRACERS; i++) {
		__u32 number = i;
		struct trace_filter *filter = trace_filters.lookup(&number);

		if (filter)
			__sync_fetch_and_add(&filter->lost, who >> i & 1);
	}
}

/* The last thing: `how` its way ended, and with which XDP action. */
static __always_inline void trace_departure(struct xdp_md *ctx, const struct packet *p, int how, int action)
{
	struct trace *trace = USE_TRACE ? trace_notes_here() : 0;

	if (!trace || !trace->tracers)
		return;
	trace->key.source = p->flow.source;
	trace->key.destination = p->flow.destination;
	trace->key.ports = p->flow.ports;
	trace->key.reason =
		how == NEXT ? TRACE_FORWARDED : TRACE_REASONS + (p->verdict >> ACTION_BITS) / sizeof(__u64);
	trace->action = action;
	__u64 who = trace_matches(trace), bytes = offsetof(struct trace, leaving);

	if (!who)
		return;
	trace->tracers = who;
	trace->bytes_out = 0;
	if (action == XDP_TX || action == XDP_REDIRECT) {
		trace->bytes_out = frame_length(ctx);
		trace_head(ctx, trace->leaving, trace->bytes_out);
		bytes = sizeof(*trace);
	}
	if (trace_ring.ringbuf_output(trace, bytes, 0))
		trace_lost(who);
}
