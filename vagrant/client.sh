#!/usr/bin/env bash
# The client: knows the way to the VIP through the router.
set -euo pipefail

ip route replace 10.9.9.9/32 via 10.0.1.1
apt-get update -qq
apt-get install -y -qq curl
echo 'try: curl http://10.9.9.9/'
