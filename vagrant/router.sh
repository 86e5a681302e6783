#!/usr/bin/env bash
# The router: forwards, and sends the VIP to the balancer.
set -euo pipefail
mtu=$2

sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
for address in 10.0.2.1 10.0.3.1; do
	nic=$(ip -o -4 addr show to "$address" | awk '{print $2}')
	sysctl -qw "net.ipv4.conf.$nic.rp_filter=0"
	ip link set "$nic" mtu "$mtu"
done
ip route replace 10.9.9.9/32 via 10.0.2.2
