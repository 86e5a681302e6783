/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* prefix_maps.h - the contract of the prefix table: who may talk to us, by the longest prefix of the address.
 *
 * A trie whose digits have 16 bits. A node is a run of words in `prefix_spans`, sorted as numbers. A span holds from
 * its first digit up to the next span's; the first span of a run begins at 0. A digit that longer prefixes divide is a
 * span of its own, with the node of the next digit below it. The first digit is not searched: each has its word in
 * `prefix_roots`.
 *
 *	bits	of a word in `prefix_roots`, and of a span in a run that is not packed
 *	0-1	what holds here: 0 as above, 1 blocked, 2 allowed
 *	2-45	what is below: offset of its run (28 bits), then words in it less one (16 bits), or bits 0-37 of its
 *		only word, when it is packed
 *	46-47	0 nothing is below, 1 a run, 2 a packed run, 3 one packed word
 *	48-63	first digit of the span; 0 in `prefix_roots`
 *
 *	bits	of a word in a packed run, which has nothing below it: three spans
 *	0-5	what holds in each, two bits each
 *	6-21	first digit of the third
 *	22-37	first digit of the second
 *	48-63	first digit of the first; the last span of a run is repeated until its word is full
 *
 * So a list of a million takes a few megabytes, which stay within reach of a CPU's caches and TLB: nearly all that a
 * lookup costs is waiting for memory.
 *
 * A run never changes: Python (prefixes.py) writes another one, and what pointed at the old one points at it with one
 * aligned store.
 *
 * Compiled with SPANS and PIN_DIR.
 */
#pragma once

#include "address.h"

/* First digits of IPv4 addresses, then those of IPv6. */
BPF_TABLE_PINNED("array", __u32, __u64, prefix_roots, 2 << 16, PIN_DIR "/prefix_roots", BPF_F_MMAPABLE);
BPF_TABLE_PINNED("array", __u32, __u64, prefix_spans, SPANS, PIN_DIR "/prefix_spans", BPF_F_MMAPABLE);
