#!/usr/bin/env bash
# The balancer: the daemon as a service.
set -euo pipefail
mtu=$2

nic=$(ip -o -4 addr show to 10.0.2.2 | awk '{print $2}')
ip link set "$nic" mtu "$mtu"
ip route replace 10.0.3.0/24 via 10.0.2.1

apt-get update -qq
apt-get install -y -qq python3-bpfcc linux-libc-dev python3-venv
/usr/bin/python3 -m venv --system-site-packages /opt/xdplb
/opt/xdplb/bin/pip install -q /opt/xdplb-src
cat >/etc/xdplb.toml <<EOF
[balancer]
interface = "$nic"

[[service]]
name = "web"
vips = ["10.9.9.9:80"]
backends = [{ name = "b1", address = "10.0.3.11" }, { name = "b2", address = "10.0.3.12" }]
EOF
cat >/etc/systemd/system/xdplb.service <<EOF
[Service]
Type=notify
ExecStart=/opt/xdplb/bin/xdplb run /etc/xdplb.toml
Restart=always
[Install]
WantedBy=multi-user.target
EOF
systemctl enable -q --now xdplb
