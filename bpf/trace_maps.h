/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* trace_maps.h - what the program notes of packets while somebody traces (trace.h), and for whom: known to Python, too.
 *
 * These maps belong to one program, not to the tables: they come and go with it.
 */
#pragma once

#include "maps.h"

#define TRACE_HEAD 256 /* bytes that are kept of a frame */
#define TRACERS 4 /* at once */
#define TRACE_PAGES 1024 /* room for records, of 4 KiB; without USE_TRACE nobody keeps that map */

/* trace_key.reason */
#define TRACE_FORWARDED 1
#define TRACE_REASONS 2 /* and from here on the numbers of the counters in `verdicts` */

/* trace.chosen: why this backend. */
#define CHOSEN_BY_RING 0
#define CHOSEN_REMEMBERED 1
#define CHOSEN_PREVIOUS 2

/* What tracers ask for. What is not known of a packet is 0. */
struct trace_key {
	struct address source; /* of the flow: an ICMP error belongs to that which it quotes */
	struct address destination;
	__u64 ports; /* as in `struct flow` */
	__u64 service; /* identity */
	__u64 backend; /* identity */
	__u64 reason; /* TRACE_ */
};

/* One packet. Of one that is not sent, only what stands before `leaving` comes to Python. */
struct trace {
	struct trace_key key;
	__u64 time; /* CLOCK_MONOTONIC, ns */
	__u32 tracers; /* whom it is for: bits */
	__u32 ingress; /* ifindex */
	__u32 bytes; /* of the frame as it arrived */
	__u32 bytes_out; /* as it is sent; 0: it is not */
	__u32 row; /* of `services` */
	__u32 slot; /* of the service's ring, from 0 on */
	__u32 slot_state; /* SLOT_ >> 30; 0: settled */
	__u32 chosen; /* CHOSEN_ */
	__u32 backend; /* index; 0: none */
	__u32 action; /* enum xdp_action */
	__u8 arrived[TRACE_HEAD];
	__u8 leaving[TRACE_HEAD];
};

/* One tracer. */
struct trace_filter {
	struct trace_key mask; /* of what it asks for */
	struct trace_key wanted; /* what that must be */
	__u64 until; /* CLOCK_MONOTONIC, ns: nothing is noted later, whoever forgot to take this program out */
	__u64 chance; /* a random number of 32 bits has to be less */
	__u64 lost; /* records that there was no room for; the program's own */
};

BPF_TABLE("array", __u32, struct trace_filter, trace_filters, TRACERS);
BPF_TABLE("percpu_array", __u32, struct trace, trace_notes, 1);
BPF_RINGBUF_OUTPUT(trace_ring, USE_TRACE ? TRACE_PAGES : 1);
