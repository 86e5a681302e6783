/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* prefixes.h - is this address blocked or allowed, by the longest prefix that covers it?
 *
 * As `find` in xdplb/prefixes.py. No helper is called: the verifier turns a lookup in an array into an address.
 */
#pragma once

#include "prefix_maps.h"

#define PREFIX_BLOCKED 1
#define PREFIX_ALLOWED 2

#define SPAN_VERDICT 3
#define SPAN_OFFSET(word) ((word) >> 2 & ((1 << 28) - 1))
#define SPAN_COUNT(word) (((word) >> 30 & 0xffff) + 1)
#define SPAN_BELOW(word) ((word) >> 46 & 3)
#define BELOW_PACKED 2
#define BELOW_WORD 3
#define DIGIT_SHIFT 48 /* of a span's first digit, and of the digit in hand */

/* The first step guesses the place, as if the digits lay evenly, which lists of addresses nearly do; the next ones look
 * in steps that double from there, and halve what they have enclosed. So most of a search happens in one cache line,
 * and a run of 65536 words takes 31 steps at most.
 */
#define FIRST_REACH 4
#define SEARCH_STEPS (31 * (USE_VIP6 ? 7 : 1) + 1)

/* What holds for a digit that lies in one of the three spans of a packed word. No branches: nobody could foretell them. */
static __always_inline __u64 unpack_verdict(__u64 word, __u64 digit)
{
	__u64 second = ((word >> 22 & 0xffff) - digit - 1) >> 63; /* 1: begins at or before the digit */
	__u64 third = ((word >> 6 & 0xffff) - digit - 1) >> 63;

	return word >> 2 * (second + third) & SPAN_VERDICT;
}

/* One flat loop over all digits. Places are kept as ends of a range: of a length, the verifier would learn how it shrinks,
 * decide branches by it, and so follow every way through the loop on its own.
 */
static __always_inline __u64 prefix_verdict(const struct address *source, bool six)
{
	__u64 digits = six ? __builtin_bswap64(source->high) : (__u64)bpf_ntohl(source->low >> 32) << 32;
	__u64 more = six ? __builtin_bswap64(source->low) : 0;
	__u32 index = digits >> DIGIT_SHIFT | (__u32)six << 16;
	const __u64 *entry = prefix_roots.lookup(&index);
	__u64 verdict = 0, word, below = 0, first = 0, end = 0, probe = 0, reach = 0, last = 0;

	if (!entry)
		return 0;
	word = *entry;
	for (int step = 0; step < SEARCH_STEPS; step++) {
		if (first == end) { /* `word` is the last that begins at or before the digit */
			__u64 here = word & SPAN_VERDICT;

			if (below == BELOW_PACKED)
				here = unpack_verdict(word, digits >> DIGIT_SHIFT);
			if (here)
				verdict = here;
			if (below == BELOW_PACKED)
				break;
			below = SPAN_BELOW(word);
			if (!below)
				break;
			digits = digits << 16 | more >> 48;
			more <<= 16;
			if (below == BELOW_WORD) {
				here = unpack_verdict(word >> 2, digits >> DIGIT_SHIFT);
				if (here)
					verdict = here;
				break;
			}
			first = SPAN_OFFSET(word);
			end = first + SPAN_COUNT(word);
			last = digits | ((1ULL << DIGIT_SHIFT) - 1);
			probe = first + ((digits >> DIGIT_SHIFT) * SPAN_COUNT(word) >> 16);
			reach = FIRST_REACH;
		}
		index = probe;
		entry = prefix_spans.lookup(&index);
		if (!entry)
			break;
		if (*entry <= last) {
			word = *entry;
			first = probe + 1;
			probe = (first + end) >> 1;
			if (probe - first > reach)
				probe = first + reach;
		} else {
			end = probe;
			probe = (first + end) >> 1;
			if (end - probe > reach)
				probe = end - reach;
		}
		reach <<= 1;
	}
	return verdict;
}
