#!/usr/bin/env bash
# A backend: the VIP on lo, the decap agent as a service, a web server that says its name.
set -euo pipefail
name=$1 mtu=$2

nic=$(ip -o -4 addr show to 10.0.3.0/24 | awk '{print $2}')
ip link set "$nic" mtu "$mtu"
ip addr replace 10.9.9.9/32 dev lo
ip route replace 10.0.1.0/24 via 10.0.3.1
ip route replace 10.0.2.0/24 via 10.0.3.1
sysctl -qw net.ipv4.conf.all.rp_filter=0 "net.ipv4.conf.$nic.rp_filter=0"

apt-get update -qq
apt-get install -y -qq python3-bpfcc linux-libc-dev python3-venv nginx-light
echo "$name" >/var/www/html/index.html
/usr/bin/python3 -m venv --system-site-packages /opt/xdplb
/opt/xdplb/bin/pip install -q /opt/xdplb-src
cat >/etc/systemd/system/xdplb-decap.service <<EOF
[Service]
ExecStart=/opt/xdplb/bin/xdplb decap run --interface $nic --from 10.0.2.2
Restart=always
[Install]
WantedBy=multi-user.target
EOF
systemctl enable -q --now xdplb-decap
