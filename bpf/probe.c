/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* probe.c - the tc program on the way out: what a probe's socket sends to a VIP goes to one backend, as a client's packet.
 *
 * The backend gets the very bytes that the balancer would make of that packet (encap.h); only what spreads flows over the
 * network is another hash's. It answers this host, from the VIP, as it would any client.
 *
 * Nothing is written by pointer: then the kernel would copy the head of every packet that leaves, before we see it. The
 * room in front is made by bpf_skb_adjust_room, which tells segmentation and checksum offload what is inside.
 *
 * Compiled with OUTER_DF, SOURCE4_BITS, SOURCE6_BITS and BALANCER (of the mark: probe_maps.h).
 */
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include "probe_maps.h"
#include "write_outer.h"

#define MARKS (PROBE_MARK >> PROBE_BALANCER_SHIFT | BALANCER)
#define LONGEST 65535 /* what a length in an IP header can say */
#define MOST_IN_FRONT (sizeof(struct ipv6hdr) + GUE_BYTES)
#define TCP_DATA_OFFSET 12 /* where in the TCP header its length stands, in its upper half (RFC 9293, 3.1) */

/* As BCC's, but what is written may be constant. */
static long (*store)(struct __sk_buff *skb, __u32 at, const void *from, __u32 bytes,
		     __u64 flags) = (void *)BPF_FUNC_skb_store_bytes;

/* What a stage returns: go on, or the offset of the counter that says why the packet's way ends here. */
#define NEXT 0
#define END(reason) offsetof(struct probed, reason)

_Static_assert(offsetof(struct probed, sent) == NEXT, "who got to the end has been sent");

#define TRY(stage)                                                                                           \
	do {                                                                                                 \
		int how = (stage);                                                                           \
		if (how != NEXT)                                                                             \
			return how;                                                                          \
	} while (0)

/* What is known of the probe in hand. */
struct probe {
	__u32 header[5]; /* the first 20 bytes of the IP header: all of it that matters, in both families */
	__u32 header_bytes;
	__u32 length; /* of the packet, by its own account */
	__u8 transport;
	__u8 ttl; /* or hop limit */
	struct carried inner;
};

static __always_inline int read_ipv4(struct probe *p)
{
	const struct iphdr *ip = (void *)p->header;

	p->header_bytes = ip->ihl * 4;
	p->length = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || p->header_bytes < sizeof(*ip) || p->length < p->header_bytes)
		return END(dropped_malformed);
	p->transport = ip->protocol;
	p->ttl = ip->ttl;
	p->inner.traffic_class = ip->tos;
	return NEXT;
}

static __always_inline int read_ipv6(struct probe *p)
{
	const struct ipv6hdr *ip = (void *)p->header;

	p->header_bytes = sizeof(*ip);
	p->length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	if (ip->version != 6)
		return END(dropped_malformed);
	p->transport = ip->nexthdr;
	p->ttl = ip->hop_limit;
	p->inner.traffic_class = bpf_ntohl(p->header[0]) >> 20 & 0xff;
	p->inner.six = true;
	return NEXT;
}

static __always_inline int read_packet(struct __sk_buff *skb, struct probe *p)
{
	if (bpf_skb_load_bytes(skb, ETH_HLEN, p->header, sizeof(p->header)))
		return END(dropped_malformed);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		TRY(read_ipv4(p));
	else if (skb->protocol == bpf_htons(ETH_P_IPV6))
		TRY(read_ipv6(p));
	else
		return END(dropped_malformed);
	if (p->length + ETH_HLEN > skb->len || p->ttl <= 1)
		return END(dropped_malformed);
	p->inner.bytes = p->length;
	return NEXT;
}

/* A packet that the NIC, or the kernel behind us, will yet cut into segments (GSO) is as long as these. */
static __always_inline int check_length(struct __sk_buff *skb, struct probe *p, const struct backend *to)
{
	__u32 longest = p->length;
	__u8 words = sizeof(struct udphdr) << 2;

	if (skb->gso_size) {
		if (p->transport == IPPROTO_TCP &&
		    bpf_skb_load_bytes(skb, ETH_HLEN + p->header_bytes + TCP_DATA_OFFSET, &words, 1))
			return END(dropped_malformed);
		longest = p->header_bytes + (words >> 4) * 4 + skb->gso_size;
	}
	if (longest > to->mtu || p->length > LONGEST - MOST_IN_FRONT)
		return END(dropped_too_long);
	return NEXT;
}

/* Put so many bytes of headers in front; `flags` say which. The length of segments stays: it was checked. */
static __always_inline int push(struct __sk_buff *skb, const void *outer, int bytes, __u64 flags)
{
	flags |= BPF_F_ADJ_ROOM_FIXED_GSO;
	if (bpf_skb_adjust_room(skb, bytes, BPF_ADJ_ROOM_MAC, flags) || store(skb, ETH_HLEN, outer, bytes, 0))
		return END(dropped_no_room);
	return NEXT;
}

static __always_inline int encap(struct __sk_buff *skb, const struct carried *inner, const struct backend *to)
{
	const __u64 flags4 = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, flags6 = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	const __u64 udp = BPF_F_ADJ_ROOM_ENCAP_L4_UDP;
	__u64 outer[(MOST_IN_FRONT + 7) / 8] = {};

	if (to->way == WAY_IPIP4) {
		write_ipip4(outer, to, inner);
		return push(skb, outer, sizeof(struct iphdr), flags4);
	}
	if (to->way == WAY_IPIP6) {
		write_ipip6(outer, to, inner);
		return push(skb, outer, sizeof(struct ipv6hdr), flags6);
	}
	if (to->way == WAY_GUE4) {
		write_gue4(outer, to, inner);
		return push(skb, outer, sizeof(struct iphdr) + GUE_BYTES, flags4 | udp);
	}
	if (to->way == WAY_GUE6) {
		write_gue6(outer, to, inner);
		return push(skb, outer, sizeof(struct ipv6hdr) + GUE_BYTES, flags6 | udp);
	}
	return NEXT; /* L2 */
}

/* The addresses, and the type unless it stays; a tag of the way out goes where that of the probe's was. */
static __always_inline int write_ethernet(struct __sk_buff *skb, const struct backend *to)
{
	int failed;

	if (to->way == WAY_L2)
		failed = store(skb, 0, to->ethernet, 2 * ETH_ALEN, 0);
	else
		failed = store(skb, 0, to->ethernet, ETH_HLEN, 0);
	if (!failed && to->vlan) {
		if (skb->vlan_present)
			failed = bpf_skb_vlan_pop(skb);
		failed = failed || bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), bpf_ntohs(to->vlan));
	}
	return failed ? END(dropped_no_room) : NEXT;
}

static __always_inline int send(struct __sk_buff *skb, const struct backend *to, __u64 number)
{
	struct probe p = {};

	if (!to || to->way == 0 || to->way == WAY_LOCAL)
		return END(dropped_no_row);
	TRY(read_packet(skb, &p));
	TRY(check_length(skb, &p, to));
	p.inner.entropy = bpf_get_hash_recalc(skb);
	p.inner.number = number;
	lower_ttl(p.header, p.inner.six);
	if (store(skb, ETH_HLEN, p.header, sizeof(p.header), 0))
		return END(dropped_no_room);
	TRY(encap(skb, &p.inner, to));
	return write_ethernet(skb, to);
}

int probe(struct __sk_buff *skb)
{
	__u32 row = skb->mark & (PROBES - 1), zero = 0;

	if (skb->mark >> PROBE_BALANCER_SHIFT != MARKS)
		return TC_ACT_UNSPEC; /* others' filters come next */
	struct probed *counts = probed.lookup(&zero);

	if (!counts)
		return TC_ACT_SHOT; /* never */
	const struct backend *to = probes.lookup(&row);
	int how = send(skb, to, counts->sent + 1);

	*(__u64 *)((void *)counts + how) += 1; /* per CPU: no atomics */
	if (how != NEXT || !to)
		return TC_ACT_SHOT;
	skb->mark = 0; /* or we would see it again where it leaves */
	if (!to->egress || to->egress == skb->ifindex)
		return TC_ACT_OK;
	return bpf_redirect(to->egress, 0);
}
