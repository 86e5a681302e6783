/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* maps.h - the one contract between the XDP program and Python: every struct, map and constant that both know.
 *
 * Python takes the layouts from the compiler (through BCC) and the constants from this text, so nothing here is written
 * a second time. Rows are 64 bytes, one cache line, in flat arrays: the verifier turns a lookup into an address
 * computation, and Python writes a row through mmap. A row's 64-byte copy is not atomic; so a row is complete before
 * anything points at it, and the pointing word (a slot, a row's key) is one aligned store.
 *
 * Sizes are constants of the compilation (-D): ROWS_BITS, SLOTS, BACKENDS, LIMITS, FLOWS, CLIENTS, SPANS, and PIN_DIR, where
 * maps live.
 */
#pragma once

#include "backend.h"
#include "prefix_maps.h"

/* What a row of `services` is for: the upper byte of its key's last word. A packet asks for the first kind; the others
 * only when that is not there and something of that kind is configured.
 */
#define KIND_PORT 0 /* a VIP with one port */
#define KIND_RANGE 1 /* a VIP with a range of ports, under its first one */
#define KIND_RANGES 2 /* the ranges of an address and protocol: see `ranges` */
#define KIND_ADDRESS 3 /* an address with any VIP; with a ring, it serves every protocol (`any`) */

/* service.flags */
#define SERVICE_CLIENT 1 /* the client's address alone picks the slot (affinity) */
#define SERVICE_LIMITED 2 /* see `limits` */
#define SERVICE_SECOND_CHANCE 4 /* packets of slots that are not settled name another backend, too */
#define SERVICE_PASSIVE 8 /* see `progress` */

/* One VIP, or what leads to one. It lies in one of two rows that follow from its key's hash (rows.h); Python
 * places it. Key: the address, and the word of port, protocol and kind. An empty row's word is 0, which no packet asks
 * for. A network (CIDR VIP) has for an address what `networks` says.
 */
struct service {
	struct address vip;
	__u32 ring_offset; /* first slot; with the next one in an aligned word, so that both change at once */
	__u32 ring_size; /* slots; 0: serves nothing by itself */
	__u32 port_and_protocol; /* port in network order, protocol, kind: compared as one word */
	__u16 flags; /* SERVICE_ */
	__u16 mtu; /* the longest packet that every backend of it can be sent; a longer one is looked at closer */
	__u64 identity; /* of the service, by name: how a restarted daemon finds its rows again */
	struct address client; /* mask: which bits of the source are one client, for affinity */
	__u32 limit; /* index into `limits` */
	__u32 reserved;
};

#define RANGES 16 /* of ports, for each address and protocol */
#define NETWORKS 4096 /* that are VIPs */
#define DEVICES 64 /* interfaces of a balancer */
#define TIME_SHIFT 6 /* rates are counted in units of 1 << 6 = 64 ns */

/* Row of the same number as a KIND_RANGES row: first port | last port << 16, host order, sorted; 0 ends the list. */
struct ranges {
	__u32 ports[RANGES];
};

/* A slot of a ring is a backend's index, 0 for none, in four bytes, and says in its upper bits whether flows of it may live
 * elsewhere (steer.h); then `previous`, where only then anybody looks, says where. An array's elements take 8 bytes at
 * least, so each holds two slots, the lower one first. `previous` is written before the slot, and both by single stores.
 */
#define SLOT_MOVING 2147483648 /* 1 << 31: it changed its backend less than a learn window ago */
#define SLOT_MOVED 1073741824 /* 1 << 30: longer ago, but flows of it are remembered */

struct slots {
	__u32 slot[2];
};

/* What was sent to one backend of one service; same index as `backends`. */
struct traffic {
	__u64 packets;
	__u64 bytes; /* of frames as they arrived */
	__u64 connections; /* TCP SYNs, SCTP INITs */
};

/* limit.flags: what only counts, and drops nothing. */
#define LIMIT_COUNT_ONLY 1

/* The limits of one service. Rates are kept as what one packet costs in units of time (TIME_SHIFT); 0: no such limit. */
struct limit {
	__u32 packet_cost; /* of one client's packets */
	__u32 packet_burst; /* so many at once */
	__u32 connection_cost; /* of one client's new connections */
	__u32 connection_burst;
	__u32 service_cost; /* of the whole service's new connections */
	__u32 service_burst;
	__u64 service_time; /* when these are paid off; the program's own */
	struct address client6; /* mask: which bits of an IPv6 source are one client */
	__u32 client4; /* the same of IPv4, network order */
	__u32 flags; /* LIMIT_ */
	__u64 identity; /* of the service */
};

/* Flows of slots that are not settled, and the backends that they were given, a cache line of them: see flows.h. A flow's
 * word, from its upper end: 20 bits of the hash that picked its slot, 18 that tell it from others in the line, 1 that says
 * that it was born after its slot's change (else it is older and was learned), 1 that says that it is closing, 8 of the time
 * when it was seen last (`stamps`), 16 of the backend's index. 0: free.
 */
#define FLOWS_FORMAT 1 /* another one for another meaning: then flows are not carried over to a new version */
#define FLOWS_IN_LINE 7
#define MOST_LEARNED 5 /* of them; the others are for those that are born */
#define FLOW_NAME_SHIFT 26
#define FLOW_BORN_SHIFT 25
#define FLOW_CLOSING_SHIFT 24
#define FLOW_STAMP_SHIFT 16

struct flows {
	__u64 next; /* where a look for a place begins: behind the one that was taken last */
	__u64 flow[FLOWS_IN_LINE];
};

/* SYNs of a sample of flows that nobody has acknowledged an answer to (progress.h): the upper half of the flow's hash, whose
 * lowest bits are the place, 16 bits of `moments`, 16 of the backend's index. 0: free.
 */
#define ATTEMPTS 4096
#define ATTEMPT_NAME_SHIFT 32
#define ATTEMPT_MOMENT_SHIFT 16
#define MOMENT_MS 25
#define ATTEMPT_MOMENTS 320 /* an ACK, or another SYN, that comes later is about something else */

/* What became of those, by backend; same index as `backends`. They wrap around. */
struct progress {
	__u32 started; /* SYNs of flows that had none there */
	__u32 progressed; /* of flows that had: their first ACK */
	__u32 repeated; /* another SYN of those */
	__u32 reserved;
};

#define PROGRESS_WORDS 4

#define ACCOUNTS 8
#define ACCOUNT_OF_PACKETS 1
#define ACCOUNT_OF_CONNECTIONS 2

/* Accounts of clients, a cache line of them: see guard.h. */
struct accounts {
	__u64 client[ACCOUNTS];
};

/* Why a packet was not forwarded: its name is what users see. One packet, one reason. */
struct verdicts {
	__u64 passed_not_ip; /* ARP and whatever else is not IPv4 or IPv6, or of a family without a VIP */
	__u64 passed_vlan; /* tagged, but nothing that is configured has to do with VLANs; or more than two tags */
	__u64 passed_truncated; /* the frame ends inside its headers */
	__u64 passed_protocol; /* a protocol that no service has, or too many IPv6 extension headers */
	__u64 passed_icmp; /* ICMP that is not about a flow to a VIP: the host's own, neighbour discovery */
	__u64 passed_fragment; /* a later fragment for this host itself */
	__u64 passed_no_service; /* no VIP: for this host itself */
	__u64 answered_echo; /* an echo request to a VIP's address was answered */
	__u64 answered_too_big; /* too long for the way to its backend: the sender was told (RFC 1191, RFC 8201) */
	__u64 answered_ttl; /* time to live or hop limit at its end: the sender was told */
	__u64 dropped_unanswered; /* as the three above, but too many at once, or the sender may not be told */
	__u64 dropped_malformed; /* to a VIP, but longer by its own account than the frame, or contradicts itself */
	__u64 dropped_fragment; /* a fragment to a VIP whose first one has not been seen */
	__u64 dropped_blocked; /* its source is on the block list */
	__u64 dropped_packet_rate; /* its source sends more packets than the service allows */
	__u64 dropped_connection_rate; /* its source opens more connections than the service allows */
	__u64 dropped_service_rate; /* the service gets more new connections than it allows */
	__u64 dropped_no_backend; /* the service has no backend that is up */
	__u64 dropped_no_headroom; /* no room for the outer header in front of the frame */
	__u64 dropped_no_egress; /* the interface that it should leave by is not there */
};

/* What a limit or list that only counts would have dropped. */
struct spared {
	__u64 blocked;
	__u64 packet_rate;
	__u64 connection_rate;
	__u64 service_rate;
};

/* A fragmented packet (RFC 791, 3.2; RFC 8200, 4.5). */
struct datagram {
	struct address source;
	struct address destination;
	__u32 identification;
	__u32 protocol;
};

/* A prefix of an address; IPv4 has 96 bits more (IPv4-mapped). */
struct prefix {
	__u32 bits;
	__u32 address[4];
};

BPF_TABLE_PINNED("array", __u32, struct service, services, 1 << ROWS_BITS, PIN_DIR "/services",
		 BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct ranges, ranges, 1 << ROWS_BITS, PIN_DIR "/ranges", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("lpm_trie", struct prefix, __u64, networks, NETWORKS, PIN_DIR "/networks",
		 BPF_F_NO_PREALLOC);
BPF_TABLE_PINNED("array", __u32, struct slots, slots, SLOTS / 2, PIN_DIR "/slots", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct slots, previous, SLOTS / 2, PIN_DIR "/previous", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct backend, backends, BACKENDS, PIN_DIR "/backends", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, __u64, identities, BACKENDS, PIN_DIR "/identities", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct limit, limits, LIMITS, PIN_DIR "/limits", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct accounts, clients, CLIENTS, PIN_DIR "/clients", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct flows, flows, FLOWS, PIN_DIR "/flows", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, __u64, stamps, 1, PIN_DIR "/stamps",
		 BPF_F_MMAPABLE); /* for flows, by the daemon:
	the lowest byte for those that are open, the next one for those that are closing */
BPF_TABLE_PINNED("array", __u32, __u64, attempts, ATTEMPTS, PIN_DIR "/attempts", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, struct progress, progress, BACKENDS, PIN_DIR "/progress", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, __u64, moments, 1, PIN_DIR "/moments",
		 BPF_F_MMAPABLE); /* for attempts, by the daemon */
BPF_TABLE_PINNED("lru_hash", struct datagram, __u64, fragments, 1 << 14, PIN_DIR "/fragments"); /* -> ports */
BPF_TABLE_PINNED("percpu_array", __u32, __u64, answers, 1, PIN_DIR "/answers"); /* when they are paid off */
BPF_XDP_REDIRECT_MAP("devmap:" PIN_DIR "/devices", __u32, devices, DEVICES); /* -> ifindex */
BPF_TABLE_PINNED("percpu_array", __u32, struct traffic, traffic, BACKENDS, PIN_DIR "/traffic");
BPF_TABLE_PINNED("percpu_array", __u32, struct verdicts, verdicts, 1, PIN_DIR "/verdicts");
BPF_TABLE_PINNED("percpu_array", __u32, struct spared, spared, 1, PIN_DIR "/spared");
