/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* address.h - one form for the addresses of both families. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

/* An IPv6 or IPv4-mapped address in network byte order, as two words for cheap comparison. */
struct address {
	__u64 high;
	__u64 low;
};

/* IPv4 addresses are kept IPv4-mapped (RFC 4291, 2.5.5.2): one form for both families. */
static __always_inline struct address mapped(__be32 address)
{
	return (struct address){
		.high = 0,
		.low = (__u64)address << 32 | bpf_htonl(0xffff),
	};
}

static __always_inline __be32 unmapped(const struct address *address)
{
	return ((const __be32 *)address)[3];
}

static __always_inline struct address address6(const struct in6_addr *address)
{
	const __u64 *half = (const void *)address;

	return (struct address){ .high = half[0], .low = half[1] };
}
