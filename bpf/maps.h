/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps.h - the one contract between the XDP program and Python: every struct and map that both know.
 *
 * Python takes the layouts from the compiler (through BCC), so nothing here is written a second time. Rows
 * are 64 bytes, one cache line, in flat arrays: the verifier turns a lookup into an address computation, and
 * Python writes a row through mmap. A row's 64-byte copy is not atomic; so a row is complete before
 * anything points at it, and the pointing word (a slot, a service's protocol) is one aligned store.
 *
 * Sizes are constants of the compilation (-D): ROWS_BITS, SLOTS, BACKENDS, and PIN_DIR, where maps live.
 */
#pragma once

#include "address.h"

/* One VIP. It lies in one of two rows that follow from its hash (find_service.h); Python places it. An empty
 * row has protocol 0 (port_and_protocol 0), which no packet asks for.
 */
struct service {
	struct address vip;
	__u32 port_and_protocol; /* port in network order, then protocol: compared as one word */
	__u32 ring_offset; /* first slot */
	__u32 ring_size; /* slots */
	__u32 flags; /* none yet */
	__u64 identity; /* of the service, by name: how a restarted daemon finds its rows again */
	__u64 reserved[3];
};

/* One slot of a ring. An array's elements take 8 bytes even when they hold 4, so the backend before the last
 * change has its place in the same word, and both change in one store.
 */
struct slot {
	__u32 backend; /* index; 0 = none */
	__u32 previous; /* 0 = settled; else the slot is moving: its older flows still go there (steer.h) */
};

/* One backend of one service: everything that goes in front of the inner packet. */
struct backend {
	__u8 ethernet[14]; /* header, ready to copy */
	__u8 outer; /* 4 or 6: family of the outer header */
	__u8 up; /* 0: flows may not be kept here */
	struct address source; /* of the outer header */
	struct address address; /* the backend: destination of the outer header */
	__u32 checksum; /* of an outer IPv4 header without protocol, traffic class and length; not folded */
	__u32 egress; /* ifindex */
	__u64 identity; /* of (service, backend), by name and address */
};

/* What was sent to one backend of one service; same index as `backends`. */
struct traffic {
	__u64 packets;
	__u64 bytes; /* of frames as they arrived */
	__u64 connections; /* TCP SYNs */
};

/* Why a packet was not forwarded: its name is what users see. One packet, one reason. */
struct verdicts {
	__u64 passed_not_ip; /* ARP and whatever else is not IPv4 or IPv6, or of a family without a VIP */
	__u64 passed_not_tcp_udp; /* ICMP, neighbour discovery, other protocols, IPv6 extension headers */
	__u64 passed_fragment; /* an IPv4 fragment */
	__u64 passed_options; /* IPv4 options */
	__u64 passed_truncated; /* the frame ends inside its headers */
	__u64 passed_no_service; /* no VIP: for this host itself */
	__u64 dropped_malformed; /* to a VIP, but longer by its own account than the frame */
	__u64 dropped_no_backend; /* the service has no backend that is up */
	__u64 dropped_no_headroom; /* no room for the outer header in front of the frame */
};

BPF_TABLE_PINNED("array", __u32, struct service, services, 1 << ROWS_BITS, PIN_DIR "/services",
		 BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct slot, slots, SLOTS, PIN_DIR "/slots", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct backend, backends, BACKENDS, PIN_DIR "/backends", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("lru_hash", __u64, __u32, born, 1 << 16, PIN_DIR "/born"); /* fingerprint -> backend */
BPF_TABLE_PINNED("percpu_array", __u32, struct traffic, traffic, BACKENDS, PIN_DIR "/traffic");
BPF_TABLE_PINNED("percpu_array", __u32, struct verdicts, verdicts, 1, PIN_DIR "/verdicts");
