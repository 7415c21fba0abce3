#!/bin/sh
# Brings what the end-to-end tests over SSH run in their network namespaces from Debian into bin/tools: sshd and
# iptables, with the libraries that this system lacks. Exits with 3 if the packages cannot be fetched.
set -eu
cd "$(dirname "$0")/.."
. deploy/debian.sh
[ -x "$tools/usr/sbin/sshd" ] || fetch openssh-server libwrap0
[ -x "$tools/usr/sbin/iptables-nft" ] || fetch iptables libip4tc2 libip6tc2 libmnl0 libnetfilter-conntrack3 libnfnetlink0 libnftnl11 libxtables12
