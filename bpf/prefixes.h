/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* prefixes.h - is this address blocked or allowed, by the longest prefix that covers it?
 *
 * As `find` in xdplb/prefixes.py.
 */
#pragma once

#include "prefix_maps.h"

#define PREFIX_BLOCKED 1
#define PREFIX_ALLOWED 2

#define SPAN_VERDICT 3
#define SPAN_OFFSET(word) ((word) >> 2 & ((1 << 28) - 1))
#define SPAN_COUNT(word) ((word) >> 30 & ((1 << 17) - 1))
#define DIGIT_SHIFT 48 /* of a span's first digit, and of the digit in hand */

/* A run of 65536 spans is searched in 31 steps at most. */
#define SEARCH_STEPS (31 * (USE_VIP6 ? 7 : 1) + 1)

static __always_inline __u64 prefix_verdict(const struct address *source, bool six)
{
	__u64 digits = six ? __builtin_bswap64(source->high) : (__u64)bpf_ntohl(source->low >> 32) << 32;
	__u64 more = six ? __builtin_bswap64(source->low) : 0;
	__u32 index = digits >> DIGIT_SHIFT | (__u32)six << 16;
	const __u64 *entry = prefix_roots.lookup(&index);
	__u64 verdict = 0, word, first = 0, count = 0, probe = 0, reach = 0, last = 0, left = 0;

	if (!entry)
		return 0;
	word = *entry;
	for (int step = 0; step < SEARCH_STEPS; step++) {
		if (!count) { /* `word` is the last that begins at or before the digit */
			if (word & SPAN_VERDICT)
				verdict = word & SPAN_VERDICT;
			count = SPAN_COUNT(word);
			if (!count)
				break;
			first = SPAN_OFFSET(word);
			digits = digits << 16 | more >> 48;
			more <<= 16;
			last = digits | ((1ULL << DIGIT_SHIFT) - 1);
			probe = (digits >> DIGIT_SHIFT) * count >> 16; 
			reach = 0;
		}
		index = first + probe;
		entry = prefix_spans.lookup(&index);
		if (!entry)
			break;
		if (*entry <= last) {
			word = *entry;
			first += probe + 1;
			count -= probe + 1;
			if (!reach)
				left = 0;
		} else {
			count = probe;
			if (!reach)
				left = 1;
		}
		reach = reach ? reach << 1 : FIRST_REACH;
		probe = count >> 1;
		if (reach < probe)
			probe = left ? count - 1 - reach : reach;
	}
	return verdict;
}
