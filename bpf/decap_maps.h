/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* decap_maps.h - the contract between decap.c and Python, as maps.h is for the balancer. */
#pragma once

#include "address.h"

struct decapped {
	__u64 packets; /* handed to the stack without their outer header */
	__u64 bytes; /* of those frames, without the outer header */
	__u64 passed_not_tunnel; /* not IP in IP: for the stack as it is */
	__u64 passed_truncated; /* the frame ends inside its headers */
	__u64 dropped_source; /* the outer source is no balancer of ours */
	__u64 dropped_no_room; /* the kernel could not move the frame's head */
};

BPF_TABLE_PINNED("percpu_array", __u32, struct decapped, decapped, 1, PIN_DIR "/decapped");
BPF_TABLE_PINNED("hash", struct address, __u32, sources, 256, PIN_DIR "/sources");
