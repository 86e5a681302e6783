/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* rows.h - find a row of `services` by its key.
 *
 * A key has two candidate rows, both read from its hash; Python places every key in one of them (cuckoo hashing, Pagh
 * and Rodler 2001), in the first where it can. So an answer costs one row nearly always and two at the most, each a
 * plain array access; a BPF hash map's lookup costs ten times that.
 */
#pragma once

#include "packet.h"

/* Port, protocol and kind as they lie in a row, in one word. */
static __always_inline __u64 key_word(__u64 port, __u64 protocol, __u64 kind)
{
	return port | protocol << 16 | kind << 24;
}

/* As `key_rows` in xdplb/hashing.py. The first row needs one multiplication, the second, seldom looked at, another. */
static __always_inline __u64 hash_key(struct address address, __u64 word)
{
	__u64 hash = address.low ^ word ^ SERVICES_SEED;

	if (USE_VIP6)
		hash ^= address.high * 0xd6e8feb86659fd93ULL;
	return hash * 0x9e3779b97f4a7c15ULL;
}

static __always_inline bool has_key(const struct service *row, struct address address, __u64 word)
{
	return row->vip.low == address.low && row->port_and_protocol == word &&
	       (!USE_VIP6 || row->vip.high == address.high);
}

/* `number` becomes the row's number. */
static __always_inline const struct service *find_row(struct address address, __u64 word, __u32 *number)
{
	__u64 hash = hash_key(address, word);
	__u32 index = hash >> (64 - ROWS_BITS);
	const struct service *row = services.lookup(&index);

	if (unlikely(!row || !has_key(row, address, word))) {
		barrier_var(address.low); /* hash again instead of keeping the hash */
		hash = hash_key(address, word);
		index = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ULL >> (64 - ROWS_BITS);
		row = services.lookup(&index);
		if (!row || !has_key(row, address, word))
			return 0;
	}
	*number = index;
	return row;
}

/* Whether packets to this address are any business of ours. */
static __always_inline bool is_vip_address(struct address address)
{
	__u32 number;

	return find_row(address, key_word(0, 0, KIND_ADDRESS), &number);
}

/* The address under which a network's VIPs lie in `services`; low 0: no network has it. */
static __always_inline struct address network_of(struct address address)
{
	struct prefix key = { .bits = 128 };
	struct address found = { .high = 0, .low = 0 };

	key.address[0] = address.high;
	key.address[1] = address.high >> 32;
	key.address[2] = address.low;
	key.address[3] = address.low >> 32;
	const __u64 *low = networks.lookup(&key);

	if (low)
		found.low = *low;
	return found;
}
