/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* write_outer.h - the words of the headers that go in front of a packet: the same for clients' packets and for probes.
 *
 * Compiled with OUTER_DF, SOURCE4_BITS and SOURCE6_BITS. Words are written as they lie in memory on a little-endian machine.
 */
#pragma once

#include "backend.h"

#define OUTER_TTL 64
#define GUE_BYTES 12 /* UDP and GUE without options */

/* What the headers in front say of what is behind them. */
struct carried {
	__u64 bytes; /* of the whole packet */
	__u64 traffic_class; /* DSCP and ECN */
	__u64 entropy; /* bits that tell flows apart, for the network's own load balancing */
	__u64 number; /* of the packet, for those that may be fragmented */
	bool six;
};

/* RFC 1624 for a TTL that becomes one less: the sum becomes one more in its upper byte, the first in memory. 0xffff
 * would be -0, and is written as 0.
 */
static __always_inline void lower_ttl(void *inner, bool six)
{
	if (six) {
		*(__u8 *)(inner + 7) -= 1;
		return;
	}
	__u64 word = *(__u32 *)(inner + 8); /* TTL, protocol, checksum */

	word += 0xffff;
	word += (word + 0x10000) >> 32 << 16;
	*(__u32 *)(inner + 8) = word;
}

/* Complete the checksum of RFC 1071, still in the upper half of a word: `sum` has less than 32 bits. */
static __always_inline __u64 fold(__u64 sum)
{
	return ~(sum + (sum << 16) + (sum >> 16)) & ~0xffffULL;
}

static __always_inline __u64 inner_protocol(const struct carried *c)
{
	return c->six ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

static __always_inline __u64 entropy(const struct carried *c, int bits)
{
	return c->entropy & ((1ULL << bits) - 1);
}

static __always_inline void write_ipv4(__u32 *word, const struct backend *to, const struct carried *c,
				       __u64 protocol, __u64 more_bytes)
{
	/* A header that may be fragmented needs an identification of its own (RFC 6864); another one has 0. */
	__u64 id = OUTER_DF ? 0 : c->number & 0xffff, fragments = OUTER_DF ? 0x40 : 0;
	__u64 class = c->traffic_class << 8, length = bpf_htons(c->bytes + more_bytes);
	__u64 low = SOURCE4_BITS ? bpf_htonl(entropy(c, SOURCE4_BITS)) : 0;
	/* The row holds the sum of the words that are the same for every packet (RFC 1071). */
	__u64 sum = to->checksum + class + length + (protocol << 8) + id + fragments + (low & 0xffff) +
		    (low >> 16);

	word[0] = 0x45 | class | length << 16;
	word[1] = id | fragments << 16;
	word[2] = OUTER_TTL | protocol << 8 | fold(sum);
	word[3] = unmapped(&to->source) | low;
	word[4] = unmapped(&to->address);
}

static __always_inline void write_ipv6(__u64 *word, const struct backend *to, const struct carried *c,
				       __u64 protocol, __u64 more_bytes)
{
	/* The flow label spreads flows over paths and queues (RFC 6438). */
	__u64 first = bpf_htonl(6u << 28 | c->traffic_class << 20 | entropy(c, 20));
	__u64 second = bpf_htons(c->bytes + more_bytes) | protocol << 16 | OUTER_TTL << 24;
	__u64 low = SOURCE6_BITS ? (__u64)bpf_htonl(entropy(c, SOURCE6_BITS)) << 32 : 0;

	word[0] = first | second << 32;
	word[1] = to->source.high;
	word[2] = to->source.low | low;
	word[3] = to->address.high;
	word[4] = to->address.low;
}

/* UDP without checksum (RFC 768; for IPv6 RFC 6935 and RFC 6936), its source port for entropy, and GUE without options:
 * version 0, data, the protocol of what follows.
 */
static __always_inline void write_gue(__u32 *word, const struct backend *to, const struct carried *c)
{
	__u64 length = bpf_htons(c->bytes + GUE_BYTES);

	word[0] = bpf_htons(0xc000 | entropy(c, 14)) | (__u32)to->gue_port << 16;
	word[1] = length;
	word[2] = inner_protocol(c) << 8;
}

static __always_inline void write_ipip4(void *outer, const struct backend *to, const struct carried *c)
{
	write_ipv4(outer, to, c, inner_protocol(c), sizeof(struct iphdr));
}

static __always_inline void write_ipip6(void *outer, const struct backend *to, const struct carried *c)
{
	write_ipv6(outer, to, c, inner_protocol(c), 0);
}

static __always_inline void write_gue4(void *outer, const struct backend *to, const struct carried *c)
{
	write_ipv4(outer, to, c, IPPROTO_UDP, sizeof(struct iphdr) + GUE_BYTES);
	write_gue(outer + sizeof(struct iphdr), to, c);
}

static __always_inline void write_gue6(void *outer, const struct backend *to, const struct carried *c)
{
	write_ipv6(outer, to, c, IPPROTO_UDP, GUE_BYTES);
	write_gue(outer + sizeof(struct ipv6hdr), to, c);
}
