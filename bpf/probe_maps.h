/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* probe_maps.h - the contract between probe.c and Python, as maps.h is for the balancer.
 *
 * A probe's socket has a mark (SO_MARK): PROBE_MARK, in it eight bits that tell the balancers of one host apart, and a
 * row's number in `probes`. Tables of their own, so that nothing that becomes of the balancer's touches them.
 */
#pragma once

#include "backend.h"

#define PROBE_MARK 1560281088 /* 0x5d000000 */
#define PROBE_BALANCER_SHIFT 16
#define PROBES 65536 /* rows: what the lower bits of a mark can name; a balancer has fewer backends */

/* What became of the packets that have a mark: each one is in `sent`, or has exactly one reason. */
struct probed {
	__u64 sent; /* on their way to a backend, with what clients' packets get in front */
	__u64 dropped_no_row; /* no backend has this mark's row (any more) */
	__u64 dropped_malformed; /* not IP, or its headers contradict the frame; or at the end of its time to live */
	__u64 dropped_too_long; /* longer than the way to the backend lets through */
	__u64 dropped_no_room; /* the kernel could not make room in front of the packet */
};

BPF_TABLE_PINNED("array", __u32, struct backend, probes, PROBES, PIN_DIR "/probes", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, __u64, probe_identities, PROBES, PIN_DIR "/probe_identities",
		 BPF_F_MMAPABLE); /* whose row it is: how a restarted daemon finds it again */
BPF_TABLE_PINNED("percpu_array", __u32, struct probed, probed, 1, PIN_DIR "/probed");
